"""What the tests of live sandboxes share: one with a name, and sbx's verbs as its owner."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import Any

from tests.kernel.harness import Running, Sandbox, await_line

SECONDS = 20.0


def sbx(sandbox: Sandbox, *words: str, **how: Any) -> subprocess.CompletedProcess[str]:
    """A verb, as the caller whose sandboxes these are."""
    return sandbox.program([sandbox.launcher, *words], **how)


def listed(sandbox: Sandbox, **how: Any) -> list[dict[str, Any]]:
    """What `sbx ps` knows."""
    done = sbx(sandbox, "ps", "--json", **how)
    assert (done.returncode, done.stderr) == (0, ""), done
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    return found


def names(sandbox: Sandbox) -> list[str]:
    return [each["name"] for each in listed(sandbox)]


def until(condition: Any, what: str) -> None:
    """Waits for what has to come true."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)


@contextlib.contextmanager
def named(
    sandbox: Sandbox,
    name: str,
    *words: str,
    text: str = "",
    options: Sequence[str] = (),
    **how: Any,
) -> Iterator[Running]:
    """A sandbox with a name whose program has been started; by default one that ends when asked to."""
    command = words or (sandbox.probe, "signals")
    with sandbox.start(text, *command, options=("--name", name, *options), **how) as process:
        record = os.path.join(sandbox.runtime, name, "record")
        until(lambda: os.path.exists(record) or process.poll() is not None, "no record")
        assert process.poll() is None, process.communicate()
        if not words:
            await_line(process)
        yield process
        if process.poll() is None:
            process.kill()
