"""Tries, for real and in a child that is then gone, what a sandbox needs of the kernel.

Whether a namespace or a mount is allowed depends on limits, security modules,
filters and what covers /proc; only trying tells. Each trial forks, does in the
child what a launch would do, and reports the step that failed with its errno.
Nothing is left behind: mounts live in the child's own mount namespace.
"""

import contextlib
import ctypes
import errno
import os
import socket
import struct
import subprocess
from typing import Final

import prctl

from sandbox.doctor.child import (
    CLONE_NEW,
    Outcome,
    StepError,
    attempt,
    call,
    libc,
    mapped_child,
    open_close,
    system_call,
    write_file,
)
from sandbox.host import IdRange

# linux/mount.h, sys/mount.h
_MS_NOSUID_NODEV_NOEXEC: Final = 2 | 4 | 8
_MS_BIND: Final = 4096
_MNT_DETACH: Final = 2
_MOVE_MOUNT_F_EMPTY_PATH: Final = 4
_OPEN_TREE_CLONE: Final = 1
_AT_RECURSIVE: Final = 0x8000
_AT_EMPTY_PATH: Final = 0x1000
_AT_FDCWD: Final = -100
_MOUNT_ATTR_READ_ONLY_NOSUID_NODEV: Final = 1 | 2 | 4
_MOUNT_ATTR_IDMAP: Final = 0x00100000

_OPEN_TREE: Final = 428
_MOVE_MOUNT: Final = 429
_MOUNT_SETATTR: Final = 442
_LANDLOCK_CREATE_RULESET: Final = 444
_LANDLOCK_RESTRICT_SELF: Final = 446
_LANDLOCK_ACCESS_FS_READ_FILE: Final = 4

# A directory that is everywhere; the child covers it in its own mount namespace.
_SPOT: Final = "/tmp"  # noqa: S108

_PR_SET_SECCOMP: Final = 22
_SECCOMP_MODE_FILTER: Final = 2
_SECCOMP_RET_ALLOW: Final = 0x7FFF0000
_SECCOMP_RET_ERRNO: Final = 0x00050000

# Call numbers that differ: (pivot_root, getppid).
_NUMBERS: Final = {"x86_64": (155, 110), "aarch64": (41, 173), "riscv64": (41, 173)}


def user_namespace() -> Outcome:
    """A user namespace with the caller's own ids in it, and its capabilities usable."""

    def use_capability() -> None:
        call("chroot with its capability", libc.chroot, b"/")

    return attempt(use_capability)


def namespace(kind: str) -> Outcome:
    """A namespace of a kind of /proc/self/ns inside a new user namespace."""
    return attempt(lambda: call(f"unshare({kind})", libc.unshare, CLONE_NEW[kind]))


def id_range(first_uid: int, first_gid: int, count: int) -> Outcome:
    """A user namespace whose ids 0 to count-1 are written by its privileged parent."""

    def write(pid: int) -> None:
        write_file("write uid_map", f"/proc/{pid}/uid_map", f"0 {first_uid} {count}")
        write_file("write gid_map", f"/proc/{pid}/gid_map", f"0 {first_gid} {count}")

    return mapped_child(write)


def subordinate_ids(newuidmap: str, newgidmap: str, uids: IdRange, gids: IdRange) -> Outcome:
    """A user namespace whose ids are written by newuidmap(1) and newgidmap(1)."""

    def write(pid: int) -> None:
        for helper, (first, count) in ((newuidmap, uids), (newgidmap, gids)):
            command = [helper, str(pid), "0", str(first), str(count)]
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, check=False
            )
            if done.returncode != 0:
                raise StepError(os.path.basename(helper), errno.EPERM)

    return mapped_child(write)


def read_only_root() -> Outcome:
    """The whole tree cloned, read-only at once, made the root, and the old one let go."""
    return attempt(_pivot_to_clone, "mnt")


def tmpfs() -> Outcome:
    """A tmpfs with a size and an owner."""
    return attempt(lambda: _tmpfs(_SPOT), "mnt")


