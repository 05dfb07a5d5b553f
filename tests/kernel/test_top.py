"""`sbx top` at a terminal."""

import os
import pty
import select
import subprocess
import time

import pytest

from tests.kernel.harness import Running, Sandbox
from tests.kernel.live import SECONDS, named, names, sbx, until


@pytest.fixture
def place(shared_dir: str) -> str:
    """A runtime directory of the test's own."""
    path = os.path.join(shared_dir, "place")
    os.makedirs(path, 0o755)
    return path


class Terminal:
    """A program at a terminal of its own, and what it has shown."""

    def __init__(self, sandbox: Sandbox, *words: str) -> None:
        self.master, slave = pty.openpty()
        environment = sandbox.environment | {"TERM": "xterm"}
        sandbox_program = [sandbox.launcher, *words]
        self.process: Running = sandbox.popen(
            sandbox_program, env=environment, stdin=slave, stdout=slave, stderr=subprocess.PIPE
        )
        os.close(slave)
        self.shown = b""

    def until(self, words: bytes) -> None:
        """Reads until this has been shown since the last time."""
        end = time.monotonic() + SECONDS
        while words not in self.shown:
            assert time.monotonic() < end, self.shown
            if select.select([self.master], [], [], 0.2)[0]:
                self.shown += os.read(self.master, 65536)
        self.shown = b""

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def close(self) -> None:
        os.close(self.master)


def test_it_shows_what_lives_and_kills_on_request(sandbox: Sandbox) -> None:
    with named(sandbox, "shown-one") as process:
        terminal = Terminal(sandbox, "top", "--interval", "200ms")
        with terminal.process:
            terminal.until(b"shown-one")
            terminal.type(b"s")
            terminal.until(b"memory")
            terminal.type(b"k")
            terminal.until(b"kill shown-one? y/n")
            terminal.type(b"n")
            assert process.poll() is None
            terminal.type(b"k")
            terminal.until(b"kill shown-one? y/n")
            terminal.type(b"y")
            until(lambda: names(sandbox) == [], "it lives")
            terminal.type(b"q")
            assert terminal.process.wait(SECONDS) == 0
        terminal.close()


def test_it_takes_a_terminal(sandbox: Sandbox) -> None:
    done = sbx(sandbox, "top")
    assert done.returncode == 125
    assert "sbx top needs a terminal" in done.stderr
    assert "sbx stats" in done.stderr
