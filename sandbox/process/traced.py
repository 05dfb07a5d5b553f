"""A sandbox that is followed with ptrace(2): the same launch, and the calls that it was refused.

A thread of its own starts the sandbox and follows it, since a tracer is one thread and so is the
parent whose death ends a sandbox. What it waits for are its own children only.
"""

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from sandbox._core import ffi, lib
from sandbox.process.launch import (
    Child,
    Failure,
    LaunchFailedError,
    be_recorded,
    failure_of,
    launch_of,
)

BY_FILTER: Final = 1
KILLED: Final = 2
SIGNAL: Final = 4
CUT: Final = 8
AT_LAUNCH: Final = 16
SET_ID: Final = 32
STAGE_TRACE: Final = 6

CALLS: Final = 512
INSTRUCTION: Final = 8
"""Bytes of a struct sock_filter."""
CAPACITY: Final = 4096
"""Different refusals that are kept at a time."""
MAX_BYTES: Final = 4 << 20
"""Of their paths together."""

_ENDED, _FULL = 0, 1
_NONE: Final = -1


class Watched(Protocol):
    """How a call is looked at; sandbox/explain/calls.py says what each field means."""

    @property
    def errors(self) -> frozenset[int]: ...
    @property
    def paths(self) -> tuple[tuple[int, int], ...]: ...
    @property
    def data(self) -> tuple[int, int] | None: ...
    @property
    def masks(self) -> Mapping[int, int]: ...


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Equal refusals of one kind of call.

    `error` is an errno, or with the flag SIGNAL a signal. `paths` are (directory, path) as the
    payload named them, `data` an address or a structure. `first` and `last` count all refusals.
    `made_good` is how often the same process then found the same name elsewhere.
    """

    call: int
    error: int
    flags: int
    pid: int
    arguments: tuple[int, ...]
    count: int
    first: int
    last: int
    made_good: int
    program: str
    failed: bool
    """The process of the last one ended with another status than 0."""
    paths: tuple[tuple[str, str], ...]
    data: bytes


class Followed(NamedTuple):
    """What is known when a sandbox has been followed to its end.

    `dropped` counts kinds of refusals that were more than is kept, `total` all refusals.
    """

    refusals: tuple[Refusal, ...]
    total: int
    dropped: int


class TracedChild(Child):
    """A sandbox that a thread of this process follows."""

    def __init__(self, launch: Any, child: Any, kept: Sequence[Any], tracer: "_Tracer") -> None:
        super().__init__(launch, child, kept, tracer.pidfd)
        self._tracer = tracer

    def reap(self) -> int | None:
        """The payload's wait status, or None while it lives. Raises LaunchFailedError."""
        self._tracer.thread.join(0 if self._tracer.finished.is_set() else 0.02)
        if self._tracer.thread.is_alive():
            return None
        return self._tracer.status(self._end)

    @property
    def root(self) -> int:
        """A descriptor of the payload's root, whose mounts last until `close`; -1: none."""
        return int(lib.sbx_trace_root(self._tracer.trace))

    def followed(self) -> Followed:
        """What was refused; for a sandbox that has ended."""
        return self._tracer.followed()

    def close(self) -> None:
        super().close()
        self._tracer.free()


def start_traced(
    plan: bytes,
    filters: Sequence[bytes],
    watches: Mapping[int, Watched],
    keep: Callable[[Refusal], bool],
    *,
    argv: Sequence[str],
    environ: Mapping[str, str],
    terminal: int = 0,
    name: str | None = None,
) -> TracedChild:
    """Starts a sandbox that is followed, and returns when its program runs.

    `filters` are those that the plan installs, in this order. `watches` are by call number. `keep` is asked, in the thread that follows, which refusals
    matter when there are too many; it must not raise. Everything else as for `launch.start`.
    A LaunchFailedError whose `refused` is there tells what was refused until then.
    """
    launch, kept = launch_of(plan, argv=argv, environ=environ, terminal=terminal)
    be_recorded(launch, kept, plan, name)
    launch.attach = ffi.addressof(lib, "sbx_trace_attach")
    tracer = _Tracer(launch, filters, watches, keep)
    tracer.begin()
    failure = ffi.new("struct sbx_failure *")
    if tracer.problem is not None:
        raise tracer.problem
    if tracer.error < 0:
        tracer.free()
        raise LaunchFailedError(failure_of(tracer.failure))
    if lib.sbx_await_exec(launch, tracer.child, failure) < 0:
        tracer.thread.join()
        os.close(tracer.pidfd)
        found = tracer.followed()
        lib.sbx_release(tracer.child)
        tracer.free()
        raise TracedLaunchFailedError(failure_of(failure), found)
    return TracedChild(launch, tracer.child, kept, tracer)


class TracedLaunchFailedError(LaunchFailedError):
    """The program was not started; `followed` is what was refused until then."""

    def __init__(self, failure: Failure, followed: Followed) -> None:
        super().__init__(failure)
        self.followed = followed


