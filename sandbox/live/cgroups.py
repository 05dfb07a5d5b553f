"""What the cgroups of a live sandbox count and limit, by the names of version 2 for both versions."""

import os
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from sandbox.live.records import Live

_UNLIMITED: Final = 1 << 62
"""Version 1 writes the largest multiple of a page where there is no limit."""
_DIGITS: Final = 20
_PART: Final = 1 << 16
_PARTS_MAX: Final = 256
"""The kernel's files are smaller; another's record may name one without an end."""


class Membership(NamedTuple):
    """One line of /proc/PID/cgroup: version 2 has no controllers there."""

    controllers: tuple[str, ...]
    path: str


class Usage(NamedTuple):
    """What cgroups count; None where none of them does."""

    memory: int | None = None
    """Bytes, as all that follow of memory and io."""
    memory_peak: int | None = None
    memory_max: int | None = None
    swap: int | None = None
    cpu_us: int | None = None
    throttled_us: int | None = None
    pids: int | None = None
    pids_max: int | None = None
    read_bytes: int | None = None
    write_bytes: int | None = None


class Pressure(NamedTuple):
    """How much of the last ten seconds tasks have waited for something, in percent (PSI)."""

    some: float
    full: float


LIMITS: Final = (
    "memory.max",
    "memory.high",
    "memory.swap.max",
    "memory.limit_in_bytes",
    "memory.soft_limit_in_bytes",
    "memory.memsw.limit_in_bytes",
    "pids.max",
    "cpu.max",
    "cpu.weight",
    "cpu.cfs_quota_us",
    "cpu.cfs_period_us",
    "cpu.shares",
    "cpuset.cpus",
    "cpuset.mems",
    "io.max",
    "io.weight",
    "blkio.throttle.read_bps_device",
    "blkio.throttle.write_bps_device",
)


def own(live: Live) -> tuple[str, ...]:
    """The directories of a sandbox's own cgroups.

    Those of its record, else those that its first process is in and its supervisor isn't.
    """
    if live.cgroups:
        return live.cgroups
    above = set(memberships(live.supervisor))
    mounts = hierarchies() if above else {}
    found = []
    for each in memberships(live.first):
        mount = mounts.get(each.controllers[0] if each.controllers else "")
        # That of a supervisor which has moved itself aside isn't the sandbox's.
        if each not in above and mount is not None and f"/{live.name}" in each.path:
            found.append(mount + each.path)
    return tuple(dict.fromkeys(found))


def memberships(pid: int) -> list[Membership]:
    """The cgroups that a process is in; none where it has ended."""
    found = []
    for line in (read(f"/proc/{pid}/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        found.append(Membership(tuple(filter(None, controllers.split(","))), path))
    return found


def hierarchies() -> dict[str, str]:
    """Where each controller's hierarchy is mounted; version 2 under the empty name."""
    found: dict[str, str] = {}
    for line in (read("/proc/self/mountinfo") or "").splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        place = before.split(" ")[4]
        if kind == "cgroup2":
            found.setdefault("", place)
        elif kind == "cgroup":
            for option in options.split(","):
                found.setdefault(option, place)
    return found


def read(path: str) -> str | None:
    """A small file's text, or its first 16 MiB; None where it isn't there or can't be read."""
    try:
        # Who wrote the record that names it may have put a pipe there.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        parts: list[bytes] = []
        while len(parts) < _PARTS_MAX and (part := os.read(fd, _PART)):
            parts.append(part)
        return b"".join(parts).decode(errors="replace").strip()
    except OSError:
        return None
    finally:
        os.close(fd)


def number(text: str | None) -> int | None:
    """A number of the kernel's; None for "max" and for none."""
    if text is None or len(text) > _DIGITS or not (text.isascii() and text.isdigit()):
        return None
    if int(text) >= _UNLIMITED:
        return None
    return int(text)


def memory_of(directories: Iterable[str]) -> int | None:
    """The memory that is used, by the one of these that counts it."""
    for directory in directories:
        for name in ("memory.current", "memory.usage_in_bytes"):
            found = number(read(f"{directory}/{name}"))
            if found is not None:
                return found
    return None


def usage(directories: Iterable[str]) -> Usage:
    """All that is counted, together."""
    found: dict[str, int] = {}
    for directory in directories:
        for key, value in _usage(directory):
            if value is not None:
                found.setdefault(key, value)
    return Usage(**found)


def _usage(directory: str) -> Iterator[tuple[str, int | None]]:
    for key, names in _FILES:
        for name in names:
            yield key, number(read(f"{directory}/{name}"))
    stat = _table(read(f"{directory}/cpu.stat"))
    yield "cpu_us", stat.get("usage_usec")
    nanoseconds = number(read(f"{directory}/cpuacct.usage"))
    yield "cpu_us", None if nanoseconds is None else nanoseconds // 1000
    throttled = stat.get("throttled_time")
    yield "throttled_us", stat.get("throttled_usec") if throttled is None else throttled // 1000
    yield from _io(directory)


_FILES: Final = (
    ("memory", ("memory.current", "memory.usage_in_bytes")),
    ("memory_peak", ("memory.peak", "memory.max_usage_in_bytes")),
    ("memory_max", ("memory.max", "memory.limit_in_bytes")),
    ("swap", ("memory.swap.current",)),
    ("pids", ("pids.current",)),
    ("pids_max", ("pids.max",)),
)


def _table(text: str | None) -> dict[str, int]:
    pairs = (line.split() for line in (text or "").splitlines())
    found = ((pair[0], number(pair[1])) for pair in pairs if len(pair) == 2)
    return {key: value for key, value in found if value is not None}


def _io(directory: str) -> Iterator[tuple[str, int | None]]:
    text = read(f"{directory}/io.stat")
    if text is not None:
        words = [word.partition("=") for word in text.split()]
        for key, name in (("read_bytes", "rbytes"), ("write_bytes", "wbytes")):
            yield key, sum(int(value) for word, _, value in words if word == name)
    text = read(f"{directory}/blkio.throttle.io_service_bytes")
    if text is not None:
        lines = [line.split() for line in text.splitlines()]
        for key, name in (("read_bytes", "Read"), ("write_bytes", "Write")):
            yield key, sum(int(line[2]) for line in lines if len(line) == 3 and line[1] == name)


def pressure(directories: Iterable[str]) -> dict[str, Pressure]:
    """Pressure by resource: cpu, memory, io. Version 1 has none."""
    found = {}
    for directory in directories:
        for resource in ("cpu", "memory", "io"):
            text = read(f"{directory}/{resource}.pressure")
            if text:
                found[resource] = _pressure(text)
    return found


def _pressure(text: str) -> Pressure:
    shares = {"some": 0.0, "full": 0.0}
    for line in text.splitlines():
        kind, *words = line.split()
        values = dict(word.split("=", 1) for word in words)
        shares[kind] = float(values.get("avg10", 0))
    return Pressure(shares["some"], shares["full"])


def limits(directory: str) -> dict[str, str]:
    """The files of a cgroup that limit something, with their text."""
    found = ((name, read(f"{directory}/{name}")) for name in LIMITS)
    return {name: text for name, text in found if text}
