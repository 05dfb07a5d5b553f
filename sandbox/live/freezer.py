"""Pausing and resuming: the kernel's freezer of cgroups.

Version 2 is taken where it is mounted, also beside version 1: what it has frozen can still be
killed. A sandbox without a cgroup of its own is moved into one below its supervisor's, so that every
limit from above goes on to hold, and back when it is resumed.
"""

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from typing import Final, NamedTuple

from sandbox.errors import SandboxError
from sandbox.live import cgroups
from sandbox.live.events import tell
from sandbox.live.processes import Family, gone, verified
from sandbox.live.records import PAUSED, Live, opened

_SETTLES: Final = 10.0
"""Seconds that tasks may take to freeze."""
_ROUNDS: Final = 100


class _Place(NamedTuple):
    """A cgroup that can freeze."""

    path: str
    file: str
    frozen: str
    thawed: str
    made: bool
    """It was made for the pause."""


def pause(live: Live) -> None:
    """Freezes all processes of a sandbox. Raises SandboxError where that can't be done."""
    if live.state == "paused":
        raise SandboxError(f"'{live.name}' is paused already", hint=f"sbx resume {live.name}")
    with verified(live) as pidfds:
        place = _own(live) or _make(live, pidfds.supervisor_pid)
        _mark(live, place)
        try:
            _write(f"{place.path}/{place.file}", place.frozen)
            if place.made:
                _move(live.first, place.path)
            _settle(live, place)
        except BaseException as error:
            _undo(live, place)
            if isinstance(error, OSError):
                raise _refused(live, error) from None
            raise
    tell(os.path.dirname(live.directory), "paused", live.name)


def resume(live: Live) -> None:
    """Lets a paused sandbox go on. Raises SandboxError where it isn't paused."""
    place = _marked(live)
    if place is None:
        raise SandboxError(f"'{live.name}' isn't paused", hint=f"sbx pause {live.name}")
    try:
        _undo(live, place)
    except OSError as error:
        raise _refused(live, error) from None
    tell(os.path.dirname(live.directory), "resumed", live.name)


@contextlib.contextmanager
def released(live: Live) -> Iterator[None]:
    """At the end, a paused sandbox goes on; nothing of its pause is left, whether it lives or not."""
    place = _marked(live)
    yield
    if place is not None:
        with contextlib.suppress(OSError):
            _undo(live, place)


def _own(live: Live) -> _Place | None:
    for path in cgroups.own(live):
        if os.path.exists(f"{path}/cgroup.freeze"):
            return _Place(path, "cgroup.freeze", "1", "0", made=False)
    return None


def _make(live: Live, supervisor: int) -> _Place:
    """A cgroup below the supervisor's, in version 2 if there is one."""
    if not live.has_init or not _has_pid_namespace(live):
        raise SandboxError(
            f"'{live.name}' has no cgroup and no PID namespace of its own, so that nobody knows "
            "which processes are its",
            hint="set a limit in [resources], such as pids_max, or namespaces.pid = true",
        )
    mounts = cgroups.hierarchies()
    kinds = (
        ("", "cgroup.freeze", "1", "0"),
        ("freezer", "freezer.state", "FROZEN", "THAWED"),
    )
    reason: OSError | None = None
    for controller, file, frozen, thawed in kinds:
        above = _path_of(supervisor, controller)
        if controller not in mounts or above is None:
            continue
        path = f"{mounts[controller]}{above.rstrip('/')}/sbx/{live.name}"
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(os.path.dirname(path), 0o755)
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, 0o755)
        except OSError as error:
            reason = reason or error
            continue
        if os.path.exists(f"{path}/{file}"):
            return _Place(path, file, frozen, thawed, made=True)
        os.rmdir(path)
    raise _refused(live, reason or OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP)))


def _has_pid_namespace(live: Live) -> bool:
    """By the ids that its first process has: one for each namespace, the innermost last."""
    text = cgroups.read(f"/proc/{live.first}/status") or ""
    ids = [line.split()[1:] for line in text.splitlines() if line.startswith("NSpid:")]
    return bool(ids) and len(ids[0]) > 1 and ids[0][-1] == "1"


