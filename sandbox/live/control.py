"""Requests to a live sandbox's supervisor over its control socket (csrc/control.h)."""

import contextlib
import os
import socket
import struct
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from sandbox.errors import SandboxError
from sandbox.live.records import CONTROL, Live, read

if TYPE_CHECKING:
    from sandbox.process.launch import Failure

VERSION: Final = 1
WAIT, STOP = 2, 3
DEFAULT: Final = 2**64 - 1
"""In place of a stop's milliseconds: as the profile says."""
NEVER: Final = 2**63
"""Milliseconds of a stop that kills nothing."""
_REQUEST: Final = struct.Struct("=IIIIQ")
_END: Final = struct.Struct("=Ii4i")
_ROOM: Final = 4096
_DYING: Final = 0.5
"""Seconds in which a killed supervisor gives up one descriptor after the other."""
_PATIENCE: Final = 5.0
"""Seconds that a supervisor may take to look up."""


class End(NamedTuple):
    """How a sandbox has ended."""

    status: int
    """As wait4(2) gives it."""
    failure: "Failure | None"
    """Why sbx itself couldn't go on with it."""
    record: bytes
    """All of it: `process.ending.read_end` knows the form."""


class LostError(SandboxError):
    """The supervisor has gone without an answer."""


@contextlib.contextmanager
def connected(live: Live) -> Iterator[socket.socket]:
    """A connection to a sandbox's supervisor. Raises SandboxError where nobody listens."""
    with _connect(live) as asking:
        yield asking


def request(live: Live, verb: int, *, signal: int = 0, value: int = 0) -> socket.socket:
    """Asks something of a sandbox's supervisor; what comes back tells of the sandbox's end."""
    asking = _connect(live)
    try:
        asking.send(_REQUEST.pack(VERSION, verb, signal, 0, value))
    except OSError:
        asking.close()
        raise lost(live) from None
    return asking


def end_of(live: Live, asking: socket.socket) -> End:
    """The answer to a request for the end, once it is readable. Raises LostError."""
    try:
        answer = asking.recv(_ROOM)
    except ConnectionResetError:
        answer = b""
    if len(answer) < _END.size:
        raise lost(live)
    _, status, *failure = _END.unpack(answer[: _END.size])
    record = answer[_END.size :]
    if not failure[0]:
        return End(status, None, record)
    from sandbox.process.launch import Failure

    return End(status, Failure(*failure), record)


def lost(live: Live) -> LostError:
    """The supervisor was killed, or has closed the connection for want of room."""
    until = time.monotonic() + _DYING
    while (now := read(*os.path.split(live.directory))) is not None:
        if now.state == "orphaned":
            return LostError(
                f"'{live.name}' has lost its supervisor, and runs on",
                hint=f"'sbx adopt {live.name}' takes it over; then it can be asked again",
            )
        if time.monotonic() > until:
            return LostError(
                f"the supervisor of '{live.name}' takes no more requests",
                hint="too many wait for its end already; try again later",
            )
        time.sleep(0.02)
    return LostError(
        f"the supervisor of '{live.name}' has gone without saying how the sandbox ended",
        hint="somebody has killed it; 'sbx gc' removes what it left",
    )


def silent(live: Live) -> SandboxError:
    """The supervisor is there and does nothing."""
    return SandboxError(
        f"the supervisor of '{live.name}' (process {live.supervisor}) doesn't answer",
        hint=f"it may be stopped: kill -CONT {live.supervisor}; 'sbx kill {live.name}' does without it",
    )


def _connect(live: Live) -> socket.socket:
    asking = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    directory = -1
    try:
        # The runtime directory's path may be longer than an address.
        directory = os.open(live.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        asking.setblocking(False)
        _enter_queue(live, asking, f"/proc/self/fd/{directory}/{CONTROL}")
        asking.setblocking(True)
    except (FileNotFoundError, ConnectionRefusedError):
        asking.close()
        if live.state == "orphaned":
            raise SandboxError(
                f"'{live.name}' has lost its supervisor",
                hint=f"'sbx adopt {live.name}' takes it over; then it can be asked again",
            ) from None
        raise SandboxError(
            f"'{live.name}' has just ended", hint="'sbx ps' lists those that live"
        ) from None
    except OSError as error:
        asking.close()
        raise SandboxError(
            f"the supervisor of '{live.name}' can't be asked: {error.strerror}",
            hint="only root and the user who started a sandbox may ask its supervisor",
        ) from None
    except SandboxError:
        asking.close()
        raise
    finally:
        if directory >= 0:
            os.close(directory)
    return asking


def _enter_queue(live: Live, asking: socket.socket, address: str) -> None:
    """Connects; a queue that stays full is one that nobody serves."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            asking.connect(address)
        except BlockingIOError:
            if time.monotonic() > until:
                raise silent(live) from None
            time.sleep(0.01)
        else:
            return
