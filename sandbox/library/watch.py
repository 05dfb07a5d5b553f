"""One sandbox as its reports tell of it: from the request to the last of its processes."""

import contextlib
import errno
import io
import os
import select
import signal
import time
from typing import Final

from sandbox.errors import SandboxError
from sandbox.process import server
from sandbox.process.cgroup_words import DETAIL_MEMORY_LIMIT, DETAIL_PIDS_LIMIT
from sandbox.process.ending import Usage as Counted
from sandbox.process.launch import Failure
from sandbox.process.server import Call, Channel, Ended, Event, Launched, Reaped, Usage

# What a program that ended before it could say why is known by: struct sbx_failure with
# STAGE_SANDBOX, ECANCELED and DETAIL_ENDED.
ENDED_EARLY: Final = Failure(4, 0, 125, 6)


def _blamed(failure: Failure, counted: Counted) -> Failure:
    """As csrc/cgroup_end.c finds it: a limit of the sandbox's own may be why it wasn't started."""
    if failure.error == errno.EAGAIN and counted.pids_limit_hits:
        return failure._replace(detail=DETAIL_PIDS_LIMIT)
    if failure is ENDED_EARLY and counted.oom_kills:
        return failure._replace(detail=DETAIL_MEMORY_LIMIT)
    return failure


class Watch:
    """A sandbox that is being made, waits for its call, runs, or is over.

    `taken`: the sandbox has its call, and the program may have begun. `started`: it runs, or has
    run. `failure`: it could not be started. `status`: its end as in wait(2), None if only the
    sandbox's is known. `over`: nothing of it is left.
    """

    def __init__(self, channel: Channel, *, has_init: bool, limited: bool = False) -> None:
        self.channel = channel
        self.has_init = has_init
        self.limited = limited
        self.counted: Counted | None = None
        self.begun = time.monotonic()
        self.ended = 0.0
        self.pid = 0
        self._pidfd: io.FileIO | None = None
        self.ready = False
        self.taken = False
        self.started = False
        self.failure: Failure | None = None
        self.status: int | None = None
        self.sandbox_status: int | None = None
        self.usage: Usage | None = None
        self.over = False
        self._killed = False
        self._waited = False
        self._owner = os.getpid()

    @property
    def pidfd(self) -> int:
        """A descriptor of the first process; -1 until it is there, and once it is let go of."""
        return -1 if self._pidfd is None or self._pidfd.closed else self._pidfd.fileno()

    def fileno(self) -> int:
        """Readable when there is something for `read`; another one once the program has ended."""
        return self.pidfd if self._ends() else self.channel.fileno()

    def _ends(self) -> bool:
        """Whether only the end of the first process is left to wait for.

        What a control group has counted comes with the server's report, after that.
        """
        return not self.limited and self.has_init and self.status is not None and self.pidfd >= 0

    def call(self, call: Call) -> None:
        """Hands over what is to run."""
        self.begun = time.monotonic()
        self._waited = self.ready
        self.channel.send(call)

    def read(self) -> None:
        """Takes in every report that is there. Raises SandboxError in a fork of the owner."""
        self._check_ours()
        while not self.over and not self._ends():
            try:
                report = self.channel.receive()
            except BlockingIOError:
                return
            self._take(report)
        if not self.over and self._has_ended():
            self._finish(None)

    def _has_ended(self) -> bool:
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(0))

    def _take(self, report: server.Report | None) -> None:
        if isinstance(report, Launched):
            self.pid, self._pidfd = report
        elif isinstance(report, Event):
            self.started = self.started or report.kind == server.STARTED
            self.ready = self.ready or report.kind == server.READY
            self.taken = self.taken or report.kind == server.TAKEN
        elif isinstance(report, Failure):
            self.failure = report
        elif isinstance(report, Ended):
            self.started = True
            self.status, self.usage = report
        else:
            self._finish(report)

    def _finish(self, report: Reaped | None) -> None:
        """Nothing comes any more: the first process has ended, or was reaped, or the server has."""
        self.over = True
        self.ended = time.monotonic()
        if isinstance(report, Reaped):
            self.usage = report.usage
            self.counted = report.counted
            self.sandbox_status = report.status
            if not self.has_init and self.failure is None and self.taken:
                self.status = report.status
        if self.taken and self.failure is None:
            self.started = True
        if not self.started and self.failure is None and not self._killed:
            self.failure = ENDED_EARLY
        if self.counted is not None and self.failure is not None:
            self.failure = _blamed(self.failure, self.counted)

    @property
    def lost(self) -> bool:
        """Whether its server ended, or it was killed while it waited: nothing has run."""
        early = self.over and self.failure is ENDED_EARLY
        return early and (self.sandbox_status is None or self._waited)

    def _is_ours(self) -> bool:
        """False in a fork, which has copies of the descriptors, and must leave the sandbox alone."""
        return self._owner == os.getpid()

    def _check_ours(self) -> None:
        if not self.over and not self._is_ours():
            raise SandboxError("this sandbox belongs to the process that started it")

    def wait(self, seconds: float | None, *, ready: bool = False) -> bool:
        """Takes in reports until the sandbox is over (or ready); False when the time has passed."""
        if self._is_reached(ready=ready):
            return True
        self._check_ours()
        deadline = None if seconds is None else time.monotonic() + seconds
        while not self._is_reached(ready=ready):
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            poll = select.poll()
            poll.register(self.fileno(), select.POLLIN)
            poll.poll(None if left is None else left * 1000 + 1)
            self.read()
        return True

    def _is_reached(self, *, ready: bool) -> bool:
        return self.over or (ready and (self.ready or self.failure is not None))

    def send_signal(self, number: int) -> None:
        """A signal for the program, by way of its init; nothing happens if it has ended."""
        self.read()
        if self.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)

    def kill(self) -> None:
        """Ends every process of the sandbox, also one that is still being made."""
        self._killed = True
        if not self._is_ours():
            return
        try:
            if self.pidfd < 0:  # it isn't made yet, or an interrupt came between
                self.channel.hang_up()
            else:
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass
        except PermissionError:  # this process is another user's since
            self.channel.hang_up()

    def end(self) -> None:
        """Kills what is left of the sandbox, waits for its last process, and lets go of it."""
        if not self.over and self._is_ours():
            self.kill()
            self.wait(None)
        self.release()

    def drop(self) -> None:
        """The same without waiting: the server kills a sandbox whose channel is closed."""
        if not self.over:
            self.kill()
        self.release()

    def release(self) -> None:
        """Closes what this process has of it."""
        if self._pidfd is not None:
            self._pidfd.close()
        self.channel.close()
