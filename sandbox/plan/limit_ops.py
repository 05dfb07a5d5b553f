"""Ops on the limits of a process, setrlimit(2)."""

from sandbox.plan.kernel import RLIMIT_WORDS, UNLIMITED
from sandbox.plan.record import Op


class SetRlimit(Op, frozen=True, kw_only=True):
    """A resource limit; 2**64-1 is unlimited."""

    KIND = 24
    resource: int
    soft: int
    hard: int

    def describe(self) -> str:
        soft, hard = (
            "unlimited" if value == UNLIMITED else str(value) for value in (self.soft, self.hard)
        )
        limit = soft if soft == hard else f"{soft}, can be raised to {hard}"
        return f"limit of {RLIMIT_WORDS[self.resource]}: {limit}"


class RaiseRlimit(Op, frozen=True, kw_only=True):
    """The caller's hard limit is made this one where it is lower; the soft one stays."""

    KIND = 72
    resource: int
    hard: int

    def describe(self) -> str:
        hard = "unlimited" if self.hard == UNLIMITED else str(self.hard)
        return f"allow a limit of {RLIMIT_WORDS[self.resource]} up to {hard}"
