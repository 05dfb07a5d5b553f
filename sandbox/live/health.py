"""The health of a live service, as its supervisor last saw it (csrc/health.h)."""

from typing import Final, Literal, NamedTuple, get_args

from sandbox.live.records import HEALTH, Live, opened, small_file

State = Literal["starting", "healthy", "unhealthy"]
_STATES: Final[dict[str, State]] = {state: state for state in get_args(State)}


class Health(NamedTuple):
    """What the checks of service.health have found."""

    state: State
    since_ns: int
    """When that began, in nanoseconds since the epoch."""
    failures: int
    """How many checks have failed in a row."""
    reason: str
    """Of the last check's failure, in words; empty if it succeeded."""


def health_of(live: Live) -> Health | None:
    """None where the service has no checks, or hasn't been started yet."""
    with opened(live.directory) as directory:
        fields = small_file(directory, HEALTH) if directory >= 0 else {}
    try:
        return Health(
            _STATES[fields["state"]],
            int(fields["since_ns"]),
            int(fields["failures"]),
            fields["reason"],
        )
    except (KeyError, ValueError):
        return None
