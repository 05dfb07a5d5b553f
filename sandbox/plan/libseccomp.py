"""The same decisions as filters of libseccomp's, compiled through pyseccomp with its binary tree.

libseccomp's rules have no order, and where two fit, which one counts is its own affair. So there is
one filter for each step of the decisions, in which all rules that can fit the same call have the
same action: the first cases of all calls, what comes after them, and at last the calls by number
alone. What no rule of a filter fits goes on to the next: its default action is a marker, and where
the exported program returns it, it jumps instead.

Half an argument can only be compared by MASKED_EQ, so other comparisons of it become several rules.
"""

import os
import struct
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby, product
from math import prod
from types import ModuleType
from typing import Any, Final

from sandbox.plan.bpf import JA, JEQ_K, JGE_K, LD_ABS, RET_K
from sandbox.plan.seccomp_policy import KILL, Arg, Case
from sandbox.plan.syscalls import AUDIT_ARCH, X32_BIT

BINARY_TREE: Final = 2
"""Value of SCMP_FLTATR_CTL_OPTIMIZE (libseccomp 2.5)."""
MAX_RULES: Final = 4096
_GO_ON: Final = 0x7FF0FFFF
"""SECCOMP_RET_TRACE with a number of its own: no policy can ask for that."""
_LAYOUT: Final = "<HBBI"
_NUMBER: Final = 0
_FULL: Final = 0xFFFFFFFF

Bits = tuple[int, int]
"""Which bits of an argument are fixed, and their values."""
Answers = Mapping[int, tuple[Sequence[Case], int]]
"""Cases and action by call number."""


class TooLargeError(Exception):
    """A case takes too many rules."""


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


def blocks(arg: Arg) -> Iterator[Bits]:
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


def _meet(one: Iterable[Bits], two: Iterable[Bits]) -> list[Bits]:
    """Blocks of what lies in both."""
    return [
        (mask | other_mask, value | other)
        for (mask, value), (other_mask, other) in product(one, two)
        if not (value ^ other) & mask & other_mask
    ]


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


def compile_reference(machine: str, answers: Answers, unknown: int) -> bytes:
    """A filter for these decisions; `unknown` is the action for numbers that aren't in them.

    Raises TooLargeError, OSError.
    """
    program = _export(machine, unknown, ((action, n, ()) for n, (_, action) in answers.items()))
    steps = {number: _steps(cases) for number, (cases, _) in answers.items() if cases}
    for place in reversed(range(max(map(len, steps.values()), default=0))):
        now = {number: found[place] for number, found in steps.items() if place < len(found)}
        rules = (
            (cases[0].action, number, conditions)
            for number, cases in now.items()
            for case in cases
            for conditions in _alternatives(case.conditions)
        )
        program = _then(_export(machine, _GO_ON, rules)) + program
    return program


def _steps(cases: Sequence[Case]) -> list[list[Case]]:
    """The cases in order, neighbours with the same action together."""
    return [list(same) for _, same in groupby(cases, key=lambda case: case.action)]


def _alternatives(conditions: Sequence[Arg]) -> Iterable[tuple[Any, ...]]:
    """Conditions of libseccomp's rules that together fit where all the given ones hold."""
    lib = load_pyseccomp()
    direct = {
        "eq": lib.EQ, "ne": lib.NE, "lt": lib.LT, "le": lib.LE, "gt": lib.GT, "ge": lib.GE,
    }  # fmt: skip
    choices: list[list[Any]] = []
    for index, found in groupby(sorted(conditions), key=lambda arg: arg.index):
        same = list(found)
        if len(same) == 1 and same[0].width == 64 and same[0].op in direct:
            choices.append([lib.Arg(index, direct[same[0].op], same[0].numbers()[0])])
            continue
        met: Iterable[Bits] = [(0, 0)]
        for arg in same:
            met = _meet(met, blocks(arg))
        choices.append([lib.Arg(index, lib.MASKED_EQ, mask, value) for mask, value in met])
    if prod(map(len, choices)) > MAX_RULES:
        raise TooLargeError
    return product(*choices)


def _export(machine: str, default: int, rules: Iterable[tuple[int, int, tuple[Any, ...]]]) -> bytes:
    lib = load_pyseccomp()
    made = lib.SyscallFilter(default)
    made.set_attr(lib.Attr.ACT_BADARCH, KILL)
    made.set_attr(lib.Attr.CTL_OPTIMIZE, BINARY_TREE)
    for action, number, conditions in rules:
        if action != default:
            made.add_rule_exactly(action, number, *conditions)
    descriptor = os.memfd_create("filter", os.MFD_CLOEXEC)
    with open(descriptor, "w+b", buffering=0) as file:
        made.export_bpf(file)
        file.seek(0)
        program = file.read()
    if lib.system_arch() & _FULL == AUDIT_ARCH[machine]:
        return program
    return _ported(program, machine)


def _ported(program: bytes, machine: str) -> bytes:
    """This machine's program as one for another, whose filters are only looked at here.

    libseccomp takes calls of other machines by name alone, and doesn't know all names. Rules are by
    number here, so only the head of a program differs: the architecture, and x86_64's test for x32.
    """
    code = list(struct.iter_unpack(_LAYOUT, program))
    _, yes, no, _ = code[1]
    code[1] = (JEQ_K, yes, no, AUDIT_ARCH[machine])
    number = (LD_ABS, 0, 0, _NUMBER)
    after = code.index(number) + 1 if number in code else 0
    opcode, yes, no, k = code[after]
    if (opcode, k) == (JGE_K, X32_BIT):
        code[after] = (opcode, yes, no, _FULL)
    if machine == "x86_64":
        x32 = [(JGE_K, 0, 2, X32_BIT), (JEQ_K, 1, 0, _FULL), (RET_K, 0, 0, KILL)]
        code = [(LD_ABS, 0, 0, _NUMBER), *x32, *code]
    return _encode(code)


def _then(program: bytes) -> bytes:
    """The program with a jump to its end in place of each return of the marker."""
    last = len(program) // 8 - 1
    return _encode(
        (JA, 0, 0, last - place) if (code, k) == (RET_K, _GO_ON) else (code, yes, no, k)
        for place, (code, yes, no, k) in enumerate(struct.iter_unpack(_LAYOUT, program))
    )


def _encode(program: Iterable[tuple[int, int, int, int]]) -> bytes:
    return b"".join(struct.pack(_LAYOUT, *instruction) for instruction in program)
