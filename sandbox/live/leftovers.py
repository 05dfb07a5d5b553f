"""What a supervisor that was killed has left: its directory, and cgroups."""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from sandbox.live import cgroups, left_logs
from sandbox.live.records import (
    PAUSED,
    Live,
    all_live,
    fields_of,
    is_alive,
    opened,
    small_file,
)
from sandbox.live.untold import status_of, tell_end

_YOUNG: Final = 60.0
"""Seconds in which an empty cgroup may be about to be entered."""


class Leftover(NamedTuple):
    """Something that nobody looks after any more."""

    kind: str
    """`record`, `cgroup` or `log`."""
    path: str
    reason: str
    """Why it stays; empty where it is removed."""
    failed: bool
    """It was to be removed, and couldn't be."""
    status: int | None = None
    """Of a record: how the payload ended, as wait4(2) gives it, where nobody has been told."""


def remove(directory: str) -> bool:
    """Removes the directory of a sandbox that is dead; False where it lives or is another's to remove."""
    with opened(directory) as fd:
        if fd < 0 or is_alive(fd):
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # somebody claims the name
            return False
        if is_alive(fd) or not _is_still(fd, directory):
            return False
        for name in os.listdir(fd):
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=fd)
        try:
            os.rmdir(directory)
        except OSError:
            return False
    return True


def _is_still(fd: int, path: str) -> bool:
    """Whether a directory is the one of this name."""
    try:
        there = os.stat(path, follow_symlinks=False)
    except OSError:
        return False
    return os.path.samestat(os.fstat(fd), there)


def stale(place: str) -> Iterator[str]:
    """The directories in a runtime directory whose supervisor is dead."""
    try:
        entries = sorted(os.scandir(place), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        # One that begins with a dot was to become a sandbox's.
        if not entry.is_dir(follow_symlinks=False):
            continue
        with opened(entry.path) as fd:
            if fd >= 0 and not is_alive(fd):
                yield entry.path


def cgroups_of(directory: str) -> tuple[str, ...]:
    """The cgroups that the record in a directory names."""
    with opened(directory) as fd:
        if fd < 0:
            return ()
        mark = small_file(fd, PAUSED)
        return (*fields_of(fd).get("cgroup", ()), *filter(None, [mark.get("path")]))


def collect(
    own: str, others: Sequence[str] = (), *, dry: bool, logs: str = "", age: float = 0
) -> Iterator[Leftover]:
    """Removes what nobody looks after any more; with `dry` says only what that is.

    Of the directory for `logs` those of sandboxes that have gone, which nobody has written to for
    `age` seconds. How a payload ended that outlived its supervisor is told by its record, and by an
    event when that is removed.

    Records of the runtime directory `own` alone: what others say, and where their directories lead
    to, is theirs to change at any moment. Their live sandboxes keep their cgroups. What still has
    processes stays: they were to outlive their supervisor. Harmless beside launches, and the second
    time there is nothing left to do.
    """
    kept: set[str] = set()
    for path in stale(own):
        groups = [group for group in cgroups_of(path) if _is_ours(group)]
        if not dry:
            _thaw(groups)
        busy = [group for group in groups if _is_populated(group)]
        if busy:
            kept.update(groups)
            reason = f"its processes live on in {busy[0]}"
            yield Leftover("record", path, reason, failed=False)
            continue
        for group in groups:
            if os.path.isdir(group):
                yield _removed("cgroup", group, _remove_cgroup, dry=dry)
        status = status_of(path)
        found = _removed("record", path, _remove_record, dry=dry)
        if status is not None and not dry and not found.failed:
            tell_end(own, os.path.basename(path), status)
        yield found._replace(status=status)
    for place in (own, *others):
        kept.update(group for live in all_live(place) for group in _all_cgroups(live))
    for group in _abandoned():
        if group not in kept:
            yield _removed("cgroup", group, _remove_cgroup, dry=dry)
    if logs:
        names = {live.name for place in (own, *others) for live in all_live(place)}
        for path in left_logs.old(logs, names, age):
            if not left_logs.is_open(path):  # by a supervisor with another runtime directory
                yield _removed("log", path, left_logs.remove, dry=dry)


def _is_ours(path: str) -> bool:
    """Whether this is a cgroup as sbx makes them: HIERARCHY/.../sbx/NAME."""
    if os.path.realpath(path) != path or os.path.basename(os.path.dirname(path)) != "sbx":
        return False
    return any(path.startswith(f"{mount}/") for mount in cgroups.hierarchies().values())


def _thaw(groups: Sequence[str]) -> None:
    """What version 1 has frozen doesn't even end when it is killed."""
    for group in groups:
        with contextlib.suppress(OSError):
            fd = os.open(f"{group}/freezer.state", os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.write(fd, b"THAWED")
            finally:
                os.close(fd)


def _removed(kind: str, path: str, remove: Callable[[str], None], *, dry: bool) -> Leftover:
    if not dry:
        try:
            remove(path)
        except OSError as error:
            return Leftover(kind, path, error.strerror or str(error), failed=True)
    return Leftover(kind, path, "", failed=False)


def _remove_record(path: str) -> None:
    if not remove(path) and os.path.isdir(path):
        raise OSError(errno.EBUSY, "somebody has just taken its name")


def _remove_cgroup(path: str) -> None:
    """A cgroup with those that were made in it; EBUSY while it has processes."""
    for where, _, _ in sorted(os.walk(path), reverse=True):
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(where)


def _all_cgroups(live: Live) -> Iterator[str]:
    yield from cgroups.own(live)
    yield from cgroups_of(live.directory)


def _is_populated(group: str) -> bool:
    return any(cgroups.read(f"{where}/cgroup.procs") for where, _, _ in os.walk(group))


def _abandoned() -> Iterator[str]:
    """Empty cgroups of sbx's that the caller may remove, and that aren't from just now.

    A launch makes its cgroup a moment before it enters it.
    """
    for mount in dict.fromkeys(cgroups.hierarchies().values()):
        for where, names, _ in os.walk(mount):
            if os.path.basename(where) != "sbx" or not os.access(where, os.W_OK):
                continue
            for name in names:
                path = os.path.join(where, name)
                if _age(path) > _YOUNG and not _is_populated(path):
                    yield path
            names.clear()


def _age(path: str) -> float:
    try:
        return time.time() - os.stat(path).st_mtime
    except OSError:
        return 0
