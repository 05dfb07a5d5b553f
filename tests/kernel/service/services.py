"""A service of the tests' own in a sandbox, and the manager that it talks to."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable
from typing import Any

from tests.kernel.harness import Running, Sandbox

SECONDS = 20.0

NOTIFIES = '[service]\ntype = "notify"\n'


class Services:
    """Runs the service program as one caller."""

    def __init__(self, sandbox: Sandbox, program: str) -> None:
        self.sandbox = sandbox
        self.program = program

    def text(self, more: str) -> str:
        """A profile in which the program can run; `more` begins with tables of its own."""
        bind = f'[[mounts]]\ntype = "bind"\nsource = "{self.program}"\ntarget = "{self.program}"\n'
        return f"{bind}execute = true\n{more}"

    def start(self, more: str, *words: str, name: str = "web", **how: Any) -> Running:
        """In the background, under a name, with pipes for the standard streams."""
        # What a supervisor that was killed has left would be taken for this one's.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.sandbox.runtime, name, "state"))
        options = ("--name", name, *how.pop("options", ()))
        return self.sandbox.start(
            self.text(more), self.program, *words, options=options, encoding="utf-8", **how
        )

    def run(self, more: str, *words: str, **how: Any) -> subprocess.CompletedProcess[str]:
        return self.sandbox.run(self.text(more), self.program, *words, **how)

    def state(self, name: str = "web") -> dict[str, str]:
        """What the sandbox's state file says; empty as long as there is none."""
        try:
            with open(os.path.join(self.sandbox.runtime, name, "state"), "rb") as file:
                text = file.read().decode()
        except FileNotFoundError:
            return {}
        return dict(pair.split("=", 1) for pair in text.split("\0") if pair)

    def await_state(self, state: str, name: str = "web", **more: str) -> dict[str, str]:
        wanted = {"state": state, **more}
        found: dict[str, str] = {}

        def reached() -> bool:
            found.clear()
            found.update(self.state(name))
            return found.items() >= wanted.items()

        assert until(reached), f"wanted {wanted}, found {found}"
        return found


def until(reached: Callable[[], bool], seconds: float = SECONDS) -> bool:
    """Whether it has come to that before the time was up."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if reached():
            return True
        time.sleep(0.01)
    return False


class Manager:
    """What systemd is for a unit: a datagram socket that takes messages."""

    def __init__(self, directory: str) -> None:
        self.path = os.path.join(directory, "manager")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        os.chmod(self.path, 0o666)
        self.socket.settimeout(SECONDS)
        self.descriptors: list[int] = []

    def hear(self) -> str:
        """The next message; descriptors that come with it are kept."""
        data, fds, _, _ = socket.recv_fds(self.socket, 8192, 253)
        self.descriptors += fds
        return data.decode()

    def hear_until(self, wanted: str) -> list[str]:
        """All messages up to one that has this line."""
        heard: list[str] = []
        while not heard or wanted not in heard[-1].split("\n"):
            heard.append(self.hear())
        return heard

    def rest(self) -> list[str]:
        """What has come until now."""
        self.socket.setblocking(False)
        heard = []
        with contextlib.suppress(BlockingIOError):
            while True:
                heard.append(self.hear())
        self.socket.settimeout(SECONDS)
        return heard

    def close(self) -> None:
        self.socket.close()
        for fd in self.descriptors:
            os.close(fd)
        os.unlink(self.path)


def await_up(process: Running) -> None:
    """Waits until the program has said "up"; its signals wait for it from then on."""
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
