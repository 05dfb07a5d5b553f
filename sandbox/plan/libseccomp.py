"""The same decisions as a filter of libseccomp's, compiled through pyseccomp with its binary tree.

libseccomp adds rules without an order and knows neither "all but" nor comparisons of half an
argument. So the cases of a call are cut into cubes first: conjunctions of "these bits have these
values" that don't overlap and together cover all arguments. Each becomes one rule of MASKED_EQ.
"""

import os
import struct
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from types import ModuleType
from typing import Any, Final

from sandbox.plan.bpf import JEQ_K, JGE_K, LD_ABS, RET_K
from sandbox.plan.seccomp_policy import KILL, Arg, Case
from sandbox.plan.syscalls import AUDIT_ARCH, X32_BIT

BINARY_TREE: Final = 2
"""Value of SCMP_FLTATR_CTL_OPTIMIZE (libseccomp 2.5)."""
MAX_CUBES: Final = 4000
MINUS_ONE: Final = 0xFFFFFFFF
"""The number -1: a tracer's way to skip a call, and the one above X32_BIT that isn't x32's."""
_NUMBER, _ARCH = 0, 4

Bits = tuple[int, int]
Cube = dict[int, Bits]
"""Mask and value of the bits that are fixed, by argument."""


class TooLargeError(Exception):
    """The cases of a call fall into too many cubes."""


def _prefixes(low: int, high: int, width: int) -> Iterator[Bits]:
    """The numbers from `low` to `high` as aligned blocks."""
    full = (1 << width) - 1
    while low <= high:
        size = low & -low if low else 1 << width
        while low + size - 1 > high:
            size >>= 1
        yield full & ~(size - 1), low
        low += size


def _others(values: Sequence[int], width: int) -> Iterator[Bits]:
    start = 0
    for value in sorted(set(values)):
        yield from _prefixes(start, value - 1, width)
        start = value + 1
    yield from _prefixes(start, (1 << width) - 1, width)


def _other_bits(mask: int, value: int) -> Iterator[Bits]:
    """The numbers whose bits in `mask` aren't `value`, split by the highest bit that differs."""
    equal = 0
    for bit in (1 << place for place in reversed(range(mask.bit_length())) if mask >> place & 1):
        yield equal | bit, (value & equal) | (~value & bit)
        equal |= bit


def _bits(arg: Arg) -> Iterator[Bits]:
    """The values that meet a condition, as blocks that don't overlap."""
    full, values = arg.limit(), arg.numbers()
    mask = arg.mask & full
    match arg.op:
        case "eq" | "in":
            yield from ((full, value) for value in sorted(set(values)))
        case "ne":
            yield from _others(values, arg.width)
        case "masked-eq":
            if not values[0] & ~mask:
                yield mask, values[0]
        case "masked-ne":
            yield from _other_bits(mask, values[0])
        case "ge":
            yield from _prefixes(values[0], full, arg.width)
        case "gt":
            yield from _prefixes(values[0] + 1, full, arg.width)
        case "le":
            yield from _prefixes(0, values[0], arg.width)
        case "lt":
            yield from _prefixes(0, values[0] - 1, arg.width)


def _meet(one: Cube, two: Cube) -> Cube | None:
    """What lies in both cubes."""
    both = dict(one)
    for index, (mask, value) in two.items():
        old_mask, old_value = both.get(index, (0, 0))
        if (old_value ^ value) & old_mask & mask:
            return None
        both[index] = (old_mask | mask, old_value | value)
    return both


def _without(cube: Cube, hole: Cube) -> Iterator[Cube]:
    """What lies in `cube` and not in `hole`, which meet."""
    rest = dict(cube)
    for index, (mask, value) in hole.items():
        old_mask, old_value = rest.get(index, (0, 0))
        for extra, flipped in _other_bits(mask & ~old_mask, value & ~old_mask):
            yield rest | {index: (old_mask | extra, old_value | flipped)}
        rest[index] = (old_mask | mask, old_value | value)


def _conjunction(conditions: Sequence[Arg]) -> list[Cube]:
    cubes: list[Cube] = [{}]
    for arg in conditions:
        pairs = ((cube, bits) for cube in cubes for bits in _bits(arg))
        met = (_meet(cube, {arg.index: bits}) for cube, bits in pairs)
        cubes = [cube for cube in met if cube is not None]
        if len(cubes) > MAX_CUBES:
            raise TooLargeError
    return cubes