def proc() -> Outcome:
    """A new proc in a new PID namespace.

    EPERM when the proc that is visible now has parts covered, as containers do
    (mount_too_revealing in fs/namespace.c).
    """

    def mount() -> None:
        _tmpfs(_SPOT)
        _mount("proc", "proc", _SPOT, _MS_NOSUID_NODEV_NOEXEC, "")

    return attempt(mount, "mnt", "pid")


def devices() -> Outcome:
    """A private /dev: bound nodes that open, and a devpts of its own that gives a terminal."""

    def mount() -> None:
        _tmpfs(_SPOT)
        os.close(os.open(f"{_SPOT}/null", os.O_CREAT | os.O_WRONLY, 0o600))
        call(
            "bind /dev/null",
            libc.mount,
            b"/dev/null",
            f"{_SPOT}/null".encode(),
            None,
            _MS_BIND,
            None,
        )
        open_close("open the bound /dev/null", f"{_SPOT}/null", os.O_RDWR)
        os.mkdir(f"{_SPOT}/pts")
        _mount("devpts", "devpts", f"{_SPOT}/pts", 2 | 8, "newinstance,ptmxmode=0666,mode=0620")
        open_close("open its ptmx", f"{_SPOT}/pts/ptmx", os.O_RDWR | os.O_NOCTTY)

    return attempt(mount, "mnt")


def overlay() -> Outcome:
    """An overlay on tmpfs, mounted in a user namespace (Linux 5.11)."""

    def mount() -> None:
        _tmpfs(_SPOT)
        for name in ("lower", "upper", "work", "merged"):
            os.mkdir(f"{_SPOT}/{name}")
        layers = "lowerdir=lower,upperdir=upper,workdir=work,userxattr"
        os.chdir(_SPOT)
        _mount("overlay", "overlay", f"{_SPOT}/merged", 0, layers)
        open_close("write to the overlay", f"{_SPOT}/merged/file", os.O_CREAT | os.O_WRONLY)

    return attempt(mount, "mnt")


def idmapped_mount(path: str) -> Outcome:
    """An id-mapped copy of the mount at a path, made with the caller's own privilege."""

    def write(pid: int) -> None:
        write_file("write uid_map", f"/proc/{pid}/uid_map", "0 65536 65536")
        write_file("write gid_map", f"/proc/{pid}/gid_map", "0 65536 65536")
        owner = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        tree = _clone_tree(path, 0)
        try:
            _set_attributes(tree, 0, _MOUNT_ATTR_IDMAP, owner)
        finally:
            os.close(tree)
            os.close(owner)

    return mapped_child(write)


def loopback() -> Outcome:
    """The loopback interface of a new network namespace, set up."""

    def bring_up() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            request = ctypes.create_string_buffer(struct.pack("16sH22x", b"lo", 1), 40)
            siocsifflags = 0x8914
            call("set lo up", libc.ioctl, sock.fileno(), ctypes.c_ulong(siocsifflags), request)

    return attempt(bring_up, "net")


def landlock() -> Outcome:
    """A Landlock rule set without rules, seen to refuse a file."""

    def restrict() -> None:
        attributes = ctypes.c_uint64(_LANDLOCK_ACCESS_FS_READ_FILE)
        step = "landlock_create_ruleset"
        rules = system_call(step, _LANDLOCK_CREATE_RULESET, ctypes.byref(attributes), 8, 0)
        prctl.set_no_new_privs(1)
        system_call("landlock_restrict_self", _LANDLOCK_RESTRICT_SELF, rules, 0)
        with contextlib.suppress(PermissionError):
            os.close(os.open("/proc/self/status", os.O_RDONLY))
            raise StepError("a file is still readable under Landlock", errno.ENOTRECOVERABLE)

    return attempt(restrict, user=False)


