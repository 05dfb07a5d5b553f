"""What befalls sandboxes, as their supervisors tell it (csrc/events.c)."""

import json
import os
import time
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from sandbox.live.records import runtime

EVENTS: Final = ".events"
_PAUSE: Final = 0.1


def events(*, follow: bool) -> Iterator[dict[str, Any]]:
    """The events that are kept, the oldest first; with `follow` those that come, for ever."""
    place = runtime()
    older = _open(os.path.join(place, f"{EVENTS}.1"))
    if older:
        with older:
            yield from _parsed(older.read())
    path = os.path.join(place, EVENTS)
    current = _open(path)
    rest = b""
    while True:
        data = current.read() if current else b""
        whole, newline, rest = (rest + data).rpartition(b"\n")
        yield from _parsed(whole + newline)
        if data:
            continue
        if not follow:
            break
        newer = _open(path)
        if (
            newer
            and current
            and os.path.samestat(os.fstat(newer.fileno()), os.fstat(current.fileno()))
        ):
            newer.close()
            time.sleep(_PAUSE)
        elif newer:
            if current:
                rest += current.read()  # what came before it was moved away
                yield from _parsed(rest)
                current.close()
            current, rest = newer, b""
        else:
            time.sleep(_PAUSE)
    if current:
        current.close()


def _open(path: str) -> BinaryIO | None:
    try:
        return os.fdopen(
            os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb", buffering=0
        )
    except OSError:
        return None


def _parsed(data: bytes) -> Iterator[dict[str, Any]]:
    for line in data.splitlines():
        try:
            found = json.loads(line)
        except ValueError:  # a supervisor was killed, or the disk was full, within a line
            continue
        if isinstance(found, dict) and {"time", "name", "event"} <= found.keys():
            yield found
