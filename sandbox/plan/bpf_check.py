"""Whether two filters give the same answers: both are run on chosen system calls.

The calls are every number that the decisions know and those beside the gaps, and for a call with
cases arguments that just meet and just miss each. tests/ compares filters on far more; this is what
is cheap enough to do whenever a filter is made.
"""

import struct
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Final

from sandbox.plan.bpf import AND_K, JA, JEQ_K, JGE_K, JSET_K, LD_ABS, RET_K
from sandbox.plan.libseccomp import Answers, blocks
from sandbox.plan.seccomp_policy import Arg, Case

_JGT_K: Final = 0x25
_FULL: Final = 0xFFFFFFFF
_MAX_POINTS: Final = 400
"""So many argument lists of a call are tried; of more, evenly chosen ones."""
Program = list[tuple[int, int, int, int]]


def decode(code: bytes) -> Program:
    """The instructions of a filter: opcode, both jump distances, constant."""
    return list(struct.iter_unpack("<HBBI", code))


def run(program: Program, words: Sequence[int]) -> int:
    """What a filter returns for a struct seccomp_data, given as 32-bit words."""
    place = accumulator = 0
    while True:
        opcode, held, failed, k = program[place]
        place += 1
        if opcode == JEQ_K:
            place += held if accumulator == k else failed
        elif opcode == JGE_K:
            place += held if accumulator >= k else failed
        elif opcode == _JGT_K:
            place += held if accumulator > k else failed
        elif opcode == LD_ABS:
            accumulator = words[k >> 2]
        elif opcode == AND_K:
            accumulator &= k
        elif opcode == JSET_K:
            place += held if accumulator & k else failed
        elif opcode == JA:
            place += k
        elif opcode == RET_K:
            return k
        else:
            raise ValueError(opcode)


def _points(arch: int, answers: Answers) -> Iterator[Sequence[int]]:
    nothing, everything = (0,) * 12, (_FULL,) * 12
    edges = {number + step for number in answers for step in (-1, 0, 1)} | {
        shift | low for shift in (0x40000000, 0x80000000) for low in (0, 1, 59, 520, 0x3FFFFFFF)
    }
    for number in sorted({edge & _FULL for edge in edges} | {0x3FFFFFFF, _FULL - 1, _FULL}):
        yield number, arch, 0, 0, *nothing
    for number in (0, 1, 11, 59, max(answers), 0x40000000):
        yield number, arch ^ 0x80000000, 0, 0, *nothing
    for number, (cases, _) in answers.items():
        if cases:
            yield number, arch, 0, 0, *everything
            points = list(dict.fromkeys(_arguments(cases)))
            for args in points[:: len(points) // _MAX_POINTS + 1]:
                yield number, arch, 0, 0, *args


def _arguments(cases: Sequence[Case]) -> Iterator[tuple[int, ...]]:
    """Arguments that meet each case, and such as miss it by one of its conditions."""
    for case in cases:
        met = {arg: list(blocks(arg)) for arg in case.conditions}
        if not all(met.values()):
            continue
        for fill, end in product((0, _FULL << 32 | _FULL), (0, -1)):
            args = [fill] * 6
            for arg, found in met.items():
                mask, value = found[end]
                args[arg.index] = value & mask | args[arg.index] & ~mask
            yield _words(args)
            for arg in case.conditions:
                for value in _near(arg):
                    yield _words([*args[: arg.index], value, *args[arg.index + 1 :]])


def _near(arg: Arg) -> set[int]:
    """The values of a condition and what is beside them, as a whole and in each half."""
    found: set[int] = set()
    for value in arg.numbers():
        flips = {1 << bit for bit in range(64) if arg.mask >> bit & 1}
        flips |= {1 << (arg.width - 1), 1 << 32, _FULL << 32}
        found |= {value, value + 1, value - 1, *(value ^ flip for flip in flips)}
        if arg.width == 64:
            high, low = value >> 32, value & _FULL
            highs, lows = (high - 1, high, high + 1), (0, low - 1, low + 1, _FULL)
            found |= {one << 32 | other & _FULL for one, other in product(highs, lows)}
    return {value & (1 << 64) - 1 for value in found}


def _words(args: Sequence[int]) -> tuple[int, ...]:
    return tuple([half for arg in args for half in (arg & _FULL, arg >> 32)])


def first_difference(one: bytes, two: bytes, arch: int, answers: Answers) -> tuple[int, ...] | None:
    """A struct seccomp_data, as words, for which the filters answer differently, if one is found."""
    first, second = decode(one), decode(two)
    for words in _points(arch, answers):
        if run(first, words) != run(second, words):
            return tuple(words)
    return None
