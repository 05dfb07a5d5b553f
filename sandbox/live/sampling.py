"""What live sandboxes use, measured from one moment to the next."""

import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from sandbox.live import cgroups
from sandbox.live.processes import TICK, Family
from sandbox.live.records import Live

_US: Final = 1_000_000


class Sample(NamedTuple):
    """What one sandbox uses; None for what nobody counts."""

    live: Live
    source: str
    """`cgroup`, or `processes`: summed over what lives, so that shared memory counts repeatedly."""
    cpu_percent: float | None
    """Of one processor, since the sample before; None for a first one."""
    usage: cgroups.Usage
    pressure: dict[str, cgroups.Pressure]


class Sampler:
    """Takes samples, each with what was used since the one before."""

    def __init__(self) -> None:
        self._before: dict[tuple[str, int], tuple[float, int]] = {}

    def take(self, found: Sequence[Live]) -> list[Sample]:
        """A sample of each."""
        family: Family | None = None
        samples = []
        for live in found:
            directories = cgroups.own(live)
            usage = cgroups.usage(directories)
            source = "cgroup"
            if usage.memory is None or usage.cpu_us is None or usage.pids is None:
                # A cgroup for one controller doesn't count what belongs to another.
                family = family or Family()
                usage = _completed(usage, _summed(family, live.first))
                source = "cgroup" if directories else "processes"
            samples.append(
                Sample(
                    live, source, self._percent(live, usage), usage, cgroups.pressure(directories)
                )
            )
        return samples

    def _percent(self, live: Live, usage: cgroups.Usage) -> float | None:
        if usage.cpu_us is None:
            return None
        now = time.monotonic()
        key = (live.name, live.supervisor)
        before = self._before.get(key)
        self._before[key] = (now, usage.cpu_us)
        if before is None or now <= before[0]:
            return None
        # A process that has ended between the reads of two others may be missing for a moment.
        return max(usage.cpu_us - before[1], 0) / _US / (now - before[0]) * 100


def _summed(family: Family, first: int) -> cgroups.Usage:
    members = list(family.of(first))
    return cgroups.Usage(
        memory=sum(process.resident for process in members),
        cpu_us=sum(process.cpu_ticks for process in members) * _US // TICK,
        pids=sum(process.threads for process in members),
    )


def _completed(usage: cgroups.Usage, other: cgroups.Usage) -> cgroups.Usage:
    pairs = zip(usage, other, strict=True)
    return cgroups.Usage(*(mine if mine is not None else theirs for mine, theirs in pairs))


def as_fields(sample: Sample) -> dict[str, object]:
    """The same for a machine."""
    return {
        "name": sample.live.name,
        "state": sample.live.state,
        "source": sample.source,
        "cpu_percent": None if sample.cpu_percent is None else round(sample.cpu_percent, 2),
        **sample.usage._asdict(),
        "pressure": {name: each._asdict() for name, each in sample.pressure.items()},
    }
