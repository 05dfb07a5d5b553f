"""What a process is made of, from the probe's dump: the kernel's own words, taken apart."""

import os
import re
from functools import cached_property
from typing import Any, NamedTuple

NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")


def namespaces_of(pid: int | str) -> dict[str, str]:
    """The namespaces of a process that lives: the numbers of others are used again."""
    kinds = (*NAMESPACES, "pid_for_children", "time_for_children")
    return {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in kinds}


class Mounted(NamedTuple):
    """A line of mountinfo (proc_pid_mountinfo(5))."""

    root: str
    point: str
    flags: frozenset[str]
    propagation: tuple[str, ...]
    kind: str
    source: str
    options: frozenset[str]
    """Of the file system itself."""


def mounts(text: str) -> tuple[Mounted, ...]:
    """What mountinfo says, in its order."""
    return tuple(map(_mounted, text.splitlines()))


def _mounted(line: str) -> Mounted:
    front, _, back = line.partition(" - ")
    _, _, _, root, point, flags, *propagation = front.split(" ")
    kind, source, options = back.split(" ")
    return Mounted(
        root=_plain(root),
        point=_plain(point),
        flags=frozenset(flags.split(",")),
        propagation=tuple(propagation),
        kind=kind,
        source=source,
        options=frozenset(options.split(",")),
    )


def _plain(text: str) -> str:
    return re.sub(r"\\(\d{3})", lambda found: chr(int(found[1], 8)), text)


class Posture:
    """The answer to `probe dump`."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self.raw = raw

    def __getattr__(self, name: str) -> Any:
        try:
            return self.raw[name]
        except KeyError:
            raise AttributeError(name) from None

    @cached_property
    def status(self) -> dict[str, str]:
        """/proc/self/status by field."""
        fields = (line.partition(":") for line in self.raw["status"].splitlines())
        return {name: value.strip() for name, _, value in fields}

    @cached_property
    def mounts(self) -> tuple[Mounted, ...]:
        return mounts(self.raw["mountinfo"])

    def mount_at(self, point: str) -> Mounted:
        """The topmost mount at a path."""
        return [mounted for mounted in self.mounts if mounted.point == point][-1]

    @cached_property
    def variables(self) -> dict[str, str]:
        pairs = (entry.partition("=") for entry in self.raw["environment"])
        return {name: value for name, _, value in pairs}

    @cached_property
    def maps(self) -> tuple[list[list[int]], list[list[int]]]:
        """uid_map and gid_map as rows of (inside, outside, count)."""
        both = (self.raw[name].splitlines() for name in ("uid_map", "gid_map"))
        users, groups = ([[int(n) for n in line.split()] for line in lines] for lines in both)
        return users, groups

    @property
    def capabilities(self) -> dict[str, int]:
        """The five sets as bit masks."""
        names = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
        return {name: int(self.status[name], 16) for name in names}
