"""Lets other users reach a tree that lies in a directory of root's own, for these tests only.

Half of the tests run sbx as an account without privilege, and people clone into /root. Instead of
changing modes there, pytest enters a mount namespace of its own, in which each directory that is
closed to others is covered by an open one with the same entries.
"""

import ctypes
import os
import stat
from collections.abc import Iterator

CLONE_NEWNS = 0x00020000
MS_BIND, MS_REC, MS_SLAVE = 0x1000, 0x4000, 0x80000

libc = ctypes.CDLL(None, use_errno=True)


def closed_directory(*paths: str) -> str | None:
    """The topmost directory on the way to one of `paths`, or at it, that others may not enter."""
    for path in paths:
        for directory in _on_the_way(os.path.realpath(path)):
            if not os.stat(directory).st_mode & stat.S_IXOTH:
                return directory
    return None


def open_the_way(*paths: str) -> None:
    """Make directories on the way to `paths` enterable by all, as seen by this process.

    Takes root and CAP_SYS_ADMIN; raises OSError without. What is closed further down, as under a
    umask of 0077, stays so.
    """
    if closed_directory(*paths) is None:
        return
    _check(libc.unshare(CLONE_NEWNS))
    # A slave, not private: what the host mounts later is seen here as everywhere.
    _mount("none", "/", None, MS_REC | MS_SLAVE)
    while directory := closed_directory(*paths):
        _cover(directory)
    os.chdir(os.getcwd())


def _on_the_way(path: str) -> Iterator[str]:
    parts = path.split("/")
    for count in range(2, len(parts) + 1):
        directory = "/".join(parts[:count])
        if os.path.isdir(directory):
            yield directory


def _cover(directory: str) -> None:
    below = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        entries = os.listdir(directory)
        _mount("tmpfs", directory, "tmpfs", 0, "mode=0755")
        for name in entries:
            source, target = f"/proc/self/fd/{below}/{name}", os.path.join(directory, name)
            mode = os.lstat(source).st_mode
            if stat.S_ISLNK(mode):
                os.symlink(os.readlink(source), target)
                continue
            if stat.S_ISDIR(mode):
                os.mkdir(target)
            else:
                os.close(os.open(target, os.O_CREAT | os.O_EXCL))
            _mount(source, target, None, MS_BIND | MS_REC)
    finally:
        os.close(below)


def _mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    arguments = (os.fsencode(source), os.fsencode(target), kind.encode() if kind else None)
    _check(libc.mount(*arguments, ctypes.c_ulong(flags), options.encode() or None))


def _check(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
