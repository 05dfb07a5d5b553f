"""Between the caller's terminal and the sandbox's own: bytes, window size, signals."""

import contextlib
import errno
import fcntl
import os
import select
import signal
import termios
import tty
from types import FrameType
from typing import Any, Final, Protocol, Self

CHUNK: Final = 65536
FORWARDED: Final = (
    *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM),
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM),
)


def streams_on_terminal() -> int:
    """Bits 0 to 2 for the standard streams that are a terminal."""
    return sum(1 << fd for fd in range(3) if os.isatty(fd))


class Attended(Protocol):
    """A program that runs in a sandbox, as the relay needs to know it."""

    @property
    def pidfd(self) -> int:
        """Readable when it may have ended."""

    @property
    def terminal(self) -> int:
        """The master side of its terminal, or -1."""

    @property
    def requests(self) -> int:
        """Readable when others ask something of it, or -1."""

    def serve_requests(self) -> None:
        """Answers them."""

    def send_signal(self, number: int) -> None:
        """To the program."""

    def reap(self) -> int | None:
        """Its wait status, None while it lives."""


class Signals:
    """Signals as bytes of a pipe while the relay runs, so that one poll waits for everything."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._handlers: dict[int, Any] = {}
        self._old_wakeup = -1

    def __enter__(self) -> Self:
        self._old_wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in (*FORWARDED, signal.SIGWINCH):
            self._handlers[number] = signal.signal(number, _nothing)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_wakeup)
        os.close(self.reader)
        os.close(self._writer)

    def arrived(self) -> bytes:
        """The numbers of the signals since the last call."""
        try:
            return os.read(self.reader, 4096)
        except BlockingIOError:
            return b""


def _nothing(number: int, frame: FrameType | None) -> None:
    """The wake-up descriptor tells of it."""


class RawMode:
    """The caller's terminal passes every key on, until it is put back as it was."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._saved: list[Any] | None = None

    def __enter__(self) -> None:
        try:
            self._saved = termios.tcgetattr(self._fd)
        except termios.error:
            return
        tty.setraw(self._fd, termios.TCSADRAIN)

    def __exit__(self, *error: object) -> None:
        if self._saved is not None:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._saved)


def copy_window_size(source: int, target: int) -> None:
    """Gives `target` the rows and columns of the terminal `source`."""
    try:
        size = fcntl.ioctl(source, termios.TIOCGWINSZ, bytes(8))
        fcntl.ioctl(target, termios.TIOCSWINSZ, size)
    except OSError:
        pass  # the caller's terminal has hung up


class Relay:
    """Carries bytes both ways, never holding more than a chunk for either side."""

    def __init__(self, child: Attended, streams: int) -> None:
        self._child = child
        self._master = child.terminal
        self._source = 0 if streams & 1 else -1
        self._sink = next(fd for fd in (1, 2, 0) if streams >> fd & 1)
        self._to_child = b""
        self._to_caller = b""
        self._open = True

    def run(self, signals: Signals) -> int:
        """Carries on until the sandbox has ended; the payload's wait status."""
        copy_window_size(self._sink, self._master)
        os.set_blocking(self._master, False)
        while (status := self._child.reap()) is None:
            self._turn(signals)
        while self._open or self._to_caller:
            self._turn(signals, ended=True)
        return status

    def _turn(self, signals: Signals, *, ended: bool = False) -> None:
        """Waits once and serves what is ready."""
        poll = select.poll()
        poll.register(signals.reader, select.POLLIN)
        if not ended:
            poll.register(self._child.pidfd, select.POLLIN)
            if self._child.requests >= 0:
                poll.register(self._child.requests, select.POLLIN)
        if self._open:
            wanted = select.POLLIN if not self._to_caller else 0
            poll.register(self._master, wanted | (select.POLLOUT if self._to_child else 0))
        if self._source >= 0 and not self._to_child:
            poll.register(self._source, select.POLLIN)
        if self._to_caller:
            poll.register(self._sink, select.POLLOUT)
        ready = dict(poll.poll())
        if self._child.requests in ready:
            self._child.serve_requests()
        self._serve_signals(signals)
        self._serve_caller(ready)
        self._serve_child(ready)

    def _serve_signals(self, signals: Signals) -> None:
        for number in signals.arrived():
            if number == signal.SIGWINCH:
                copy_window_size(self._sink, self._master)
            elif number in FORWARDED:
                self._child.send_signal(number)

    def _serve_caller(self, ready: dict[int, int]) -> None:
        if self._source in ready and not self._to_child:
            self._to_child, more = _read(self._source)
            if not more:
                self._source = -1
        if self._to_caller and self._sink in ready:
            # At most what a terminal takes at once, so that the write doesn't wait.
            written = os.write(self._sink, self._to_caller[:4096])
            self._to_caller = self._to_caller[written:]

    def _serve_child(self, ready: dict[int, int]) -> None:
        events = ready.get(self._master, 0)
        if self._to_child and events & select.POLLOUT:
            with contextlib.suppress(BlockingIOError):
                self._to_child = self._to_child[os.write(self._master, self._to_child) :]
        if events & (select.POLLIN | select.POLLHUP) and not self._to_caller:
            self._to_caller, self._open = _read(self._master)


def _read(fd: int) -> tuple[bytes, bool]:
    """What is there, and whether more can come; a terminal without a slave side says EIO."""
    try:
        data = os.read(fd, CHUNK)
    except BlockingIOError:
        return b"", True
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b"", False
    return data, bool(data)


def attend(child: Attended, streams: int, signals: Signals) -> int:
    """Hands signals on to a sandbox until it ends, and connects terminals; the wait status.

    `streams` are the standard streams that the sandbox has a terminal in place of, as bits.
    `signals` is entered before the sandbox starts, so that none is lost in between.
    """
    if not streams:
        return _attend_signals(child, signals)
    with RawMode(next(fd for fd in range(3) if streams >> fd & 1)):
        return Relay(child, streams).run(signals)


def _attend_signals(child: Attended, signals: Signals) -> int:
    poll = select.poll()
    poll.register(signals.reader, select.POLLIN)
    poll.register(child.pidfd, select.POLLIN)
    if child.requests >= 0:
        poll.register(child.requests, select.POLLIN)
    while (status := child.reap()) is None:
        if child.requests in dict(poll.poll()):
            child.serve_requests()
        for number in signals.arrived():
            if number in FORWARDED:
                child.send_signal(number)
    return status
