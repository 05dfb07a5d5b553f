"""Another program in a live sandbox: the caller's part of `sbx exec`, where a terminal is to be relayed.

`csrc/join.c` does the same without one; `csrc/joined.h` says what passes between it and the init.
"""

import contextlib
import errno
import io
import os
import select
import signal
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Final

from sandbox.errors import SandboxError
from sandbox.process import owned
from sandbox.process.launch import Failure, LaunchFailedError
from sandbox.process.server import Call, Channel, Ended

VERSION: Final = 1
EXEC: Final = 1
FAILED: Final = 2
LAUNCHED: Final = 5
_REQUEST: Final = struct.Struct("=IIIIQ")
_KIND: Final = struct.Struct("=I")


class Joined:
    """A program that was started beside a sandbox's payload, as the relay of terminals attends it."""

    requests = -1

    def __init__(self, channel: Channel, process: io.FileIO, master: io.FileIO | None) -> None:
        self._channel = channel
        self._process = process
        self._master = master
        self._status: int | None = None

    @property
    def pidfd(self) -> int:
        """Readable when there is news of the program, its end above all."""
        return self._channel.fileno()

    @property
    def terminal(self) -> int:
        return self._master.fileno() if self._master else -1

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process.fileno(), number)

    def serve_requests(self) -> None:
        """Nobody asks anything of it."""

    def reap(self) -> int | None:
        """The wait status, or None while it lives. Raises LaunchFailedError."""
        with contextlib.suppress(BlockingIOError):
            while self._status is None:
                report = self._channel.receive()
                if isinstance(report, Failure):
                    raise LaunchFailedError(report)
                if report is None:  # the sandbox has gone, and it with that
                    self._status = signal.SIGKILL
                elif isinstance(report, Ended):
                    self._status = report.status
        return self._status

    def close(self) -> None:
        self._channel.close()
        self._process.close()
        if self._master:
            self._master.close()


def join(
    directory: str,
    argv: Sequence[str],
    environ: Mapping[str, str],
    *,
    cwd: str = "",
    terminal: int = 0,
) -> Joined:
    """Starts a program in the sandbox whose place in the runtime directory is `directory`.

    `environ` is added to the payload's variables. `terminal` has bits 0 to 2 for the standard
    streams that are to be a new pseudo-terminal; the others are the caller's own. Raises
    SandboxError if the sandbox doesn't answer, LaunchFailedError if the program can't be started.
    """
    connection = _connect(directory)
    try:
        connection.send(_REQUEST.pack(VERSION, EXEC, 0, _window(terminal), terminal))
        channel = Channel(connection)
        numbers = [fd for fd in range(3) if not terminal >> fd & 1]
        channel.send(Call(argv, environ, [(fd, fd) for fd in numbers], cwd))
        return _started(channel, connection, terminal)
    except BaseException:
        connection.close()
        raise


def _window(terminal: int) -> int:
    """The size of the caller's, so that the program begins with it: rows << 16 | columns."""
    for fd in range(3):
        with contextlib.suppress(OSError):
            if terminal >> fd & 1:
                columns, rows = os.get_terminal_size(fd)
                return rows << 16 | columns
    return 0


def _connect(directory: str) -> socket.socket:
    """Its path may be longer than an address. Whoever listens there gets the caller's streams."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        place = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if os.fstat(place).st_uid != os.geteuid():
                raise PermissionError(errno.EPERM, "it belongs to another user")
            connection.connect(f"/proc/self/fd/{place}/control")
        finally:
            os.close(place)
    except OSError:
        connection.close()
        raise
    return connection


def _started(channel: Channel, connection: socket.socket, terminal: int) -> Joined:
    """The init tells of the process, and the process of its terminal: either may come first."""
    process: io.FileIO | None = None
    master: io.FileIO | None = None
    while process is None or (terminal and master is None):
        select.select([connection], [], [])
        head = connection.recv(_KIND.size, socket.MSG_PEEK)
        if len(head) == 1:
            master = owned.receive(connection)
        elif len(head) == _KIND.size and _KIND.unpack(head) == (LAUNCHED,):
            process = owned.receive(connection)
        else:
            report = channel.receive()
            if isinstance(report, Failure):
                raise LaunchFailedError(report)
            if report is None:
                raise SandboxError("the sandbox has ended, or can't start other programs")
    return Joined(channel, process, master)
