"""Which of two limits of [resources] leaves less: what a seal on them has to know."""

from typing import Any, Final

from sandbox import units
from sandbox.profile.resolved import KeyPath

_MEMORY: Final = frozenset({"memory_max", "memory_high", "memory_swap_max"})
_SETS: Final = frozenset({"cpuset_cpus", "cpuset_mems"})
_RATES: Final = ("rbps", "wbps", "riops", "wiops")


def is_narrower(path: KeyPath, value: Any, before: Any) -> bool:
    """Whether `value` of the key at `path` leaves no more than `before`, None where it wasn't set.

    Sizes and shares of the machine's memory can't be told apart without a machine: false.
    """
    key = str(path[1])
    if before is None or before == "max":
        return True
    if key == "cgroup":
        return bool(value)
    if key == "io_max":
        return all(_at_most(value.get(rate, "max"), before.get(rate, "max")) for rate in _RATES)
    if key in _SETS:
        return units.number_list(value) <= units.number_list(before)
    if value == "max":
        return False
    if key in _MEMORY:
        mine, theirs = units.memory(value), units.memory(before)
        return type(mine) is type(theirs) and mine <= theirs  # type: ignore[operator]
    if key == "cpu_max":
        return _share(value) <= _share(before)
    return bool(value <= before)


def _at_most(value: int | str, before: int | str) -> bool:
    if before == "max":
        return True
    return value != "max" and units.size(value) <= units.size(before)


def _share(text: str) -> float:
    quota = units.cpu_quota(text)
    return quota[0] / quota[1] if quota else float("inf")
