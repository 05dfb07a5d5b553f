"""Which calls are looked at when they end, and which arguments tell what they were about.

Calls that are hot and name nothing (read, write, close, fstat) are left out, and so is readlink:
it fails all the time where nothing is wrong, and whoever needs the file opens it as well.
"""

import errno
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from sandbox.plan.seccomp_policy import Arg

DESCRIPTOR: Final = -2
"""In place of a path: the call is about what its descriptor is."""
HERE: Final = -1
"""A path starts in the working directory."""

Path = tuple[int, int]
"""Arguments: the path (or DESCRIPTOR), the directory that it starts in (or HERE)."""

AT_EMPTY_PATH: Final = 0x1000
PROT_EXEC: Final = 4
MAP_ANONYMOUS: Final = 0x20
O_CREAT, O_DIRECTORY, O_TMPFILE, O_PATH = 0o100, 0o200000, 0o20000000, 0o10000000
SECCOMP_SET_MODE_FILTER, NEW_LISTENER = 1, 8
OPEN_BITS: Final = 3 | O_CREAT | 0o1000 | O_DIRECTORY | O_TMPFILE | O_PATH
_ALL: Final = (1 << 64) - 1


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """How one call is looked at.

    `errors` are the errnos that count as a refusal, `masks` the bits of arguments that tell one
    refusal from another, `data` the arguments with further bytes and their number. Of a call with
    `only`, which may hold several conjunctions, only those that fulfil one are looked at.
    """

    errors: frozenset[int]
    paths: tuple[Path, ...] = ()
    data: tuple[int, int] | None = None
    masks: Mapping[int, int] = {}
    only: tuple[tuple[Arg, ...], ...] = ()


def _numbers(words: str) -> frozenset[int]:
    return frozenset(getattr(errno, word) for word in words.split())


_LOOK: Final = _numbers("EPERM EACCES ENOENT ENOTDIR ELOOP")
_OPEN: Final = _LOOK | _numbers("EROFS EMFILE ENFILE ENOSPC EDQUOT ENXIO ENODEV ETXTBSY EOVERFLOW")
_CHANGE: Final = _LOOK | _numbers("EROFS ENOSPC EDQUOT EXDEV EBUSY EFBIG EINVAL EOPNOTSUPP")
_RUN: Final = _LOOK | _numbers("ENOEXEC EAGAIN")
_REACH: Final = _numbers(
    "EPERM EACCES ENOENT ENOTDIR ECONNREFUSED ENETUNREACH EHOSTUNREACH EADDRNOTAVAIL EROFS "
    "EAFNOSUPPORT EPROTONOSUPPORT ESOCKTNOSUPPORT EMFILE ENFILE ENODEV"
)
_BECOME: Final = _numbers("EPERM EINVAL EAGAIN")
_RULE: Final = _numbers("EPERM EACCES")
_FORK: Final = _numbers("EAGAIN EPERM ENOSPC ENOMEM")
_DESCRIPTORS: Final = _numbers("EMFILE ENFILE EPERM")
_FIND: Final = _numbers("EPERM EACCES ESRCH")
_IPC: Final = _numbers("EPERM EACCES ENOENT ENOSPC EMFILE")
_MEMORY: Final = _numbers("ENOMEM EAGAIN EPERM")

_IN_CWD: Final = ((0, HERE),)
_AT: Final = ((1, 0),)


def _not_empty_path(index: int) -> tuple[tuple[Arg, ...], ...]:
    return ((Arg(index, "masked-eq", (0,), AT_EMPTY_PATH, 32),),)


_MAP_FILE: Final = (
    (
        Arg(2, "masked-eq", (PROT_EXEC,), PROT_EXEC, 64),
        Arg(3, "masked-eq", (0,), MAP_ANONYMOUS, 64),
    ),
)


