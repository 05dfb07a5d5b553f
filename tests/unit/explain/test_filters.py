"""The filters of a followed sandbox refuse what the profile's refuses, and stop for the tracer."""

import dataclasses
import platform
import struct
from typing import Any, Final

import pytest

from sandbox._core import ffi, lib
from sandbox.explain.calls import AT_EMPTY_PATH, MEMORY_WATCHES, WATCHES
from sandbox.explain.filters import TRACE, WATCHED, followed, original_op, traced, watches
from sandbox.plan import syscalls
from sandbox.plan.ops import Execute, InstallFilter
from sandbox.plan.record import Plan
from sandbox.process.traced import INSTRUCTION
from tests import bpf
from tests.oracle import edge_numbers
from tests.plans import ROOT, compiled, ops_of

MACHINES: Final = ("x86_64", "aarch64")
VECTORS: Final = ((0,) * 6, (1, 1, 1, 1, 1, 1), (2, 0x5412, 0, 0x1000, 1, 1), (0x10000000,) * 6)
STRICT: Final[dict[str, Any]] = {
    "seccomp": {
        "allow": ["@service"],
        "deny": ["@ipc"],
        "rules": [
            {"call": "mkdirat", "action": "deny", "errno": "EXDEV"},
            {"call": "getpid", "action": "kill"},
            {"call": "getuid", "action": "log"},
        ],
    }
}


def plan_of(machine: str, **tables: Any) -> Plan:
    return compiled(dataclasses.replace(ROOT, machine=machine), **tables)


def answer(program: bytes, machine: str, number: int, args: tuple[int, ...]) -> int:
    return bpf.Program(program).run(number, args, syscalls.AUDIT_ARCH[machine]).action


@pytest.mark.parametrize("machine", MACHINES)
def test_what_was_refused_stops_with_the_errno_and_nothing_else_changes(machine: str) -> None:
    (op,) = ops_of(plan_of(machine, **STRICT), InstallFilter)
    program = traced(op.program)
    assert len(program) == len(op.program)
    seen = set()
    for number in edge_numbers(machine):
        for args in VECTORS:
            before = answer(op.program, machine, number, args)
            after = answer(program, machine, number, args)
            if before & 0xFFFF0000 == bpf.ERRNO:
                assert after == TRACE | before & 0xFFFF
                assert before & 0xFFFF < WATCHED
            else:
                assert after == before
            seen.add(before)
    assert {bpf.ALLOW, bpf.KILL_PROCESS, bpf.LOG, bpf.ERRNO | 1, bpf.ERRNO | 18} <= seen


@pytest.mark.parametrize("machine", MACHINES)
def test_the_second_filter_stops_what_is_watched_and_refuses_nothing(machine: str) -> None:
    plan = plan_of(machine, **STRICT)
    watching, _ = ops_of(followed(plan, machine), InstallFilter)
    found = watches(plan, machine)
    for number in edge_numbers(machine):
        for args in VECTORS:
            got = answer(watching.program, machine, number, args)
            if number not in found:
                assert got == bpf.ALLOW
            elif not found[number].only:
                assert got == TRACE | WATCHED
            else:
                assert got in {bpf.ALLOW, TRACE | WATCHED}