class _Tracer:
    """The thread that follows, and what it shares with the one that started it."""

    def __init__(
        self,
        launch: Any,
        filters: Sequence[bytes],
        watches: Mapping[int, Watched],
        keep: Callable[[Refusal], bool],
    ) -> None:
        self.launch = launch
        self.keep = keep
        self.child = ffi.new("struct sbx_child *")
        self.failure = ffi.new("struct sbx_failure *")
        self.error = 0
        self.problem: Exception | None = None
        self.pidfd = -1
        self.started, self.finished = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._follow, name="sbx-trace", daemon=True)
        self._watches = _watch_table(watches)
        self._paths = {number: len(watch.paths) for number, watch in watches.items()}
        self._status = ffi.new("int *")
        self._programs = [ffi.from_buffer("uint8_t[]", program) for program in filters]
        self._filters = ffi.new(
            "struct sbx_filter[]",
            [(program, len(program) // INSTRUCTION) for program in self._programs],
        )
        self.trace = lib.sbx_trace_new(
            self._watches, self._filters, len(self._filters), CAPACITY, MAX_BYTES
        )
        if self.trace == ffi.NULL:
            raise MemoryError

    def begin(self) -> None:
        self.thread.start()
        self.started.wait()

    def free(self) -> None:
        if self.trace != ffi.NULL:
            lib.sbx_trace_free(self.trace)
            self.trace = ffi.NULL

    def _follow(self) -> None:
        """The thread's whole life: it starts the sandbox, and outlives it."""
        try:
            lib.sbx_block_signals(ffi.new("uint64_t *"))
            self.error = lib.sbx_start(self.launch, self.child, self.failure)
            if self.error >= 0:  # before this thread can reap it
                self.pidfd = os.pidfd_open(self.child.pid)
            self.started.set()
            while self.error >= 0:
                self.error = lib.sbx_trace_run(self.trace, self.child, self._status)
                if self.error != _FULL:
                    break
                self._make_room()
        except Exception as problem:  # noqa: BLE001 - it belongs to the thread that waits for this one
            self.problem = problem
        finally:  # with the thread the kernel ends what it traces
            self.started.set()
            self.finished.set()

    def _make_room(self) -> None:
        kept = ffi.new("uint8_t[]", lib.sbx_trace_count(self.trace))
        for index, refusal in enumerate(self._refusals()):
            kept[index] = self.keep(refusal)
        lib.sbx_trace_keep(self.trace, kept)

    def status(self, end: Any) -> int:
        """The payload's wait status. Raises LaunchFailedError, or OSError if it got away."""
        if self.problem is not None:
            raise self.problem
        if self.error < 0:
            raise OSError(-self.error, os.strerror(-self.error))
        lib.sbx_collect(self.child, self._status[0], end)
        if end.failure.stage:
            raise TracedLaunchFailedError(failure_of(end.failure), self.followed())
        return int(end.status)

    def followed(self) -> Followed:
        return Followed(
            tuple(self._refusals()),
            int(lib.sbx_trace_total(self.trace)),
            int(lib.sbx_trace_dropped(self.trace)),
        )

    def _refusals(self) -> Iterator[Refusal]:
        for index in range(lib.sbx_trace_count(self.trace)):
            raw = lib.sbx_trace_at(self.trace, index)
            failed = bool(lib.sbx_trace_failed(self.trace, raw.pid))
            yield _refusal(raw, self._paths.get(int(raw.call), 0), failed=failed)


def _refusal(raw: Any, paths: int, *, failed: bool) -> Refusal:
    texts, at = [], 0
    for size in raw.sizes:
        texts.append(bytes(ffi.buffer(raw.texts + at, size)))
        at += size
    words = [os.fsdecode(text) for text in texts[:4]]
    return Refusal(
        call=int(raw.call),
        error=int(raw.error),
        flags=int(raw.flags),
        pid=int(raw.pid),
        arguments=tuple(map(int, raw.arguments)),
        count=int(raw.count),
        first=int(raw.first),
        last=int(raw.last),
        made_good=int(raw.made_good),
        program=os.fsdecode(ffi.string(raw.program)),
        failed=failed,
        paths=((words[0], words[1]), (words[2], words[3]))[:paths],
        data=texts[4],
    )


def _watch_table(watches: Mapping[int, Watched]) -> Any:
    table = ffi.new("struct sbx_watch[]", CALLS)
    for raw in table:
        raw.path = raw.directory = (_NONE, _NONE)
        raw.bytes = raw.bytes_size = _NONE
    for number, watch in watches.items():
        raw = table[number]
        for error in watch.errors:
            raw.errors[error // 64] |= 1 << error % 64
        for index, mask in watch.masks.items():
            raw.masks[index] = mask
        for which, (path, directory) in enumerate(watch.paths):
            raw.path[which], raw.directory[which] = path, directory
        if watch.data:
            raw.bytes, raw.bytes_size = watch.data
    return table
