"""The plan of a launch that is followed: the same sandbox, with calls that stop for the tracer.

The profile's filter stays instruction for instruction; only what it answers to a refused call
becomes SECCOMP_RET_TRACE with the errno as data. A second filter answers it for calls that are to
be looked at. Of several filters the least permissive answer counts and between equal ones the
newest filter's (seccomp(2)), so the profile's is installed last. Without a tracer the kernel
answers ENOSYS: what was refused stays refused.
"""

import struct
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from sandbox.explain.calls import MEMORY_WATCHES, WATCHES, Watch
from sandbox.plan import bpf, syscalls
from sandbox.plan.kernel import RLIMITS
from sandbox.plan.ops import Execute, InstallFilter, SetRlimit
from sandbox.plan.record import Op, Plan
from sandbox.plan.seccomp_policy import ALLOW, ERRNO, ERRNO_MASK, KILL, Case
from sandbox.profile.resolved import KeyPath

TRACE: Final = 0x7FF00000
WATCHED: Final = 0x8000
"""The data of a call that is looked at when it has ended; SBX_TRACE_WATCHED of csrc/trace.h."""

_INSTRUCTION: Final = struct.Struct("<HBBI")


def watches(plan: Plan, machine: str) -> Mapping[int, Watch]:
    """By call number: what is looked at in a sandbox of this plan."""
    numbers = syscalls.numbers(machine)
    found = {numbers[name]: watch for name, watch in WATCHES.items() if name in numbers}
    limited = {op.resource for op in plan.ops if isinstance(op, SetRlimit)}
    if limited & {RLIMITS["as"], RLIMITS["data"]}:
        for name, watch in MEMORY_WATCHES.items():
            if name in numbers:
                found[numbers[name]] = watch
    return found


def followed(plan: Plan, machine: str) -> Plan:
    """The plan with filters that stop calls for a tracer."""
    unfiltered = not any(isinstance(op, InstallFilter) for op in plan.ops)
    watching = InstallFilter(program=_watching(plan, machine, unfiltered=unfiltered), flags=0)
    ops: list[Op] = []
    origins: list[KeyPath] = []
    for op, origin in zip(plan.ops, plan.origins, strict=True):
        if isinstance(op, InstallFilter) or (unfiltered and isinstance(op, Execute)):
            ops.append(watching)
            origins.append(())
        if isinstance(op, InstallFilter):
            ops.append(InstallFilter(program=traced(op.program), flags=op.flags))
        else:
            ops.append(op)
        origins.append(origin)
    return msgspec.structs.replace(plan, ops=tuple(ops), origins=tuple(origins))


def original_op(plan: Plan, index: int) -> int:
    """The op of `plan` that an op of its followed form stands for."""
    kinds = (InstallFilter, Execute)
    added = next((n for n, op in enumerate(plan.ops) if isinstance(op, kinds)), len(plan.ops))
    return index - 1 if index > added else index


def traced(program: bytes) -> bytes:
    """A filter that stops for the tracer where `program` refuses with an errno."""
    return _answering(program, lambda k: TRACE | k & ERRNO_MASK if k & ~ERRNO_MASK == ERRNO else k)


def _answering(program: bytes, answer: Callable[[int], int]) -> bytes:
    out = bytearray()
    for code, jt, jf, k in _INSTRUCTION.iter_unpack(program):
        out += _INSTRUCTION.pack(code, jt, jf, answer(k) if code == bpf.RET_K else k)
    return bytes(out)


def _watching(plan: Plan, machine: str, *, unfiltered: bool) -> bytes:
    """Answers WATCHED to what is looked at, and allows everything else."""
    stop = TRACE | WATCHED
    answers = {
        number: (tuple(Case(args, stop, "") for args in watch.only), ALLOW if watch.only else stop)
        for number, watch in watches(plan, machine).items()
    }
    regions = {syscalls.X32_BIT: ALLOW} if machine == "x86_64" else {}
    program = bpf.assemble(syscalls.AUDIT_ARCH[machine], answers, ALLOW, regions)
    # A program of another architecture is the profile's filter's to kill, if there is one.
    return _answering(program, lambda k: ALLOW if k == KILL else k) if unfiltered else program
