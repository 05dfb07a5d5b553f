"""The Python door to the executor: a plan's bytes in, a running sandbox out."""

import contextlib
import errno
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from sandbox._core import ffi, lib

STAGE_RECORD: Final = 7
_NAME_MAX: Final = 64


class Failure(NamedTuple):
    """Where a launch failed, as `struct sbx_failure` says it; `process.failure` has the words."""

    stage: int
    op: int
    error: int
    detail: int


class LaunchFailedError(Exception):
    """The sandbox was not started; nothing of it is left."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


class Child:
    """A sandbox that runs: its first process and the channels to it.

    `terminal` is the master side of its pseudo-terminal, or -1. `close()` gives up the
    descriptors; the sandbox itself ends with the process that started it, if the plan says so.
    """

    def __init__(self, launch: Any, child: Any, kept: Sequence[Any], pidfd: int = -1) -> None:
        self._launch = launch
        self._child = child
        self._kept = kept
        self._end = ffi.new("struct sbx_exit *")
        self._supervision = _attend(launch, child)
        self.requests = lib.sbx_attend_fd(self._supervision) if self._supervision else -1
        """Readable when others ask something of the sandbox; -1 where it isn't recorded."""
        self.pidfd = os.pidfd_open(self.pid) if pidfd < 0 else pidfd
        """Readable when the sandbox has ended."""

    @property
    def pid(self) -> int:
        """The first process's id, as the supervisor sees it."""
        return int(self._child.pid)

    @property
    def terminal(self) -> int:
        return int(self._child.terminal_fd)

    @property
    def name(self) -> str:
        """What others know it by, or would if it were recorded."""
        text = ffi.new("char[]", _NAME_MAX + 1)
        lib.record_name(self._launch, text)
        return os.fsdecode(ffi.string(text))

    @property
    def end(self) -> Any:
        """The `struct sbx_exit` once it is reaped; `process.ending` reads it."""
        return self._end

    def send_signal(self, number: int) -> None:
        """Sends a signal to the sandbox's first process, which hands it on; or a service is asked so."""
        if self._supervision:
            lib.sbx_attend_signal(self._supervision, number)
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def announce(self) -> None:
        """Tells a service manager that has started this process, and waits, that the program runs.

        The supervisor of a service has told it already.
        """
        lib.sbx_announce(self._launch, self._child)

    def reap(self) -> int | None:
        """The payload's wait status, or None while it lives. Raises LaunchFailedError."""
        end = self._end
        error = lib.sbx_reap(self._launch, self._child, end)
        if error == -errno.EAGAIN:
            return None
        if error < 0:
            raise OSError(-error, os.strerror(-error))
        if end.failure.stage:
            raise LaunchFailedError(failure_of(end.failure))
        return int(end.status)

    def serve_requests(self) -> None:
        """Answers what others have asked."""
        if self._supervision:
            lib.sbx_attend_turn(self._supervision)

    def close(self) -> None:
        os.close(self.pidfd)
        if self._supervision:
            lib.sbx_attend_end(self._supervision, self._end)
            self._supervision = None
        if self._launch.plan_fd > 0:
            os.close(self._launch.plan_fd)
            self._launch.plan_fd = 0
        lib.sbx_release(self._child)


def _plan_file(plan: bytes) -> int:
    """Where others can read the plan as long as this process has it open."""
    fd = os.memfd_create("sbx-plan", os.MFD_CLOEXEC)
    with open(fd, "wb", closefd=False) as file:
        file.write(plan)
    return fd


def _attend(launch: Any, child: Any) -> Any:
    """What others reach the sandbox by; None where it isn't recorded, and nobody asked for it by name."""
    if not launch.record:
        return None
    error = ffi.new("int *")
    supervision = lib.sbx_attend(launch, child, error)
    if supervision or not launch.name:
        return supervision or None
    os.kill(child.pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):  # the thread that follows it was first
        os.waitpid(child.pid, 0)
    os.close(launch.plan_fd)
    lib.sbx_release(child)
    raise LaunchFailedError(Failure(stage=STAGE_RECORD, op=0, error=-error[0], detail=0))


