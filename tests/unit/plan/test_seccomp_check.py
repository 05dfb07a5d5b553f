"""What is done whenever a filter is made: the two programs are compared, and a difference stops it."""

import random
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.errors import SandboxError
from sandbox.plan import bpf, seccomp
from sandbox.plan.bpf_check import first_difference
from sandbox.plan.seccomp import Arg, Rule, SeccompPolicy, compile_compact
from sandbox.plan.syscalls import AUDIT_ARCH, numbers
from tests.bpf import InvalidProgramError, Program
from tests.oracle import argument_vectors, edge_numbers

ARCH = AUDIT_ARCH["x86_64"]
POLICY = SeccompPolicy(
    allow=("@service",),
    rules=(
        Rule(call="prctl", action="kill", args=(Arg(0, "in", (35, 22)), Arg(1, "gt", (5 << 32,)))),
        Rule(call="mkdir", action="deny", errno=2, args=(Arg(1, "ge", (0o1000,)),)),
    ),
)


def mutations(code: bytes, count: int) -> list[bytes]:
    """Programs that differ in one field of one instruction and that the kernel would still take."""
    dice = random.Random(7)
    instructions = list(struct.iter_unpack("<HBBI", code))
    found: list[bytes] = []
    while len(found) < count:
        place = dice.randrange(len(instructions))
        opcode, yes, no, k = instructions[place]
        changed = dice.choice(
            [
                (opcode, no, yes, k),
                (opcode, (yes + 1) & 0xFF, no, k),
                (opcode, yes, (no + 1) & 0xFF, k),
                (opcode, yes, no, (k + 1) & 0xFFFFFFFF),
                (opcode, yes, no, (k - 1) & 0xFFFFFFFF),
                (opcode, yes, no, k ^ 1 << dice.randrange(32)),
                ({0x15: 0x35, 0x35: 0x25, 0x45: 0x15}.get(opcode, opcode), yes, no, k),
            ]
        )
        if changed == instructions[place]:
            continue
        other = [*instructions[:place], changed, *instructions[place + 1 :]]
        raw = b"".join(struct.pack("<HBBI", *instruction) for instruction in other)
        try:
            Program(raw)
        except InvalidProgramError:
            continue
        found.append(raw)
    return found


def test_a_damaged_program_is_found_to_differ_wherever_it_does() -> None:
    """The short check finds all that a long one finds."""
    code = compile_compact(POLICY, "x86_64")
    right = Program(code)
    decisions = seccomp.decisions(POLICY, "x86_64")
    calls: list[tuple[int, tuple[int, ...]]] = [(number, ()) for number in edge_numbers("x86_64")]
    for known, number in numbers("x86_64").items():
        calls += [(number, args) for args in argument_vectors(POLICY, known, 60)[:60]]
    wanted = [right.run(number, args).action for number, args in calls]
    missed = []
    for raw in mutations(code, 300):
        wrong = Program(raw)
        found = first_difference(raw, code, ARCH, decisions)
        dense = [wrong.run(number, args).action for number, args in calls]
        if found is None and dense != wanted:
            place = next(i for i in range(0, len(raw), 8) if raw[i : i + 8] != code[i : i + 8])
            missed.append(
                (place // 8, right.instructions[place // 8], wrong.instructions[place // 8])
            )
    assert missed == []


def test_equal_programs_do_not_differ() -> None:
    code = compile_compact(POLICY, "x86_64")
    assert first_difference(code, code, ARCH, seccomp.decisions(POLICY, "x86_64")) is None


def test_a_compiler_that_is_wrong_stops_the_making_of_the_filter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = bpf.assemble

    def wrong(*args: object) -> bytes:
        code = right(*args)  # type: ignore[arg-type]
        return code.replace(struct.pack("<I", 0x541C), struct.pack("<I", 0x541D))

    monkeypatch.setattr(bpf, "assemble", wrong)
    with pytest.raises(SandboxError, match="differs from libseccomp's for ioctl"):
        seccomp.compile_filter(POLICY, "x86_64")


def test_without_libseccomp_the_error_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "pyseccomp.py").write_text("raise RuntimeError('Unable to find libseccomp')\n")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from sandbox.errors import UnsupportedError\n"
        "from sandbox.plan.seccomp import SeccompPolicy, compile_filter\n"
        "try: compile_filter(SeccompPolicy(), 'x86_64')\n"
        "except UnsupportedError as error: print(error.message, '|', error.hint)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == (
        "pyseccomp can't be loaded: Unable to find libseccomp | "
        "install libseccomp (apt-get install libseccomp2)\n"
    )
