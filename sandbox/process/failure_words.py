"""The words for each way in which an op can fail: which op it was and its errno are all that is known."""

import errno
import os
from typing import Final

from sandbox._mountinfo import covered_proc_words
from sandbox.errors import EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND
from sandbox.plan import ops
from sandbox.plan.record import Op
from sandbox.process import surroundings
from sandbox.process.cgroup_words import cgroup_words
from sandbox.process.launch import STAGE_RECORD, Failure
from sandbox.process.service_words import service_words
from sandbox.process.words import Words

DETAIL_INTERPRETER: Final = 1
DETAIL_NOT_FOUND: Final = 2
DETAIL_NOT_A_DEVICE: Final = 3
DETAIL_MOUNT_POINT: Final = 4
DETAIL_ENDED: Final = 6
DETAIL_UNHEARD: Final = 7
OF_NO_OP: Final = (DETAIL_ENDED, DETAIL_UNHEARD)
DETAIL_DESCRIPTOR: Final = 1 << 24
STAGE_PREPARE: Final = 1
STAGE_CLONE: Final = 2

DOCTOR: Final = "'sbx doctor' says what this host lacks and the command that mends it"
RERUN: Final = "run 'sbx run --profile PROFILE', which makes a plan anew"
STREAMS: Final = ("standard input", "standard output", "standard error")


NO_COMMAND: Final = Words(
    "there is no command to run",
    "name one: sbx run --profile ... -- COMMAND, or set process.command",
)


def words_of(op: Op, failure: Failure, command: str | None) -> Words:
    if failure.detail == DETAIL_ENDED:
        return Words(
            "the sandbox was killed before it could say that the program runs",
            "the kernel's log tells whether memory ran out: dmesg",
        )
    if failure.detail == DETAIL_UNHEARD:
        return Words(
            f"the sandbox can't be watched: {os.strerror(failure.error)}",
            "its program may have run: look at what it has done before you start it again",
        )
    if failure.stage == STAGE_RECORD:
        return _record(failure.error)
    if of_cgroup := cgroup_words(op, failure):
        return of_cgroup
    if isinstance(op, ops.Execute):
        if command is None and not op.argv:
            return NO_COMMAND
        if failure.stage != STAGE_PREPARE:
            return _execute(op.argv[0] if command is None else command, failure)
    if failure.stage == STAGE_CLONE:
        return _clone(failure.error)
    found = service_words(op, failure) or _by_op(op, failure) or _by_error(op, failure.error)
    return found or Words(
        f"{_lower(op.describe())}: {os.strerror(failure.error)}",
        _FILTERED if failure.error == errno.EPERM and surroundings.is_filtered() else DOCTOR,
    )


_FILTERED: Final = (
    "sbx runs under a system call filter already, such as a container's, which may refuse this: "
    "podman run --security-opt seccomp=unconfined, docker run likewise"
)


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _execute(command: str, failure: Failure) -> Words:
    if failure.detail == DETAIL_INTERPRETER:
        return Words(
            f"'{command}' is there, but its interpreter or dynamic loader is not",
            "look at its first line, which a Windows line end makes another one (or 'readelf -l'), and "
            "grant the file that it names with filesystem.execute",
            EXIT_NOT_EXECUTABLE,
        )
    if failure.detail == DETAIL_NOT_FOUND or failure.error in (errno.ENOENT, errno.ENOTDIR):
        hint = "the sandbox has what filesystem.execute grants"
        if "/" not in command:
            hint += "; it was searched in the PATH of [environment]"
        elif not command.startswith("/"):
            hint += "; a path without a '/' in front starts at process.cwd"
        return Words(f"there is no command '{command}' in the sandbox", hint, EXIT_NOT_FOUND)
    reasons = {
        errno.EACCES: (
            f"'{command}' may not be executed",
            "grant it and its interpreter with filesystem.execute; see 'ls -l', 'findmnt -T' (noexec)",
        ),
        errno.EPERM: (
            f"'{command}' may not be executed",
            "check the profile's [seccomp] and [landlock]",
        ),
        errno.ENOEXEC: (
            f"'{command}' is not a program that this machine can run",
            "a script starts with '#!' and an interpreter (255 characters); 'file' tells its machine",
        ),
        errno.ELOOP: (
            f"'{command}' can't be executed: links, or interpreters of interpreters, lead in a circle",
            "let its first line name a program",
        ),
        errno.ETXTBSY: (
            f"'{command}' is open for writing somewhere",
            "wait until it is written, or end who writes it: 'fuser -v' tells who that is",
        ),
        errno.E2BIG: (
            "the command line and environment are too long",
            "pass less in [environment]",
        ),
        errno.ENOSYS: (
            "the system call filter refuses execve",
            "add 'execve' to seccomp.allow",
        ),
    }
    reason, hint = reasons.get(failure.error, (f"'{command}': {os.strerror(failure.error)}", ""))
    return Words(reason, hint, EXIT_NOT_EXECUTABLE)


