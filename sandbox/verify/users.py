"""The maps of the user namespace, who follows a thread, and who may look into the first process."""

from collections.abc import Collection, Iterator
from typing import Final

from sandbox.verify.findings import Result, of_task, unseen
from sandbox.verify.observe import Role, Task
from sandbox.verify.promise import Promise, Rows

_MAPS: Final = ("uid_map", "gid_map")


def compare_maps(promise: Promise, task: Task) -> Iterator[Result]:
    """A map is written once and read from outside: ids that no plan gave would be rights there."""
    if promise.uids is None or promise.gids is None:
        return  # the supervisor's, as its namespace is
    if task.maps is None:
        yield unseen(task, "id maps")
        return
    for name, promised in zip(_MAPS, (promise.uids, promise.gids), strict=True):
        found = rows_of(task.maps[name])
        if set(found.rows) != set(promised.rows):
            yield of_task(task, name, _words(promised), _words(found))
    # A kernel or a namespace above may refuse what the plan would leave allowed.
    if not promise.sets_groups and task.maps["setgroups"].strip() != "deny":
        yield of_task(task, "setgroups", "deny", task.maps["setgroups"].strip())


def rows_of(text: str) -> Rows:
    """/proc/PID/uid_map or gid_map."""
    lines = (tuple(map(int, line.split())) for line in text.splitlines())
    return Rows(tuple((line[0], line[1], line[2]) for line in lines))


def _words(rows: Rows) -> str:
    return ", ".join(" ".join(map(str, row)) for row in rows.rows) or "none"


def compare_tracer(task: Task, known: Collection[int]) -> Iterator[Result]:
    """Who traces a thread has its memory and does its calls. `known` are the supervisor and its own."""
    tracer = int(task.status.get("TracerPid", "0"))
    if tracer and tracer not in known:
        yield of_task(task, "tracer", "none but the sandbox's own", f"process {tracer}")


def compare_closed(promise: Promise, task: Task) -> Iterator[Result]:
    """The kernel gives the files in /proc of what isn't dumpable to a root, and others to the process's user."""
    if task.role != Role.FIRST or not promise.is_closed:
        return
    user = int(task.status["Uid"].split()[1])
    if task.owner is None or user == 0:
        why = "" if task.owner is None else "its files are root's in either case"
        yield unseen(task, "dumpable", *([why] if why else []))
    elif task.owner == user:
        yield of_task(task, "dumpable", "no, so that nobody inside looks into it", "yes")
