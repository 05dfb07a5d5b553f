"""Sizes, shares, durations, limits and permission bits as people write them."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

UNLIMITED = 2**64 - 1
"""RLIM_INFINITY of prlimit64(2)."""

_MAXIMUM = 2**63 - 1
_POWERS = {"K": 1, "M": 2, "G": 3, "T": 4, "P": 5}
_DIGITS = frozenset("0123456789")
_SECOND: Final = 1_000_000
_MICROSECONDS: Final = {
    "us": 1,
    "ms": 1000,
    "s": _SECOND,
    "min": 60 * _SECOND,
    "h": 3600 * _SECOND,
    "d": 86400 * _SECOND,
}
_SPAN: Final = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,18}))? ?([a-z]*)")
_LONGEST_DURATION: Final = 100 * 365 * 86400 * _SECOND


def size(value: int | str) -> int:
    """Bytes from a whole number, or from text such as `512M` or `1.5G`, in powers of 1024.

    A fraction of a byte is dropped. Raises ValueError in words for the user.
    """
    if isinstance(value, int):
        number = value
    else:
        unit = value[-1:]
        power = _POWERS.get(unit, 0)
        whole, dot, fraction = (value[:-1] if power else value).partition(".")
        if not _are_digits(whole) or (dot and not (power and _are_digits(fraction))):
            raise ValueError(_not_a_size(value))
        if len(whole) > 20 or len(fraction) > 20:
            raise ValueError(f"'{value[:24]}...' has more digits than any size needs")
        scale = 10 ** len(fraction)
        number = (int(whole) * scale + int(fraction or 0)) * 1024**power // scale
    if number < 0:
        raise ValueError(f"{number} is negative")
    if number > _MAXIMUM:
        raise ValueError("more than 2**63 - 1 bytes")
    return number


def duration(value: int | str) -> int:
    """Microseconds from whole seconds, or from text such as `30s`, `1.5h` or `1h 30min`.

    The units are us, ms, s, min, h and d. Raises ValueError in words for the user.
    """
    if isinstance(value, int):
        if value < 0:
            raise ValueError(f"{value} is negative")
        total = value * _SECOND
    else:
        total, end = 0, 0
        text = value.strip(" ")
        while end < len(text):
            span = _SPAN.match(text, end)
            factor = _MICROSECONDS.get(span[3]) if span else None
            if span is None or factor is None:
                raise ValueError(_not_a_duration(value))
            fraction = span[2] or ""
            total += int(span[1] + fraction) * factor // 10 ** len(fraction)
            end = span.end() + (text[span.end() : span.end() + 1] == " ")
        if not text:
            raise ValueError(_not_a_duration(value))
    if total > _LONGEST_DURATION:
        raise ValueError("more than 100 years")
    return total


def timeout(value: int | str) -> int:
    """The same, and `UNLIMITED` for the text `infinity`."""
    return UNLIMITED if value == "infinity" else duration(value)


def limit(value: object, *, in_bytes: bool) -> tuple[int, int]:
    """Soft and hard limit of setrlimit(2); `UNLIMITED` for the text `unlimited`.

    Takes a number, text, or a pair of them. Raises ValueError in words for the user.
    """
    if isinstance(value, list | tuple):
        if len(value) != 2:
            raise ValueError(f"a pair is [soft, hard]; this list holds {len(value)}")
        soft, hard = (_one_limit(part, in_bytes=in_bytes) for part in value)
        if soft > hard:
            raise ValueError("the soft limit is above the hard one")
        return soft, hard
    both = _one_limit(value, in_bytes=in_bytes)
    return both, both


class Share(NamedTuple):
    """A part of something whose size the profile doesn't know."""

    millionths: int

    def of(self, whole: int) -> int:
        return whole * self.millionths // 10**6


def memory(value: object) -> int | Share | None:
    """A bound on memory: bytes, a share of the machine's memory, or None for the text `max`.

    Raises ValueError in words for the user.
    """
    if value == "max":
        return None
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("expected a size such as '512M', a share such as '20%', or 'max'")  # noqa: TRY004
    if isinstance(value, str) and value.endswith("%"):
        share = Share(_percent(value))
        if not 0 < share.millionths <= 10**6:
            raise ValueError(
                f"'{value[:24]}' isn't above 0% and up to 100% of the machine's memory"
            )
        return share
    return size(value)


CPU_PERIOD: Final = 100_000
"""Microseconds over which the kernel measures a quota of processor time, unless told otherwise."""
_SHORTEST: Final = 1_000
_LONGEST_PERIOD: Final = 1_000_000
# MAX_BW of kernel/sched/sched.h.
_LARGEST_QUOTA: Final = 2**44 - 1


