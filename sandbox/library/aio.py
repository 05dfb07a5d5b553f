"""Calls that an asyncio event loop waits for: no thread, and nothing that blocks for long."""

import asyncio
import contextlib
import io
import signal
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self

from sandbox.library.calls import finished
from sandbox.library.capture import Pump
from sandbox.library.launching import Compiled, LostError, Word
from sandbox.library.options import Options
from sandbox.library.result import Cause, Result
from sandbox.library.streams import Streams
from sandbox.library.watch import Watch

BUSY_S: Final = 0.001


async def launch(compiled: Compiled) -> Watch:
    """A new sandbox that waits for its call; a server with many requests is waited for."""
    while True:
        try:
            return compiled.launch(wait=False)
        except BlockingIOError:
            await asyncio.sleep(BUSY_S)


class _Reports:
    """Reads a sandbox's reports as they come; `over` is done when nothing of it is left."""

    def __init__(self, watch: Watch, changed: Callable[[], None] | None = None) -> None:
        self._watch = watch
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._fd = watch.fileno()
        self.over: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(self._fd, self._read)

    def _read(self) -> None:
        self._watch.read()
        if self._changed:
            self._changed()
        if self._watch.over:
            self.stop()
        elif self._watch.fileno() != self._fd:
            self._loop.remove_reader(self._fd)
            self._fd = self._watch.fileno()
            self._loop.add_reader(self._fd, self._read)

    def stop(self) -> None:
        """Waits for no more of them."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            self._fd = -1
        if not self.over.done():
            self.over.set_result(None)


class _Carrier:
    """Serves a call's streams from the event loop, and keeps its time."""

    def __init__(self, watch: Watch, pump: Pump, timeout: float | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._watch = watch
        self._pump = pump
        self.killed_for: Cause | None = None
        self._writing = pump.ends[0].fileno() if 0 in pump.ends else -1
        for number, file in pump.ends.items():
            add = self._loop.add_reader if number else self._loop.add_writer
            add(file.fileno(), self._serve, number)
        pump.forget = self._forget
        self._timer: asyncio.TimerHandle | None = None
        if timeout is not None:
            left = max(watch.begun + timeout - time.monotonic(), 0)
            self._timer = self._loop.call_later(left, self._kill, Cause.TIMEOUT)

    def _serve(self, number: int) -> None:
        if number in self._pump.ends:
            self._pump.serve(number)
        if self._pump.exceeded:
            self._kill(Cause.OUTPUT_LIMIT)
            self._pump.close()

    def _kill(self, cause: Cause) -> None:
        self.killed_for = self.killed_for or cause
        self._watch.kill()

    def _forget(self, fd: int) -> None:
        if fd == self._writing:
            self._loop.remove_writer(fd)
        else:
            self._loop.remove_reader(fd)

    def finish(self) -> Cause | None:
        """Takes in what is left; what the sandbox was killed for, if it was."""
        self._pump.drain()
        if self._pump.exceeded:
            return self.killed_for or Cause.OUTPUT_LIMIT
        return self.killed_for

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._pump.close()


async def run(
    compiled: Compiled,
    argv: Sequence[Word],
    options: Options,
    take: Callable[[], Watch] | None = None,
    called: Callable[[], None] | None = None,
) -> Result[Any]:
    """A program to its end, in a sandbox of `take` or a new one."""
    command = compiled.words(argv)
    compiled.check(options)
    try:
        watch = take() if take else await launch(compiled)
        return await _run(compiled, command, options, watch, called)
    except LostError:
        return await _run(compiled, command, options, await launch(compiled), called)


async def _run(
    compiled: Compiled,
    command: tuple[str, ...],
    options: Options,
    watch: Watch,
    called: Callable[[], None] | None,
) -> Result[Any]:
    streams = Streams()
    carrier: _Carrier | None = None
    reports: _Reports | None = None
    try:
        watch.call(compiled.call(command, options, streams))
        if called is not None:
            called()
        pump = Pump(streams.take(), options.data, options.max_output)
        carrier = _Carrier(watch, pump, options.timeout)
        reports = _Reports(watch)
        await reports.over
        killed_for = carrier.finish()
    finally:
        if reports is not None:
            reports.stop()
        if carrier is not None:
            carrier.close()
        streams.close()
        watch.drop()
    return finished(compiled, watch, command, options, pump, killed_for)


async def start(compiled: Compiled, argv: Sequence[Word], options: Options) -> "AsyncProcess":
    """A program in a new sandbox, once it runs."""
    command = compiled.words(argv)
    compiled.check(options)
    try:
        return await _start(compiled, command, options)
    except LostError:
        return await _start(compiled, command, options)


async def _start(compiled: Compiled, command: tuple[str, ...], options: Options) -> "AsyncProcess":
    streams = Streams()
    watch = await launch(compiled)
    process: AsyncProcess | None = None
    try:
        watch.call(compiled.call(command, options, streams, witness=True))
        streams.close_passed()
        process = AsyncProcess(compiled, watch, command)
        await process.begin(streams)
    except BaseException:
        streams.close()
        if process is not None:
            process.drop()
        watch.drop()
        raise
    return process


class AsyncProcess:
    """A running program, for asyncio. Leaving its `async with` block ends its whole sandbox.

    `stdin` is a StreamWriter, `stdout` and `stderr` are StreamReaders where PIPE was asked for,
    else None.
    """

    stdin: asyncio.StreamWriter | None = None
    stdout: asyncio.StreamReader | None = None
    stderr: asyncio.StreamReader | None = None

    def __init__(self, compiled: Compiled, watch: Watch, command: tuple[str, ...]) -> None:
        self.command = command
        self._compiled = compiled
        self._watch = watch
        self._result: Result[bytes] | None = None
        self._begun = asyncio.get_running_loop().create_future()
        self._reports = _Reports(watch, self._changed)
        self._transports: list[asyncio.BaseTransport] = []
        self._executed = False

    def _changed(self) -> None:
        watch = self._watch
        runs = (watch.started or self._executed) and watch.pid
        if (runs or watch.over) and not self._begun.done():
            self._begun.set_result(None)

    async def begin(self, streams: Streams) -> None:
        """Waits until the program runs, and opens its streams. Raises SetupError."""
        loop = asyncio.get_running_loop()
        witness = -1 if streams.witness is None else streams.witness.fileno()
        if witness >= 0:
            loop.add_reader(witness, self._is_executed, witness)
        try:
            await self._begun
        finally:
            if witness >= 0:
                loop.remove_reader(witness)
        self._watch.read()
        if self._watch.failure is not None:
            await self._reports.over
        self._compiled.check_started(self._watch, self.command)
        self._watch.started = True
        ends = streams.take()
        try:
            if 0 in ends:
                self.stdin = await self._writer(ends.pop(0))
            if 1 in ends:
                self.stdout = await self._reader(ends.pop(1))
            if 2 in ends:
                self.stderr = await self._reader(ends.pop(2))
        finally:
            for file in ends.values():
                file.close()
            streams.close()

    def _is_executed(self, fd: int) -> None:
        asyncio.get_running_loop().remove_reader(fd)
        self._executed = True
        self._watch.read()
        self._changed()

    async def _reader(self, pipe: io.FileIO) -> asyncio.StreamReader:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        self._transports.append(transport)
        return reader

    async def _writer(self, pipe: io.FileIO) -> asyncio.StreamWriter:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.connect_write_pipe(
            lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), pipe
        )
        self._transports.append(transport)
        return asyncio.StreamWriter(transport, protocol, None, loop)

    @property
    def pid(self) -> int:
        """The id, on the host, of the sandbox's first process."""
        return self._watch.pid

    async def wait(self) -> Result[bytes]:
        """Waits until the sandbox is over; the result is without output, which `stdout` has.

        For a limit of time: `async with asyncio.timeout(5): await process.wait()`.
        """
        await asyncio.shield(self._reports.over)
        if self._result is None:
            self._watch.release()
            self._result = self._compiled.result(self._watch, self.command, None, None, b"", b"")
        return self._result

    def send_signal(self, number: int) -> None:
        """Sends the program a signal; nothing happens if it has ended."""
        self._watch.send_signal(number)

    def terminate(self) -> None:
        """Sends the program SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends everything in the sandbox at once."""
        self._watch.kill()

    def drop(self) -> None:
        """Ends what still runs without waiting for it, and lets go of the streams."""
        self._reports.stop()
        self._watch.drop()
        for transport in self._transports:
            transport.close()

    async def aclose(self) -> None:
        """Ends what still runs, waits for it, and closes the streams. `async with` does it too."""
        try:
            if not self._watch.over:
                self._watch.kill()
                await self._reports.over
        finally:
            self.drop()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                if self.stdin is not None:
                    await self.stdin.wait_closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        state = self._result.reason if self._result else f"pid {self.pid}"
        return f"<AsyncProcess {self.command[0]!r}: {state}>"
