"""`Sandbox`: programs in sandboxes of one profile, from Python."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, overload

from sandbox.library.capture import Pump, carry
from sandbox.library.launching import Compiled, ServerLostError, Word
from sandbox.library.profile import Profile
from sandbox.library.result import Cause, Result
from sandbox.library.running import Process, Text
from sandbox.library.streams import DEVNULL, PIPE, Descriptors, Stream, Streams
from sandbox.library.watch import Watch


class Captured(NamedTuple):
    """What a call that is run to its end asks for."""

    data: bytes
    text: Text
    timeout: float | None
    max_output: int | None
    env: Mapping[str, str] | None
    cwd: str | None
    descriptors: Descriptors
    standard: tuple[Stream, Stream, Stream]


def captured(
    input: str | bytes | None,  # noqa: A002 - subprocess's name
    stdin: Stream,
    stdout: Stream,
    stderr: Stream,
    timeout: float | None,
    max_output: int | None,
    env: Mapping[str, str] | None,
    cwd: str | None,
    descriptors: Descriptors | None,
    text: bool,
    encoding: str,
    errors: str,
) -> Captured:
    """The arguments of `Sandbox.run`, checked. Raises ValueError and TypeError."""
    how = Text(encoding if text else None, errors)
    if input is not None:
        if stdin not in (DEVNULL, PIPE):
            raise ValueError("input and stdin exclude each other")
        stdin = PIPE
    if max_output is not None and max_output < 0:
        raise ValueError("max_output is negative")
    standard = (stdin, stdout, stderr)
    return Captured(
        how.encode(input), how, timeout, max_output, env, cwd, descriptors or {}, standard
    )


def run_watched(
    compiled: Compiled, watch: Watch, argv: Sequence[Word], how: Captured
) -> Result[Any]:
    """One call in a sandbox that waits for it, to its end; whatever happens, nothing is left."""
    streams = Streams()
    pump: Pump | None = None
    try:
        call = compiled.call(argv, streams, how.env, how.cwd, how.descriptors, how.standard)
        watch.call(call)
        streams.close_passed()
        ends, streams.ends = streams.ends, {}
        pump = Pump(ends, how.data, how.max_output)
        killed_for = carry(watch, pump, how.timeout)
    finally:
        streams.close()
        if pump is not None:
            pump.close()
        watch.end()
    limit = how.timeout if killed_for is Cause.TIMEOUT else how.max_output
    decode = how.text.decode
    command = tuple(os.fsdecode(word) for word in call.argv)
    return compiled.result(
        watch, command, killed_for, limit, decode(pump.output(1)), decode(pump.output(2))
    )


def start_watched(compiled: Compiled, argv: Sequence[Word], how: Captured) -> Process[Any]:
    """One call in a new sandbox, once its program runs; an error leaves nothing."""
    streams = Streams()
    watch: Watch | None = None
    try:
        call = compiled.call(argv, streams, how.env, how.cwd, how.descriptors, how.standard)
        if not compiled.has_init:
            streams.add_witness()
        watch = compiled.launch()
        watch.call(call)
        streams.close_passed()
        return Process(compiled, watch, compiled.words(argv), streams, how.text)
    except BaseException:
        streams.close()
        if watch is not None:
            watch.end()
        raise


class Sandbox:
    """Runs programs, each call in a new sandbox of the same profile.

    The profile is compiled once, for this host and the current user; after that a call costs
    little. An object may be used by many threads and tasks at once. `profile` may be a Profile,
    or what `Profile.load` takes.

    Raises ProfileError and UnsupportedError.
    """

    def __init__(self, profile: Profile | str | os.PathLike[str]) -> None:
        self.profile = profile if isinstance(profile, Profile) else Profile.load(profile)
        self._compiled = Compiled(self.profile)

    @property
    def not_enforced(self) -> tuple[str, ...]:
        """The features of `profile.optional` that this host lacks, and that don't hold."""
        return self._compiled.plan.not_enforced

    @property
    def steps(self) -> tuple[str, ...]:
        """What each launch does, in words, as `sbx plan` prints it."""
        return tuple(op.describe() for op in self._compiled.plan.ops)

    @overload
    def run(
        self,
        argv: Sequence[Word] = (),
        *,
        input: bytes | None = None,
        stdin: Stream = DEVNULL,
        stdout: Stream = PIPE,
        stderr: Stream = PIPE,
        timeout: float | None = None,
        max_output: int | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        descriptors: Descriptors | None = None,
        text: Literal[False] = False,
        encoding: str = "utf-8",
        errors: str = "replace",
    ) -> Result[bytes]: ...

    @overload
    def run(
        self,
        argv: Sequence[Word] = (),
        *,
        input: str | None = None,
        stdin: Stream = DEVNULL,
        stdout: Stream = PIPE,
        stderr: Stream = PIPE,
        timeout: float | None = None,
        max_output: int | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        descriptors: Descriptors | None = None,
        text: Literal[True],
        encoding: str = "utf-8",
        errors: str = "replace",
    ) -> Result[str]: ...

    def run(
        self,
        argv: Sequence[Word] = (),
        *,
        input: str | bytes | None = None,  # noqa: A002 - subprocess's name
        stdin: Stream = DEVNULL,
        stdout: Stream = PIPE,
        stderr: Stream = PIPE,
        timeout: float | None = None,
        max_output: int | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        descriptors: Descriptors | None = None,
        text: bool = False,
        encoding: str = "utf-8",
        errors: str = "replace",
    ) -> Result[bytes] | Result[str]:
        """Runs a program to its end.

        `argv` is the program and its arguments, the profile's own command if it is empty. `input`
        is written to its standard input, which is empty otherwise. After `timeout` seconds, or
        more than `max_output` bytes of both streams, everything in the sandbox is killed and the
        result says so. `env` are variables over those of the profile, `cwd` a directory inside,
        `descriptors` maps numbers from 3 on to files that the program gets as well. Streams are
        PIPE, DEVNULL, STDOUT (for stderr), None for this process's own, or a file. What is passed
        here is granted, whatever the profile says of descriptors and standard input.

        Raises SetupError if the program can't be started.
        """
        how = captured(
            *(input, stdin, stdout, stderr, timeout, max_output),
            *(env, cwd, descriptors, text, encoding, errors),
        )
        compiled = self._compiled
        compiled.words(argv)
        try:
            return run_watched(compiled, compiled.launch(), argv, how)
        except ServerLostError:
            return run_watched(compiled, compiled.launch(), argv, how)

    @overload
    def start(
        self,
        argv: Sequence[Word] = (),
        *,
        stdin: Stream = DEVNULL,
        stdout: Stream = None,
        stderr: Stream = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        descriptors: Descriptors | None = None,
        text: Literal[False] = False,
        encoding: str = "utf-8",
        errors: str = "replace",
    ) -> Process[bytes]: ...

    @overload
    def start(
        self,
        argv: Sequence[Word] = (),
        *,
        stdin: Stream = DEVNULL,
        stdout: Stream = None,
        stderr: Stream = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        descriptors: Descriptors | None = None,
        text: Literal[True],
        encoding: str = "utf-8",
        errors: str = "replace",
    ) -> Process[str]: ...

    def start(
        self,
        argv: Sequence[Word] = (),
        *,
        stdin: Stream = DEVNULL,
        stdout: Stream = None,
        stderr: Stream = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        descriptors: Descriptors | None = None,
        text: bool = False,
        encoding: str = "utf-8",
        errors: str = "replace",
    ) -> Process[bytes] | Process[str]:
        """Starts a program and returns when it runs; the arguments are those of `run`.

        Use the process in a `with` block: leaving it ends the program. Raises SetupError.
        """
        how = Captured(
            *(b"", Text(encoding if text else None, errors), None, None, env, cwd),
            *(descriptors or {}, (stdin, stdout, stderr)),
        )
        try:
            return start_watched(self._compiled, argv, how)
        except ServerLostError:
            return start_watched(self._compiled, argv, how)