_NO_PROCESS: Final = Words(
    "the sandbox can't be made: no more processes may be started (RLIMIT_NPROC or pids.max)",
    "raise the limit: ulimit -u, TasksMax= of the unit, --pids-limit of the container",
)


def _record(error: int) -> Words:
    words = {
        errno.EEXIST: Words(
            "another live sandbox has the name that --name gives",
            "choose another one, or end that sandbox: sbx stop NAME",
        ),
        errno.EINVAL: Words(
            "--name: that is no name for a sandbox",
            "take up to 64 letters, digits, '_', '.' and '-', beginning with a letter or digit",
        ),
        errno.EPERM: Words(
            "the runtime directory belongs to another user, or others may write to it",
            "make it this user's own with mode 0700; 'man sbx' says which one it is",
        ),
    }
    return words.get(error) or Words(
        f"the sandbox can't be recorded under its name: {os.strerror(error)}",
        "the runtime directory must be writable: 'man sbx' says which one it is (SBX_RUNTIME_DIR names another)",
    )


def _clone(error: int) -> Words:
    reasons = {
        errno.EPERM: "this host doesn't let this user make a user namespace (nor does any in a chroot)",
        errno.EACCES: "this host doesn't let this user make a user namespace",
        errno.ENOSPC: "no more namespaces may be made (a limit in /proc/sys/user, or 32 levels deep)",
        errno.EUSERS: "user namespaces are nested too deeply",
        errno.ENOSYS: "clone3 is refused: the kernel is older than 5.3, or a container's filter is in the way",
        errno.EINVAL: "the kernel lacks one of the namespaces that the profile asks for",
        errno.ENOMEM: "the kernel has no memory for another sandbox",
    }
    if error == errno.EAGAIN:
        return _NO_PROCESS
    if error in {errno.EMFILE, errno.ENFILE} and (found := _by_errno(error)):
        return Words(f"the sandbox can't be made: {found.reason}", found.hint)
    if error == errno.EPERM and surroundings.is_in_chroot():
        return Words(
            "the sandbox can't be made: the kernel allows no user namespace in a chroot",
            "enter that root by pivot_root(2) instead: bwrap --bind DIRECTORY / ..., systemd-nspawn -D DIRECTORY",
        )
    return Words(f"the sandbox can't be made: {reasons.get(error, os.strerror(error))}", DOCTOR)


_NO_POINT: Final = (
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ELOOP,
)


