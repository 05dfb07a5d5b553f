"""A child process that runs a few kernel calls in namespaces of its own and says which failed."""

import contextlib
import ctypes
import errno
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn

import prctl

# linux/sched.h
CLONE_NEW: Final = {
    "time": 0x00000080,
    "mnt": 0x00020000,
    "cgroup": 0x02000000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "user": 0x10000000,
    "pid": 0x20000000,
    "net": 0x40000000,
}

_MS_REC_PRIVATE: Final = 16384 | 1 << 18

libc: Final = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a trial went: no errno and no signal is success."""

    step: str = ""
    """The call that failed, such as "mount proc"."""
    errno: int = 0
    signal: int = 0
    """The signal that ended the child, as a filter that kills does."""

    @property
    def ok(self) -> bool:
        return self.errno == 0 and self.signal == 0

    def __str__(self) -> str:
        if self.signal:
            return f"ended by {signal.Signals(self.signal).name}"
        if self.errno:
            name = errno.errorcode.get(self.errno, str(self.errno))
            return f"{self.step}: {os.strerror(self.errno)} ({name})"
        return "works"


class StepError(Exception):
    def __init__(self, step: str, number: int) -> None:
        self.step = step
        self.errno = number


def attempt(steps: Callable[[], object], *kinds: str, user: bool = True) -> Outcome:
    """Run the steps in a child, by default in new namespaces of these kinds below a user namespace."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        _report(writer, lambda: _enter(steps, kinds, user=user))
    os.close(writer)
    return _collect(child, reader)


def _enter(steps: Callable[[], object], kinds: tuple[str, ...], *, user: bool) -> None:
    if user:
        uid, gid = os.geteuid(), os.getegid()
        call("unshare(user)", libc.unshare, CLONE_NEW["user"])
        write_file("write setgroups", "/proc/self/setgroups", "deny")
        write_file("write uid_map", "/proc/self/uid_map", f"{uid} {uid} 1")
        write_file("write gid_map", "/proc/self/gid_map", f"{gid} {gid} 1")
    for kind in kinds:
        call(f"unshare({kind})", libc.unshare, CLONE_NEW[kind])
    if "mnt" in kinds:
        call("make / private", libc.mount, None, b"/", None, _MS_REC_PRIVATE, None)
    if "pid" in kinds:
        outcome = attempt(steps, user=False)
        if outcome.signal:
            os.kill(os.getpid(), outcome.signal)
        if outcome.errno:
            raise StepError(outcome.step, outcome.errno)
    else:
        steps()


def mapped_child(write: Callable[[int], None]) -> Outcome:
    """Fork a child into a user namespace and let the parent write its maps, each from a process of its own."""

    def parent() -> None:
        ready_reader, ready_writer = os.pipe2(os.O_CLOEXEC)
        reader, writer = os.pipe2(os.O_CLOEXEC)
        child = os.fork()
        if child == 0:
            _report(writer, lambda: _wait_in_user_namespace(ready_writer))
        os.close(ready_writer)
        os.close(writer)
        entered = os.read(ready_reader, 1)
        try:
            if entered:
                write(child)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            outcome = _collect(child, reader)
        if not entered:
            raise StepError(outcome.step, outcome.errno or errno.EPERM)

    return attempt(parent, user=False)


def _wait_in_user_namespace(ready: int) -> None:
    call("unshare(user)", libc.unshare, CLONE_NEW["user"])
    os.write(ready, b"r")
    signal.pause()


def _report(writer: int, steps: Callable[[], None]) -> NoReturn:
    """Run the steps in a forked child, write what failed, and end."""
    try:
        prctl.set_pdeathsig(signal.SIGKILL)
        steps()
        os.write(writer, b"0\0")
    except StepError as failed:
        os.write(writer, f"{failed.errno}\0{failed.step}".encode())
    except OSError as error:
        os.write(
            writer, f"{error.errno or errno.EIO}\0{error.filename or 'a system call'}".encode()
        )
    finally:
        os._exit(0)


def _collect(child: int, reader: int) -> Outcome:
    with open(reader, "rb") as pipe:
        number, _, step = pipe.read().decode().partition("\0")
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return Outcome(signal=os.WTERMSIG(status))
    if not number:
        return Outcome(step="the trial itself", errno=errno.EIO)
    return Outcome(step=step, errno=int(number))


def call(step: str, function: Callable[..., int], *arguments: object) -> int:
    """Call into libc and raise the failed step with its errno."""
    ctypes.set_errno(0)
    result = function(*arguments)
    if result == -1:
        raise StepError(step, ctypes.get_errno())
    return result


def system_call(step: str, number: int, *arguments: object) -> int:
    long = (ctypes.c_long(item) if isinstance(item, int) else item for item in arguments)
    return call(step, libc.syscall, ctypes.c_long(number), *long)


def write_file(step: str, path: str, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StepError(step, error.errno or errno.EIO) from error


def open_close(step: str, path: str, flags: int) -> None:
    try:
        os.close(os.open(path, flags | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StepError(step, error.errno or errno.EIO) from error
