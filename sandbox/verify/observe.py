"""What the kernel tells of the threads of a live sandbox, from outside: /proc, read and not judged.

What this user may not see is None.
"""

import contextlib
import fcntl
import os
import stat
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final, NamedTuple, TypeVar

from sandbox.live import cgroups
from sandbox.live.processes import Family, Process
from sandbox.live.records import Live

NAMESPACES: Final = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time")
CHILDREN: Final = {"pid": "pid_for_children", "time": "time_for_children"}
PLACES: Final = ("cwd", "root", "exe")
MAPS: Final = ("uid_map", "gid_map", "setgroups")
_NS_GET_USERNS: Final = 0xB701  # ioctl_ns(2)
_NS_GET_PARENT: Final = 0xB702
_MAX_DEPTH: Final = 33
_UNLIMITED: Final = 2**64 - 1

_T = TypeVar("_T")


class Role(Enum):
    """How a process came to be in the sandbox."""

    FIRST = "init"
    COMMAND = "command"
    PROGRAM = "program"
    STRANGER = "stranger"
    """It shares a namespace or control group with the sandbox, and descends from no process of it."""


class Place(NamedTuple):
    """What a descriptor or a link of a process leads to."""

    link: str
    mount: int
    """The number of its mount, as mountinfo has it; -1 where it is unknown."""
    device: int
    inode: int
    mode: int
    links: int


class Task(NamedTuple):
    """One thread."""

    pid: int
    tid: int
    name: str
    role: Role
    status: Mapping[str, str]
    namespaces: Mapping[str, int | None]
    """By the names in /proc/PID/ns: the inode."""
    within: frozenset[str] | None
    """Of those that are neither the sandbox's nor the supervisor's, the ones made in the sandbox."""
    cgroup: frozenset[str]
    limits: tuple[tuple[int, int], ...]
    oom: int | None
    descriptors: Mapping[int, Place] | None
    places: Mapping[str, Place] | None
    environment: tuple[str, ...] | None
    mounts: str
    """mountinfo."""
    maps: Mapping[str, str] | None = None
    """uid_map, gid_map and setgroups of its user namespace."""
    owner: int | None = None
    """Of its files in /proc, which is the user's own where the process is dumpable."""
    securebits: int | None = None
    """Only a process itself can ask for them, and for the signal of its parent's death."""
    death_signal: int | None = None


class Observation(NamedTuple):
    """A sandbox at one moment, and the process that it is compared with."""

    supervisor: Task
    tasks: tuple[Task, ...]
    caller: Mapping[str, str] | None
    """The supervisor's environment."""
    directory: str
    """Of its record."""
    own_cgroups: tuple[str, ...]
    """Directories."""
    hierarchies: Mapping[str, str]
    hidden: int
    """So many processes of the machine may be in it: this user doesn't see their namespaces."""


def observe(live: Live, supervisor: int) -> Observation:
    """Every thread of every process in it. A thread that ends meanwhile isn't there."""
    outside = _task(supervisor, supervisor, Role.STRANGER)
    if outside is None:
        raise ProcessLookupError(supervisor)
    directories = cgroups.own(live)
    hierarchies = cgroups.hierarchies()
    roles, hidden = _members(live, outside, directories, hierarchies)
    own = _numbers(live.first)
    tasks = [
        task
        for pid, role in roles.items()
        for tid in _threads(pid)
        if (task := _task(pid, tid, role, own=own, outside=outside)) is not None
    ]
    variables = outside.environment
    return Observation(
        supervisor=outside,
        tasks=tuple(tasks),
        caller=None if variables is None else dict(_pair(entry) for entry in variables),
        directory=os.path.realpath(live.directory),
        own_cgroups=directories,
        hierarchies=hierarchies,
        hidden=hidden,
    )


# ---- Who is in it ----