def _path_of(pid: int, controller: str) -> str | None:
    for each in cgroups.memberships(pid):
        if controller in each.controllers or (not controller and not each.controllers):
            return each.path
    return None


def _move(first: int, path: str) -> None:
    """All processes of a sandbox into a cgroup; what they start meanwhile is looked for again."""
    moved: set[int] = set()
    for _ in range(_ROUNDS):
        missing = [each.pid for each in Family().of(first) if each.pid not in moved]
        if not missing:
            break
        for pid in missing:
            # One that has ended meanwhile needs no place.
            with contextlib.suppress(ProcessLookupError):
                _write(f"{path}/cgroup.procs", str(pid))
            moved.add(pid)
    _send_strangers_back(first, path)


def _send_strangers_back(first: int, path: str) -> None:
    """An id that has become another process's while it was moved."""
    inside = (cgroups.read(f"{path}/cgroup.procs") or "").split()
    ours = {each.pid for each in Family().of(first)}
    for pid in inside:
        if int(pid) not in ours:
            with contextlib.suppress(ProcessLookupError):
                _write(f"{os.path.dirname(os.path.dirname(path))}/cgroup.procs", pid)


def _settle(live: Live, place: _Place) -> None:
    until = time.monotonic() + _SETTLES
    while not _is_frozen(place):
        if time.monotonic() > until:
            raise SandboxError(
                f"'{live.name}' doesn't come to rest",
                hint="a process waits in the kernel, as for a disk that doesn't answer",
            )
        time.sleep(0.002)


def _is_frozen(place: _Place) -> bool:
    if place.file == "freezer.state":
        return cgroups.read(f"{place.path}/freezer.state") == "FROZEN"
    return "frozen 1" in (cgroups.read(f"{place.path}/cgroup.events") or "")


def _undo(live: Live, place: _Place) -> None:
    with contextlib.suppress(FileNotFoundError):
        _write(f"{place.path}/{place.file}", place.thawed)
    if place.made:
        _give_back(place)
    with opened(live.directory) as directory, contextlib.suppress(FileNotFoundError):
        if directory >= 0:
            os.unlink(PAUSED, dir_fd=directory)


def _give_back(place: _Place) -> None:
    above = os.path.dirname(os.path.dirname(place.path))
    until = time.monotonic() + _SETTLES
    while time.monotonic() < until:
        for pid in (cgroups.read(f"{place.path}/cgroup.procs") or "").split():
            with contextlib.suppress(ProcessLookupError):
                _write(f"{above}/cgroup.procs", pid)
        try:
            os.rmdir(place.path)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            time.sleep(0.002)
        else:
            return


def _mark(live: Live, place: _Place) -> None:
    """Says where it is frozen, before it is."""
    fields = {
        "path": place.path,
        "file": place.file,
        "frozen": place.frozen,
        "thawed": place.thawed,
        "made": str(int(place.made)),
    }
    text = "".join(f"{key}={value}\0" for key, value in fields.items())
    with opened(live.directory) as directory:
        if directory < 0:
            raise gone(live)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(PAUSED, flags, 0o600, dir_fd=directory)
        try:
            os.write(fd, os.fsencode(text))
        finally:
            os.close(fd)


def _marked(live: Live) -> _Place | None:
    from sandbox.live.records import small_file

    with opened(live.directory) as directory:
        fields = small_file(directory, PAUSED) if directory >= 0 else {}
    try:
        return _Place(
            fields["path"],
            fields["file"],
            fields["frozen"],
            fields["thawed"],
            made=fields["made"] == "1",
        )
    except KeyError:
        return None


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _refused(live: Live, error: OSError) -> SandboxError:
    return SandboxError(
        f"'{live.name}' has no cgroup that you may freeze: {error.strerror}",
        hint="set a limit in [resources] of its profile, such as pids_max, where sbx is given "
        "cgroups ('sbx doctor' tells), or ask root to pause it",
    )
