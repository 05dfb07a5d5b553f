"""Logs that nobody writes to any more (csrc/log_file.c writes them)."""

import contextlib
import fcntl
import os
import re
import stat
import time
from collections.abc import Collection, Iterator
from typing import Final

from sandbox.live.records import is_name, opened

_FILE: Final = re.compile(r"log(\.[1-9][0-9]*)?")


def old(place: str, live: Collection[str], seconds: float) -> Iterator[str]:
    """The directories of logs that were last written to so long ago, of sandboxes that don't live.

    What holds anything but a log's files is no log, and isn't the caller's to remove.
    """
    try:
        names = sorted(filter(is_name, os.listdir(place)))
    except OSError:
        return
    for name in names:
        path = os.path.join(place, name)
        with opened(path) as directory:
            if directory >= 0 and name not in live and _is_old(directory, seconds):
                yield path


def remove(path: str) -> None:
    """Removes one. Raises OSError, BlockingIOError where a supervisor has it open."""
    with opened(path) as directory:
        if directory < 0:
            return
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for name in _files(directory) or ():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=directory)
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(path)


def is_open(path: str) -> bool:
    """Whether a supervisor writes to it."""
    with opened(path) as directory:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _files(directory: int) -> list[str] | None:
    """None where anything else lies there."""
    names = os.listdir(directory)
    return names if all(map(_FILE.fullmatch, names)) else None


def _is_old(directory: int, seconds: float) -> bool:
    names = _files(directory)
    here = os.fstat(directory)
    if names is None or here.st_uid != os.geteuid():
        return False
    newest = here.st_mtime
    for name in names:
        try:
            file = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except OSError:
            return False
        if not stat.S_ISREG(file.st_mode):
            return False
        newest = max(newest, file.st_mtime)
    return time.time() - newest >= seconds
