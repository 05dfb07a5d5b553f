"""What the tests of `sbx verify` share: a live sandbox, and what the verb says of it."""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any, NamedTuple

from sandbox.plan import codec
from sandbox.plan.record import Plan
from tests.kernel.harness import Running, Sandbox, await_line
from tests.kernel.live import listed, named, names, sbx, until

LIMITED = "[resources]\nmemory_max = '100000000'\npids_max = 20\ncpu_weight = 200"


class Verified(NamedTuple):
    """What the verb has said."""

    status: int
    content: dict[str, Any]

    @property
    def findings(self) -> dict[str, dict[str, Any]]:
        """By item."""
        return {each["item"]: each for each in self.content["findings"]}

    @property
    def unseen(self) -> set[str]:
        return {each["item"] for each in self.content["unseen"]}


def verify(sandbox: Sandbox, name: str) -> Verified:
    done = sbx(sandbox, "verify", "--json", name)
    assert done.stderr == "", done
    content = json.loads(done.stdout)
    assert (done.returncode == 0) == content["as_promised"] == (not content["findings"]), done
    return Verified(done.returncode, content)


def first_of(sandbox: Sandbox, name: str = "it") -> int:
    return int(next(each["first"] for each in listed(sandbox) if each["name"] == name))


def children_of(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split()]


@contextlib.contextmanager
def live(sandbox: Sandbox, text: str = "", name: str = "it") -> Iterator[Running]:
    """A sandbox that waits, and that is recorded by now: what it says comes after that."""
    with named(sandbox, name, sandbox.probe, "wait", text=text) as process:
        await_line(process)
        until(lambda: name in names(sandbox), "no record")
        yield process


@contextlib.contextmanager
def started_from_another(
    sandbox: Sandbox, promised: Plan, done: Plan, *words: str, **how: Any
) -> Iterator[Running]:
    """A live sandbox that another plan has made than the one its supervisor holds by now."""
    fd = os.memfd_create("plan")
    try:
        os.write(fd, codec.encode(done))
        command = [sandbox.launcher, "run", "--plan-fd", str(fd), "--name", "it", "--"]
        words = words or (sandbox.probe, "wait")
        with sandbox.popen(
            [*command, *words], stdout=subprocess.PIPE, pass_fds=(fd,), **how
        ) as process:
            until(lambda: "it" in names(sandbox) or process.poll() is not None, "no record")
            assert process.poll() is None
            os.ftruncate(fd, 0)
            os.pwrite(fd, codec.encode(promised), 0)
            yield process
            process.kill()
    finally:
        os.close(fd)
