"""The control groups of a sandbox, and their limits, against the plan."""

import os
from collections.abc import Iterator
from typing import Final

from sandbox import units
from sandbox.live import cgroups
from sandbox.plan.cgroup_ops import SetCgroup
from sandbox.verify.findings import Result, of_all, of_task, unseen, unseen_of_all
from sandbox.verify.observe import Observation
from sandbox.verify.promise import Promise

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def compare_groups(promise: Promise, seen: Observation) -> Iterator[Result]:
    """Which ones every thread is in, and what limits them."""
    promised = _promised(promise, seen)
    for task in seen.tasks:
        if not task.cgroup or not promised:
            yield unseen(task, "cgroup")
            continue
        for line in sorted(task.cgroup):
            number, controllers, path = line.split(":", 2)
            wanted = promised.get((number, controllers))
            if wanted is not None and path != wanted:
                yield of_task(task, f"cgroup {controllers or 'v2'}", wanted, path)
    for op in promise.limits:
        if op.file:
            yield from _limit(op, seen)


def _promised(promise: Promise, seen: Observation) -> dict[tuple[str, str], str]:
    """By a hierarchy's number and controllers: its own, else its supervisor's."""
    found = {}
    for line in seen.supervisor.cgroup:
        number, controllers, path = line.split(":", 2)
        found[number, controllers] = path
        mount = seen.hierarchies.get(controllers.split(",")[0])
        for directory in seen.own_cgroups if promise.cgroup and mount else ():
            if directory.startswith(f"{mount}/"):
                found[number, controllers] = directory[len(mount or "") :]
    return found


def _limit(op: SetCgroup, seen: Observation) -> Iterator[Result]:
    directory = directory_of(op, seen.own_cgroups)
    if directory is None:
        yield of_all(f"limit {op.file}", op.value, "there is no such control group")
        return
    found = cgroups.read(f"{directory}/{op.file}")
    value = op.value or cgroups.read(f"{os.path.dirname(directory)}/{op.file}")
    if found is None or value is None:
        yield unseen_of_all(f"limit {op.file}", f"{directory}/{op.file} can't be read")
    elif not holds(op.file, value, found):
        yield of_all(f"limit {op.file}", value, found.replace("\n", "; "))


def directory_of(op: SetCgroup, directories: tuple[str, ...]) -> str | None:
    """The sandbox's own control group in the hierarchy of a limit."""
    inside = (each for each in directories if each.startswith(f"{op.hierarchy}/"))
    return next(inside, None)


def holds(file: str, value: str, found: str) -> bool:
    """Whether the kernel's text of a limit is what was written to it."""
    if found == value:
        return True
    if file.startswith("memory.") and value.isdecimal() and found.isdecimal():
        return int(value) // _PAGE * _PAGE == int(found)
    if file.startswith("cpuset.") and value and found:
        return units.number_list(value) == units.number_list(found)
    words = value.split()
    if file.startswith(("io.max", "blkio.throttle")):
        rows = [line.split() for line in found.splitlines()]
        return any(row[:1] == words[:1] and set(words) <= set(row) for row in rows)
    if "weight" in file:
        return found.split()[-1:] == words[-1:] or f"default {value}" in found.splitlines()
    return False