def filter_calls(machine: str) -> Outcome:
    """A system call filter, seen to refuse a call."""
    if machine not in _NUMBERS:
        return Outcome(step=f"a filter for {machine}", errno=errno.ENOSYS)
    refused = _NUMBERS[machine][1]

    def install() -> None:
        program = b"".join(
            struct.pack("=HBBI", *instruction)
            for instruction in (
                (0x20, 0, 0, 0),  # load the call number
                (0x15, 0, 1, refused),
                (0x06, 0, 0, _SECCOMP_RET_ERRNO | errno.EUCLEAN),
                (0x06, 0, 0, _SECCOMP_RET_ALLOW),
            )
        )
        code = ctypes.create_string_buffer(program, len(program))
        header = ctypes.create_string_buffer(struct.pack("@HP", 4, ctypes.addressof(code)))
        prctl.set_no_new_privs(1)
        # python-prctl has seccomp's strict mode only.
        rest = (ctypes.c_ulong(_SECCOMP_MODE_FILTER), header, ctypes.c_ulong(0), ctypes.c_ulong(0))
        call("install a filter", libc.prctl, _PR_SET_SECCOMP, *rest)
        ctypes.set_errno(0)
        if libc.syscall(ctypes.c_long(refused)) != -1 or ctypes.get_errno() != errno.EUCLEAN:
            raise StepError("a call that the filter refuses still works", errno.ENOTRECOVERABLE)

    return attempt(install, user=False)


def trace() -> Outcome:
    """Trace a process in a user namespace below (ptrace(2)), as `sbx run --explain` does."""
    seize = 0x4206

    def steps(child: int) -> None:
        call("ptrace(seize)", libc.ptrace, seize, child, None, None)

    return mapped_child(steps)


def cgroup_child(directory: str) -> Outcome:
    """A cgroup made below a directory and removed again."""
    path = f"{directory}/sbx-doctor-{os.getpid()}"
    try:
        os.mkdir(path)
    except OSError as error:
        return Outcome(step=f"mkdir below {directory}", errno=error.errno or errno.EIO)
    os.rmdir(path)
    return Outcome()


def _mount(kind: str, source: str, target: str, flags: int, data: str) -> None:
    arguments = (
        source.encode(),
        target.encode(),
        kind.encode(),
        ctypes.c_ulong(flags),
        data.encode(),
    )
    call(f"mount {kind}", libc.mount, *arguments)


def _tmpfs(target: str) -> None:
    _mount("tmpfs", "tmpfs", target, 2 | 4, "size=1M,mode=0755")


def _clone_tree(path: str, flags: int) -> int:
    return system_call(
        "open_tree", _OPEN_TREE, _AT_FDCWD, path.encode(), _OPEN_TREE_CLONE | os.O_CLOEXEC | flags
    )


def _set_attributes(tree: int, flags: int, attributes: int, user_namespace: int = 0) -> None:
    private = 0 if user_namespace else 1 << 18
    block = (ctypes.c_uint64 * 4)(attributes, 0, private, user_namespace)
    arguments = (tree, b"", _AT_EMPTY_PATH | flags, ctypes.byref(block), 32)
    system_call("mount_setattr", _MOUNT_SETATTR, *arguments)


def _pivot_to_clone() -> None:
    tree = _clone_tree("/", _AT_RECURSIVE)
    _set_attributes(tree, _AT_RECURSIVE, _MOUNT_ATTR_READ_ONLY_NOSUID_NODEV)
    _tmpfs(_SPOT)
    arguments = (tree, b"", _AT_FDCWD, _SPOT.encode(), _MOVE_MOUNT_F_EMPTY_PATH)
    system_call("move_mount", _MOVE_MOUNT, *arguments)
    os.chdir(_SPOT)
    system_call("pivot_root", _NUMBERS[os.uname().machine][0], b".", b".")
    call("umount the old root", libc.umount2, b".", _MNT_DETACH)
    if not os.statvfs("/").f_flag & os.ST_RDONLY:
        raise StepError("the new root is not read-only", errno.ENOTRECOVERABLE)
