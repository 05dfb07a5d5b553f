"""The runtime directory, read: which sandboxes live, and what their records say.

A record counts only while its supervisor holds the lock on its directory (csrc/record.h). The lock
is asked about and never taken, so that who looks is in nobody's way. Read for each of hundreds of
sandboxes, so this is plain Python without a decoder.
"""

import contextlib
import fcntl
import os
import re
import stat
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from sandbox.errors import SandboxError
from sandbox.process.runtime import directory as runtime_directory

RECORD: Final = "record"
CONTROL: Final = "control"
PAUSED: Final = "paused"
"""Names the cgroups that `sbx pause` has frozen; sandbox/live/freezer.py."""
SERVICE_STATE: Final = "state"
HEALTH: Final = "health"

_FREEZERS: Final = frozenset({"cgroup.freeze", "freezer.state"})
"""sandbox/live/freezer.py."""
_MAX_BYTES: Final = 64 << 10
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_FLOCK: Final = struct.Struct("hhqqi4x")
_WRITE_LOCK: Final = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
_F_OFD_GETLK: Final = 36  # fcntl(2); the module has no name for it
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Live(NamedTuple):
    """A live sandbox as its record tells of it.

    The process ids are as its supervisor sees them; `processes.verified` makes sure that they still
    mean the same process here.
    """

    name: str
    profile: str
    """The path of its profile."""
    argv: tuple[str, ...]
    """The first 4 KiB of its command."""
    supervisor: int
    first: int
    """The sandbox's first process."""
    has_init: bool
    started_ns: int
    """When its program was started, in nanoseconds since the epoch."""
    begun_ns: int
    """The same by the monotonic clock, which nobody sets."""
    plan_fd: int
    """The supervisor's descriptor of the plan; 0 where it has none."""
    cgroups: tuple[str, ...]
    """The directories of its own cgroups."""
    state: str
    """`running`, `paused`, what a service says of itself (starting, ready, reloading, stopping), or
    `unhealthy` where its checks fail, `orphaned` where it has outlived its supervisor."""
    uid: int
    """Whose it is."""
    directory: str
    """Its place in the runtime directory."""
    survives: bool = False
    """It outlives its supervisor: its first process need not be that one's child."""

    @property
    def age_ns(self) -> int:
        """For how long it has run."""
        return time.monotonic_ns() - self.begun_ns


def runtime(environ: Mapping[str, str] | None = None) -> str:
    """The runtime directory of the caller, whether it exists or not.

    Raises SandboxError where others could have put something there, as the supervisor does.
    """
    place = runtime_directory(os.environ if environ is None else environ, os.geteuid())
    try:
        is_ours = os.stat(place, follow_symlinks=False)
    except OSError:
        return place
    if (
        not stat.S_ISDIR(is_ours.st_mode)
        or is_ours.st_uid != os.geteuid()
        or is_ours.st_mode & 0o22
    ):
        raise SandboxError(
            f"the runtime directory {place} belongs to another user, or others may write to it",
            hint="remove it, or set SBX_RUNTIME_DIR to a directory of your own with mode 0700",
        )
    return place


def is_name(text: str) -> bool:
    """Whether a sandbox can be called so."""
    return _NAME.fullmatch(text) is not None


def names(place: str) -> list[str]:
    """The names in a runtime directory, sorted, whether what they stand for lives or not."""
    try:
        return sorted(filter(is_name, os.listdir(place)))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unreadable(place, error) from None


def all_live(place: str) -> list[Live]:
    """The live sandboxes of a runtime directory, by name."""
    found = (read(place, name) for name in names(place))
    return [live for live in found if live is not None]


def find(place: str, name: str) -> Live:
    """The live sandbox of this name. Raises SandboxError, with the names that are close."""
    found = read(place, name) if is_name(name) else None
    if found is None:
        raise unknown(place, name)
    return found


