"""Where descriptors and the links of a process may lead."""

import stat
from collections.abc import Container, Iterator, Mapping

from sandbox.verify.findings import Result, of_task, unseen
from sandbox.verify.observe import Observation, Place, Role, Task
from sandbox.verify.promise import Promise

_RULESET = "anon_inode:[landlock-ruleset]"
_STREAMS = frozenset({0, 1, 2})


def compare_descriptors(
    promise: Promise, task: Task, seen: Observation, inside: Container[int]
) -> Iterator[Result]:
    """The init has what it needs; a program what it was given, and what it has opened inside.

    `inside` are the numbers of the sandbox's mounts.
    """
    if task.descriptors is None:
        yield unseen(task, "descriptors")
    elif task.role == Role.FIRST:
        yield from _of_init(promise, task, task.descriptors, seen.directory)
    else:
        yield from _of_program(promise, task, task.descriptors, seen, inside)


def _of_init(
    promise: Promise, task: Task, held: Mapping[int, Place], directory: str
) -> Iterator[Result]:
    for number, place in sorted(held.items()):
        is_promised = place.link.startswith("socket:") or (
            place.link == _RULESET and bool(promise.landlock)
        )
        if not is_promised and not (promise.survives and _is_for_the_next(place, directory)):
            promised = "the socket to its supervisor, and the rules of Landlock"
            yield of_task(task, f"descriptor {number}", promised, place.link)


def _is_for_the_next(place: Place, directory: str) -> bool:
    """What a next supervisor gets: the record's directory, its file `end`, the plan, and pipes."""
    if place.link in {directory, f"{directory}/end"} or place.link.startswith("pipe:"):
        return True
    return stat.S_ISREG(place.mode)  # of the plan's cache, which may have a newer one by now


def _of_program(
    promise: Promise,
    task: Task,
    held: Mapping[int, Place],
    seen: Observation,
    inside: Container[int],
) -> Iterator[Result]:
    given = {
        (place.device, place.inode)
        for each in (seen.supervisor, *seen.tasks)
        for number, place in (each.descriptors or {}).items()
        if number in _STREAMS | promise.descriptors and each.role != Role.FIRST
    }
    for number, place in sorted(held.items()):
        if place.mount in inside or is_of_no_file(place):
            continue
        was_given = (place.device, place.inode) in given
        if stat.S_ISDIR(place.mode) or not was_given:
            promised = "a file of the sandbox's, or one that it was given at the start"
            yield of_task(task, f"descriptor {number}", promised, place.link)


def is_of_no_file(place: Place) -> bool:
    """Pipes, sockets and the like, which lead nowhere; memory that has no name."""
    if not place.link.startswith("/"):
        return not place.link.startswith(("mnt:", "user:", "pid:", "net:"))
    return place.links == 0 and place.link.startswith(("/memfd:", "/dev/zero (deleted)", "/SYSV"))


def compare_places(
    promise: Promise, task: Task, first: Task | None, inside: Container[int]
) -> Iterator[Result]:
    """Working directory, root and program."""
    if task.places is None:
        yield unseen(task, "places")
        return
    for name, place in task.places.items():
        if name == "exe" and task.role == Role.FIRST:
            continue  # sbx itself
        if place.mount not in inside:
            yield of_task(task, name, "a place on a mount of the sandbox's", place.link)
    if promise.chroots or first is None or first.places is None:
        return
    root, promised = task.places["root"], first.places["root"]
    if (root.device, root.inode) != (promised.device, promised.inode) and not _has_own(task):
        yield of_task(task, "root", promised.link, root.link)


def _has_own(task: Task) -> bool:
    """A mount namespace that was made within."""
    return task.within is not None and "mnt" in task.within
