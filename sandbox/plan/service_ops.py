"""Ops of [service]: what the supervisor does for the payload while it lives."""

import signal
from enum import IntEnum

from sandbox.plan.kernel import size_words
from sandbox.plan.record import Op

UNBOUNDED = 2**64 - 1


class RunService(Op, frozen=True, kw_only=True):
    """The payload's life as a service; times in microseconds, UNBOUNDED for no bound."""

    KIND = 60
    notifies: int
    start_timeout: int
    watchdog: int
    stop_signal: int
    stop_timeout: int
    reload_signal: int
    runtime_max: int

    def describe(self) -> str:
        started = "has said READY=1" if self.notifies else "runs"
        stop = f"stopped by {signal.Signals(self.stop_signal).name}"
        parts = [f"a service: started once its program {started}{_within(self.start_timeout)}"]
        parts.append(f"{stop}, killed {_after(self.stop_timeout)}")
        if self.reload_signal:
            parts.append(f"reloaded by {signal.Signals(self.reload_signal).name}")
        if self.watchdog:
            parts.append(f"ended if WATCHDOG=1 is missing for {_seconds(self.watchdog)}")
        if self.runtime_max != UNBOUNDED:
            parts.append(f"ended after {_seconds(self.runtime_max)}")
        return "; ".join(parts)


class OpenNotify(Op, frozen=True, kw_only=True):
    """The socket that the payload finds as NOTIFY_SOCKET."""

    KIND = 61
    path: str
    from_all: int

    def describe(self) -> str:
        who = "every process in the sandbox" if self.from_all else "the main process"
        return f"{self.path} takes messages of sd_notify(3) from {who}"


class PassSockets(Op, frozen=True, kw_only=True):
    """Sockets of socket activation become the payload's; each name is there at least once."""

    KIND = 63
    names: tuple[str, ...]

    def describe(self) -> str:
        if not self.names:
            return "hand over the descriptors that the service has stored with its manager"
        return "hand over the sockets of socket activation: " + ", ".join(self.names)


class LogTo(IntEnum):
    """Where the payload's output is kept."""

    FILE = 1
    JOURNAL = 2


class KeepLog(Op, frozen=True, kw_only=True):
    """Standard output and error go to the supervisor; `size` is one file's, of `files`."""

    KIND = 64
    where: int
    size: int
    files: int

    def describe(self) -> str:
        if self.where == LogTo.JOURNAL:
            return "standard output and error go to the journal, under the sandbox's name"
        limit = f"{self.files} of at most {size_words(self.size)}"
        return f"standard output and error are kept in files, {limit}"


class MountSecrets(Op, frozen=True, kw_only=True):
    """Memory that is never swapped out, owned by the payload; `uid` and `gid` as numbered inside."""

    KIND = 65
    target: str
    uid: int
    gid: int

    def describe(self) -> str:
        return f"{self.target} is memory for secrets, read by user {self.uid} alone"


class SecretFrom(IntEnum):
    """Where a secret comes from."""

    CREDENTIAL = 1
    FILE = 2
    ENV = 3


class PlaceSecret(Op, frozen=True, kw_only=True):
    """A secret's content, read by the supervisor at each launch; `source` names where it is.

    Of a file's name links are followed in the first `trusted` bytes, 0 for all of it, as BindMount has it.
    """

    KIND = 66
    name: str
    origin: int
    source: str
    trusted: int = 0

    def describe(self) -> str:
        kinds = ("the credential", "the file", "the caller's variable")
        return f"secret {self.name} is what {kinds[self.origin - 1]} {self.source} has"


class AnnouncePayload(Op, frozen=True, kw_only=True):
    """Tells the supervisor which process is the main one."""

    KIND = 62

    def describe(self) -> str:
        return "tell the supervisor which process is the main one"


def _seconds(microseconds: int) -> str:
    return f"{microseconds / 1_000_000:g} s"


def _within(bound: int) -> str:
    return "" if bound == UNBOUNDED else f", within {_seconds(bound)}"


def _after(bound: int) -> str:
    return "never" if bound == UNBOUNDED else f"after {_seconds(bound)}"
