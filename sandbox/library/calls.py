"""Calls that the calling thread waits for."""

from collections.abc import Callable, Sequence
from typing import Any

from sandbox.library.capture import Pump, carry
from sandbox.library.launching import Compiled, LostError, Word
from sandbox.library.options import Options
from sandbox.library.result import Cause, Result
from sandbox.library.running import Process
from sandbox.library.streams import Streams
from sandbox.library.watch import Watch


def run(
    compiled: Compiled,
    argv: Sequence[Word],
    options: Options,
    launch: Callable[[], Watch],
    called: Callable[[], None] | None = None,
) -> Result[Any]:
    """A program to its end; `called` is called once its sandbox has the call."""
    command = compiled.words(argv)
    compiled.check(options)
    try:
        return _run(compiled, command, options, launch(), called)
    except LostError:
        return _run(compiled, command, options, compiled.launch(), called)


def _run(
    compiled: Compiled,
    command: tuple[str, ...],
    options: Options,
    watch: Watch,
    called: Callable[[], None] | None,
) -> Result[Any]:
    """Whatever happens, nothing is left."""
    streams = Streams()
    pump: Pump | None = None
    try:
        watch.call(compiled.call(command, options, streams))
        if called is not None:
            called()
        pump = Pump(streams.take(), options.data, options.max_output)
        killed_for = carry(watch, pump, options.timeout)
    finally:
        streams.close()
        if pump is not None:
            pump.close()
        watch.end()
    return finished(compiled, watch, command, options, pump, killed_for)


def finished(
    compiled: Compiled,
    watch: Watch,
    command: tuple[str, ...],
    options: Options,
    pump: Pump,
    killed_for: Cause | None,
) -> Result[Any]:
    """The result of a call that is over. Raises SetupError if it never began."""
    limit = options.timeout if killed_for is Cause.TIMEOUT else options.max_output
    stdout, stderr = (options.text.decode(pump.output(number)) for number in (1, 2))
    return compiled.result(watch, command, killed_for, limit, stdout, stderr)


def start(compiled: Compiled, argv: Sequence[Word], options: Options) -> Process[Any]:
    """A program in a new sandbox, once it runs."""
    command = compiled.words(argv)
    compiled.check(options)
    try:
        return _start(compiled, command, options)
    except LostError:
        return _start(compiled, command, options)


def _start(compiled: Compiled, command: tuple[str, ...], options: Options) -> Process[Any]:
    streams = Streams()
    watch: Watch | None = None
    try:
        call = compiled.call(command, options, streams, witness=True)
        watch = compiled.launch()
        watch.call(call)
        streams.close_passed()
        return Process(compiled, watch, command, streams, options.text)
    except BaseException:
        streams.close()
        if watch is not None:
            watch.end()
        raise
