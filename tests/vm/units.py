"""Services in the emulated machine, as `sbx systemd` makes them."""

import contextlib
import time
from collections.abc import Iterator

from tests.vm.machine import Machine

SECONDS = 60.0


class Unit:
    """An installed service."""

    def __init__(self, machine: Machine, name: str, user: str = "root") -> None:
        self.machine = machine
        self.name = name
        self.user = user
        self.mode = [] if user == "root" else ["--user"]

    def systemctl(self, *words: str) -> str:
        return self.machine.succeed("systemctl", *self.mode, *words, user=self.user)

    def is_active(self) -> str:
        """The state in a word."""
        words = ("systemctl", *self.mode, "is-active", self.name)
        return self.machine.run(*words, user=self.user).stdout.strip()

    def show(self, *names: str) -> dict[str, str]:
        """Properties of the service, as the manager has them."""
        wanted = [f"--property={name}" for name in names]
        lines = self.systemctl("show", *wanted, f"{self.name}.service").splitlines()
        return {key: value for key, _, value in (line.partition("=") for line in lines)}

    def journal(self) -> str:
        """What the service and its manager have said; only root may read the machine's journal."""
        unit = "--user-unit" if self.mode else "--unit"
        words = ("journalctl", "--sync")
        self.machine.run(*words)
        return self.machine.succeed("journalctl", "-o", "cat", f"{unit}={self.name}.service")

    def await_true(self, script: str) -> str:
        """Runs a script of the shell's until it ends with 0, and gives its output."""
        late = time.monotonic() + SECONDS
        while True:
            done = self.machine.shell(script, user=self.user)
            if done.returncode == 0:
                return done.stdout
            assert time.monotonic() < late, f"{script}: {done}\n{self.journal()}"
            time.sleep(0.2)


@contextlib.contextmanager
def installed(
    machine: Machine, profile: str, *options: str, name: str, user: str = "root"
) -> Iterator[Unit]:
    """A service of a profile while the context lasts; nothing of its units is left afterwards."""
    unit = Unit(machine, name, user)
    words = ("sbx", "systemd", "install", *unit.mode, "--name", name, *options, profile)
    done = machine.run(*words, user=user, timeout=120)
    assert (done.returncode, done.stderr) == (0, ""), done
    try:
        yield unit
    finally:
        machine.succeed("sbx", "systemd", "remove", *unit.mode, name, user=user, timeout=150)
