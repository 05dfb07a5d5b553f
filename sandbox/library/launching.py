"""What a sandbox of a profile needs at each call: its plan, and how failures of it read."""

import itertools
import os
import warnings
import weakref
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from sandbox.errors import SandboxError
from sandbox.host import probe
from sandbox.library.options import Options
from sandbox.library.profile import Profile
from sandbox.library.result import Cause, Output, Result, code_and_signal
from sandbox.library.streams import Streams
from sandbox.library.watch import Watch
from sandbox.plan import codec
from sandbox.plan.compile import compile as compile_plan
from sandbox.plan.ops import CreateCgroup, KeepDescriptor, SetEnvironment, SkipFeature, StartInit
from sandbox.plan.record import Plan, PlanFlag
from sandbox.process import server
from sandbox.process.ending import Usage
from sandbox.process.failure import located_error
from sandbox.process.server import Call

Word: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]

_numbers = itertools.count(1)


class NotEnforcedWarning(UserWarning):
    """This host can't enforce something that the profile calls optional."""


class LostError(SandboxError):
    """The sandbox or its server was killed, and the program has not begun: another can be tried."""


class Compiled:
    """A profile's plan on this host, ready to be started any number of times."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.plan: Final[Plan] = compile_plan(profile.resolved, probe())
        self.data: Final = codec.encode(self.plan)
        self.number: Final = next(_numbers)
        ops = self.plan.ops
        self.has_init: Final = any(isinstance(op, StartInit) for op in ops)
        self.limited: Final = any(isinstance(op, CreateCgroup) for op in ops)
        self._declared: Final = frozenset(op.number for op in ops if isinstance(op, KeepDescriptor))
        self._user = os.geteuid()
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

    def launch(self, *, wait: bool = True, later: bool = False) -> Watch:
        """A new sandbox that waits for its call; with `later` it is made in some milliseconds.

        Raises BlockingIOError instead of waiting for a server that has too many requests.
        """
        if self._user != os.geteuid():
            raise SandboxError(
                "this sandbox was made ready for another user",
                hint="make it after the program has changed its user",
            )
        channel = server.start(self.number, self.data, wait=wait, later=later)
        return Watch(channel, has_init=self.has_init, limited=self.limited)

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
        found.update(extra or {})
        return found

    def check(self, options: Options) -> None:
        """Whether a call passes what the profile declares. Raises SandboxError."""
        missing = sorted(self._declared - set(options.descriptors))
        if missing:
            raise SandboxError(
                f"the profile declares descriptor {missing[0]}, which the call doesn't pass",
                hint=f"pass it: descriptors={{{missing[0]}: file}}",
            )

    def call(
        self, command: Sequence[str], options: Options, streams: Streams, *, witness: bool = False
    ) -> Call:
        """Everything that a call hands over; what it opens for that is in `streams`.

        `witness` asks for a pipe that tells when a program without an init is executed.
        """
        for number, stream in enumerate(options.standard):
            streams.add(number, stream)
        streams.add_files(options.descriptors)
        if witness and not self.has_init:
            streams.add_witness()
        return Call(command, self.environ(options.env), streams.pairs, options.cwd or "")

    def check_started(self, watch: Watch, command: Sequence[str]) -> None:
        """Raises SetupError with the reason if the program of this sandbox can't be started."""
        if watch.lost:
            raise LostError(
                "the process that starts this program's sandboxes was killed, or can take no more",
                hint="'dmesg' tells whether memory ran out; 'ulimit -n' limits how many there can be",
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
        counted = watch.counted
        limit_hit = None
        if counted is not None and (code != 0 or not by_itself):
            limit_hit = _limit_hit(counted)
        if killed_for is None and not by_itself:
            killed_for = limit_hit or Cause.KILLED
        if killed_for is not None:
            code, signal = None, _SIGKILL
        natural = limit_hit or (Cause.EXITED if code is not None else Cause.SIGNALED)
        return Result(
            command=command,
            cause=killed_for or natural,
            exit_code=code,
            signal=signal,
            stdout=stdout,
            stderr=stderr,
            duration=watch.ended - watch.begun,
            usage=watch.usage,
            counted=counted,
            limit=limit if killed_for in {Cause.TIMEOUT, Cause.OUTPUT_LIMIT} else None,
        )


def _limit_hit(counted: Usage) -> Cause | None:
    """The limit of [resources] that may be why a program ended with an error."""
    if counted.oom_kills:
        return Cause.MEMORY
    return Cause.PIDS if counted.pids_limit_hits else None


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
