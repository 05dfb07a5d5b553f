"""How live sandboxes are ended, and how their end is waited for."""

import contextlib
import select
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from sandbox.errors import SandboxError
from sandbox.live import control
from sandbox.live.processes import Pidfds, gone, read, verified
from sandbox.live.records import Live, is_alive, opened

if TYPE_CHECKING:
    import socket

    from sandbox.live.control import End

_LOOK: Final = 0.5
"""Seconds between looks at a supervisor that says nothing."""
_DEAF: Final = 2.0
"""Seconds that a supervisor is let be stopped."""
_MARGIN: Final = 5.0
"""Seconds that killing and cleaning up may take."""
_CLEANING: Final = 5.0
_NOT_HANDED_ON: Final = frozenset({signal.SIGSTOP})


class Ended(NamedTuple):
    """What became of one sandbox: its end, or why that isn't known."""

    live: Live
    end: "End | None"
    error: SandboxError | None


class Waiting:
    """Requests to supervisors that answer when their sandbox has ended."""

    def __init__(self) -> None:
        self._asked: dict[int, tuple[Live, socket.socket]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for _, asking in self._asked.values():
            asking.close()
        self._asked.clear()

    def add(self, live: Live, asking: "socket.socket") -> None:
        """Waits for the answer to this request too."""
        self._asked[asking.fileno()] = (live, asking)

    def __iter__(self) -> Iterator[Ended]:
        """Each as it ends."""
        yield from self.until(None)

    def until(self, deadlines: Mapping[str, float] | None) -> Iterator[Ended]:
        """Each as it ends; one whose deadline passes, by name in monotonic time, doesn't answer.

        A supervisor that somebody has stopped is no one to wait for.
        """
        deaf: dict[str, float] = {}
        while self._asked:
            poll = select.poll()
            for fd in self._asked:
                poll.register(fd, select.POLLIN)
            for fd, _ in poll.poll(_LOOK * 1000):
                live, asking = self._asked.pop(fd)
                with asking:
                    yield _answered(live, asking)
            now = time.monotonic()
            for fd, (live, asking) in list(self._asked.items()):
                process = read(live.supervisor)
                since = deaf.setdefault(live.name, now)
                if process is None or process.state not in "Tt":
                    del deaf[live.name]
                    since = now
                late = deadlines is not None and now > deadlines.get(live.name, now)
                if late or now - since > _DEAF:
                    del self._asked[fd]
                    asking.close()
                    yield Ended(live, None, control.silent(live))

    def for_at_most(self, seconds: float) -> Iterator[Ended]:
        """Each as it ends, until this time is over."""
        until = time.monotonic() + seconds
        while self._asked and (left := until - time.monotonic()) >= 0:
            poll = select.poll()
            for fd in self._asked:
                poll.register(fd, select.POLLIN)
            for fd, _ in poll.poll(left * 1000):
                live, asking = self._asked.pop(fd)
                with asking:
                    yield _answered(live, asking)

    def left(self) -> list[Live]:
        """Those that haven't ended yet."""
        return [live for live, _ in self._asked.values()]


def _answered(live: Live, asking: "socket.socket") -> Ended:
    try:
        return Ended(live, control.end_of(live, asking), None)
    except SandboxError as error:
        return Ended(live, None, error)


def stop(found: Sequence[Live], *, number: int, milliseconds: int | None) -> Iterator[Ended]:
    """Asks sandboxes to end, has what is left of them killed, and tells of each when it is over.

    `number` 0 is the profile's stop signal, and `milliseconds` None its timeout.
    """
    if number in _NOT_HANDED_ON:
        raise _stops_the_init(number)
    bound = control.DEFAULT if milliseconds is None else milliseconds
    deadlines: dict[str, float] = {}
    with Waiting() as waiting:
        for live in found:
            try:
                with _let_go(live):
                    asking = control.request(live, control.STOP, signal=number, value=bound)
                    waiting.add(live, asking)
            except SandboxError as error:
                yield Ended(live, None, error)
            if milliseconds is not None:
                deadlines[live.name] = time.monotonic() + milliseconds / 1000 + _MARGIN
            else:
                deadlines[live.name] = float("inf")
        yield from waiting.until(deadlines)


def kill(live: Live, number: int) -> None:
    """Sends a signal to the payload; SIGKILL ends everything, and this waits until it has."""
    if number in _NOT_HANDED_ON:
        raise _stops_the_init(number)
    with verified(live) as pidfds:
        if number != signal.SIGKILL:
            if not pidfds.send(number):
                raise gone(live)
            return
        with _let_go(live):
            pidfds.send(signal.SIGKILL)
        _see_it_gone(live, pidfds)


def _stops_the_init(number: int) -> SandboxError:
    return SandboxError(
        f"{signal.Signals(number).name} would stop the sandbox's init, and nothing else in it",
        hint="'sbx pause' stops all of it",
    )


@contextlib.contextmanager
def _let_go(live: Live) -> Iterator[None]:
    """What is frozen can't end. It is let go once it has been told to, so that it does nothing else."""
    if live.state != "paused":
        yield
        return
    from sandbox.live.freezer import released

    with released(live):
        yield


def _see_it_gone(live: Live, pidfds: Pidfds) -> None:
    """Its supervisor cleans up; one that can't is killed as well, and cleaned up after."""
    until = time.monotonic() + _CLEANING
    while _is_there(live):
        process = read(pidfds.supervisor_pid)
        is_deaf = process is not None and process.state in "Tt"
        if is_deaf or time.monotonic() > until:
            _kill_supervisor(live, pidfds)
            return
        time.sleep(0.005)


def _kill_supervisor(live: Live, pidfds: Pidfds) -> None:
    from sandbox.live.leftovers import remove

    signal.pidfd_send_signal(pidfds.supervisor, signal.SIGKILL)
    poll = select.poll()
    poll.register(pidfds.supervisor, select.POLLIN)
    poll.poll(_CLEANING * 1000)
    remove(live.directory)


def _is_there(live: Live) -> bool:
    with opened(live.directory) as directory:
        return directory >= 0 and is_alive(directory)