def _calls() -> Iterator[tuple[str, Watch]]:
    """Watches by names of calls."""
    for name in ("stat", "lstat", "statfs", "chdir", "inotify_add_watch"):
        paths = ((1, HERE),) if name == "inotify_add_watch" else _IN_CWD
        yield name, Watch(errors=_LOOK, paths=paths)
    yield "access", Watch(errors=_OPEN, paths=_IN_CWD, masks={1: 7})
    yield "faccessat faccessat2", Watch(errors=_OPEN, paths=_AT, masks={2: 7})
    yield "newfstatat", Watch(errors=_LOOK, paths=_AT, only=_not_empty_path(3))
    yield "statx", Watch(errors=_LOOK, paths=_AT, only=_not_empty_path(2))
    yield "open", Watch(errors=_OPEN, paths=_IN_CWD, masks={1: OPEN_BITS})
    yield "creat", Watch(errors=_OPEN, paths=_IN_CWD)
    yield "openat", Watch(errors=_OPEN, paths=_AT, masks={2: OPEN_BITS})
    yield "openat2", Watch(errors=_OPEN, paths=_AT, data=(2, 3))
    yield "execve", Watch(errors=_RUN, paths=_IN_CWD)
    yield "execveat", Watch(errors=_RUN, paths=_AT)
    yield "mmap", Watch(errors=_RULE, paths=((DESCRIPTOR, 4),), only=_MAP_FILE)

    yield (
        "truncate mkdir rmdir unlink utime utimes setxattr lsetxattr removexattr lremovexattr",
        Watch(errors=_CHANGE, paths=_IN_CWD),
    )
    yield "chmod", Watch(errors=_CHANGE, paths=_IN_CWD, masks={1: 0o7777})
    yield "mknod", Watch(errors=_CHANGE, paths=_IN_CWD, masks={1: 0o170000})
    yield "mkdirat unlinkat utimensat futimesat", Watch(errors=_CHANGE, paths=_AT)
    yield "fchmodat fchmodat2", Watch(errors=_CHANGE, paths=_AT, masks={2: 0o7777})
    yield "mknodat", Watch(errors=_CHANGE, paths=_AT, masks={2: 0o170000})
    yield "rename link", Watch(errors=_CHANGE, paths=((0, HERE), (1, HERE)))
    yield "renameat renameat2 linkat", Watch(errors=_CHANGE, paths=((1, 0), (3, 2)))
    yield "symlink", Watch(errors=_CHANGE, paths=((1, HERE),))
    yield "symlinkat", Watch(errors=_CHANGE, paths=((2, 1),))
    yield "chown lchown", Watch(errors=_CHANGE, paths=_IN_CWD, masks={1: _ALL, 2: _ALL})
    yield "fchownat", Watch(errors=_CHANGE, paths=_AT, masks={2: _ALL, 3: _ALL})
    descriptor = ((DESCRIPTOR, 0),)
    yield "fchown", Watch(errors=_CHANGE, paths=descriptor, masks={1: _ALL, 2: _ALL})
    yield "fchmod", Watch(errors=_CHANGE, paths=descriptor, masks={1: 0o7777})
    yield "fallocate ftruncate", Watch(errors=_CHANGE - {errno.EINVAL}, paths=descriptor)

    yield "socket socketpair", Watch(errors=_REACH, masks={0: _ALL, 1: 0xF, 2: _ALL})
    # That a resolver asks a loopback where no name server can be isn't refused by any call.
    yield "connect", Watch(errors=_REACH | {0}, data=(1, 2))
    yield "bind", Watch(errors=_REACH, data=(1, 2))
    named = ((Arg(4, "ne", (0,), 0, 64),),)
    yield "sendto", Watch(errors=_REACH, data=(4, 5), only=named)
    yield "setsockopt", Watch(errors=_RULE, masks={1: _ALL, 2: _ALL})

    yield "kill", Watch(errors=_FIND, masks={0: _ALL, 1: _ALL})
    yield "pidfd_open", Watch(errors=_FIND, masks={0: _ALL})
    for name in ("setuid", "setgid"):
        yield name, Watch(errors=_BECOME, masks={0: _ALL})
    yield "setreuid setregid", Watch(errors=_BECOME, masks={0: _ALL, 1: _ALL})
    yield "setresuid setresgid", Watch(errors=_BECOME, masks={0: _ALL, 1: _ALL, 2: _ALL})
    yield "setgroups", Watch(errors=_BECOME, masks={0: _ALL})
    yield "capset", Watch(errors=_RULE)
    yield "prctl", Watch(errors=_RULE, masks={0: _ALL})
    for name, paths in (
        ("mount", ((1, HERE),)),
        ("umount2 chroot pivot_root swapon swapoff acct", _IN_CWD),
        ("move_mount", ((3, 2),)),
        ("open_tree mount_setattr fspick", _AT),
    ):
        yield name, Watch(errors=_RULE | {errno.ENOENT, errno.EROFS}, paths=paths)
    for_root = (
        "sethostname setdomainname settimeofday clock_settime adjtimex clock_adjtime reboot bpf "
        "perf_event_open init_module finit_module delete_module syslog setpriority ioprio_set "
        "sched_setscheduler sched_setparam sched_setattr sched_setaffinity fsopen iopl ioperm"
    )
    yield for_root, Watch(errors=_RULE)
    yield "unshare", Watch(errors=_FORK, masks={0: _ALL})
    yield "setns", Watch(errors=_RULE, masks={1: _ALL})
    # The tracer refuses both, for the sake of what a filter refuses: csrc/trace.c.
    yield "ptrace", Watch(errors=_FIND, masks={0: _ALL})
    listening = (
        (
            Arg(0, "eq", (SECCOMP_SET_MODE_FILTER,), 0, 32),
            Arg(1, "masked-eq", (NEW_LISTENER,), NEW_LISTENER, 32),
        ),
    )
    yield "seccomp", Watch(errors=_numbers("EBUSY"), only=listening)
    yield "process_vm_readv process_vm_writev", Watch(errors=_FIND)
    limits = ((Arg(2, "ne", (0,), 0, 64),),)
    yield "prlimit64", Watch(errors=_RULE, masks={1: _ALL}, only=limits)
    yield "setrlimit", Watch(errors=_RULE, masks={0: _ALL})
    yield "clone", Watch(errors=_FORK, masks={0: 0x7E020000})
    yield "clone3 fork vfork", Watch(errors=_FORK)
    yield "pipe pipe2 epoll_create1 eventfd2 inotify_init1", Watch(errors=_DESCRIPTORS)
    yield "memfd_create", Watch(errors=_DESCRIPTORS)
    yield "shmget semget msgget", Watch(errors=_IPC)
    yield "mq_open", Watch(errors=_IPC, paths=_IN_CWD)
    yield "mlock mlock2 mlockall", Watch(errors=_MEMORY)


WATCHES: Final[dict[str, Watch]] = {
    name: watch for names, watch in _calls() for name in names.split()
}
"""By the call's name; which of them a machine has is its table's to say."""

MEMORY_WATCHES: Final[dict[str, Watch]] = {
    name: Watch(errors=_MEMORY) for name in ("mmap", "mremap", "mprotect")
}
"""Where the profile limits address space."""
