"""What a sandbox of a profile needs at each call: its plan, and how failures of it read."""

import itertools
import os
import warnings
import weakref
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from sandbox.errors import SandboxError
from sandbox.host import probe
from sandbox.library.profile import Profile
from sandbox.library.result import Cause, Output, Result, code_and_signal
from sandbox.library.streams import Descriptors, Stream, Streams, check_declared
from sandbox.library.watch import Watch
from sandbox.plan import codec
from sandbox.plan.compile import compile as compile_plan
from sandbox.plan.ops import KeepDescriptor, SetEnvironment, SkipFeature, StartInit
from sandbox.plan.record import Plan, PlanFlag
from sandbox.process import server
from sandbox.process.failure import located_error
from sandbox.process.server import Call

Word: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]

_numbers = itertools.count(1)


class NotEnforcedWarning(UserWarning):
    """This host can't enforce something that the profile calls optional."""


class ServerLostError(SandboxError):
    """The server ended before it could start a sandbox; another one can be tried."""


class Compiled:
    """A profile's plan on this host, ready to be started any number of times."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.plan: Final[Plan] = compile_plan(profile.resolved, probe())
        self.data: Final = codec.encode(self.plan)
        self.number: Final = next(_numbers)
        ops = self.plan.ops
        self.has_init: Final = any(isinstance(op, StartInit) for op in ops)
        self.declared: Final = frozenset(op.number for op in ops if isinstance(op, KeepDescriptor))
        self._environment = next(op for op in ops if isinstance(op, SetEnvironment))
        self._check()
        weakref.finalize(self, server.forget, self.number)

    def _check(self) -> None:
        if self.plan.flags & PlanFlag.TERMINAL_ALWAYS:
            raise SandboxError(
                'process.terminal = "always", but a program has no terminal to give',
                hint='set process.terminal = "never", or use sbx run',
            )
        for op in self.plan.ops:
            if isinstance(op, SkipFeature) and op.warn:
                text = f"not enforced on this host, and optional: {op.feature}"
                warnings.warn(text, NotEnforcedWarning, stacklevel=4)

    def launch(self) -> Watch:
        """A new sandbox that waits for its call."""
        return Watch(server.start(self.number, self.data), has_init=self.has_init)

    def words(self, argv: Sequence[Word]) -> tuple[str, ...]:
        """The command line that is to run: this one, or the profile's if it is empty."""
        if isinstance(argv, str | bytes):
            raise TypeError("argv is a list of words, not one text: there is no shell in between")
        words = tuple(os.fsdecode(word) for word in argv)
        words = words or self.profile.model.process.command
        if not words:
            raise SandboxError(
                "there is no command to run", hint="name one, or set process.command in the profile"
            )
        return words

    def environ(self, extra: Mapping[str, str] | None) -> dict[str, str]:
        """The program's variables: what the profile passes of this process's and sets, and `extra`."""
        found = dict(_passed(self._environment.passed)) if self._environment.passed else {}
        for entry in self._environment.set:
            name, _, value = entry.partition("=")
            found[name] = value
        if extra:
            for name in extra:
                if not name or "=" in name:
                    raise ValueError(f"'{name}' isn't the name of an environment variable")
            found.update(extra)
        return found

    def call(
        self,
        argv: Sequence[Word],
        streams: Streams,
        env: Mapping[str, str] | None,
        cwd: str | None,
        descriptors: Descriptors,
        standard: tuple[Stream, Stream, Stream],
    ) -> Call:
        """Everything that a call hands over; what it opens for that is in `streams`."""
        check_declared(self.declared, descriptors)
        words = self.words(argv)
        if cwd is not None and not cwd.startswith("/"):
            raise ValueError(f"'{cwd}' isn't an absolute path in the sandbox")
        environ = self.environ(env)
        for number, stream in enumerate(standard):
            streams.add(number, stream)
        streams.add_files(descriptors)
        return Call(words, environ, streams.pairs, cwd or "")

    def check_started(self, watch: Watch, command: Sequence[str]) -> None:
        """Raises SetupError with the reason if the program of this sandbox can't be started."""
        if watch.lost:
            raise ServerLostError(
                "the process that starts this program's sandboxes was killed",
                hint="the kernel's log tells whether memory ran out: dmesg",
            )
        if watch.failure is not None:
            raise located_error(self.plan, watch.failure, command[0], self.profile.resolved)

    def result(
        self,
        watch: Watch,
        command: tuple[str, ...],
        killed_for: Cause | None,
        limit: float | None,
        stdout: Output,
        stderr: Output,
    ) -> Result[Output]:
        """The end of a sandbox that is over. Raises SetupError if its program was never started."""
        self.check_started(watch, command)
        code, signal = (None, None) if watch.status is None else code_and_signal(watch.status)
        by_itself = watch.status is not None and (self.has_init or signal != 9)
        if killed_for is Cause.TIMEOUT and by_itself:
            killed_for = None
        if killed_for is None and not by_itself:
            killed_for = Cause.KILLED
        if killed_for is not None:
            code, signal = None, _SIGKILL
        natural = Cause.EXITED if code is not None else Cause.SIGNALED
        return Result(
            command=command,
            cause=killed_for or natural,
            exit_code=code,
            signal=signal,
            stdout=stdout,
            stderr=stderr,
            duration=watch.ended - watch.begun,
            usage=watch.usage,
            limit=limit if killed_for in {Cause.TIMEOUT, Cause.OUTPUT_LIMIT} else None,
        )


_SIGKILL: Final = code_and_signal(9)[1]


def _passed(names: Sequence[str]) -> list[tuple[str, str]]:
    """This process's variables that the profile passes on: by name, or by a prefix and `*`."""
    exact = {name for name in names if not name.endswith("*")}
    prefixes = tuple(name[:-1] for name in names if name.endswith("*"))
    return [
        (name, value)
        for name, value in os.environ.items()
        if name in exact or (prefixes and name.startswith(prefixes))
    ]
