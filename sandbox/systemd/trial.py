"""Whether a profile compiles for the user that its unit runs as, tried as that user."""

import os
import pwd
import subprocess
from collections.abc import Mapping, Sequence
from typing import Final

import prctl

from sandbox.capabilities import CAPABILITY_NAMES
from sandbox.errors import SandboxError
from sandbox.systemd.places import Owner

# systemd's own where none is configured.
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
_OF_A_USER: Final = ("HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "XDG_RUNTIME_DIR")
_SECONDS: Final = 120
_LAST_CAPABILITY: Final = "/proc/sys/kernel/cap_last_cap"


def account_of(name: str) -> Owner:
    """The user of this name or number. Raises SandboxError if there is none."""
    try:
        entry = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except (KeyError, OverflowError):
        raise SandboxError(
            f"there is no user '{name}'",
            hint=f"make one: useradd --system --create-home {name}",
        ) from None
    return Owner(uid=entry.pw_uid, gid=entry.pw_gid, home=entry.pw_dir)


def environment(manager: str, account: str, more: Sequence[str]) -> dict[str, str]:
    """What the unit's process has in its environment, as far as it is known before it runs."""
    if manager == "user":
        found = {name: os.environ[name] for name in _OF_A_USER if name in os.environ}
    else:
        found = {"PATH": _PATH}
        if account:
            entry = pwd.getpwuid(account_of(account).uid)
            found |= {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name}
            found["SHELL"] = entry.pw_shell
    return found | dict(text.split("=", 1) for text in more)


def prepare(
    launcher: str,
    words: Sequence[str],
    *,
    environ: Mapping[str, str],
    owner: Owner | None,
    bounding: frozenset[str] | None,
    no_new_privileges: bool,
) -> tuple[bool, str]:
    """Compile the profile and keep its plan, as the unit's process would.

    Whether that went well, and what was said on standard error.

    `owner` is the user to become, None for this one; `bounding` the capabilities that are left,
    None for all. Raises SandboxError if sbx can't be run so.
    """

    def become() -> None:
        if bounding is not None:
            with open(_LAST_CAPABILITY, encoding="ascii") as file:
                last = int(file.read())
            kept = {number for number, name in enumerate(CAPABILITY_NAMES) if name in bounding}
            for number in range(last + 1):
                if number not in kept:
                    prctl.capbset_drop(number)
        if no_new_privileges:
            prctl.set_no_new_privs(1)

    try:
        done = subprocess.run(
            [launcher, "_prepare", *words],
            env=dict(environ),
            cwd=_start(environ, owner),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
            user=owner.uid if owner else None,
            group=owner.gid if owner else None,
            extra_groups=_groups(owner) if owner else None,
            preexec_fn=become,
        )
    except subprocess.TimeoutExpired:
        raise SandboxError(f"no plan within {_SECONDS} seconds") from None
    except (OSError, subprocess.SubprocessError) as error:
        raise SandboxError(f"{launcher} can't be run as the unit's user: {error}") from None
    return done.returncode == 0, done.stderr


def _start(environ: Mapping[str, str], owner: Owner | None) -> str:
    """Units of the system start in /, a user's at home."""
    return "/" if owner or not os.getuid() else environ.get("HOME", "/")


def _groups(owner: Owner) -> list[int]:
    return os.getgrouplist(pwd.getpwuid(owner.uid).pw_name, owner.gid)
