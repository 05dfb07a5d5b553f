"""Whether two filters give the same answers: both are run on chosen system calls.

The calls are every number that the decisions know and those beside the gaps, and for a call with
cases two points of each cube of its arguments: all free bits 0, and all 1. tests/ compares filters
on far more; this is what is cheap enough to do whenever a filter is made.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from sandbox.plan.bpf import AND_K, JA, JEQ_K, JGE_K, JSET_K, LD_ABS, RET_K
from sandbox.plan.libseccomp import partition
from sandbox.plan.seccomp_policy import Case

_JGT_K: Final = 0x25
_FULL: Final = 0xFFFFFFFF
_ARGS: Final = 4
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


def _points(
    arch: int, answers: Mapping[int, tuple[Sequence[Case], int]]
) -> Iterator[tuple[int, ...]]:
    nothing, everything = (0,) * 12, (_FULL,) * 12
    edges = {number + step for number in answers for step in (-1, 0, 1)} | {
        shift | low for shift in (0x40000000, 0x80000000) for low in (0, 1, 59, 520, 0x3FFFFFFF)
    }
    for number in sorted({edge & _FULL for edge in edges} | {0x3FFFFFFF, _FULL}):
        yield number, arch, 0, 0, *nothing
        yield number, arch ^ 0x80000000, 0, 0, *nothing
    for number, (cases, action) in answers.items():
        if not cases:
            yield number, arch, 0, 0, *everything
            continue
        for cube, _ in partition(cases, action):
            for fill in (0, _FULL << 32 | _FULL):
                words = [number, arch, 0, 0, *nothing]
                for index in range(6):
                    mask, value = cube.get(index, (0, 0))
                    filled = value | (fill & ~mask)
                    words[_ARGS + 2 * index] = filled & _FULL
                    words[_ARGS + 2 * index + 1] = filled >> 32
                yield tuple(words)


def first_difference(
    one: bytes, two: bytes, arch: int, answers: Mapping[int, tuple[Sequence[Case], int]]
) -> tuple[int, ...] | None:
    """A struct seccomp_data, as words, for which the filters answer differently, if one is found."""
    first, second = decode(one), decode(two)
    for words in _points(arch, answers):
        if run(first, words) != run(second, words):
            return words
    return None