def chosen(
    place: str, words: Sequence[str], *, everything: bool = False
) -> tuple[list[Live], list[SandboxError]]:
    """The live sandboxes that a command line names, each once, and an error for each that isn't one.

    Raises SandboxError where it names neither some nor everything, or both.
    """
    if everything and words:
        raise SandboxError("--all and names don't go together")
    if everything:
        return all_live(place), []
    if not words:
        raise SandboxError(
            "no sandbox is named", hint="'sbx ps' lists those that live; --all means all"
        )
    found: list[Live] = []
    errors: list[SandboxError] = []
    for word in dict.fromkeys(words):
        try:
            found.append(find(place, word))
        except SandboxError as error:
            errors.append(error)
    return found, errors


def unknown(place: str, name: str) -> SandboxError:
    """The error for a name that no live sandbox has."""
    from difflib import get_close_matches

    known = [live.name for live in all_live(place)]
    close = get_close_matches(name, known, n=3)
    # A profile's name alone, where sbx has put its process id behind it.
    close += [each for each in known if each.startswith(f"{name}-") and each not in close][:3]
    if _has_ended(place, name):
        hint = f"it has ended: 'sbx events {name}' tells how"
    elif close:
        hint = f"did you mean {' or '.join(map(repr, close))}?"
    else:
        hint = "'sbx ps' lists those that live" if known else "no sandbox of yours is running"
    return SandboxError(f"there is no live sandbox '{name}'", hint=hint)


def _has_ended(place: str, name: str) -> bool:
    from sandbox.live.events import kept

    found = [event["event"] for event in kept(place) if event["name"] == name]
    return found[-1:] == ["exited"]


def read(place: str, name: str) -> Live | None:
    """The sandbox of this name, or None where none lives or its record can't be read."""
    with opened(os.path.join(place, name)) as directory:
        if directory < 0:
            return None
        fields = _fields(directory)
        # Last: what was read before belongs to who holds it now.
        if fields is None or not is_alive(directory):
            return None
        uid = os.fstat(directory).st_uid
        survives = fields.get("survive", ["0"])[0] == "1"
        state = "orphaned" if survives and not _is_attended(directory) else state_of(directory)
    return _told(place, name, fields, state=state, uid=uid)


def dead_one(place: str, name: str) -> Live | None:
    """What the record of a dead sandbox says of it; None where one lives or none is left."""
    with opened(os.path.join(place, name)) as directory:
        if directory < 0 or is_alive(directory):
            return None
        fields = _fields(directory)
        uid = os.fstat(directory).st_uid
    return None if fields is None else _told(place, name, fields, state="ended", uid=uid)


def _told(
    place: str, name: str, fields: Mapping[str, list[str]], *, state: str, uid: int
) -> Live | None:
    try:
        return Live(
            name=name,
            profile=_one(fields, "profile"),
            argv=tuple(fields.get("argv", ())),
            supervisor=int(_one(fields, "supervisor")),
            first=int(_one(fields, "first")),
            has_init=_one(fields, "has_init") != "0",
            started_ns=int(_one(fields, "started_ns")),
            begun_ns=int(_one(fields, "begun_ns")),
            plan_fd=int(_one(fields, "plan_fd")),
            cgroups=tuple(fields.get("cgroup", ())),
            state=state,
            uid=uid,
            directory=os.path.join(place, name),
            survives=fields.get("survive", ["0"])[0] == "1",
        )
    except (KeyError, ValueError):  # garbage: nobody has written this record
        return None


@contextlib.contextmanager
def opened(path: str) -> Iterator[int]:
    """A descriptor of a sandbox's directory; -1 where there is none."""
    try:
        fd = os.open(path, _DIRECTORY)
    except OSError:
        fd = -1
    try:
        yield fd
    finally:
        if fd >= 0:
            os.close(fd)


