"""How a sandbox has ended, and why, in words: the executor gives numbers only."""

import os
import signal
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec

from sandbox._core import ffi
from sandbox.errors import EXIT_ENDED, EXIT_SIGNAL_BASE
from sandbox.plan import ops, syscalls
from sandbox.plan.record import Plan
from sandbox.process.cgroup_words import MEMORY_FILES, PIDS_FILES, limit_index, value_words
from sandbox.process.kernel_log import killed_calls
from sandbox.process.launch import Failure, failure_of
from sandbox.profile.resolved import KeyPath, ResolvedProfile, key_text


class Cause(StrEnum):
    """Why a sandbox ended; `enum sbx_cause` in its order."""

    EXITED = "exited"
    SIGNALED = "signaled"
    MEMORY = "memory"
    PIDS = "pids"
    FILTER = "filter"
    TIMEOUT = "timeout"
    WATCHDOG = "watchdog"
    STOPPED = "stopped"
    FAILED = "failed"
    UNHEALTHY = "unhealthy"


CAUSES: Final = (None, *Cause)
QUIET: Final = frozenset({Cause.EXITED, Cause.SIGNALED, Cause.STOPPED, Cause.FAILED})
_MEASURED: Final = {"memory": 1, "cpu": 2, "pids": 4, "io": 8, "throttling": 16}


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a sandbox has used: seconds, bytes, and counts.

    `measured` names what its control group has counted ("memory", "cpu", "pids", "io",
    "throttling"). Of the rest getrusage(2) knows, for processes that were waited for;
    `memory_peak` is then that of the largest one.
    """

    duration: float
    user_time: float
    system_time: float
    memory_peak: int
    read_bytes: int
    write_bytes: int
    oom_kills: int
    memory_limit_hits: int
    pids_limit_hits: int
    pids_peak: int
    throttled_periods: int
    throttled_time: float
    measured: tuple[str, ...]


class End(msgspec.Struct, frozen=True, kw_only=True):
    """`struct sbx_exit`: `status` is that of wait(2), `left` an errno if a control group stayed."""

    status: int
    cause: Cause
    failure: Failure | None
    left: int
    usage: Usage

    @property
    def is_told(self) -> bool:
        """Whether people are told, who would only see an exit status."""
        return self.cause not in QUIET or self.left != 0

    @property
    def exit_status(self) -> int:
        """What sbx itself ends with for it."""
        if self.cause in {Cause.TIMEOUT, Cause.WATCHDOG, Cause.UNHEALTHY}:
            return EXIT_ENDED
        if os.WIFSIGNALED(self.status):
            return EXIT_SIGNAL_BASE + os.WTERMSIG(self.status)
        return os.waitstatus_to_exitcode(self.status)


def usage_of(raw: Any) -> Usage:
    """A `struct sbx_usage` as a value."""
    return Usage(
        duration=raw.wall_ns / 1e9,
        user_time=raw.user_us / 1e6,
        system_time=raw.system_us / 1e6,
        memory_peak=int(raw.memory_peak),
        read_bytes=int(raw.read_bytes),
        write_bytes=int(raw.write_bytes),
        oom_kills=int(raw.oom_kills),
        memory_limit_hits=int(raw.memory_limit_hits),
        pids_limit_hits=int(raw.pids_limit_hits),
        pids_peak=int(raw.pids_peak),
        throttled_periods=int(raw.throttled_periods),
        throttled_time=raw.throttled_us / 1e6,
        measured=tuple(name for name, bit in _MEASURED.items() if raw.measured & bit),
    )


def read_usage(data: bytes) -> Usage:
    """A `struct sbx_usage` as the server sends it. Raises ValueError."""
    raw = ffi.new("struct sbx_usage *")
    if len(data) != ffi.sizeof("struct sbx_usage"):
        raise ValueError("not what a sandbox has used")
    ffi.memmove(raw, data, len(data))
    return usage_of(raw)


def end_of(raw: Any) -> End:
    """A `struct sbx_exit` as a value."""
    return End(
        status=int(raw.status),
        cause=CAUSES[raw.cause] or Cause.FAILED,
        failure=failure_of(raw.failure) if raw.failure.stage else None,
        left=-int(raw.left),
        usage=usage_of(raw.usage),
    )


def read_end(data: bytes) -> End:
    """A `struct sbx_exit` as the launcher writes it. Raises ValueError."""
    raw = ffi.new("struct sbx_exit *")
    if len(data) != ffi.sizeof("struct sbx_exit"):
        raise ValueError("not the end of a sandbox")
    ffi.memmove(raw, data, len(data))
    return end_of(raw)


def plain_end(status: int) -> End:
    """An end of which the status of wait(2) is all that is known."""
    raw = ffi.new("struct sbx_exit *")
    raw.status = status
    raw.cause = CAUSES.index(Cause.SIGNALED if os.WIFSIGNALED(status) else Cause.EXITED)
    return end_of(raw)


class Statement(NamedTuple):
    """The profile's statement behind an end: its key, where it stands (`app.toml:12`), its value."""

    key: str
    where: str
    value: str

    def __str__(self) -> str:
        return f"{self.key} at {self.where}" if self.where else self.key


