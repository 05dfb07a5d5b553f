"""What a payload tells of itself, judged by the same promise as `sbx verify`, and more strictly.

From inside everything is exact: nothing has had the time to change.
"""

import os
from collections.abc import Iterator
from typing import Any

import msgspec

from sandbox._mountinfo import Table
from sandbox.plan import ops
from sandbox.plan.record import Plan
from sandbox.verify.compare import compare_tasks
from sandbox.verify.findings import Finding
from sandbox.verify.mounts import Where, differences
from sandbox.verify.observe import CHILDREN, NAMESPACES, Observation, Place, Role, Task
from sandbox.verify.promise import Capabilities, Promise, Rows, expect
from tests.kernel.posture import Posture, namespaces_of

_SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


def promise_inside(plan: Plan) -> Promise:
    """What the plan promises, with ids as they are numbered inside."""
    found = expect(plan)
    ids = [op for op in plan.ops if isinstance(op, ops.SetIds)][-1]
    uids, gids = (
        None if rows is None else Rows(tuple((first, first, count) for first, _, count in rows[0]))
        for rows in (found.uids, found.gids)
    )
    return msgspec.structs.replace(found, uid=ids.uid, gid=ids.gid, uids=uids, gids=gids)


def differences_from(plan: Plan, inside: Posture, outside: Posture) -> list[str]:
    """Every way in which a payload isn't exactly what its plan promises; `outside` is its caller."""
    promise = promise_inside(plan)
    found = [*_maps(expect(plan), inside), *_all(promise, inside, outside)]
    return [f"{name}: {words}" for name, words in found]


def _maps(promise: Promise, inside: Posture) -> Iterator[tuple[str, object]]:
    """As written: in the namespace itself the kernel tells of ids outside as its parent numbers them."""
    if promise.uids is None or promise.gids is None:
        return
    for rows, found in zip((promise.uids, promise.gids), inside.maps, strict=True):
        if {tuple(row) for row in found} != set(rows.rows):
            yield "id map", (rows.rows, found)


def _all(promise: Promise, inside: Posture, outside: Posture) -> Iterator[tuple[str, object]]:
    # The test's own process lives yet; the numbers of namespaces that have ended are used again.
    outside.raw["namespaces"] = namespaces_of("self")
    task, caller = task_of(inside, Role.COMMAND), task_of(outside, Role.STRANGER)
    seen = Observation(
        supervisor=caller,
        tasks=(task,),
        caller=outside.variables,
        directory="/run/sbx/it",
        own_cgroups=(),
        hierarchies={},
        hidden=0,
    )
    for found in compare_tasks(promise, seen):
        words = f"{found.promised} -> {found.found}" if isinstance(found, Finding) else found.why
        yield found.item, words
    yield from _exact(promise, task, caller)
    yield from _alone(promise, inside, outside)
    host = Table(outside.raw["mountinfo"])
    table = Table("\n".join(_as_outside(inside.raw["mountinfo"], host)))
    for each in differences(promise.mounts, table, host, _inside, _outside):
        yield f"mount {each.point}", f"{each.promised} -> {each.found}"


def _exact(promise: Promise, task: Task, caller: Task) -> Iterator[tuple[str, object]]:
    """What `sbx verify` leaves a program to give up or to set for itself."""
    sets = Capabilities(*(int(task.status[name], 16) for name in _SETS))
    mask = (1 << 41) - 1
    wanted = Capabilities(*(each & mask for each in promise.command))
    if promise.uids is None:
        wanted = wanted._replace(bounding=wanted.bounding & int(caller.status["CapBnd"], 16))
    if sets != wanted:
        yield "capabilities", (wanted, sets)
    filters = int(caller.status["Seccomp_filters"]) + promise.filters
    if task.status["Seccomp_filters"] != str(filters):
        yield "filters", task.status["Seccomp_filters"]
    for name in ("SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd"):
        if int(task.status[name], 16):
            yield name, task.status[name]
    if task.oom != caller.oom:
        yield "oom_score_adj", task.oom
    limits = tuple(promise.rlimits.get(number, limit) for number, limit in enumerate(caller.limits))
    if task.limits != limits:
        yield "rlimits", task.limits
    if task.status["Threads"] != "1":
        yield "threads", task.status["Threads"]


def _alone(promise: Promise, inside: Posture, outside: Posture) -> Iterator[tuple[str, object]]:
    """What only a process itself can ask for."""
    if inside.securebits != promise.securebits:
        yield "securebits", inside.securebits
    if inside.death_signal != promise.death_signal:
        yield "death signal", inside.death_signal
    if inside.umask != (outside.umask if promise.umask is None else promise.umask):
        yield "umask", inside.umask
    numbers = {int(number) for number in inside.descriptors}
    if numbers != {0, 1, 2} | promise.descriptors:
        yield "descriptors", sorted(numbers)
    names = {name for name in outside.variables if _is_passed(promise, name)} | promise.set.keys()
    if inside.variables.keys() != names or len(inside.raw["environment"]) != len(names):
        yield "environment", inside.raw["environment"]


def _is_passed(promise: Promise, name: str) -> bool:
    return any(
        name.startswith(each[:-1]) if each.endswith("*") else name == each
        for each in promise.passed
    )


def task_of(posture: Posture, role: Role) -> Task:
    """The probe's dump as `sbx verify` would have read it."""
    raw: dict[str, Any] = posture.raw
    numbers = {kind: int(link.rpartition("[")[2][:-1]) for kind, link in posture.namespaces.items()}
    held = {
        int(number): Place(
            link=raw["descriptors"].get(number, ""),
            mount=state[0],
            device=state[1],
            inode=state[2],
            mode=state[3],
            links=state[4],
        )
        for number, state in raw["places"].items()
    }
    links = {name: held.pop(number) for name, number in _PLACES.items()}
    return Task(
        pid=posture.pid,
        tid=posture.pid,
        name="probe",
        role=role,
        status={name: " ".join(value.split()) for name, value in posture.status.items()},
        namespaces={kind: numbers[kind] for kind in (*NAMESPACES, *CHILDREN.values())},
        within=frozenset(),
        cgroup=frozenset(raw["cgroup"].splitlines()),
        limits=tuple((soft, hard) for soft, hard in raw["rlimits"]),
        oom=int(raw["oom"]),
        descriptors=held,
        places=links,
        environment=tuple(raw["environment"]),
        mounts=raw["mountinfo"],
        maps=_as_numbered_inside(posture),
    )


def _as_numbered_inside(posture: Posture) -> dict[str, str]:
    users, groups = (
        "".join(f"{first} {first} {count}\n" for first, _, count in rows) for rows in posture.maps
    )
    return {"uid_map": users, "gid_map": groups, "setgroups": posture.raw["setgroups"]}


def _as_outside(text: str, host: Table) -> Iterator[str]:
    """The root of a control group's mount is told as seen from the reader's cgroup namespace."""
    roots = {mount.device: mount.root for mount in host.mounts}
    for line in text.splitlines():
        fields = line.split(" ")
        if fields[3].startswith("/.."):
            fields[3] = roots.get(fields[2], fields[3])
        yield " ".join(fields)


_PLACES = {"cwd": -1, "root": -2, "exe": -3}


def _inside(path: str, follow: bool) -> Where:
    """The probe has ended: what its root had is what the kernel has at the same place of /proc."""
    return Where(path, exists=path.startswith("/proc/") and os.path.lexists(path) and follow)


def _outside(path: str, follow: bool) -> Where:
    where = os.path.realpath(path) if follow else path
    return Where(where, exists=os.path.lexists(where))
