"""What every benchmark knows: where things are, what an error is, and the statistics of samples."""

import os
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

HERE: Final = os.path.dirname(os.path.abspath(__file__))
RESULTS: Final = os.path.join(HERE, "results")
PROFILE: Final = os.path.join(HERE, "profiles", "true.toml")


class BenchmarkError(Exception):
    """A command failed where it had to work, so that its times mean nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Statistics of samples in one unit, milliseconds unless the benchmark says otherwise."""

    median: float
    mad: float
    """Median absolute deviation from the median."""
    low: float
    high: float
    """The ends of the 95 % interval of the median, by bootstrap."""
    least: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure to reach."""

    name: str
    value: float
    reach: float
    at_least: bool = False
    """The value has to be at least the reach, not at most."""
    unit: str = ""

    @property
    def reached(self) -> bool:
        return self.value >= self.reach if self.at_least else self.value <= self.reach


def times(samples: Sequence[float]) -> Times:
    middle = statistics.median(samples)
    dice = random.Random(1)
    medians = sorted(statistics.median(dice.choices(samples, k=len(samples))) for _ in range(400))
    return Times(
        median=round(middle, 4),
        mad=round(statistics.median(abs(sample - middle) for sample in samples), 4),
        low=round(medians[10], 4),
        high=round(medians[-11], 4),
        least=round(min(samples), 4),
        count=len(samples),
    )