class Account(NamedTuple):
    """An end in words. `calls` are those that the filter may have killed for; one: it did."""

    reason: str
    statement: Statement | None = None
    calls: tuple[str, ...] = ()


def account(end: End, plan: Plan, resolved: ResolvedProfile | None) -> Account:
    """Why it ended, from the plan that was carried out and the profile that it was made from."""
    if end.cause is Cause.MEMORY:
        return _memory(end, plan, resolved)
    if end.cause is Cause.PIDS:
        return _pids(end, plan, resolved)
    if end.cause is Cause.FILTER:
        return _filtered(end, resolved)
    words = {
        Cause.TIMEOUT: "ended by sbx: a time of [service] was up",
        Cause.WATCHDOG: "ended by sbx: it gave no sign of life in time (service.watchdog)",
        Cause.UNHEALTHY: "ended by sbx: its checks failed (service.health)",
        Cause.STOPPED: "stopped on request",
    }
    return Account(words.get(end.cause) or status_words(end.status))


def status_words(status: int) -> str:
    """A status of wait(2): `exited with 3`, `ended by SIGTERM (Terminated)`."""
    if not os.WIFSIGNALED(status):
        return f"exited with {os.WEXITSTATUS(status)}"
    number = os.WTERMSIG(status)
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return f"ended by {name} ({signal.strsignal(number) or 'of no name'})"


def _statement(key: KeyPath, value: str, resolved: ResolvedProfile | None) -> Statement:
    place = resolved.origin(key) if resolved else None
    return Statement(key_text(key), str(place) if place else "", value)


def _limit(
    plan: Plan, files: tuple[str, ...], resolved: ResolvedProfile | None
) -> Statement | None:
    index = limit_index(plan, files)
    op = plan.ops[index] if index is not None else None
    if index is None or not isinstance(op, ops.SetCgroup):
        return None
    return _statement(plan.origins[index], value_words(op), resolved)


def _memory(end: End, plan: Plan, resolved: ResolvedProfile | None) -> Account:
    usage = end.usage
    limit = _limit(plan, MEMORY_FILES, resolved)
    peak = f"peak {usage.memory_peak / (1 << 20):.1f} MiB"
    own = limit is not None and usage.memory_limit_hits > 0
    why = f"limit {limit.value} ({limit}), {peak}" if own and limit else f"the host's, {peak}"
    if os.WIFSIGNALED(end.status) and os.WTERMSIG(end.status) == signal.SIGKILL:
        return Account(f"killed for memory: {why}", limit if own else None)
    many = usage.oom_kills > 1
    what = f"{usage.oom_kills} of its processes were" if many else "one of its processes was"
    reason = f"{status_words(end.status)} after {what} killed for memory: {why}"
    return Account(reason, limit if own else None)


def _pids(end: End, plan: Plan, resolved: ResolvedProfile | None) -> Account:
    limit = _limit(plan, PIDS_FILES, resolved)
    times = end.usage.pids_limit_hits
    often = "once" if times == 1 else f"{times} times"
    reason = f"{status_words(end.status)} after it was refused another process {often}"
    return Account(f"{reason}: limit {limit.value} ({limit})" if limit else reason, limit)


def _filtered(end: End, resolved: ResolvedProfile | None) -> Account:
    """The kernel tells a parent the signal and never the call: its log does, or the profile."""
    machine = os.uname().machine
    native = syscalls.AUDIT_ARCH.get(machine)
    rules = resolved.profile.seccomp.rules if resolved else ()
    killing = {rule.call: i for i, rule in enumerate(rules) if rule.action == "kill"}
    logged = set()
    for arch, number in killed_calls(end.usage.duration):
        name = syscalls.name(machine, number) if arch == native else None
        if name in killing:
            logged.add(name)
        elif name is None:
            logged.add(f"call {number} of another architecture")
    calls = tuple(sorted(logged or killing))
    if len(calls) != 1:
        what = (
            f"killed by the system call filter for one of {', '.join(calls)}"
            if calls
            else "ended by SIGSYS, which the system call filter sends"
        )
        return Account(f"{what}; 'sbx run --explain ...' names the call", None, calls)
    reason = f"killed by the system call filter for {calls[0]}"
    if calls[0] not in killing:
        return Account(reason, None, calls)
    statement = _statement(("seccomp", "rules", killing[calls[0]], "call"), calls[0], resolved)
    return Account(f"{reason} ({statement})", statement, calls)
