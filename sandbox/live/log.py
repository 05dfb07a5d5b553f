"""The log of a service, read while it is written and rotated (csrc/log_file.c writes it)."""

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, NamedTuple

from sandbox.errors import SandboxError
from sandbox.live.records import is_name
from sandbox.process.logs import directory

NEWEST: Final = "log"
_PAUSE: Final = 0.1
_FILES_MAX: Final = 1000


class Entry(NamedTuple):
    """A line, or a piece of one."""

    time: str
    """In UTC, as in 2026-01-31T12:00:00.123456789Z."""
    stream: str
    """stdout or stderr."""
    ends: bool
    """False for a piece of a line that goes on in the next entry of its stream."""
    text: bytes


class Log:
    """The files of one sandbox's log; `name` need not be a live one's.

    Raises SandboxError where there is none.
    """

    def __init__(self, name: str) -> None:
        place = directory(os.environ, os.geteuid())
        self.name = name
        self.path = os.path.join(place, name)
        if not place or not is_name(name) or not os.path.isdir(self.path):
            raise SandboxError(
                f"there is no log of '{name}'",
                hint="service.log = 'file' keeps one; with 'journal' it is there: "
                f"journalctl SBX_NAME={name}",
            )

    def entries(self) -> Iterator[Entry]:
        """All that is kept, the oldest first."""
        for file in self._files():
            with file:
                yield from _entries(file.read())

    def last(self, count: int) -> list[Entry]:
        """The newest `count` lines; a line in pieces counts once."""
        found: deque[Entry] = deque()
        lines = 0
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(file) for file in self._files()]
            for file in reversed(files):
                for entry in reversed(list(_entries(file.read()))):
                    if entry.ends:
                        lines += 1
                    if lines > count:
                        return list(found)
                    found.appendleft(entry)
        return list(found)

    def follow(self, *, since_start: bool, lives: Callable[[], bool]) -> Iterator[Entry]:
        """What is written from now on, or all of it, until `lives` says that nothing more comes."""
        files = self._files()
        rest = b""
        current = files.pop(0) if since_start and files else None
        if current is None and files:
            current = files.pop()
            current.seek(0, os.SEEK_END)
        while True:
            goes_on = lives()
            data = current.read() if current else b""
            rest += data
            whole, newline, rest = rest.rpartition(b"\n")
            yield from _entries(whole + newline)
            if data:
                continue
            later = self._later_than(current)
            if later:
                if current:
                    current.close()
                current, rest = later[0], b""
                for file in later[1:]:
                    file.close()
            elif not goes_on:
                break
            else:
                time.sleep(_PAUSE)
        if current:
            current.close()

    def _later_than(self, current: BinaryIO | None) -> list[BinaryIO]:
        """The files begun after this one; all of them where it isn't kept any more."""
        files = self._files()
        if current is None:
            return files
        here = os.fstat(current.fileno())
        found: list[BinaryIO] = []
        while files:
            file = files.pop()
            if os.path.samestat(here, os.fstat(file.fileno())):
                file.close()
                break
            found.insert(0, file)
        for file in files:
            file.close()
        return found

    def _files(self) -> list[BinaryIO]:
        """Opened, the oldest first. What is renamed meanwhile is found twice, and kept once."""
        found: list[BinaryIO] = []
        seen: set[tuple[int, int]] = set()
        for number in range(_FILES_MAX):
            name = f"{NEWEST}.{number}" if number else NEWEST
            try:
                fd = os.open(os.path.join(self.path, name), os.O_RDONLY | os.O_NOFOLLOW)
            except FileNotFoundError:
                if number > 1:
                    break
                continue
            except OSError as error:
                for file in found:
                    file.close()
                raise SandboxError(f"{self.path}/{name}: {error.strerror}") from None
            file = os.fdopen(fd, "rb", buffering=0)
            state = os.fstat(fd)
            if (state.st_dev, state.st_ino) in seen:
                file.close()
                continue
            seen.add((state.st_dev, state.st_ino))
            found.append(file)
        return found[::-1]


def _entries(data: bytes) -> Iterator[Entry]:
    for line in data.split(b"\n"):
        parts = line.split(b" ", 3)
        if len(parts) == 4 and parts[2] in (b"F", b"P"):
            when, stream, mark, text = parts
            yield Entry(when.decode(), stream.decode(), mark == b"F", text)
