"""Input into a program and its output out of it, while its reports come in."""

import io
import os
import select
import time
from collections.abc import Callable
from typing import Final

from sandbox.library.result import Cause
from sandbox.library.watch import Watch

CHUNK: Final = 65536


class Pump:
    """Writes input and gathers output, never waiting, and never more than `max_output` bytes."""

    def __init__(
        self,
        ends: dict[int, io.FileIO],
        data: bytes,
        max_output: int | None,
    ) -> None:
        self.ends = ends
        self.forget: Callable[[int], None] = _nothing
        """Called with each descriptor before it is closed."""
        self.exceeded = False
        self._input = memoryview(data)
        self._left = max_output
        self._chunks: dict[int, list[bytes]] = {number: [] for number in ends if number}
        for file in ends.values():
            os.set_blocking(file.fileno(), False)
        if 0 in ends and not data:
            self._close(0)

    def serve(self, number: int) -> None:
        """Writes or reads what can be, for the end of this number."""
        if number == 0:
            self._write()
        else:
            self._read(number)

    def _write(self) -> None:
        try:
            self._input = self._input[os.write(self.ends[0].fileno(), self._input[:CHUNK]) :]
        except BlockingIOError:
            return
        except OSError:  # the program has closed its input, or is gone: it needs no more
            self._input = memoryview(b"")
        if not self._input:
            self._close(0)

    def _read(self, number: int) -> bool:
        """Whether there was something."""
        try:
            data = os.read(self.ends[number].fileno(), CHUNK)
        except BlockingIOError:
            return False
        if not data:
            self._close(number)
            return False
        if self._left is not None:
            if len(data) > self._left:
                self.exceeded = True
            data = data[: self._left]
            self._left -= len(data)
        self._chunks[number].append(data)
        return True

    def drain(self) -> None:
        """What is left in the pipes of a sandbox that is over."""
        for number in (1, 2):
            while number in self.ends and not self.exceeded and self._read(number):
                pass
        self.close()

    def output(self, number: int) -> bytes:
        return b"".join(self._chunks.get(number, ()))

    def _close(self, number: int) -> None:
        file = self.ends.pop(number)
        self.forget(file.fileno())
        file.close()

    def close(self) -> None:
        for number in list(self.ends):
            self._close(number)


def _nothing(fd: int) -> None:
    """Nobody waits for it."""


def carry(watch: Watch, pump: Pump, timeout: float | None) -> Cause | None:
    """Serves a call until its sandbox is over; what it was killed for, if it was."""
    deadline = None if timeout is None else watch.begun + timeout
    killed_for: Cause | None = None
    poll = select.poll()
    waits_for = watch.fileno()
    poll.register(waits_for, select.POLLIN)
    numbers = {file.fileno(): number for number, file in pump.ends.items()}
    for fd, number in numbers.items():
        poll.register(fd, select.POLLIN if number else select.POLLOUT)
    pump.forget = poll.unregister
    while not watch.over:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            killed_for, deadline, left = killed_for or Cause.TIMEOUT, None, None
            watch.kill()
        for fd, _ in poll.poll(None if left is None else left * 1000 + 1):
            if fd not in numbers:
                watch.read()
                if watch.fileno() != waits_for:
                    poll.unregister(waits_for)
                    waits_for = watch.fileno()
                    poll.register(waits_for, select.POLLIN)
            elif numbers[fd] in pump.ends:
                pump.serve(numbers[fd])
        if pump.exceeded and killed_for is None:
            killed_for = Cause.OUTPUT_LIMIT
            watch.kill()
            pump.close()
    pump.drain()
    return killed_for or (Cause.OUTPUT_LIMIT if pump.exceeded else None)