def start(
    plan: bytes,
    *,
    argv: Sequence[str],
    environ: Mapping[str, str],
    terminal: int = 0,
    name: str | None = None,
) -> Child:
    """Starts a sandbox, records it, and returns when its program runs.

    `argv` replaces the plan's command unless it is empty; of `environ` the names that the plan
    passes are taken. `terminal` has bits 0 to 2 for the standard streams that are to be a new
    pseudo-terminal; `name` is what others know the sandbox by. Raises LaunchFailedError, and
    ValueError for bytes that aren't a plan.
    """
    launch, kept = launch_of(plan, argv=argv, environ=environ, terminal=terminal)
    be_recorded(launch, kept, plan, name)
    child, failure = ffi.new("struct sbx_child *"), ffi.new("struct sbx_failure *")
    mask = ffi.new("uint64_t *")
    lib.sbx_block_signals(mask)
    try:
        error = lib.sbx_start(launch, child, failure)
        if error >= 0:
            error = lib.sbx_await_exec(launch, child, failure)
            if error < 0:
                lib.sbx_release(child)
    finally:
        lib.sbx_restore_signals(mask[0])
    if error < 0:
        os.close(launch.plan_fd)
        raise LaunchFailedError(failure_of(failure))
    return Child(launch, child, kept)


def be_recorded(launch: Any, kept: list[Any], plan: bytes, name: str | None) -> None:
    """Has a launch make its sandbox known to others, by this name if there is one."""
    record = ffi.new(
        "struct sbx_record *", {"runtime_fd": -1, "directory_fd": -1, "control_fd": -1}
    )
    launch.record = record
    launch.plan_fd = _plan_file(plan)
    kept.append(record)
    if name is not None:
        launch.name = kept_name = ffi.new("char[]", os.fsencode(name))
        kept.append(kept_name)


def launch_of(
    plan: bytes, *, argv: Sequence[str], environ: Mapping[str, str], terminal: int
) -> tuple[Any, list[Any]]:
    """A `struct sbx_launch`, and what has to be kept as long as it is used."""
    kept: list[Any] = [ffi.new("uint64_t[]", (len(plan) + 7) // 8)]
    ffi.memmove(kept[0], plan, len(plan))
    opened = ffi.new("struct plan *")
    if lib.plan_open(kept[0], len(plan), opened) < 0:
        raise ValueError("not a sound plan")
    launch = ffi.new("struct sbx_launch *")
    launch.plan = opened
    launch.terminal = terminal
    launch.words = _own_words()
    launch.environment = _strings([f"{k}={v}" for k, v in environ.items()], kept)
    if argv:
        launch.argv = _strings(argv, kept)
    kept.append(opened)
    return launch, kept


def _own_words() -> Any:
    """A `struct sbx_words`: where this process's command line lies (proc_pid_stat(5), fields 48 and 49)."""
    with open("/proc/self/stat", encoding="utf-8", errors="surrogateescape") as file:
        fields = file.read().rpartition(")")[2].split()
    start, end = (int(fields[number - 3]) for number in (48, 49))
    return ffi.new("struct sbx_words *", {"at": ffi.cast("char *", start), "size": end - start})[0]


def _strings(texts: Sequence[str], kept: list[Any]) -> Any:
    words = [ffi.new("char[]", os.fsencode(text)) for text in texts]
    array = ffi.new("char *[]", [*words, ffi.NULL])
    kept.extend([*words, array])
    return array


def failure_of(raw: Any) -> Failure:
    """A `struct sbx_failure` as a value."""
    return Failure(int(raw.stage), int(raw.op), int(raw.error), int(raw.detail))


class Mark(NamedTuple):
    """A moment of a launch: the op that ended (by its index), or one of the supervisor's own."""

    stage: int
    op: int
    ns: int


def marks_of(data: bytes) -> tuple[Mark, ...]:
    """The marks in a `struct sbx_timing` as the launcher writes it."""
    timing = ffi.new("struct sbx_timing *")
    ffi.memmove(timing, data, min(len(data), ffi.sizeof("struct sbx_timing")))
    return tuple(
        Mark(int(m.stage), int(m.op), int(m.ns))
        for m in timing.marks[0 : min(timing.count, len(timing.marks))]
    )
