"""System calls by number."""

from functools import cache

import pyseccomp

CANNOT_FAIL = frozenset(
    {
        *("arch_prctl", "exit", "exit_group", "getegid", "geteuid", "getgid", "getpid", "getppid"),
        *("getuid", "rt_sigreturn", "set_tid_address", "umask"),
    }
)
"""Calls that have no errors at all, or none with what the C library hands them."""

NEWER = frozenset(
    {
        *("clone3", "close_range", "fsconfig", "fsmount", "fsopen", "getcpu", "landlock_add_rule"),
        *("landlock_create_ruleset", "landlock_restrict_self", "memfd_create", "mount_setattr"),
        *("move_mount", "open_tree", "openat2", "pidfd_open", "pidfd_send_signal", "renameat2"),
        *("seccomp", "signalfd4", "timerfd_create"),
    }
)
"""Calls that kernels may lack, or a container's filter answer ENOSYS to."""


@cache
def call_name(number: int) -> str:
    """As in read; the number itself where libseccomp doesn't know it."""
    try:
        name: bytes = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, number)
        return name.decode()
    except (ValueError, OSError):
        return str(number)
