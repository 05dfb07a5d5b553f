"""The host's side of the conversation with the guest's agent."""

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Final

from tests.vm.agent import READY, Head, pack, unpack

STDOUT: Final = 1
STDERR: Final = 2


class GoneError(Exception):
    """There is nobody at the other end any more."""


class Exchange:
    """One request, or the agent's word that the guest has booted: its output and its answer."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.output = {STDOUT: bytearray(), STDERR: bytearray()}
        self.answer: Head | None = None
        self._gone = False
        self._changed = threading.Condition()

    def add(self, stream: int, data: bytes) -> None:
        with self._changed:
            self.output[stream] += data
            self._changed.notify_all()

    def finish(self, answer: Head | None) -> None:
        """None: there will be no answer any more."""
        with self._changed:
            self.answer = answer
            self._gone = answer is None
            self._changed.notify_all()

    def wait(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Until it is answered, or `until` holds; False where neither has come about in time.

        Raises GoneError.
        """
        with self._changed:
            done = self._changed.wait_for(
                lambda: self._gone or self.answer is not None or until(), seconds
            )
            if self._gone:
                raise GoneError
            return done


class Channel:
    """Sends requests and sorts what comes back; usable from several threads."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._last = READY
        self.booted = Exchange(READY)
        self._open = {READY: self.booted}
        self._gone = False
        self._reader = threading.Thread(target=self._read_all, daemon=True)
        self._reader.start()

    def close(self) -> None:
        """What is still open is never answered."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._reader.join()

    def ask(self, head: Head, body: bytes = b"") -> Exchange:
        """Sends a request. Raises GoneError."""
        with self._lock:
            if self._gone:
                raise GoneError
            self._last += 1
            exchange = self._open[self._last] = Exchange(self._last)
            try:
                self._connection.sendall(pack({"id": self._last, **head}, body))
            except OSError:
                raise GoneError from None
        return exchange

    def _read_all(self) -> None:
        with self._connection.makefile("rb") as stream:

            def read(count: int) -> bytes:
                data = stream.read(count)
                if len(data) < count:
                    raise EOFError
                return data

            with contextlib.suppress(EOFError, OSError):
                while True:
                    self._sort(*unpack(read))
        with self._lock:
            self._gone = True
            for exchange in self._open.values():
                exchange.finish(None)
            self._open.clear()

    def _sort(self, head: Head, body: bytes) -> None:
        # Without the lock: it may be held by who sends, and the guest sends before it reads.
        if "stream" in head:
            exchange = self._open.get(head["id"])
            if exchange:
                exchange.add(head["stream"], body)
        else:
            exchange = self._open.pop(head["id"], None)
            if exchange:
                exchange.finish(head)
