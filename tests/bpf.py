"""Classic BPF as the kernel takes it for seccomp: a checker and an interpreter, strict about both.

Written from Documentation/networking/filter.rst, bpf_check_classic (net/core/filter.c) and
seccomp_check_filter (kernel/seccomp.c); it shares nothing with the code under test.
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple

X86_64 = 0xC000003E
I386 = 0x40000003
AARCH64 = 0xC00000B7
ARM = 0x40000028

ALLOW = 0x7FFF0000
LOG = 0x7FFC0000
KILL_PROCESS = 0x80000000
ERRNO = 0x00050000

MASK32 = 0xFFFFFFFF
MASK64 = 0xFFFFFFFFFFFFFFFF
_DATA_SIZE = 64
_MEMORY_WORDS = 16
_MAX_INSTRUCTIONS = 4096

_LD_ABS, _LD_LEN, _LD_IMM, _LD_MEM = 0x20, 0x80, 0x00, 0x60
_LDX_LEN, _LDX_IMM, _LDX_MEM = 0x81, 0x01, 0x61
_ST, _STX, _TAX, _TXA = 0x02, 0x03, 0x07, 0x87
_RET_K, _RET_A = 0x06, 0x16
_JA = 0x05
_JUMPS = {0x10: "eq", 0x20: "gt", 0x30: "ge", 0x40: "set"}
_ALU = {0x00: "+", 0x10: "-", 0x20: "*", 0x30: "/", 0x40: "|", 0x50: "&", 0x60: "<<", 0x70: ">>"}
_ALU |= {0xA0: "^"}
_NEG = 0x84
_CLASS_ALU, _CLASS_JUMP = 0x04, 0x05
_FROM_X = 0x08


class InvalidProgramError(Exception):
    """The kernel would refuse the program."""


class Instruction(NamedTuple):
    """struct sock_filter."""

    code: int
    jt: int
    jf: int
    k: int


class Result(NamedTuple):
    """What a filter returned, and how many instructions that took."""

    action: int
    steps: int


class Program:
    """A program that the kernel would take. Raises InvalidProgramError if it wouldn't.

    `limit` is how many instructions are too many; only a program that is never loaded has more.
    """

    def __init__(self, raw: bytes, limit: int = _MAX_INSTRUCTIONS) -> None:
        if len(raw) % 8:
            raise InvalidProgramError("not a whole number of instructions")
        self.instructions = [Instruction(*item) for item in struct.iter_unpack("<HBBI", raw)]
        if not 0 < len(self.instructions) <= limit:
            raise InvalidProgramError(f"{len(self.instructions)} instructions")
        for place, instruction in enumerate(self.instructions):
            self._check(place, instruction)
        if self.instructions[-1].code not in (_RET_K, _RET_A):
            raise InvalidProgramError("the last instruction doesn't return")
        self._check_memory()

    def _check(self, place: int, instruction: Instruction) -> None:
        code, jt, jf, k = instruction
        rest = len(self.instructions) - place - 1
        if code == _LD_ABS:
            if k % 4 or k >= _DATA_SIZE:
                raise InvalidProgramError(f"{place}: loads at {k}")
        elif code in (_LD_MEM, _LDX_MEM, _ST, _STX):
            if k >= _MEMORY_WORDS:
                raise InvalidProgramError(f"{place}: memory word {k}")
        elif code & 0x07 == _CLASS_JUMP:
            if code == _JA:
                if k >= rest:
                    raise InvalidProgramError(f"{place}: jumps {k} of {rest}")
            elif code & 0xF0 not in _JUMPS or code & ~0xFD & 0xFF not in (0, 2):
                raise InvalidProgramError(f"{place}: opcode {code:#x}")
            elif jt >= rest or jf >= rest:
                raise InvalidProgramError(f"{place}: jumps {jt}, {jf} of {rest}")
        elif code & 0x07 == _CLASS_ALU:
            if code != _NEG and code & 0xF0 not in _ALU:
                raise InvalidProgramError(f"{place}: opcode {code:#x}")
            if code == 0x34 and k == 0:
                raise InvalidProgramError(f"{place}: division by zero")
            if code in (0x64, 0x74) and k >= 32:
                raise InvalidProgramError(f"{place}: shift by {k}")
        elif code not in (
            _LD_LEN, _LD_IMM, _LDX_LEN, _LDX_IMM, _TAX, _TXA, _RET_K, _RET_A,
        ):  # fmt: skip
            raise InvalidProgramError(f"{place}: opcode {code:#x}")

    def _check_memory(self) -> None:
        """Every path stores a memory word before it loads it."""
        everything = (1 << _MEMORY_WORDS) - 1
        stored = [everything] * (len(self.instructions) + 1)
        valid = 0
        for place, (code, jt, jf, k) in enumerate(self.instructions):
            valid &= stored[place]
            if code in (_ST, _STX):
                valid |= 1 << k
            elif code in (_LD_MEM, _LDX_MEM) and not valid >> k & 1:
                raise InvalidProgramError(f"{place}: loads memory that nothing stored")
            elif code == _JA:
                stored[place + 1 + k] &= valid
                valid = everything
            elif code & 0x07 == _CLASS_JUMP:
                stored[place + 1 + jt] &= valid
                stored[place + 1 + jf] &= valid
                valid = everything

    def __len__(self) -> int:
        return len(self.instructions)

    def run(
        self, number: int, args: Sequence[int] = (), arch: int = X86_64, pointer: int = 0
    ) -> Result:
        """What the program says of a call; arguments left out are 0."""
        filled = [*args, *[0] * (6 - len(args))]
        data = struct.pack(
            "<IIQ6Q", number & MASK32, arch, pointer, *(arg & MASK64 for arg in filled)
        )
        return self._interpret(struct.unpack("<16I", data))

    def _interpret(self, words: Sequence[int]) -> Result:
        a = x = place = steps = 0
        memory = [0] * _MEMORY_WORDS
        while True:
            code, jt, jf, k = self.instructions[place]
            place += 1
            steps += 1
            operand = x if code & _FROM_X else k
            if code == _LD_ABS:
                a = words[k // 4]
            elif code == _RET_K:
                return Result(k, steps)
            elif code == _JA:
                place += k
            elif code & 0x07 == _CLASS_JUMP:
                place += jt if _holds(_JUMPS[code & 0xF0], a, operand) else jf
            elif code == _NEG:
                a = -a & MASK32
            elif code & 0x07 == _CLASS_ALU:
                if code == 0x3C and x == 0:
                    return Result(0, steps)
                a = _compute(_ALU[code & 0xF0], a, operand)
            elif code == _RET_A:
                return Result(a, steps)
            elif code in (_LD_LEN, _LDX_LEN):
                a, x = (_DATA_SIZE, x) if code == _LD_LEN else (a, _DATA_SIZE)
            elif code in (_LD_IMM, _LD_MEM):
                a = k if code == _LD_IMM else memory[k]
            elif code in (_LDX_IMM, _LDX_MEM):
                x = k if code == _LDX_IMM else memory[k]
            elif code in (_ST, _STX):
                memory[k] = a if code == _ST else x
            else:
                a, x = (a, a) if code == _TAX else (x, x)


def _holds(comparison: str, a: int, b: int) -> bool:
    return {"eq": a == b, "gt": a > b, "ge": a >= b, "set": bool(a & b)}[comparison]


def _compute(operation: str, a: int, b: int) -> int:
    match operation:
        case "+":
            return (a + b) & MASK32
        case "-":
            return (a - b) & MASK32
        case "*":
            return (a * b) & MASK32
        case "/":
            return a // b
        case "|":
            return a | b
        case "&":
            return a & b
        case "<<":
            return (a << (b & 31)) & MASK32
        case ">>":
            return a >> (b & 31)
        case _:
            return a ^ b
