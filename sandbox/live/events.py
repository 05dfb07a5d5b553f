"""What befalls sandboxes, as their supervisors tell it (csrc/events.h): read, followed and written to.

A line is one JSON object, appended by one write(2). A full file becomes .events.1, and a new one is
begun; who follows reads the old one to its end first.
"""

import contextlib
import ctypes
import json
import os
import select
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, Self

FILE: Final = ".events"
OLD: Final = ".events.1"
"""No names of sandboxes."""

Event = dict[str, Any]

_CHUNK: Final = 1 << 16
_LONGEST: Final = 1 << 16
_AGAIN: Final = 1.0
"""Seconds between looks for a runtime directory that isn't there."""
_CLOEXEC, _NONBLOCK = os.O_CLOEXEC, os.O_NONBLOCK
# As the manual page inotify(7) has them.
_MODIFY, _MOVED_TO, _CREATE, _DELETE_SELF, _ONLYDIR = 0x2, 0x80, 0x100, 0x400, 0x01000000


def tell(place: str, event: str, name: str, **more: object) -> None:
    """Adds an event, as a supervisor does. One that can't be kept is lost."""
    fields = {"time": round(time.time(), 6), "name": name, "event": event, **more}
    line = json.dumps(fields, separators=(",", ":")).encode() + b"\n"
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | _NONBLOCK | _CLOEXEC
    with contextlib.suppress(OSError):
        fd = os.open(os.path.join(place, FILE), flags, 0o600)
        try:
            os.write(fd, line)
        finally:
            os.close(fd)


def kept(place: str, since: float = 0) -> Iterator[Event]:
    """The events that are kept, oldest first, from this moment on."""
    for name in (OLD, FILE):
        with Tail(place, name) as tail:
            for event in tail.more():
                if event["time"] >= since:
                    yield event


def follow(place: str, since: float, idle: Callable[[], None]) -> Iterator[Event]:
    """The events since a moment, and those that come.

    `idle` is called before each wait. Goes on until the caller stops asking.
    """
    # The last two files: a writer that opened the older one before the rotation may write to it yet.
    tails = [Tail(place, OLD)]
    begun = False
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: _close(tails))
        watch = stack.enter_context(_Watch())
        while True:
            watch.on(place)
            if not begun or not tails or tails[-1].is_replaced():
                tails.append(Tail(place, FILE))
            begun = True
            for tail in tails:
                for event in tail.more():
                    if event["time"] >= since:
                        yield event
            for tail in tails[:-2]:
                tail.close()
            tails = [tail for tail in tails[-2:] if tail.is_open()]
            if tails and tails[-1].is_replaced() and os.path.exists(os.path.join(place, FILE)):
                continue
            idle()
            watch.wait()


def _close(tails: "list[Tail]") -> None:
    for tail in tails:
        tail.close()


class Tail:
    """A file of events, read line by line as it grows."""

    def __init__(self, place: str, name: str) -> None:
        self._path = os.path.join(place, name)
        self._rest = b""
        flags = os.O_RDONLY | os.O_NOFOLLOW | _NONBLOCK | _CLOEXEC
        try:
            self._fd = os.open(self._path, flags)
        except OSError:
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives the file up."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def is_open(self) -> bool:
        """Whether there is such a file."""
        return self._fd >= 0

    def is_replaced(self) -> bool:
        """Whether another file has this name now, or none."""
        if self._fd < 0:
            return True
        try:
            there = os.stat(self._path, follow_symlinks=False)
        except OSError:
            return True
        return not os.path.samestat(os.fstat(self._fd), there)

    def more(self) -> Iterator[Event]:
        """The events that have come since."""
        while self._fd >= 0 and (data := os.read(self._fd, _CHUNK)):
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                event = _event(line)
                if event is not None:
                    yield event
            if len(self._rest) > _LONGEST:
                self._rest = b""


def _event(line: bytes) -> Event | None:
    """A line's event; None for one that nobody has written."""
    try:
        found = json.loads(line.decode(errors="replace"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    is_event = (
        isinstance(found.get("time"), int | float)
        and isinstance(found.get("event"), str)
        and isinstance(found.get("name"), str)
    )
    return found if is_event else None


class _Watch:
    """Wakes up when something happens in a directory."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(_CLOEXEC | _NONBLOCK)
        if self._fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), "inotify")
        self.is_on = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._fd)

    def on(self, path: str) -> None:
        """Watches this directory, which may have come to be there or be another one now."""
        mask = _MODIFY | _MOVED_TO | _CREATE | _DELETE_SELF | _ONLYDIR
        self.is_on = self._libc.inotify_add_watch(self._fd, os.fsencode(path), mask) >= 0

    def wait(self) -> None:
        """Until something has happened; no longer than a moment where nothing can be seen."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        poll.poll(None if self.is_on else _AGAIN * 1000)
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, _CHUNK)