def _members(
    live: Live, outside: Task, directories: tuple[str, ...], hierarchies: Mapping[str, str]
) -> tuple[dict[int, Role], int]:
    family = Family()
    inside = list(family.of(live.first))
    command = _command(live, inside)
    roles = {process.pid: Role.PROGRAM for process in inside}
    if command:
        roles[command] = Role.COMMAND
    if live.has_init:
        roles[live.first] = Role.FIRST
    shared = {
        (kind, number)
        for pid in roles
        for kind, number in _numbers(pid).items()
        if pid in {live.first, command} or kind == "pid"
    }
    shared -= {(kind, number) for kind, number in outside.namespaces.items() if number}
    groups = {
        (controller, directory[len(mount) :])
        for controller, mount in hierarchies.items()
        for directory in directories
        if directory.startswith(f"{mount}/")
    }
    hidden = 0
    for pid in family.processes:
        if pid in roles or pid == outside.pid:
            continue
        numbers = _numbers(pid)
        hidden += not (numbers or _is_gone(pid))
        if shared & set(numbers.items()) or (groups and groups & _memberships(pid)):
            roles[pid] = Role.STRANGER
    return roles, hidden


def _command(live: Live, inside: list[Process]) -> int:
    if not live.has_init:
        return live.first
    children = [process for process in inside if process.parent == live.first]
    oldest = min(children, key=lambda each: (each.start_ticks, each.pid), default=None)
    return oldest.pid if oldest else 0


def _memberships(pid: int) -> set[tuple[str, str]]:
    return {
        (controller, each.path)
        for each in cgroups.memberships(pid)
        for controller in (each.controllers or ("",))
    }


def _numbers(pid: int) -> dict[str, int]:
    """The namespaces of a process that this user may see."""
    found = {}
    for kind in (*NAMESPACES, *CHILDREN.values()):
        with contextlib.suppress(OSError):
            found[kind] = os.stat(f"/proc/{pid}/ns/{kind}").st_ino
    return found


def _is_gone(pid: int) -> bool:
    """Ended, a zombie, or a thread of the kernel's, none of which can be in a sandbox."""
    text = cgroups.read(f"/proc/{pid}/status")
    return text is None or "\nVmSize:" not in text


def _threads(pid: int) -> list[int]:
    try:
        return sorted(map(int, os.listdir(f"/proc/{pid}/task")))
    except OSError:
        return []


# ---- A thread ----


def _task(
    pid: int,
    tid: int,
    role: Role,
    *,
    own: Mapping[str, int] | None = None,
    outside: Task | None = None,
) -> Task | None:
    base = f"/proc/{pid}/task/{tid}"
    status = dict(_field(line) for line in (cgroups.read(f"{base}/status") or "").splitlines())
    if not status or status["State"].startswith(("Z", "X")):
        return None
    kinds = (*NAMESPACES, *CHILDREN.values())
    namespaces = {kind: _seen(_inode, f"{base}/ns/{kind}") for kind in kinds}
    oom = cgroups.read(f"{base}/oom_score_adj") or cgroups.read(f"/proc/{pid}/oom_score_adj")
    found = Task(
        pid=pid,
        tid=tid,
        name=status.get("Name", ""),
        role=role,
        status=status,
        namespaces=namespaces,
        within=_within(base, namespaces, own, outside),
        cgroup=frozenset((cgroups.read(f"{base}/cgroup") or "").splitlines()),
        limits=limits_of(cgroups.read(f"{base}/limits") or ""),
        oom=None if oom is None else int(oom),
        descriptors=_seen(_descriptors, base),
        places=_seen(_places, base),
        environment=_seen(_environment, base),
        mounts=_seen(_text, f"{base}/mountinfo") or "",
        maps=_seen(_maps, base),
        owner=_seen(_owner, f"{base}/environ"),
    )
    # What was read of one that has ended meanwhile is of no use.
    return found if os.path.exists(base) and found.limits else None


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, " ".join(value.split())


def _seen(look: Callable[[str], _T], path: str) -> _T | None:
    try:
        return look(path)
    except OSError:
        return None


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def _inode(path: str) -> int:
    return os.stat(path).st_ino


