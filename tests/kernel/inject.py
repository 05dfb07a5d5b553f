"""A process of the tests' holds another one, or makes calls by it, as a debugger would (x86-64)."""

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterator
from typing import Final

from tests.kernel.harness import checked, libc

_CONT, _SINGLESTEP, _GETREGS, _SETREGS, _DETACH = 7, 9, 12, 13, 17
_SEIZE, _INTERRUPT = 0x4206, 0x4207
_TRACE_VFORK_DONE: Final = 1 << 5
_EVENT_VFORK_DONE: Final = signal.SIGTRAP | 5 << 8
_WALL: Final = 0x40000000
_BELOW_STACK: Final = 1024
_CALL: Final = b"\x0f\x05"
HERE: Final = -(1 << 40)
"""As an argument: where the bytes that come with the call have been put."""

_NAMES = (
    *("r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx"),
    *("rsi", "rdi", "orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base"),
    *("ds", "es", "fs", "gs"),
)


class _Registers(ctypes.Structure):
    """struct user_regs_struct."""

    _fields_ = [(name, ctypes.c_ulonglong) for name in _NAMES]


@contextlib.contextmanager
def traced(pid: int) -> Iterator[None]:
    """The process is stopped, and goes on afterwards as if nothing had been."""
    _ptrace(_SEIZE, pid, _TRACE_VFORK_DONE)
    try:
        _ptrace(_INTERRUPT, pid)
        os.waitpid(pid, _WALL)
        yield
    finally:
        try:
            _ptrace(_DETACH, pid)
        except ProcessLookupError:  # killed meanwhile: its parent is told once the tracer has been
            os.waitpid(pid, _WALL)


def hold_after_vfork(pid: int) -> None:
    """Lets a stopped process go on until what it makes with vfork(2) has executed its program."""
    _ptrace(_CONT, pid)
    while True:
        _, state = os.waitpid(pid, _WALL)
        assert os.WIFSTOPPED(state), state
        if state >> 8 == _EVENT_VFORK_DONE:
            return
        _ptrace(_CONT, pid, os.WSTOPSIG(state))


def call(pid: int, number: int, *arguments: int, data: bytes = b"") -> int:
    """What the call returned there. The process has to be waiting in one of its own."""
    with traced(pid), open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        before = _Registers()
        _ptrace(_GETREGS, pid, before)
        memory.seek(before.rip - len(_CALL))
        assert memory.read(len(_CALL)) == _CALL
        place = before.rsp - _BELOW_STACK
        memory.seek(place)
        kept = memory.read(len(data))
        _write(memory.fileno(), place, data)
        there = _Registers.from_buffer_copy(before)
        there.rax, there.orig_rax, there.rip = number, 2**64 - 1, before.rip - len(_CALL)
        words = [place if word == HERE else word for word in arguments]
        for name, word in zip(("rdi", "rsi", "rdx", "r10", "r8", "r9"), words, strict=False):
            setattr(there, name, word % 2**64)
        _ptrace(_SETREGS, pid, there)
        _ptrace(_SINGLESTEP, pid)
        _, state = os.waitpid(pid, _WALL)
        assert os.WSTOPSIG(state) == signal.SIGTRAP
        after = _Registers()
        _ptrace(_GETREGS, pid, after)
        _write(memory.fileno(), place, kept)
        _ptrace(_SETREGS, pid, before)
    result = int(after.rax) if after.rax < 2**63 else int(after.rax) - 2**64
    assert result >= 0, os.strerror(-result)
    return result


def _write(fd: int, place: int, data: bytes) -> None:
    assert os.pwrite(fd, data, place) == len(data)


def _ptrace(request: int, pid: int, data: _Registers | int = 0) -> None:
    libc.ptrace.restype = ctypes.c_long
    last = ctypes.c_long(data) if isinstance(data, int) else ctypes.byref(data)
    checked(libc.ptrace(ctypes.c_long(request), ctypes.c_long(pid), None, last))