def is_alive(directory: int) -> bool:
    """Whether a supervisor holds the lock on this directory."""
    try:
        answer = fcntl.fcntl(directory, _F_OFD_GETLK, _WRITE_LOCK)
    except OSError:
        return False
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)


def _is_attended(directory: int) -> bool:
    """Whether somebody listens on its control socket."""
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
        asking.setblocking(False)
        try:
            asking.connect(f"/proc/self/fd/{directory}/{CONTROL}")
        except BlockingIOError:  # a full queue: somebody is busy
            return True
        except OSError:
            return False
    return True


def state_of(directory: int) -> str:
    """What a sandbox with this directory does."""
    if _has(directory, PAUSED) and _is_frozen(small_file(directory, PAUSED)):
        return "paused"
    service = small_file(directory, SERVICE_STATE).get("state", "running")
    if service != "stopping" and small_file(directory, HEALTH).get("state") == "unhealthy":
        return "unhealthy"
    return service


def _is_frozen(mark: Mapping[str, str]) -> bool:
    """Somebody else may have let it go on.

    Root reads the marks of others too: what they name is opened only where a freezer's file can be,
    since to open a pipe would wait, and to open a device may do something.
    """
    name = mark.get("file", "")
    if name not in _FREEZERS:
        return False
    try:
        fd = os.open(
            os.path.join(mark["path"], name),
            os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
        )
    except (KeyError, OSError, ValueError):
        return False
    try:
        return os.read(fd, 64).strip() != os.fsencode(mark.get("thawed", ""))
    except OSError:
        return False
    finally:
        os.close(fd)


def fields_of(directory: int) -> dict[str, tuple[str, ...]]:
    """All that a record says, whether its supervisor lives or not."""
    return {key: tuple(values) for key, values in (_fields(directory) or {}).items()}


def small_file(directory: int, name: str) -> dict[str, str]:
    """The fields of a file beside the record; none where it isn't there."""
    return dict(_pairs(_read(directory, name) or b""))


def service_fields(live: Live) -> dict[str, str]:
    """What a service says of itself."""
    with opened(live.directory) as directory:
        return small_file(directory, SERVICE_STATE) if directory >= 0 else {}


def others(uid_of_caller: int) -> list[str]:
    """The runtime directories of all users, for root; those that aren't their owner's alone don't count."""
    import glob

    found = ["/run/sbx"] if uid_of_caller == 0 else []
    for path in (*glob.glob("/run/user/*/sbx"), *glob.glob("/tmp/sbx-*")):  # noqa: S108 - checked below
        owner = path.removeprefix("/tmp/sbx-").removeprefix("/run/user/").removesuffix("/sbx")  # noqa: S108
        try:
            is_theirs = os.lstat(path)
        except OSError:
            continue
        if stat.S_ISDIR(is_theirs.st_mode) and str(is_theirs.st_uid) == owner:
            found.append(path)
    return found


def _fields(directory: int) -> dict[str, list[str]] | None:
    text = _read(directory, RECORD)
    if text is None:
        return None
    fields: dict[str, list[str]] = {}
    for key, value in _pairs(text):
        fields.setdefault(key, []).append(value)
    return fields


def _one(fields: Mapping[str, list[str]], key: str) -> str:
    return fields[key][0]


def _pairs(text: bytes) -> Iterator[tuple[str, str]]:
    for field in text.decode(errors="surrogateescape").split("\0"):
        key, equals, value = field.partition("=")
        if equals:
            yield key, value


def _read(directory: int, name: str) -> bytes | None:
    try:
        fd = os.open(
            name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory
        )
    except OSError:
        return None
    try:
        return os.read(fd, _MAX_BYTES)
    except OSError:
        return None
    finally:
        os.close(fd)


def _has(directory: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return False
    return True


def _unreadable(place: str, error: OSError) -> SandboxError:
    return SandboxError(
        f"the runtime directory {place} can't be read: {error.strerror}",
        hint="it has to belong to you, with mode 0700",
    )
