"""systemd's managers, by systemctl(1) and loginctl(1)."""

import os
import re
import subprocess
from collections.abc import Sequence

import msgspec

from sandbox.errors import SandboxError

_SECONDS = 120


def version() -> int:
    """The number of this host's systemd; 0 where there is none."""
    try:
        done = subprocess.run(
            ["systemctl", "--version"], capture_output=True, text=True, check=False
        )
    except OSError:
        return 0
    found = re.match(r"systemd (\d+)", done.stdout)
    return int(found[1]) if found else 0


class Control(msgspec.Struct, frozen=True):
    """The system's manager, or that of the calling user."""

    user: bool

    def words(self, *arguments: str) -> list[str]:
        """The command as a person would type it."""
        return ["systemctl", *(["--user"] if self.user else []), *arguments]

    def run(self, *arguments: str) -> str:
        """The output of a command. Raises SandboxError with systemctl's own words."""
        done = self._done(arguments)
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
            raise SandboxError(f"{' '.join(self.words(*arguments))}: {said[0]}", hint=self._hint())
        return done.stdout

    def is_up(self) -> bool:
        """Whether the manager answers."""
        return self._done(["show", "--property=Version", "--value"]).returncode == 0

    def require(self) -> None:
        """Raises SandboxError if the manager doesn't answer."""
        if not self.is_up():
            whose = "user's" if self.user else "system's"
            raise SandboxError(f"the {whose} systemd doesn't answer", hint=self._hint())

    def property(self, unit: str, name: str) -> str:
        """What the manager knows of a unit, such as LoadState."""
        return self.run("show", f"--property={name}", "--value", "--", unit).strip()

    def forget(self, units: Sequence[str]) -> None:
        """Drop what the manager remembers of units that are gone, such as that one failed."""
        self._done(["reset-failed", "--", *units])

    def _done(self, arguments: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        command = self.words("--no-pager", "--no-ask-password", *arguments)
        try:
            return subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS,
                check=False,
            )
        except FileNotFoundError:
            raise SandboxError(
                "there is no systemctl here",
                hint="'sbx systemd unit' writes the unit for another machine",
            ) from None
        except subprocess.TimeoutExpired:
            raise SandboxError(
                f"{' '.join(command)}: no answer within {_SECONDS} seconds"
            ) from None

    def _hint(self) -> str:
        if not self.user:
            return "see 'systemctl status'; 'sbx systemd unit' needs no manager"
        if not os.environ.get("XDG_RUNTIME_DIR"):
            return (
                "XDG_RUNTIME_DIR isn't set, as after su or sudo: log in as this user, or use "
                f"machinectl shell {_login()}@"
            )
        return "see 'systemctl --user status'; 'sbx systemd unit' needs no manager"


def lingers() -> bool:
    """Whether the calling user's manager runs without a login (loginctl enable-linger)."""
    try:
        done = subprocess.run(
            ["loginctl", "show-user", "--property=Linger", "--value", str(os.getuid())],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.stdout.strip() == "yes"


def _login() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
