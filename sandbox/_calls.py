"""Which system calls answer: tried with arguments that change nothing."""

import ctypes
import errno
import os
from typing import Final, NamedTuple

# linux/seccomp.h SECCOMP_RET_*, by the names of actions_avail.
SECCOMP_ACTIONS: Final = {
    "kill_process": 0x80000000,
    "kill_thread": 0x00000000,
    "trap": 0x00030000,
    "errno": 0x00050000,
    "user_notif": 0x7FC00000,
    "trace": 0x7FF00000,
    "log": 0x7FFC0000,
    "allow": 0x7FFF0000,
}

# Call numbers that every architecture shares (asm-generic/unistd.h, from 424 on).
_OPEN_TREE: Final = 428
_PIDFD_OPEN: Final = 434
_CLONE3: Final = 435
_OPENAT2: Final = 437
_MOUNT_SETATTR: Final = 442
_LANDLOCK_CREATE_RULESET: Final = 444
_SECCOMP: Final = {"x86_64": 317, "aarch64": 277, "riscv64": 277}

_AT_FDCWD: Final = -100
_SECCOMP_GET_ACTION_AVAIL: Final = 2
_LANDLOCK_CREATE_RULESET_VERSION: Final = 1
_RESOLVE_IN_ROOT: Final = 0x10


class Answers(NamedTuple):
    """What this kernel answers to this process; a filter may refuse what the kernel has."""

    landlock_abi: int
    seccomp_actions: frozenset[str]
    openat2: bool
    clone3: bool
    open_tree: bool
    mount_setattr: bool
    pidfd_open: bool


def answers(machine: str) -> Answers:
    """Tries the calls. `machine` is that of uname(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    return Answers(
        landlock_abi=_landlock_abi(libc),
        seccomp_actions=_seccomp_actions(libc, machine),
        openat2=_has_openat2(libc),
        clone3=_call(libc, _CLONE3, None, 0) == -errno.EINVAL,
        open_tree=_has_open_tree(libc),
        mount_setattr=_call(libc, _MOUNT_SETATTR, -1, b"", 0, None, 0) == -errno.EINVAL,
        pidfd_open=_call(libc, _PIDFD_OPEN, -1, 0) == -errno.EINVAL,
    )


def _call(libc: ctypes.CDLL, number: int, *arguments: object) -> int:
    """The result of a system call, or -errno."""
    converted = (ctypes.c_long(item) if isinstance(item, int) else item for item in arguments)
    result: int = libc.syscall(ctypes.c_long(number), *converted)
    return -ctypes.get_errno() if result == -1 else result


def _opened(result: int) -> bool:
    if result < 0:
        return False
    os.close(result)
    return True


def _has_openat2(libc: ctypes.CDLL) -> bool:
    how = (ctypes.c_uint64 * 3)(os.O_PATH | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT)
    return _opened(_call(libc, _OPENAT2, _AT_FDCWD, b"/", ctypes.byref(how), ctypes.sizeof(how)))


def _has_open_tree(libc: ctypes.CDLL) -> bool:
    return _opened(_call(libc, _OPEN_TREE, _AT_FDCWD, b"/", os.O_CLOEXEC))


def _landlock_abi(libc: ctypes.CDLL) -> int:
    """landlock_create_ruleset(2): ENOSYS when not built, EOPNOTSUPP when not enabled at boot."""
    return max(0, _call(libc, _LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_CREATE_RULESET_VERSION))


def _seccomp_actions(libc: ctypes.CDLL, machine: str) -> frozenset[str]:
    """The actions that seccomp(2) says the kernel has; none on a machine unknown here."""
    number = _SECCOMP.get(machine)
    if number is None:
        return frozenset()
    return frozenset(
        name
        for name, value in SECCOMP_ACTIONS.items()
        if _call(libc, number, _SECCOMP_GET_ACTION_AVAIL, 0, ctypes.byref(ctypes.c_uint32(value)))
        == 0
    )
