"""How a program in a sandbox has ended."""

import enum
import os
import signal as signals
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from sandbox.errors import EXIT_SANDBOX, EXIT_SIGNAL_BASE, SandboxError
from sandbox.process.ending import Usage as Counted
from sandbox.process.server import Usage

Output = TypeVar("Output", bytes, str)


class Cause(enum.Enum):
    """Why a program ended."""

    EXITED = "exited"
    """It ended by itself, with an exit code."""
    SIGNALED = "signaled"
    """A signal ended it: a fault of its own, one that was sent to it, a limit, the filter."""
    TIMEOUT = "timeout"
    """It took too long, and was killed with everything in its sandbox."""
    OUTPUT_LIMIT = "output limit"
    """It wrote more than it may, and was killed with everything in its sandbox."""
    MEMORY = "memory"
    """It ended with an error, and the kernel had killed a process of it for memory."""
    PIDS = "pids"
    """It ended with an error, and had been refused another process (resources.pids_max)."""
    KILLED = "killed"
    """Its sandbox was killed: by `kill()`, by the host for want of memory, by an operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result(Generic[Output]):
    """The end of a program: why, with which code or signal, and what it wrote.

    `exit_code` is None unless it exited, `signal` None unless one ended it. `stdout` and `stderr`
    are empty where they weren't captured. `duration` are the seconds from the call until nothing
    of the sandbox was left; `usage` sums up its processes but for those that it left behind, None
    if the account was lost.
    """

    command: tuple[str, ...]
    cause: Cause
    exit_code: int | None
    signal: signals.Signals | None
    stdout: Output
    stderr: Output
    duration: float
    usage: Usage | None = field(compare=False)
    limit: float | None = None
    """What was exceeded: seconds for TIMEOUT, bytes for OUTPUT_LIMIT."""
    counted: Counted | None = field(default=None, compare=False)
    """What the sandbox's control group has counted; None for a profile without [resources]."""

    @property
    def ok(self) -> bool:
        """Whether it exited with 0."""
        return self.exit_code == 0

    @property
    def returncode(self) -> int:
        """The same as one number, as subprocess has it: negative for a signal."""
        if self.exit_code is not None:
            return self.exit_code
        return -(self.signal or signals.SIGKILL)

    @property
    def reason(self) -> str:
        """The end in words: `exited with status 3`."""
        if self.cause in {Cause.MEMORY, Cause.PIDS}:
            return self._limited()
        if self.cause is Cause.EXITED:
            return f"exited with status {self.exit_code}"
        if self.cause is Cause.TIMEOUT:
            return f"took longer than {self.limit:g} s and was killed"
        if self.cause is Cause.OUTPUT_LIMIT:
            return f"wrote more than {self.limit:.0f} bytes and was killed"
        if self.cause is Cause.KILLED or self.signal is None:
            return "was killed with its whole sandbox, from outside"
        words = signals.strsignal(self.signal)
        why = ": the system call filter ended it" if self.signal is signals.SIGSYS else ""
        return f"was ended by {self.signal.name} ({words}){why}"

    def _limited(self) -> str:
        """Of a program that a limit of [resources] has ended, or may have."""
        how = (
            f"was ended by {self.signal.name}"
            if self.signal is not None
            else f"exited with status {self.exit_code}"
        )
        if self.cause is Cause.PIDS:
            return f"{how} after it was refused another process (resources.pids_max)"
        number = self.counted.oom_kills if self.counted else 1
        what = "a process of it was" if number == 1 else f"{number} processes of it were"
        return f"{how} after {what} killed for memory (resources.memory_max)"

    def check(self) -> "Result[Output]":
        """The result itself if the program exited with 0, else raises ExitError."""
        if not self.ok:
            raise ExitError(self)
        return self


class ExitError(SandboxError):
    """A program in a sandbox didn't exit with 0, and the caller had asked for that."""

    def __init__(self, result: "Result[bytes] | Result[str]") -> None:
        name = result.command[0] if result.command else "the program"
        tail = result.stderr
        text = tail.decode(errors="replace") if isinstance(tail, bytes) else tail
        last = text.strip().rpartition("\n")[2][:200]
        super().__init__(f"'{name}' {result.reason}" + (f": {last}" if last else ""))
        self.result = result
        code = result.exit_code
        self.exit_code = EXIT_SIGNAL_BASE - result.returncode if code is None else code
        if not 0 < self.exit_code < 256:
            self.exit_code = EXIT_SANDBOX


def code_and_signal(status: int) -> tuple[int | None, signals.Signals | None]:
    """A status of wait(2), taken apart."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return None, signals.Signals(number)
    return os.WEXITSTATUS(status), None
