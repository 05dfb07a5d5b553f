"""Sizes, durations, limits and permission bits."""

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import units


@pytest.mark.parametrize(
    ("text", "number"),
    (
        (0, 0),
        (4096, 4096),
        ("4096", 4096),
        ("64K", 65536),
        ("512M", 512 << 20),
        ("1.5G", 3 << 29),
        ("0.3K", 307),
        ("2T", 2 << 40),
        ("1P", 1 << 50),
    ),
)
def test_sizes_are_powers_of_1024(text: int | str, number: int) -> None:
    assert units.size(text) == number


@pytest.mark.parametrize(
    ("text", "words"),
    (
        ("", "isn't a size"),
        ("M", "isn't a size"),
        ("-1", "isn't a size"),
        ("+1", "isn't a size"),
        (" 1", "isn't a size"),
        ("1.5", "isn't a size"),
        ("1.M", "isn't a size"),
        (".5M", "isn't a size"),
        ("0x10", "isn't a size"),
        ("1e3", "isn't a size"),
        ("\u0663", "isn't a size"),
        ("64MB", "write '64M'"),
        ("64 MiB", "write '64M'"),
        ("64m", "write '64M'"),
        (-1, "negative"),
        (2**63, "2**63 - 1"),
        ("8192P", "2**63 - 1"),
        ("9" * 5000, "more digits"),
    ),
)
def test_what_is_no_size_is_refused_in_words(text: int | str, words: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are looked at below
        units.size(text)
    assert words in str(caught.value)


@given(st.integers(0, 2**40), st.sampled_from("KMG"))
def test_a_unit_is_a_factor(number: int, unit: str) -> None:
    factor = {"K": 2**10, "M": 2**20, "G": 2**30}[unit]
    if number * factor < 2**63:
        assert units.size(f"{number}{unit}") == number * factor


@given(st.text(max_size=12))
def test_any_text_is_a_size_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert units.size(text) >= 0


@pytest.mark.parametrize(
    ("value", "in_bytes", "pair"),
    (
        (1024, False, (1024, 1024)),
        ("unlimited", False, (units.UNLIMITED, units.UNLIMITED)),
        ((1, "unlimited"), False, (1, units.UNLIMITED)),
        ([1024, 4096], False, (1024, 4096)),
        ("64M", True, (64 << 20, 64 << 20)),
        (["64M", "unlimited"], True, (64 << 20, units.UNLIMITED)),
        (0, True, (0, 0)),
    ),
)
def test_a_limit_is_one_number_or_soft_and_hard(
    value: object, in_bytes: bool, pair: tuple[int, int]
) -> None:
    assert units.limit(value, in_bytes=in_bytes) == pair


@pytest.mark.parametrize(
    ("value", "in_bytes"),
    (
        ("64M", False),
        (-1, False),
        (True, False),
        (1.5, True),
        ([1], True),
        ([1, 2, 3], True),
        ([2, 1], True),
        (["unlimited", 1], True),
        ("infinity", True),
        ({}, True),
        ([[1, 2], 3], True),
    ),
)
def test_what_is_no_limit_is_refused(value: object, in_bytes: bool) -> None:
    with pytest.raises(ValueError, match=r"."):
        units.limit(value, in_bytes=in_bytes)


def test_octal_takes_digits_up_to_a_maximum() -> None:
    assert units.octal("0755", maximum=0o7777) == 0o755
    assert units.octal("1777", maximum=0o7777) == 0o1777
    for text in ("", "0o755", "799", "-1", "777777", "\u0667"):
        with pytest.raises(ValueError, match="isn't octal"):
            units.octal(text, maximum=0o7777)
    with pytest.raises(ValueError, match="above 0777"):
        units.octal("1777", maximum=0o777)


@pytest.mark.parametrize(
    ("text", "microseconds"),
    (
        (0, 0),
        (30, 30_000_000),
        ("0s", 0),
        ("30s", 30_000_000),
        ("500ms", 500_000),
        ("7us", 7),
        ("5 min", 300_000_000),
        ("1h 30min", 5_400_000_000),
        ("1h30min", 5_400_000_000),
        ("1.5h", 5_400_000_000),
        ("2d", 172_800_000_000),
        ("0.0000001s", 0),
    ),
)
def test_durations_are_microseconds(text: int | str, microseconds: int) -> None:
    assert units.duration(text) == units.timeout(text) == microseconds


def test_only_a_timeout_may_be_infinite() -> None:
    assert units.timeout("infinity") == units.UNLIMITED
    with pytest.raises(ValueError, match="isn't a duration"):
        units.duration("infinity")


@pytest.mark.parametrize(
    ("text", "words"),
    (
        ("", "isn't a duration"),
        (" ", "isn't a duration"),
        ("s", "isn't a duration"),
        ("-1s", "isn't a duration"),
        ("1.s", "isn't a duration"),
        (".5s", "isn't a duration"),
        ("5m", "isn't a duration"),
        ("1  h", "isn't a duration"),
        ("1h\n", "isn't a duration"),
        ("\u0663s", "isn't a duration"),
        ("30", "without quotes"),
        (-1, "negative"),
        ("36501d", "100 years"),
        (2**80, "100 years"),
        ("9" * 5000 + "s", "isn't a duration"),
    ),
)
def test_what_is_no_duration_is_refused_in_words(text: int | str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        units.duration(text)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_parts_of_a_duration_add_up(seconds: int, milliseconds: int) -> None:
    both = units.duration(f"{seconds}s {milliseconds}ms")
    assert both == units.duration(seconds) + units.duration(f"{milliseconds}ms")


@pytest.mark.parametrize(
    ("value", "bound"),
    (
        ("max", None),
        (4096, 4096),
        ("512M", 512 << 20),
        ("20%", units.Share(200_000)),
        ("12.5%", units.Share(125_000)),
        ("100%", units.Share(1_000_000)),
    ),
)
def test_a_bound_on_memory_is_bytes_a_share_or_none(value: object, bound: object) -> None:
    assert units.memory(value) == bound


def test_a_share_is_of_the_whole() -> None:
    assert units.Share(125_000).of(8 << 30) == 1 << 30


@pytest.mark.parametrize("value", ("0%", "101%", "%", "-1%", "20 %", "x", True, 1.5, None, [], ""))
def test_what_is_no_bound_on_memory_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        units.memory(value)


@pytest.mark.parametrize(
    ("text", "quota"),
    (
        ("max", None),
        ("1 cpu", (100_000, 100_000)),
        ("1.5 cpus", (150_000, 100_000)),
        ("150%", (150_000, 100_000)),
        ("20%", (20_000, 100_000)),
        ("0.25%", (2_500, 1_000_000)),
        ("50000 200000", (50_000, 200_000)),
    ),
)
def test_processor_time_is_a_quota_in_a_period(text: str, quota: object) -> None:
    assert units.cpu_quota(text) == quota


@pytest.mark.parametrize(
    ("text", "words"),
    (
        ("2", "write '2 cpus'"),
        ("1.5", "write '1.5 cpus'"),
        ("two cpus", "doesn't start with a number"),
        ("0 cpus", "no less than 1000 microseconds"),
        ("0.01%", "no less than 1000 microseconds"),
        ("500 100000", "no less than 1000 microseconds"),
        ("1000 500", "the period is"),
        ("99999999999 cpus", "more processor time"),
        ("-1%", "doesn't start with a number"),
        ("", "isn't '1.5 cpus'"),
        ("1.5cpus", "isn't '1.5 cpus'"),
    ),
)
def test_what_is_no_processor_time_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        units.cpu_quota(text)


def test_a_list_of_numbers_is_read_and_written_as_the_kernel_does() -> None:
    assert units.number_list("0-3, 6,8,7") == {0, 1, 2, 3, 6, 7, 8}
    assert units.number_list_text([7, 6, 0, 2, 1, 9]) == "0-2,6-7,9"
    for text in ("", "a", "1-", "-1", "3-1", "0,,1", "9999", "0-99999999999999999999"):
        with pytest.raises(ValueError, match=r"."):
            units.number_list(text)


@given(st.frozensets(st.integers(0, 200), min_size=1))
def test_a_list_of_numbers_survives_being_written(numbers: frozenset[int]) -> None:
    assert units.number_list(units.number_list_text(numbers)) == numbers