def _owner(path: str) -> int:
    return os.stat(path).st_uid


def _maps(base: str) -> dict[str, str]:
    return {name: _text(f"{base}/{name}") for name in MAPS}


def limits_of(text: str) -> tuple[tuple[int, int], ...]:
    """/proc/PID/limits, which is in the order of the numbers: soft and hard limits."""
    rows = (line[26:].split()[:2] for line in text.splitlines()[1:])
    return tuple((_limit(row[0]), _limit(row[1])) for row in rows if len(row) == 2)


def _limit(word: str) -> int:
    return _UNLIMITED if word == "unlimited" else int(word)


def _environment(base: str) -> tuple[str, ...]:
    with open(f"{base}/environ", "rb") as file:
        entries = file.read().split(b"\0")
    return tuple(map(os.fsdecode, entries[:-1] if entries[-1] == b"" else entries))


def _pair(entry: str) -> tuple[str, str]:
    name, _, value = entry.partition("=")
    return name, value


def _descriptors(base: str) -> dict[int, Place]:
    found = {}
    for name in os.listdir(f"{base}/fd"):
        with contextlib.suppress(FileNotFoundError):
            mount = _mount_of(f"{base}/fdinfo/{name}")
            found[int(name)] = _place(f"{base}/fd/{name}", mount)
    return found


def _places(base: str) -> dict[str, Place]:
    """Opened, since only a descriptor tells of its mount."""
    found = {}
    for name in PLACES:
        fd = os.open(f"{base}/{name}", os.O_PATH | os.O_CLOEXEC)
        try:
            found[name] = _place(f"{base}/{name}", _mount_of(f"/proc/self/fdinfo/{fd}"))
        finally:
            os.close(fd)
    return found


def _place(path: str, mount: int) -> Place:
    state = os.stat(path)
    return Place(
        link=os.readlink(path),
        mount=mount,
        device=state.st_dev,
        inode=state.st_ino,
        mode=stat.S_IFMT(state.st_mode),
        links=state.st_nlink,
    )


def _mount_of(path: str) -> int:
    """By proc_pid_fdinfo(5)."""
    with open(path, encoding="ascii", errors="replace") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name == "mnt_id":
                return int(value)
    return -1


# ---- Namespaces within ----


def _within(
    base: str,
    namespaces: Mapping[str, int | None],
    own: Mapping[str, int] | None,
    outside: Task | None,
) -> frozenset[str] | None:
    """Those that belong to a user namespace of the sandbox's or one below it; None: not to be seen."""
    if own is None or outside is None:
        return None
    known = {*own.values(), *outside.namespaces.values()}
    found = []
    for kind, number in namespaces.items():
        if number is None or number in known:
            continue
        try:
            fd = os.open(f"{base}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        if _is_below(_owners(fd, is_user=kind == "user"), kind, own, outside):
            found.append(kind)
    return frozenset(found)


def _is_below(owners: list[int], kind: str, own: Mapping[str, int], outside: Task) -> bool:
    """By the sandbox's user namespace; where that can't be seen, by the supervisor's, its parent."""
    if "user" in own:
        return own["user"] in owners
    above = outside.namespaces["user"]
    return above in owners and owners.index(above) >= (1 if kind == "user" else 2)


def _owners(fd: int, *, is_user: bool) -> list[int]:
    """The user namespaces that a namespace belongs to, from the nearest one up. Closes `fd`."""
    asks = _NS_GET_PARENT if is_user else _NS_GET_USERNS
    found: list[int] = []
    while fd >= 0 and len(found) < _MAX_DEPTH:
        try:
            above = fcntl.ioctl(fd, asks)
        except OSError:  # EPERM: what is above isn't in this process's reach
            above = -1
        os.close(fd)
        fd = above
        asks = _NS_GET_PARENT
        if fd >= 0:
            found.append(os.fstat(fd).st_ino)
    if fd >= 0:
        os.close(fd)
    return found