def _by_op(op: Op, failure: Failure) -> Words | None:
    error = failure.error
    if (
        failure.detail == DETAIL_MOUNT_POINT
        and not isinstance(op, ops.WriteFile)
        and error in _NO_POINT
    ):
        target = str(getattr(op, "target", "") or getattr(op, "path", ""))
        return Words(
            f"there is no '{target}' in the root to mount on, and nothing is made on the host",
            "create it, or grant fewer directories than '/' so that the root is assembled on a tmpfs",
        )
    if isinstance(op, ops.BindDevice) and error == errno.ENOENT and op.major != ops.ANY_DEVICE:
        return Words(
            f"'{op.source}' does not exist: /dev around sbx lacks one of the usual nodes",
            'mount a complete /dev, or set devices.dev = "none"',
        )
    if isinstance(op, ops.BindMount) and op.trusted and error == errno.ELOOP:
        return Words(
            f"'{op.source}': a symbolic link, in a directory that the payload may write to: an earlier "
            "run could have left it there",
            "name the place that it leads to, or put the link elsewhere",
        )
    if isinstance(op, ops.BindMount | ops.MountRootTree | ops.BindDevice):
        return _source(op.source, failure)
    if (
        isinstance(op, ops.MaskPath)
        and op.how in (ops.Mask.READ_ONLY, ops.Mask.PIN)
        and error == errno.ELOOP
    ):
        return Words(
            f"'{op.path}' is a symbolic link, which can't be protected: it could be replaced",
            "look at what it leads to, and put that in its place",
        )
    if isinstance(op, ops.SealDescriptors):
        return _call(failure)
    if isinstance(op, ops.CheckDescriptors):
        return Words(
            f"{STREAMS[failure.detail]} is a directory", "redirect it to a file or /dev/null"
        )
    if isinstance(op, ops.KeepDescriptor) and error == errno.EBADF:
        return Words(
            f"descriptor {op.number} is declared, but not open",
            f"open it: sbx run ... {op.number}<FILE",
        )
    if isinstance(op, ops.SetRlimit | ops.RaiseRlimit) and error == errno.EPERM:
        return Words(
            f"{_lower(op.describe())}: it is more than the caller's own hard limit",
            "ask for less in [rlimits], or raise the caller's: ulimit -H, LimitNOFILE= of its unit",
        )
    if isinstance(op, ops.MountOverlay) and (words := _layer(op)):
        return words
    if isinstance(op, ops.MountOverlay) and error == errno.EINVAL:
        return Words(
            f"{_lower(op.describe())}: the kernel refuses these layers",
            "run sbx as root where other file systems are mounted below a layer, or overlay a smaller tree",
        )
    if isinstance(op, ops.KeepDescriptor) and error == errno.EISDIR:
        return Words(
            f"descriptor {op.number} is a directory: everything above it would be in reach",
            "grant the directory with [[mounts]]",
        )
    if isinstance(op, ops.ChangeDirectory) and not _by_errno(error):
        return Words(
            f"the working directory '{op.path}': {os.strerror(error)}",
            "grant it with filesystem.read, or set process.cwd",
        )
    if (
        isinstance(op, ops.MapIds)
        and error in {errno.EPERM, errno.ENOENT}
        and surroundings.proc_is_anothers()
    ):
        return Words(
            "the id maps can't be written: /proc belongs to another PID namespace than sbx",
            "mount one that fits: unshare --pid --fork --mount-proc, or mount -t proc proc /proc",
        )
    if isinstance(op, ops.MapIds) and error == errno.EROFS:
        return Words(
            "the id maps can't be written: /proc is mounted read-only around sbx",
            "mount it writable: mount -o remount,rw /proc, bwrap --bind /proc /proc",
        )
    if isinstance(op, ops.MapIds) and not _by_errno(error):
        return Words(
            f"the id maps were refused: {os.strerror(error)}",
            "newuidmap needs ranges in /etc/subuid and /etc/subgid: " + DOCTOR,
        )
    if isinstance(op, ops.CreateProc) and error == errno.EPERM:
        covered = surroundings.covered()
        if covered or not surroundings.is_filtered():
            return Words(*covered_proc_words(covered))
    if isinstance(op, ops.RestrictSelf) and error == errno.E2BIG:
        return Words(
            "no further Landlock rules: the kernel takes 16 layers of them, and sbx runs under 16",
            "nest fewer sandboxes, or set landlock.enabled = false in some of them",
        )
    if isinstance(op, ops.EnterRoot) and error == errno.EINVAL:
        return Words(
            "the new root can't take the place of the old one: sbx runs on the initial root file "
            "system (an initramfs), which pivot_root(2) doesn't leave, or in a chroot",
            "start the system from a root of its own (switch_root), or grant all of it: "
            'filesystem.read = ["/"]',
        )
    if isinstance(op, ops.WriteFile) and failure.detail == DETAIL_MOUNT_POINT:
        return Words(
            f"there is no '{op.path}' in the root to cover, and nothing is made on the host",
            f"create an empty file there: touch {op.path}",
        )
    return None