@pytest.mark.parametrize("machine", MACHINES)
def test_the_tracer_knows_what_the_kernel_answers(machine: str) -> None:
    """It decides from the launch's own filters, since a payload may install more of them."""
    plan = followed(plan_of(machine, **STRICT), machine)
    programs = [op.program for op in ops_of(plan, InstallFilter)]
    buffers = [ffi.from_buffer("uint8_t[]", program) for program in programs]
    filters = ffi.new("struct sbx_filter[]", [(b, len(b) // INSTRUCTION) for b in buffers])
    arch = syscalls.AUDIT_ARCH[machine]
    seen = set()
    for number in edge_numbers(machine):
        for args in VECTORS:
            data = struct.pack("=IIQ6Q", number & bpf.MASK32, arch, 0, *args)
            got = lib.sbx_filters_answer(filters, len(programs), ffi.from_buffer(data))
            answers = [answer(program, machine, number, args) for program in reversed(programs)]
            assert got == min(answers, key=precedence)
            seen.add(got & 0xFFFF0000)
    assert {bpf.ALLOW, bpf.KILL_PROCESS, bpf.LOG, TRACE} == seen


def precedence(answer: int) -> int:
    """The least permissive answer is the least; of equal ones `min` takes the first."""
    action = answer & 0xFFFF0000
    return action - (1 << 32) if action >> 31 else action


@pytest.mark.parametrize(
    "program",
    (
        struct.pack("=HBBI", 0x20, 0, 0, 64),  # behind the data
        struct.pack("=HBBI", 0x20, 0, 0, 0xFFFFFFFF),
        struct.pack("=HBBI", 0x05, 0, 0, 0xFFFFFFFF),  # a jump behind the end
        struct.pack("=HBBI", 0x15, 255, 255, 0),
        struct.pack("=HBBI", 0x16, 0, 0, 0),  # another instruction
        b"",
    ),
)
def test_what_is_no_filter_kills(program: bytes) -> None:
    filters = ffi.new(
        "struct sbx_filter[]",
        [(ffi.from_buffer("uint8_t[]", program), len(program) // INSTRUCTION)],
    )
    got = lib.sbx_filters_answer(filters, 1, ffi.from_buffer(bytes(64)))
    assert got == bpf.KILL_PROCESS


@pytest.mark.parametrize(
    ("call", "args", "stops"),
    (
        ("newfstatat", (3, 0, 0, AT_EMPTY_PATH, 0, 0), False),
        ("newfstatat", (3, 0, 0, 0, 0, 0), True),
        ("mmap", (0, 4096, 5, 2, 3, 0), True),
        ("mmap", (0, 4096, 3, 2, 3, 0), False),
        ("mmap", (0, 4096, 5, 0x22, -1 & 0xFFFFFFFF, 0), False),
        ("sendto", (3, 0, 0, 0, 0, 0), False),
        ("sendto", (3, 0, 0, 0, 4096, 16), True),
        ("read", (0, 0, 0, 0, 0, 0), False),
        ("readlink", (0, 0, 0, 0, 0, 0), False),
        ("seccomp", (1, 0, 0, 0, 0, 0), False),
        ("seccomp", (1, 9, 0, 0, 0, 0), True),
        ("seccomp", (0x100000001, 8, 0, 0, 0, 0), True),
    ),
)
def test_hot_calls_run_at_full_speed(call: str, args: tuple[int, ...], stops: bool) -> None:
    watching, _ = ops_of(followed(plan_of("x86_64", **STRICT), "x86_64"), InstallFilter)
    number = syscalls.numbers("x86_64")[call]
    got = answer(watching.program, "x86_64", number, args)
    assert got == (TRACE | WATCHED if stops else bpf.ALLOW)


def test_memory_is_looked_at_only_where_it_is_limited() -> None:
    number = syscalls.numbers("x86_64")["mremap"]
    assert number not in watches(plan_of("x86_64", **STRICT), "x86_64")
    limited = plan_of("x86_64", **STRICT, rlimits={"as": "1G"})
    assert watches(limited, "x86_64")[number] == MEMORY_WATCHES["mremap"]


def test_the_profiles_filter_is_the_last_so_that_its_answer_counts() -> None:
    """Between equal answers the kernel takes that of the newest filter."""
    plan = plan_of("x86_64", **STRICT)
    whole = followed(plan, "x86_64")
    places = [n for n, op in enumerate(whole.ops) if isinstance(op, InstallFilter)]
    assert places == [len(whole.ops) - 3, len(whole.ops) - 2]
    assert isinstance(whole.ops[-1], Execute)
    (own,) = ops_of(plan, InstallFilter)
    assert whole.ops[places[1]] == InstallFilter(program=traced(own.program), flags=own.flags)


def test_without_a_filter_programs_of_other_machines_still_run() -> None:
    plan = plan_of("x86_64")
    (watching,) = ops_of(followed(plan, "x86_64"), InstallFilter)
    program = bpf.Program(watching.program)
    assert program.run(5, (0,) * 6, bpf.I386).action == bpf.ALLOW
    assert isinstance(followed(plan, "x86_64").ops[-1], Execute)


@pytest.mark.parametrize("tables", (STRICT, {}), ids=("filtered", "unfiltered"))
def test_an_op_of_the_followed_plan_is_found_in_the_plan(tables: dict[str, Any]) -> None:
    plan = plan_of("x86_64", **tables)
    whole = followed(plan, "x86_64")
    for index, op in enumerate(whole.ops):
        own = plan.ops[original_op(plan, index)]
        if not isinstance(op, InstallFilter):
            assert own == op


def test_every_watch_is_of_a_call_that_some_machine_has() -> None:
    assert set(WATCHES) <= syscalls.names()
    assert max(syscalls.numbers(platform.machine()).values()) < 512
