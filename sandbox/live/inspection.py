"""Everything that the record, the plan and the kernel tell of one live sandbox."""

import os
import stat
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sandbox.live import cgroups
from sandbox.live.health import Health, health_of
from sandbox.live.processes import Family, Process, gone, verified
from sandbox.live.records import Live, service_fields

if TYPE_CHECKING:
    from sandbox.plan.record import Plan

_MAX_PLAN: Final = 4 << 20
_NAMESPACES: Final = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time")
_MAPS: Final = ("uid_map", "gid_map")


class Namespace(NamedTuple):
    """One namespace of a sandbox."""

    inode: int
    own: bool
    """It isn't its supervisor's."""


class Inspection(NamedTuple):
    """What is known; what the caller may not see is None or empty."""

    live: Live
    payload: int
    """The process that the command became, or the first process where it has ended."""
    processes: int
    threads: int
    ids: dict[str, str]
    """From the payload's status: uid, gid, groups, no_new_privs, seccomp, capabilities."""
    maps: dict[str, list[list[int]]]
    """uid_map and gid_map: [inside, outside, count]."""
    namespaces: dict[str, Namespace]
    mounts: int | None
    descriptors: dict[str, str] | None
    """Of the payload: number to what it is."""
    cgroups: dict[str, dict[str, str]]
    """Its own ones, each with the files that limit something."""
    usage: cgroups.Usage
    enforced: tuple[str, ...] | None
    """Its layers in the plan's words; None where the plan can't be read."""
    not_enforced: tuple[str, ...]
    service: dict[str, str]
    """What a service says of itself."""
    health: Health | None


def inspect(live: Live) -> Inspection:
    """All of it. Raises SandboxError where it has ended meanwhile."""
    with verified(live) as pidfds:
        members = list(Family().of(live.first))
        payload = _payload(live, members)
        plan = _plan(pidfds.supervisor_pid, live.plan_fd)
        directories = cgroups.own(live)
        found = Inspection(
            live=live,
            payload=payload,
            processes=len(members),
            threads=sum(process.threads for process in members),
            ids=_ids(payload),
            maps={name: _map(payload, name) for name in _MAPS},
            namespaces=_namespaces(payload, pidfds.supervisor_pid),
            mounts=_lines(f"/proc/{payload}/mountinfo"),
            descriptors=_descriptors(payload),
            cgroups={path: cgroups.limits(path) for path in directories},
            usage=cgroups.usage(directories),
            enforced=None if plan is None else tuple(_layers(plan)),
            not_enforced=() if plan is None else plan.not_enforced,
            service=service_fields(live),
            health=health_of(live),
        )
        # It lives still, so nobody else can have had these process ids meanwhile.
        if not pidfds.send(0):
            raise gone(live)
    return found


def plan_of(live: Live) -> "Plan | None":
    """The plan that a sandbox was started from; None where it can't be read."""
    with verified(live) as pidfds:
        return _plan(pidfds.supervisor_pid, live.plan_fd)


def _payload(live: Live, members: list[Process]) -> int:
    """The init's oldest child is the command; what came to it later was left behind by others."""
    children = [process for process in members if process.parent == live.first]
    if not live.has_init or not children:
        return live.first
    return min(children, key=lambda process: (process.start_ticks, process.pid)).pid


def _plan(supervisor: int, number: int) -> "Plan | None":
    """What the supervisor holds there may be anything: only a regular file is read."""
    from sandbox.plan import codec

    if number <= 0:
        return None
    try:
        fd = os.open(f"/proc/{supervisor}/fd/{number}", os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        state = os.fstat(fd)
        if not stat.S_ISREG(state.st_mode) or state.st_size > _MAX_PLAN:
            return None
        with open(f"/proc/self/fd/{fd}", "rb") as file:
            return codec.decode(file.read(_MAX_PLAN))
    except (OSError, ValueError):
        return None
    finally:
        os.close(fd)


def _layers(plan: "Plan") -> list[str]:
    from sandbox.plan import cgroup_ops, ops

    shown = (
        ops.CreateNamespaces,
        ops.SetCapabilities,
        ops.SetNoNewPrivileges,
        ops.SetRlimit,
        ops.CreateLandlockRuleset,
        ops.InstallFilter,
        cgroup_ops.SetCgroup,
    )
    words = []
    for op in plan.ops:
        if isinstance(op, ops.CreateLandlockRuleset):
            rules = sum(isinstance(each, ops.AllowPath | ops.AllowPort) for each in plan.ops)
            words.append(f"{op.describe().removesuffix(', except:')}, but for {rules} rules")
        elif isinstance(op, shown):
            words.append(op.describe())
    return list(dict.fromkeys(words))


def _ids(pid: int) -> dict[str, str]:
    names = {
        "Uid": "uid",
        "Gid": "gid",
        "Groups": "groups",
        "NoNewPrivs": "no_new_privs",
        "Seccomp": "seccomp",
        "CapEff": "capabilities",
    }
    found = {}
    for line in (cgroups.read(f"/proc/{pid}/status") or "").splitlines():
        key, _, value = line.partition(":")
        if key in names:
            found[names[key]] = " ".join(value.split())
    return found


def _map(pid: int, name: str) -> list[list[int]]:
    text = cgroups.read(f"/proc/{pid}/{name}") or ""
    return [[int(word) for word in line.split()] for line in text.splitlines()]


def _namespaces(pid: int, supervisor: int) -> dict[str, Namespace]:
    found = {}
    for kind in _NAMESPACES:
        try:
            inode = os.stat(f"/proc/{pid}/ns/{kind}").st_ino
            above = os.stat(f"/proc/{supervisor}/ns/{kind}").st_ino
        except OSError:
            continue
        found[kind] = Namespace(inode, inode != above)
    return found


def _lines(path: str) -> int | None:
    text = cgroups.read(path)
    return None if text is None else len(text.splitlines())


def _descriptors(pid: int) -> dict[str, str] | None:
    try:
        numbers = sorted(map(int, os.listdir(f"/proc/{pid}/fd")))
    except OSError:
        return None
    found = {}
    for number in numbers:
        try:
            found[str(number)] = os.readlink(f"/proc/{pid}/fd/{number}")
        except OSError:
            continue
    return found


def as_fields(found: Inspection) -> dict[str, Any]:
    """The same for a machine."""
    live = found.live
    return {
        "name": live.name,
        "state": live.state,
        "profile": live.profile,
        "command": list(live.argv),
        "started_ns": live.started_ns,
        "uid": live.uid,
        "directory": live.directory,
        "processes": {
            "supervisor": live.supervisor,
            "first": live.first,
            "payload": found.payload,
            "count": found.processes,
            "threads": found.threads,
        },
        "ids": found.ids,
        "maps": found.maps,
        "namespaces": {kind: each._asdict() for kind, each in found.namespaces.items()},
        "mounts": found.mounts,
        "descriptors": found.descriptors,
        "cgroups": found.cgroups,
        "usage": found.usage._asdict(),
        "enforced": None if found.enforced is None else list(found.enforced),
        "not_enforced": list(found.not_enforced),
        "service": found.service,
        "health": None if found.health is None else found.health._asdict(),
    }
