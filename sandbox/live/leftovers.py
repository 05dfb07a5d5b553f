"""What a supervisor that was killed has left: its directory, and cgroups."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from typing import NamedTuple

from sandbox.live.records import fields_of, is_alive, opened


class Leftover(NamedTuple):
    """Something that nobody looks after any more."""

    kind: str
    """`record` or `cgroup`."""
    path: str
    error: str
    """Why it stays; empty where it is removed."""


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
        return fields_of(fd).get("cgroup", ()) if fd >= 0 else ()
