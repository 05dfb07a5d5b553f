"""The op of service.health: what the supervisor looks at, and how often."""

from enum import IntEnum

from sandbox.plan.record import Op


class CheckBy(IntEnum):
    """Who looks."""

    COMMAND = 0
    PROBE = 1
    """sbx itself, from within the sandbox."""


class CheckHealth(Op, frozen=True, kw_only=True):
    """A check of the service; times in microseconds, `stops` 1 for an end of the unhealthy.

    `words` are the command's, or what csrc/probe.h takes.
    """

    KIND = 70
    by: int
    words: tuple[str, ...]
    interval: int
    timeout: int
    retries: int
    start_period: int
    stops: int

    def describe(self) -> str:
        what = " ".join(self.words if self.by == CheckBy.COMMAND else self._target())
        then = ", which ends it" if self.stops else ""
        return (
            f"check the service every {self.interval / 1_000_000:g} s: {what}; "
            f"unhealthy after {self.retries} failures in a row{then}"
        )

    def _target(self) -> tuple[str, ...]:
        kind, address, *rest = self.words
        if not rest:
            return (kind, address)
        host = f"[{address}]" if ":" in address else address
        return (kind, f"{host}:{rest[0]}", *(line.splitlines()[0] for line in rest[1:]))
