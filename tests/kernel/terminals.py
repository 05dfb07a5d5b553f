"""A person at a pseudo-terminal, with sbx as the session on the other side."""

import fcntl
import os
import pty
import re
import select
import struct
import termios
import time
from typing import Any

from tests.kernel.harness import Running, Sandbox

ROWS, COLUMNS = 33, 101


class Terminal:
    """The person's side of a pseudo-terminal, with sbx as the session on the other side."""

    def __init__(self, sandbox: Sandbox, arguments: list[str], **how: Any) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(ROWS, COLUMNS)
        self.settings = termios.tcgetattr(self.slave)
        self.seen = ""
        streams = {"stdin": self.slave, "stdout": self.slave, "stderr": self.slave, **how}

        def take() -> None:
            os.setsid()
            fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)

        self.process: Running = sandbox.popen(
            arguments, before=take, pass_fds=(self.slave,), **streams
        )

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        while text:
            text = text[os.write(self.master, text.encode()) :]

    def wait_for(self, pattern: str, seconds: float = 20) -> str:
        """The output up to what matches, which is taken off."""
        until = time.monotonic() + seconds
        while not (found := re.search(pattern, self.seen)):
            if not select.select([self.master], [], [], max(0, until - time.monotonic()))[0]:
                raise TimeoutError(f"no {pattern!r} in {self.seen!r}")
            try:
                self.seen += os.read(self.master, 65536).decode()
            except OSError:  # nobody has the other side any more
                raise EOFError(f"no {pattern!r} in {self.seen!r}") from None
        text, self.seen = self.seen[: found.end()], self.seen[found.end() :]
        return text

    def command(self, text: str) -> str:
        """What a command prints, between its echo and the next prompt."""
        self.type(text + "\n")
        whole = self.wait_for("ready> $")
        return whole.replace("\r", "").partition("\n")[2].removesuffix("ready> ").strip()

    def job(self, command: str) -> None:
        """Starts a program in the foreground and waits until it is there."""
        self.type(f"sh -c 'echo running; exec {command}'\n")
        self.wait_for("running\r\n")

    def end(self) -> int:
        """Reads on until sbx has ended; its status."""
        until = time.monotonic() + 20
        while self.process.poll() is None:
            assert time.monotonic() < until, self.seen
            if select.select([self.master], [], [], 0.01)[0]:
                self.seen += os.read(self.master, 65536).decode()
        while select.select([self.master], [], [], 0)[0]:
            self.seen += os.read(self.master, 65536).decode()
        return self.process.returncode

    def is_restored(self) -> bool:
        return termios.tcgetattr(self.slave) == self.settings

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdout, self.process.stdin):
            if stream:
                stream.close()
        for fd in (self.master, self.slave):
            if fd >= 0:
                os.close(fd)
