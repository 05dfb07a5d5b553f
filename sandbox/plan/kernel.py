"""Numbers of the kernel's interface that plans carry, with their names and words for people.

They come from the kernel's headers (linux/sched.h, mount.h, landlock.h, securebits.h,
asm-generic/resource.h) and are the same on x86-64, arm64 and riscv64.
"""

from enum import IntFlag
from typing import Final

UNLIMITED: Final = 2**64 - 1
SIGKILL: Final = 9

# Host's name of the namespace: (CLONE_NEW* flag, what people call it)
NAMESPACES: Final = {
    "user": (0x10000000, "user"),
    "mnt": (0x00020000, "mount"),
    "pid": (0x20000000, "process ids"),
    "net": (0x40000000, "network"),
    "ipc": (0x08000000, "inter-process communication"),
    "uts": (0x04000000, "host name"),
    "cgroup": (0x02000000, "control groups"),
    "time": (0x00000080, "clocks"),
}

RLIMITS: Final = {
    "cpu": 0,
    "fsize": 1,
    "data": 2,
    "stack": 3,
    "core": 4,
    "rss": 5,
    "nproc": 6,
    "nofile": 7,
    "memlock": 8,
    "as": 9,
    "locks": 10,
    "sigpending": 11,
    "msgqueue": 12,
    "nice": 13,
    "rtprio": 14,
    "rttime": 15,
}
RLIMIT_WORDS: Final = (
    "processor time (seconds)",
    "size of a file written",
    "data segment",
    "stack",
    "size of a core file",
    "resident memory",
    "processes and threads",
    "open descriptors",
    "locked memory",
    "address space",
    "file locks",
    "queued signals",
    "message queues (bytes)",
    "nice ceiling",
    "real-time priority",
    "real-time work without a pause (microseconds)",
)


class Attr(IntFlag):
    """Mount attributes of mount_setattr(2)."""

    RDONLY = 0x1
    NOSUID = 0x2
    NODEV = 0x4
    NOEXEC = 0x8


class Secure(IntFlag):
    """Securebits of capabilities(7)."""

    NOROOT = 0x01
    NOROOT_LOCKED = 0x02
    NO_SETUID_FIXUP = 0x04
    NO_SETUID_FIXUP_LOCKED = 0x08
    KEEP_CAPS_LOCKED = 0x20
    NO_CAP_AMBIENT_RAISE = 0x40
    NO_CAP_AMBIENT_RAISE_LOCKED = 0x80


class Access(IntFlag):
    """Landlock's rights on files, LANDLOCK_ACCESS_FS_*."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


class NetAccess(IntFlag):
    """Landlock's rights on TCP ports, LANDLOCK_ACCESS_NET_*."""

    BIND_TCP = 1 << 0
    CONNECT_TCP = 1 << 1


class Scoped(IntFlag):
    """What Landlock keeps inside, LANDLOCK_SCOPE_*."""

    ABSTRACT_UNIX_SOCKET = 1 << 0
    SIGNAL = 1 << 1


def mount_words(attributes: int) -> str:
    """The attributes as words; that set-user-id bits and devices have no effect goes without."""
    words = ["read-only" if attributes & Attr.RDONLY else "writable"]
    words.append("not executable" if attributes & Attr.NOEXEC else "executable")
    if not attributes & Attr.NOSUID:
        words.append("set-user-id bits honoured")
    if not attributes & Attr.NODEV:
        words.append("devices usable")
    return ", ".join(words)


def access_words(access: int) -> str:
    """Landlock's file rights in a few words: "read, execute"."""
    groups = (
        ("read", Access.READ_FILE),
        ("list directories", 0 if access & Access.READ_FILE else Access.READ_DIR),
        ("execute", Access.EXECUTE),
        ("write", Access.WRITE_FILE),
        ("create and remove", Access.MAKE_REG),
        ("control devices", Access.IOCTL_DEV),
    )
    return ", ".join(word for word, bit in groups if access & bit)


def size_words(size: int) -> str:
    """Bytes in the largest unit that leaves a whole number: 16 MiB."""
    for unit, shift in (("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size and not size & ((1 << shift) - 1):
            return f"{size >> shift} {unit}"
    return f"{size} bytes"