def partition(cases: Sequence[Case], action: int) -> list[tuple[Cube, int]]:
    """Cubes that don't overlap and cover everything, each with its answer."""
    answers: list[tuple[Cube, int]] = []
    remaining: list[Cube] = [{}]
    for case in cases:
        for hole in _conjunction(case.conditions):
            rest: list[Cube] = []
            for cube in remaining:
                met = _meet(cube, hole)
                if met is None:
                    rest.append(cube)
                else:
                    answers.append((met, case.action))
                    rest += _without(cube, hole)
            remaining = rest
            if len(remaining) + len(answers) > MAX_CUBES:
                raise TooLargeError
    return answers + [(cube, action) for cube in remaining]


@cache
def load_pyseccomp() -> ModuleType:
    """pyseccomp, which needs the shared library libseccomp.so.2.

    It asks ctypes.util for the names of libc and libseccomp; that costs 30 ms in imports and in
    runs of ldconfig and gcc, which a host may not have. Their names are part of the ABI, so they
    are given here; where they don't fit (musl), pyseccomp searches itself.
    """
    if "pyseccomp" in sys.modules:
        return sys.modules["pyseccomp"]
    import ctypes
    import importlib

    known = {"c": "libc.so.6", "seccomp": "libseccomp.so.2"}
    package: Any = ctypes
    stand_in: Any = ModuleType("ctypes.util")
    stand_in.find_library = known.get
    real = sys.modules.get("ctypes.util")
    sys.modules["ctypes.util"] = package.util = stand_in
    try:
        return importlib.import_module("pyseccomp")
    except OSError:
        pass
    finally:
        del sys.modules["ctypes.util"], package.util
        if real is not None:
            sys.modules["ctypes.util"] = package.util = real
    return importlib.import_module("pyseccomp")


def compile_reference(
    machine: str, answers: Mapping[int, tuple[Sequence[Case], int]], refusal: int, unknown: int
) -> bytes:
    """A filter for these decisions, by libseccomp. Raises TooLargeError, OSError.

    `answers` holds cases and action by call number, `unknown` is the action for all others and
    `refusal` the commonest one in `answers`. libseccomp has one default for the calls it was told
    nothing of, and `refusal` is that: so a few instructions before its program answer the numbers
    that aren't in `answers`.
    """
    lib = load_pyseccomp()
    rules = lib.SyscallFilter(refusal)
    rules.set_attr(lib.Attr.ACT_BADARCH, KILL)
    rules.set_attr(lib.Attr.CTL_OPTIMIZE, BINARY_TREE)
    for number, (cases, action) in sorted(answers.items()):
        if not cases:
            if action != refusal:
                rules.add_rule_exactly(action, number)
            continue
        for cube, answer in partition(cases, action):
            if answer != refusal:
                args = (
                    lib.Arg(index, lib.MASKED_EQ, mask, value)
                    for index, (mask, value) in sorted(cube.items())
                    if mask
                )
                rules.add_rule_exactly(answer, number, *args)
    descriptor = os.memfd_create("filter", os.MFD_CLOEXEC)
    with open(descriptor, "w+b", buffering=0) as file:
        rules.export_bpf(file)
        file.seek(0)
        program = file.read()
    # libseccomp takes calls of other machines by the name alone, and doesn't know all names. Rules
    # are by number here, so its program for this machine needs only the other's architecture.
    here, there = lib.system_arch() & 0xFFFFFFFF, AUDIT_ARCH[machine]
    if here != there:
        compare = struct.Struct("<HBBI")
        program = b"".join(
            compare.pack(code, yes, no, there if code == JEQ_K and k == here else k)
            for code, yes, no, k in compare.iter_unpack(program)
        )
    return _unknown_first(machine, answers, unknown) + program


def _unknown_first(machine: str, numbers: Iterable[int], unknown: int) -> bytes:
    """Instructions that answer native calls whose number isn't one of `numbers`."""
    holes: list[tuple[int, int]] = []
    following = 0
    for number in sorted(numbers):
        if number > following:
            holes.append((following, number))
        following = number + 1
    end = X32_BIT if machine == "x86_64" else MINUS_ONE
    holes += [(following, end), (MINUS_ONE, MINUS_ONE + 1)]
    program = [(LD_ABS, 0, 0, _ARCH), (JEQ_K, 0, 3 * len(holes) + 1, AUDIT_ARCH[machine])]
    program.append((LD_ABS, 0, 0, _NUMBER))
    for start, end in holes:
        inside = (JGE_K, 1, 0, end) if end <= MINUS_ONE else (JGE_K, 0, 0, 0)
        program += [(JGE_K, 0, 2, start), inside, (RET_K, 0, 0, unknown)]
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in program)
