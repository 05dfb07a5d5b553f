"""A program that runs in a sandbox, for code that waits for it itself."""

import contextlib
import select
import signal
from types import TracebackType
from typing import IO, Generic, Self

from sandbox.library.capture import Pump, carry
from sandbox.library.launching import Compiled
from sandbox.library.result import Cause, Output, Result
from sandbox.library.streams import Streams
from sandbox.library.text import Text
from sandbox.library.watch import Watch
from sandbox.process import owned


class Process(Generic[Output]):
    """A running program. Leaving its `with` block, or losing it, ends it and its whole sandbox.

    `stdin`, `stdout` and `stderr` are files where PIPE was asked for, else None.
    """

    stdin: IO[Output] | None
    stdout: IO[Output] | None
    stderr: IO[Output] | None

    def __init__(
        self,
        compiled: Compiled,
        watch: Watch,
        command: tuple[str, ...],
        streams: Streams,
        text: Text,
    ) -> None:
        self._compiled = compiled
        self._watch = watch
        self._text = text
        self._result: Result[Output] | None = None
        self.command = command
        self.stdin = self.stdout = self.stderr = None
        _await_program(watch, streams)
        compiled.check_started(watch, command)
        ends = streams.ends
        self.stdin = text.file(ends.pop(0)) if 0 in ends else None
        self.stdout = text.file(ends.pop(1)) if 1 in ends else None
        self.stderr = text.file(ends.pop(2)) if 2 in ends else None
        streams.close()

    @property
    def pid(self) -> int:
        """The id, on the host, of the sandbox's first process."""
        return self._watch.pid

    @property
    def pidfd(self) -> int:
        """A descriptor of the first process (pidfd_open(2)); -1 once there is a result."""
        return self._watch.pidfd

    def poll(self) -> Result[Output] | None:
        """The result if the sandbox is over, else None."""
        if self._result is None:
            self._watch.read()
        return self._result or (self._finished() if self._watch.over else None)

    def wait(self, timeout: float | None = None) -> Result[Output]:
        """Waits until the sandbox is over; the result is without output, which `stdout` has.

        Raises TimeoutError after `timeout` seconds; the program goes on.
        """
        if not self._watch.wait(timeout):
            raise TimeoutError(f"'{self.command[0]}' still runs after {timeout:g} s")
        return self._finished()

    def communicate(
        self,
        input: Output | None = None,  # noqa: A002 - subprocess's name
        *,
        timeout: float | None = None,
        max_output: int | None = None,
    ) -> Result[Output]:
        """Writes `input`, reads what comes until the sandbox is over, and gives it in the result.

        After `timeout` seconds from the start, or `max_output` bytes of both streams, the sandbox
        is killed; the result says so and has what came until then. What was read from or written
        to the streams before isn't in it.
        """
        ends = {}
        for number, file in enumerate((self.stdin, self.stdout, self.stderr)):
            if file is not None and not file.closed:
                with contextlib.suppress(BrokenPipeError):
                    file.flush()
                ends[number] = owned.duplicate(file.fileno(), "rb" if number else "wb")
                file.close()
        pump = Pump(ends, self._text.encode(input), max_output)
        try:
            killed_for = carry(self._watch, pump, timeout)
        finally:
            pump.close()
            self.close()
        limit = timeout if killed_for is Cause.TIMEOUT else max_output
        return self._finished(killed_for, limit, pump.output(1), pump.output(2))

    def _finished(
        self,
        killed_for: Cause | None = None,
        limit: float | None = None,
        stdout: bytes = b"",
        stderr: bytes = b"",
    ) -> Result[Output]:
        if self._result is None:
            self._watch.release()
            self._result = self._compiled.result(
                self._watch,
                self.command,
                killed_for,
                limit,
                self._text.decode(stdout),
                self._text.decode(stderr),
            )
        return self._result

    def send_signal(self, number: int) -> None:
        """Sends the program a signal; nothing happens if it has ended."""
        self._watch.send_signal(number)

    def terminate(self) -> None:
        """Sends the program SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends everything in the sandbox at once."""
        self._watch.read()
        self._watch.kill()

    def close(self) -> None:
        """Ends what still runs, waits for it, and closes the streams. `with` does it too."""
        try:
            self._watch.end()
        finally:
            for file in (self.stdin, self.stdout, self.stderr):
                if file is not None:
                    with contextlib.suppress(OSError):  # what it didn't read is lost
                        file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        watch = getattr(self, "_watch", None)
        if watch is not None and not watch.over:
            watch.drop()

    def __repr__(self) -> str:
        state = self._result.reason if self._result else f"pid {self.pid}"
        return f"<Process {self.command[0]!r}: {state}>"


def _await_program(watch: Watch, streams: Streams) -> None:
    """Waits until the program is executed, or the sandbox is over without it."""
    poll = select.poll()
    poll.register(watch.fileno(), select.POLLIN)
    if streams.witness is not None:
        poll.register(streams.witness, select.POLLIN)
    executed = False
    while not watch.over and not ((watch.started or executed) and watch.pid):
        for fd, _ in poll.poll():
            if streams.witness is not None and fd == streams.witness.fileno():
                executed = True
                poll.unregister(fd)
            else:
                watch.read()
    watch.read()
    watch.started = watch.started or watch.failure is None
    if watch.failure is not None:
        watch.wait(None)
