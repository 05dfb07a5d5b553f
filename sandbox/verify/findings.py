"""What a comparison comes to."""

from typing import NamedTuple

from sandbox.verify.observe import Task


class Finding(NamedTuple):
    """Something that the plan doesn't promise. `pid` 0: of the sandbox as a whole."""

    pid: int
    tid: int
    thread: str
    """The role of its process and its name."""
    item: str
    promised: str
    found: str


class Unseen(NamedTuple):
    """What could not be looked at, and so may be as promised or not."""

    pid: int
    tid: int
    thread: str
    item: str
    why: str


Result = Finding | Unseen


def of_task(task: Task, item: str, promised: object, found: object) -> Finding:
    """A finding about a thread."""
    return Finding(task.pid, task.tid, thread_of(task), item, str(promised), str(found))


def unseen(task: Task, item: str, why: str = "can't be seen as this user") -> Unseen:
    """That something of a thread isn't known."""
    return Unseen(task.pid, task.tid, thread_of(task), item, why)


def of_all(item: str, promised: object, found: object) -> Finding:
    """A finding about the sandbox as a whole."""
    return Finding(0, 0, "sandbox", item, str(promised), str(found))


def unseen_of_all(item: str, why: str) -> Unseen:
    """That something of the sandbox as a whole isn't known."""
    return Unseen(0, 0, "sandbox", item, why)


def thread_of(task: Task) -> str:
    """For people: its role and name."""
    return f"{task.role.value} {task.name}"
