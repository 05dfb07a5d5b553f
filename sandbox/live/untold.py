"""Ends that nobody has been told of: of services that outlived their supervisor (csrc/survive.h)."""

import os
import struct
from typing import Final

from sandbox.live.events import tell
from sandbox.live.records import Live, dead_one, is_name, opened

END: Final = "end"
_REPORT: Final = struct.Struct("=Ii4I")
"""struct report of csrc/context.h."""
_ENDED: Final = 3


def status_of(directory: str) -> int | None:
    """How the payload of a dead sandbox ended, as wait4(2) gives it; None where its init never said."""
    with opened(directory) as place:
        if place < 0:
            return None
        try:
            fd = os.open(
                END, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=place
            )
        except OSError:
            return None
    try:
        said = os.read(fd, _REPORT.size)
    except OSError:
        return None
    finally:
        os.close(fd)
    if len(said) != _REPORT.size:
        return None
    kind, status, *_ = _REPORT.unpack(said)
    return int(status) if kind == _ENDED else None


def find(place: str, name: str) -> tuple[Live, int] | None:
    """The dead sandbox of this name and how it ended, where that is known and still to be told."""
    status = status_of(os.path.join(place, name)) if is_name(name) else None
    dead = None if status is None else dead_one(place, name)
    return None if status is None or dead is None else (dead, status)


def tell_end(place: str, name: str, status: int) -> None:
    """Adds it to the events, as its supervisor would have done."""
    if os.WIFSIGNALED(status):
        tell(place, "exited", name, cause="signaled", signal=os.WTERMSIG(status))
    else:
        tell(place, "exited", name, cause="exited", code=os.WEXITSTATUS(status))