def cpu_quota(value: str) -> tuple[int, int] | None:
    """Processor time as (microseconds, in each period of as many); None for the text `max`.

    Takes `1.5 cpus`, `150%` (both of one processor), or the two numbers as cpu.max has them.
    Raises ValueError in words for the user.
    """
    number, blank, unit = value.partition(" ")
    if value == "max":
        return None
    if blank and _are_digits(number) and _are_digits(unit):
        quota, period = _whole(number), _whole(unit)
        if not _SHORTEST <= period <= _LONGEST_PERIOD:
            raise ValueError("the period is 1000 to 1000000 microseconds")
    elif unit in {"cpu", "cpus"} or value.endswith("%"):
        part = _percent(value) if value.endswith("%") else _millionths(number, value)
        # The kernel's shortest turn is a millisecond; a small part has it less often.
        period = CPU_PERIOD if part * CPU_PERIOD >= _SHORTEST * 10**6 else _LONGEST_PERIOD
        quota = part * period // 10**6
    else:
        hint = f"; write '{value} cpus'" if _are_digits(value.replace(".", "", 1)) else ""
        raise ValueError(f"'{value[:24]}' isn't '1.5 cpus', '150%' (of one cpu) or 'max'{hint}")
    if quota < _SHORTEST:
        raise ValueError("the kernel gives no less than 1000 microseconds in each period")
    if quota > _LARGEST_QUOTA:
        raise ValueError("more processor time than the kernel counts")
    return quota, period


def number_list(text: str) -> frozenset[int]:
    """Numbers of processors or memory nodes, such as `0-3,6`. Raises ValueError in words."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not _are_digits(first) or (dash and not _are_digits(last)) or len(part) > 16:
            raise ValueError(f"'{text[:24]}' isn't a list of numbers such as '0-3,6'")
        low, high = int(first), int(last or first)
        if high < low:
            raise ValueError(f"'{part.strip()}' goes down; write '{high}-{low}'")
        if high > _MOST_NUMBERS:
            raise ValueError(f"{high} is above {_MOST_NUMBERS}")
        found.update(range(low, high + 1))
    return frozenset(found)


def number_list_text(numbers: Iterable[int]) -> str:
    """The same as the kernel writes it: sorted, runs joined."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(f"{low}-{high}" if high > low else str(low) for low, high in runs)


_MOST_NUMBERS: Final = 8191
"""NR_CPUS of the largest kernels."""


def octal(text: str, *, maximum: int) -> int:
    """Permission bits from octal digits such as `0755`. Raises ValueError in words for the user."""
    if not text or len(text) > 5 or not set(text) <= set("01234567"):
        raise ValueError(f"'{text[:24]}' isn't octal digits such as '0755'")
    bits = int(text, 8)
    if bits > maximum:
        raise ValueError(f"'{text}' is above {maximum:04o}")
    return bits


def _one_limit(value: object, *, in_bytes: bool) -> int:
    if value == "unlimited":
        return UNLIMITED
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("expected a number, 'unlimited', or [soft, hard]")  # noqa: TRY004
    if isinstance(value, str) and not in_bytes:
        raise ValueError(f"'{value[:24]}' is neither a whole number nor 'unlimited'")
    return size(value)


def _percent(text: str) -> int:
    """In millionths."""
    return _millionths(text.removesuffix("%"), text) // 100


def _millionths(number: str, shown: str) -> int:
    whole, dot, fraction = number.partition(".")
    if not _are_digits(whole) or (dot and not _are_digits(fraction)) or len(number) > 20:
        raise ValueError(f"'{shown[:24]}' doesn't start with a number such as 1 or 1.5")
    return int(f"{whole}{fraction[:6]:0<6}")


def _whole(digits: str) -> int:
    if len(digits) > 20:
        raise ValueError(f"'{digits[:24]}...' has more digits than any limit needs")
    return int(digits)


def _are_digits(text: str) -> bool:
    return bool(text) and set(text) <= _DIGITS


def _not_a_duration(value: str) -> str:
    shown = f"'{value[:24]}' isn't a duration"
    if _are_digits(value.strip()):
        return (
            f"{shown}; write {value.strip()[:24]} without quotes for seconds, or a unit behind it"
        )
    return f"{shown} such as 30, '500ms', '30s', '5min' or '1h 30min'"


def _not_a_size(value: str) -> str:
    shown = f"'{value[:24]}' isn't a size"
    number = value.strip().rstrip("iIbB").strip()
    if number[-1:].upper() in _POWERS and _are_digits(number[:-1].strip()):
        return f"{shown}; write '{number[:-1].strip()}{number[-1:].upper()}'"
    return f"{shown} such as 65536, '64K', '512M' or '1.5G'"
