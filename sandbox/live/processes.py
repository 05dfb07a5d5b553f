"""Processes of live sandboxes, by /proc and by pidfds that can't come to mean another process."""

import os
import select
import signal
import socket
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple, Self

from sandbox.errors import SandboxError
from sandbox.live.control import connected
from sandbox.live.records import Live

_CREDENTIALS: Final = struct.Struct("=iII")
TICK: Final = os.sysconf("SC_CLK_TCK")
PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Process(NamedTuple):
    """One process as /proc/PID/stat has it."""

    pid: int
    name: str
    state: str
    parent: int
    cpu_ticks: int
    """In user and kernel mode, with those of children that were waited for."""
    threads: int
    start_ticks: int
    """Since the machine was started."""
    resident: int
    """Bytes."""


class Pidfds:
    """The supervisor and the first process of a sandbox, made sure of."""

    def __init__(self, supervisor: int, first: int, supervisor_pid: int) -> None:
        self.supervisor = supervisor
        self.first = first
        self.supervisor_pid = supervisor_pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def send(self, number: int) -> bool:
        """Signals the first process, whose init hands it on. False where it has ended."""
        return send(self.first, number)

    def close(self) -> None:
        for fd in (self.supervisor, self.first):
            if fd >= 0:
                os.close(fd)


def verified(live: Live) -> Pidfds:
    """Descriptors of the two processes that a record names.

    The supervisor is whoever listens on the control socket, as the kernel tells; the first process
    is its child. Raises SandboxError where they have ended, or aren't to be seen from here.
    """
    with connected(live) as asking:
        pid = _listener(asking)
        if pid <= 0:
            raise SandboxError(
                f"the supervisor of '{live.name}' lives in another PID namespace",
                hint="use sbx there; 'sbx stop' works from here as well",
            )
        supervisor = _open(pid)
        first = _open(live.first)
        # Both live still, so what is said of their ids is of the processes that were opened.
        is_theirs = (
            not _is_hung_up(asking)
            and (live.survives or _is_child(live.first, pid))
            and not _has_ended(first)
        )
    found = Pidfds(supervisor, first, pid)
    if not is_theirs:
        found.close()
        raise gone(live)
    return found


def gone(live: Live) -> SandboxError:
    """It has ended meanwhile."""
    return SandboxError(f"'{live.name}' has just ended", hint="'sbx ps' lists those that live")


def send(pidfd: int, number: int) -> bool:
    """Sends a signal; False where the process has ended."""
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    return True


def _open(pid: int) -> int:
    """A descriptor of a process, -1 where it has ended."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return -1


def _listener(asking: socket.socket) -> int:
    """Who made the socket listen; 0 where it is in a PID namespace out of sight."""
    raw = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, _, _ = _CREDENTIALS.unpack(raw)
    return int(pid)


def _is_child(pid: int, parent: int) -> bool:
    process = read(pid)
    return process is not None and process.parent == parent


def _is_hung_up(asking: socket.socket) -> bool:
    poll = select.poll()
    poll.register(asking, select.POLLHUP)
    return bool(poll.poll(0))


def _has_ended(pidfd: int) -> bool:
    if pidfd < 0:
        return True
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def read(pid: int) -> Process | None:
    """What /proc says of a process; None where there is none."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        text = os.read(fd, 4096).decode(errors="replace")
    except OSError:
        return None
    finally:
        os.close(fd)
    # proc_pid_stat(5); the name is in parentheses and may hold any of them.
    name = text[text.find("(") + 1 : text.rfind(")")]
    rest = text[text.rfind(")") + 2 :].split()
    return Process(
        pid=pid,
        name=name,
        state=rest[0],
        parent=int(rest[1]),
        cpu_ticks=sum(map(int, rest[11:15])),
        threads=int(rest[17]),
        start_ticks=int(rest[19]),
        resident=int(rest[21]) * PAGE,
    )


def everything() -> dict[int, Process]:
    """All processes that /proc shows."""
    found = (read(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return {process.pid: process for process in found if process is not None}


class Family:
    """All processes of the machine at one moment, and who descends from whom."""

    def __init__(self) -> None:
        self.processes = everything()
        self._children: dict[int, list[int]] = {}
        for process in self.processes.values():
            self._children.setdefault(process.parent, []).append(process.pid)

    def of(self, first: int) -> Iterator[Process]:
        """A process and its descendants: with a PID namespace of its own, all of a sandbox."""
        waiting = [first]
        while waiting:
            pid = waiting.pop()
            if pid in self.processes:
                yield self.processes[pid]
                waiting += self._children.get(pid, [])
