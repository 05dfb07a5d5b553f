"""A live sandbox, verified: the plan that it was started from against what the kernel tells now."""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sandbox._mountinfo import Table
from sandbox.errors import SandboxError
from sandbox.explain.facts import walk
from sandbox.live.inspection import plan_of
from sandbox.live.processes import gone, verified
from sandbox.verify.compare import changed_profiles, compare_tasks
from sandbox.verify.findings import Finding, Result, Unseen, of_task, unseen
from sandbox.verify.groups import compare_groups
from sandbox.verify.mounts import Look, Where, differences
from sandbox.verify.observe import Observation, Role, Task, observe
from sandbox.verify.promise import Promise, expect

if TYPE_CHECKING:
    from sandbox.live.records import Live
    from sandbox.plan.record import FileStamp

_LOOKS: Final = 3
_PAUSE: Final = 0.05
"""Seconds. A process that is just being started passes through states that no plan promises."""


class Report(NamedTuple):
    """What has come of it."""

    live: "Live"
    findings: tuple[Finding, ...]
    unseen: tuple[Unseen, ...]
    untold: tuple[tuple[str, str], ...]
    """What the kernel tells nobody, or only the process itself, and what the plan promised of it."""
    processes: int
    threads: int
    mounts: int


def verify(live: "Live") -> Report:
    """Compares every thread with the plan.

    What isn't as promised is looked at again: only what stays so is a finding. Raises SandboxError
    where the sandbox has ended meanwhile, or its plan can't be read.
    """
    plan = plan_of(live)
    if plan is None:
        raise SandboxError(
            f"the plan that '{live.name}' was started from can't be read, so nothing tells what it "
            "promised",
            hint="its supervisor holds it; look at it as the user who started it, or as root",
        )
    promise = expect(plan)
    with verified(live) as pidfds:
        try:
            seen, results = _look(promise, live, pidfds.supervisor_pid)
            for _ in range(1, _LOOKS):
                if not any(isinstance(each, Finding) for each in results):
                    break
                time.sleep(_PAUSE)
                seen, again = _look(promise, live, pidfds.supervisor_pid)
                results = _kept(results, again)
        except ProcessLookupError:
            raise gone(live) from None
        if not pidfds.send(0):
            raise gone(live)
    return Report(
        live=live,
        findings=tuple(each for each in results if isinstance(each, Finding)),
        unseen=tuple(each for each in results if isinstance(each, Unseen)),
        untold=untold(promise),
        processes=len({task.pid for task in seen.tasks}),
        threads=len(seen.tasks),
        mounts=max((len(task.mounts.splitlines()) for task in seen.tasks), default=0),
    )


def _look(promise: Promise, live: "Live", supervisor: int) -> tuple[Observation, list[Result]]:
    seen = observe(live, supervisor)
    if not seen.tasks:
        raise ProcessLookupError(live.first)
    results = [
        *changed_profiles(_changed(promise.profiles)),
        *compare_tasks(promise, seen),
        *compare_mounts(promise, seen),
        *compare_groups(promise, seen),
    ]
    return seen, results


def _kept(once: Iterable[Result], again: Iterable[Result]) -> list[Result]:
    """A finding has to be there each time; what can't be seen counts as it was the last time.

    By the role and not by the thread, of which a program could have a new one each time.
    """
    before = {_kind(each) for each in once if isinstance(each, Finding)}
    return [each for each in again if isinstance(each, Unseen) or _kind(each) in before]


def _kind(found: Finding) -> tuple[str, str]:
    return found.thread.partition(" ")[0], found.item


# ---- Mounts ----


def compare_mounts(promise: Promise, seen: Observation) -> Iterator[Result]:
    """Every line of every thread's mountinfo; threads that see the same are one."""
    host = Table(seen.supervisor.mounts)
    main = next((t for t in seen.tasks if t.role in {Role.FIRST, Role.COMMAND}), None)
    done: set[str] = set()
    for task in seen.tasks:
        made_within = promise.nests and task.within is not None and "mnt" in task.within
        is_part = promise.chroots and main is not None and _sees_part(task, main)
        if made_within or task.mounts in done or is_part:
            continue
        done.add(task.mounts)
        # What the first process sees all others see, so one look at its root serves them all.
        with contextlib.ExitStack() as open_roots:
            pids = [task.pid, *([main.pid] if main else []), *(t.pid for t in seen.tasks)]
            inside = _look_below(pids, open_roots)
            outside = _look_below([seen.supervisor.pid], open_roots)
            for each in differences(promise.mounts, Table(task.mounts), host, inside, outside):
                item = f"mount {each.point}"
                if each.is_known:
                    yield of_task(task, item, each.promised, each.found)
                else:
                    yield unseen(task, item, f"{each.promised}: {each.found}")


def _sees_part(task: Task, main: Task) -> bool:
    """After chroot(2) a process sees fewer mounts, and none that others don't."""
    numbers, of_main = (Table(each.mounts).by_number for each in (task, main))
    return task is not main and len(numbers) < len(of_main) and numbers.keys() <= of_main.keys()


def _look_below(pids: Iterable[int], stack: contextlib.ExitStack) -> Look:
    """The first of these roots that this user may look at; without one paths are as written."""
    root = -1
    for pid in pids:
        with contextlib.suppress(OSError):
            root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, root)
            break

    def look(path: str, follow: bool) -> Where:
        if root < 0:
            return Where(path, exists=False, known=False)
        found = walk(root, path, follow=follow)
        return Where(found.path, exists=found.exists, known=not found.error)

    return look


# ---- What it was made from ----


def _changed(stamps: "Iterable[FileStamp]") -> Iterator[str]:
    for stamp in stamps:
        try:
            state = os.stat(stamp.path)
        except OSError:
            yield stamp.path
            continue
        now = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
        then = (stamp.device, stamp.inode, stamp.size, stamp.mtime_ns, stamp.ctime_ns)
        if now != then:
            yield stamp.path


def untold(promise: Promise) -> tuple[tuple[str, str], ...]:
    """What can't be looked at from outside by anyone."""
    landlock = "\n".join(promise.landlock) or "nothing is denied by it"
    return (
        ("what filters say", f"{promise.filters} of the plan's, by their number"),
        ("settings of namespaces", "; ".join(promise.settings) or "none"),
        ("Landlock", landlock),
        ("securebits", f"{promise.securebits:#x}"),
        ("signal of the parent's death", str(promise.death_signal or "none")),
    )


def as_fields(report: Report) -> dict[str, Any]:
    """The same for a machine."""
    return {
        "name": report.live.name,
        "profile": report.live.profile,
        "as_promised": not report.findings,
        "processes": report.processes,
        "threads": report.threads,
        "mounts": report.mounts,
        "findings": [each._asdict() for each in report.findings],
        "unseen": [each._asdict() for each in report.unseen],
        "untold": [{"item": item, "promised": promised} for item, promised in report.untold],
    }