def _call(failure: Failure) -> Words | None:
    """What a program handed over for its call (csrc/call.c)."""
    error = failure.error
    if failure.detail & DETAIL_DESCRIPTOR:
        number = failure.detail - DETAIL_DESCRIPTOR
        name = STREAMS[number] if number < 3 else f"descriptor {number}"
        if error == errno.EISDIR:
            return Words(
                f"{name} is a directory: everything above it would be in reach",
                "grant the directory with [[mounts]]",
            )
        return Words(
            f"{name} is above the limit of open files",
            "raise rlimits.nofile, or pass it under a lower number",
        )
    if error in (errno.EMFILE, errno.EINVAL, errno.EBADF):
        return Words(
            "the descriptors of the call don't fit below the limit of open files",
            "raise rlimits.nofile, or pass them under lower numbers",
        )
    if error in (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP):
        return Words(
            f"the working directory of the call: {os.strerror(error)}",
            "grant it with filesystem.read, or choose another cwd",
        )
    return None


def _layer(op: ops.MountOverlay) -> Words | None:
    """The first directory of an overlay's that isn't there, as it is now."""
    for path in (*op.lower, *filter(None, (op.upper, op.work))):
        if not os.path.isdir(path):
            what = "is not a directory" if os.path.lexists(path) else "does not exist"
            layer = path in op.lower
            return Words(
                f"'{path}' {what}",
                "create it, or take it out of the profile"
                if layer
                else f"make two empty directories: mkdir -p {op.upper} {op.work}",
            )
    return None


def _source(source: str, failure: Failure) -> Words:
    error = failure.error
    if failure.detail == DETAIL_NOT_A_DEVICE:
        return Words(f"'{source}' is not the character device it should be", DOCTOR)
    words = {
        errno.ENOENT: Words(
            f"'{source}' does not exist",
            "create it, or take it out of the profile; a [[mounts]] with optional = true is left out by itself",
        ),
        errno.ENOTDIR: Words(f"'{source}': a part of the path is not a directory"),
        errno.ELOOP: Words(f"'{source}': symbolic links lead in a circle, or through /proc"),
        errno.EACCES: Words(
            f"'{source}' can't be reached by this user", "check the modes of its parents"
        ),
        errno.EINVAL: Words(
            f"'{source}' can't be mounted: its file system doesn't take the attributes asked for "
            "(an id-mapped mount, or a part of a mount that must stay whole)",
            'mounts.idmap = false, identity.map = "self", or mount it recursively',
        ),
    }
    return words.get(error) or _by_errno(error) or Words(f"'{source}': {os.strerror(error)}")


def _by_error(op: Op, error: int) -> Words | None:
    found = _by_errno(error)
    return found and Words(f"{_lower(op.describe())}: {found.reason}", found.hint)


def _by_errno(error: int) -> Words | None:
    """Errnos that mislead, whichever op they come from."""
    words = {
        errno.ENOSPC: Words(
            "a limit is reached (fs.mount-max, or a tmpfs that is too small)",
            "raise it: sysctl fs.mount-max, or the size in the profile",
        ),
        errno.EAGAIN: _NO_PROCESS,
        errno.EFBIG: Words(
            "the caller's limit on the size of files (RLIMIT_FSIZE) is too small",
            "raise the limit: ulimit -f unlimited",
        ),
        errno.EMFILE: Words(
            "too many open files",
            "raise the caller's limit: ulimit -n 65536; and rlimits.nofile, if the profile sets it lower",
        ),
        errno.ENFILE: Words("the host has no descriptor left", "raise fs.file-max"),
        errno.ENOMEM: Words("the kernel has no memory for it"),
        errno.ENOSYS: Words(
            "the kernel is too old for it, or a container's filter is in the way", DOCTOR
        ),
    }
    return words.get(error)
