"""Unit files in the directory of a manager: put there whole, and taken away by their mark alone."""

import contextlib
import os
import secrets
from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

from sandbox.errors import SandboxError
from sandbox.systemd.unit import UnitFile
from sandbox.systemd.words import MARK

_MODE: Final = 0o644
_LONGEST: Final = 1 << 20
_OF_THE_SYSTEM: Final = "/etc/systemd/system"

State = Literal["missing", "same", "other", "foreign"]


class Step(NamedTuple):
    """What becomes of one file."""

    path: str
    action: Literal["written", "unchanged", "removed"]


def directory(manager: str, environ: Mapping[str, str]) -> str:
    """Where a manager's administrator puts units. Raises SandboxError for a user without a home."""
    if manager == "system":
        return _OF_THE_SYSTEM
    base = environ.get("XDG_CONFIG_HOME", "")
    home = environ.get("HOME", "")
    if not base.startswith("/"):
        if not home.startswith("/"):
            raise SandboxError("HOME says no directory", hint="the user's units lie below it")
        base = f"{home}/.config"
    return f"{base}/systemd/user"


def state(path: str, text: str) -> State:
    """How a file compares with a text; `foreign` is one that sbx hasn't written."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return "missing"
    except OSError:
        return "foreign"
    try:
        found = os.read(fd, _LONGEST)
    except OSError:
        return "foreign"
    finally:
        os.close(fd)
    if found == text.encode():
        return "same"
    return "other" if found.startswith(f"{MARK} ".encode()) else "foreign"


def put(where: str, files: Sequence[UnitFile], *, dry: bool) -> tuple[Step, ...]:
    """Write every file that isn't the same already; none at all if one is somebody else's."""
    states = [(file, os.path.join(where, file.name)) for file in files]
    for file, path in states:
        if state(path, file.text) == "foreign":
            raise SandboxError(
                f"{path} is there already, and sbx hasn't written it",
                hint="choose another name with --name, or move that file away",
            )
    steps = []
    for file, path in states:
        same = state(path, file.text) == "same"
        if not same and not dry:
            _replace(path, file.text)
        steps.append(Step(path, "unchanged" if same else "written"))
    return tuple(steps)


def _replace(path: str, text: str) -> None:
    where, name = os.path.split(path)
    os.makedirs(where, mode=0o755, exist_ok=True)
    # systemd reads no file of such a name.
    new = os.path.join(where, f".{name}.{secrets.token_hex(4)}")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            os.fchmod(fd, _MODE)
            file.write(text)
            file.flush()
            os.fsync(fd)
        os.rename(new, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise


def written(where: str, name: str) -> tuple[str, ...]:
    """The files that sbx has written for the service `name`, the service first."""
    service = os.path.join(where, f"{name}.service")
    sockets = [f"{name}.socket", *_more_sockets(where, name)]
    paths = (service, *(os.path.join(where, each) for each in sockets))
    return tuple(path for path in paths if state(path, "") == "other")


def services(where: str) -> tuple[str, ...]:
    """The names of all services that sbx has written units for."""
    try:
        entries = sorted(os.listdir(where))
    except OSError:
        return ()
    names = (entry.removesuffix(".service") for entry in entries if entry.endswith(".service"))
    return tuple(n for n in names if state(os.path.join(where, f"{n}.service"), "") == "other")


def _more_sockets(where: str, name: str) -> list[str]:
    """`web-https.socket` of web: those that say so, since another service may be called web-https."""
    try:
        entries = os.listdir(where)
    except FileNotFoundError:
        return []
    found = []
    for entry in sorted(entries):
        if entry.startswith(f"{name}-") and entry.endswith(".socket"):
            with contextlib.suppress(OSError, UnicodeDecodeError):
                with open(os.path.join(where, entry), encoding="utf-8") as file:
                    text = file.read(_LONGEST)
                if f"\nService={name}.service\n" in text:
                    found.append(entry)
    return found
