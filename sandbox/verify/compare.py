"""What is, against what is promised, thread by thread. Pure.

The first process stays what it was made, so there everything is exact. A program may give up more
than the plan takes from it: of later processes only what goes beyond the promise is a finding.
"""

from collections.abc import Iterable, Iterator, Mapping

from sandbox._mountinfo import Table
from sandbox.plan.kernel import RLIMITS, UNLIMITED
from sandbox.verify.descriptors import compare_descriptors, compare_places
from sandbox.verify.findings import Result, of_all, of_task, unseen, unseen_of_all
from sandbox.verify.observe import CHILDREN, Observation, Role, Task
from sandbox.verify.promise import Capabilities, Promise, Rows
from sandbox.verify.users import compare_closed, compare_maps, compare_tracer

_SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
_LIMIT_NAMES = {number: name for name, number in RLIMITS.items()}
# Every signal but SIGKILL and SIGSTOP. The kernel lifts the mask of a process that waits for signals.
_ALL_SIGNALS = 2**64 - 1 & ~(1 << 8 | 1 << 18)
_INIT_MASKS = frozenset({0, _ALL_SIGNALS})
# What sbx adds to a service's environment (csrc/service.c).
_OF_SERVICES = frozenset(
    {
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
    }
)


def compare_tasks(promise: Promise, seen: Observation) -> Iterator[Result]:
    """All of it but mounts and control groups."""
    first = _first(seen.tasks)
    own = _own_namespaces(seen.tasks)
    known = {seen.supervisor.pid, *(task.pid for task in seen.tasks)}
    for task in seen.tasks:
        yield from _stranger(task)
        yield from _ids(promise, task, seen.supervisor)
        if not _is_made_within(promise, task, "user"):
            yield from compare_maps(promise, task)
        yield from compare_tracer(task, known)
        yield from compare_closed(promise, task)
        yield from _capabilities(promise, task)
        yield from _no_gain(promise, task, seen.supervisor)
        yield from _namespaces(promise, task, own, seen.supervisor)
        yield from _limits(promise, task, seen.supervisor)
        yield from _oom(promise, task, seen.supervisor)
        inside = _mounts_of(promise, task, first)
        yield from compare_descriptors(promise, task, seen, inside)
        yield from compare_places(promise, task, first, inside)
        if task.role == Role.FIRST:
            yield from _first_alone(promise, task)
        if task.role == Role.COMMAND and task.pid == task.tid:
            yield from compare_environment(promise, task, seen.caller)
    if seen.hidden:
        why = f"the namespaces of {seen.hidden} of this machine's processes can't be seen as this user"
        yield unseen_of_all("strangers", why)


def _first(tasks: Iterable[Task]) -> Task | None:
    roles = (Role.FIRST, Role.COMMAND)
    return next((task for role in roles for task in tasks if task.role == role), None)


def _own_namespaces(tasks: Iterable[Task]) -> dict[str, int]:
    """Those of the first process, or of the command where that one can't be seen."""
    found: dict[str, int] = {}
    for role in (Role.FIRST, Role.COMMAND):
        for task in tasks:
            for kind, number in task.namespaces.items() if task.role == role else ():
                if number is not None and kind not in (task.within or ()):
                    found.setdefault(kind, number)
    return found


def _mounts_of(promise: Promise, task: Task, first: Task | None) -> frozenset[int]:
    """The numbers of the sandbox's mounts, or of those in a mount namespace that was made within."""
    main = task if first is None or _is_made_within(promise, task, "mnt") else first
    return frozenset(Table(main.mounts).by_number)


def _stranger(task: Task) -> Iterator[Result]:
    if task.role == Role.STRANGER:
        parent = task.status.get("PPid", "?")
        promised = "no process in the sandbox but those that it has started"
        yield of_task(task, "process", promised, f"came from outside; its parent is {parent}")


# ---- Ids and privileges ----


def _ids(promise: Promise, task: Task, outside: Task) -> Iterator[Result]:
    kinds = (
        ("Uid", promise.uid, promise.uids, promise.changes_uid),
        ("Gid", promise.gid, promise.gids, promise.changes_gid),
    )
    for name, one, rows, changes in kinds:
        found = [int(word) for word in task.status[name].split()]
        if changes and task.role != Role.FIRST:
            if rows is not None and not all(map(rows.holds, found)):
                yield of_task(task, name.lower(), f"one of {_ranges(rows)}", _row(found))
        elif set(found) != {one}:
            yield of_task(task, name.lower(), _row([one] * 4), _row(found))
    groups = [int(word) for word in task.status["Groups"].split()]
    if promise.changes_gid and task.role != Role.FIRST:
        if promise.gids is not None and not all(map(promise.gids.holds, groups)):
            yield of_task(task, "groups", f"some of {_ranges(promise.gids)}", _row(groups))
        return
    promised = [] if promise.drops_groups else _groups(outside)
    if set(groups) - set(promised):
        yield of_task(task, "groups", _row(promised), _row(groups))


def _groups(task: Task) -> list[int]:
    return [int(word) for word in task.status["Groups"].split()]


def _ranges(rows: Rows) -> str:
    return ", ".join(f"{base} to {base + count - 1}" for _, base, count in rows.rows)


def _row(numbers: Iterable[int]) -> str:
    return " ".join(map(str, numbers)) or "none"


def _capabilities(promise: Promise, task: Task) -> Iterator[Result]:
    if task.within and "user" in task.within and promise.nests:
        return  # all of them, and over nothing but what was made in there
    most = promise.first if task.role == Role.FIRST else promise.command
    if task.role != Role.FIRST:
        # Before its program starts a process is what the first one is.
        most = Capabilities(*(a | b for a, b in zip(most, promise.first, strict=True)))
    is_exact = task.role == Role.FIRST and promise.uids is not None
    last = _last_capability(task)
    for name, mask in zip(_SETS, most, strict=True):
        found = int(task.status[name], 16)
        promised = mask & last
        if found & ~promised or (is_exact and found != promised):
            yield of_task(task, name, f"{promised:016x}", f"{found:016x}")


def _last_capability(task: Task) -> int:
    """The kernel never tells of capabilities that it doesn't have, whatever a plan may keep."""
    known = 0
    for name in _SETS:
        known |= int(task.status[name], 16)
    return known | (1 << 41) - 1


def _no_gain(promise: Promise, task: Task, outside: Task) -> Iterator[Result]:
    if promise.no_new_privs and task.status["NoNewPrivs"] != "1":
        yield of_task(task, "no_new_privs", 1, task.status["NoNewPrivs"])
    # The init has no filter of its own: it starts the programs that get one.
    filters = 0 if task.role == Role.FIRST else promise.filters
    above = int(outside.status.get("Seccomp_filters", 0))
    mode = "2" if filters + above else outside.status["Seccomp"]
    if task.status["Seccomp"] != mode and (filters + above or task.role == Role.FIRST):
        yield of_task(task, "seccomp", mode, task.status["Seccomp"])
    if "Seccomp_filters" not in task.status:
        yield unseen(task, "seccomp_filters", "this kernel doesn't count filters (before 5.9)")
        return
    found = int(task.status["Seccomp_filters"])
    if found < filters + above or (task.role == Role.FIRST and found != above):
        yield of_task(task, "seccomp_filters", filters + above, found)


# ---- Namespaces ----


def _namespaces(
    promise: Promise, task: Task, own: Mapping[str, int], outside: Task
) -> Iterator[Result]:
    for name, found in task.namespaces.items():
        kind = next((k for k, children in CHILDREN.items() if children == name), name)
        item = f"namespace {name}"
        above = outside.namespaces.get(kind)
        if found is None or above is None:
            # A PID namespace whose first process has ended has no name any more.
            yield unseen(task, item)
        elif kind not in promise.own:
            if found != above and not _is_made_within(promise, task, name):
                yield of_task(task, item, f"{above}, as outside", found)
        elif found == above:
            yield of_task(task, item, "one of the sandbox's own", f"{found}, the supervisor's")
        elif own.get(kind) is None:
            yield unseen(task, item, "that of the sandbox's first processes can't be seen")
        elif found != own[kind] and not _is_made_within(promise, task, name):
            yield of_task(task, item, f"{own[kind]}, the sandbox's", found)


def _is_made_within(promise: Promise, task: Task, name: str) -> bool:
    return promise.nests and task.within is not None and name in task.within


# ---- Limits of a process ----


def _limits(promise: Promise, task: Task, outside: Task) -> Iterator[Result]:
    for number, (soft, hard) in enumerate(task.limits):
        promised = promise.rlimits.get(number, outside.limits[number])
        name = f"rlimit {_LIMIT_NAMES.get(number, number)}"
        if task.role == Role.FIRST:
            differs = (soft, hard) != promised
        else:  # within the hard limit it is a program's own to set
            differs = hard > promised[1] and not promise.raises_limits
        if differs:
            yield of_task(task, name, _limit(*promised), _limit(soft, hard))


def _limit(soft: int, hard: int) -> str:
    words = ("unlimited" if value == UNLIMITED else str(value) for value in (soft, hard))
    return " of at most ".join(words)


def _oom(promise: Promise, task: Task, outside: Task) -> Iterator[Result]:
    if task.oom is None or outside.oom is None:
        yield unseen(task, "oom_score_adj")
    elif task.oom < outside.oom or (not promise.writes_proc and task.oom != outside.oom):
        yield of_task(task, "oom_score_adj", outside.oom, task.oom)


def _first_alone(promise: Promise, task: Task) -> Iterator[Result]:
    """What a program may change, and the init never does."""
    blocked = int(task.status["SigBlk"], 16)
    if blocked not in _INIT_MASKS:
        promised = f"{_ALL_SIGNALS:016x}, or 0 while it waits"
        yield of_task(task, "signal mask", promised, f"{blocked:016x}")
    for name, item in (("SigIgn", "ignored signals"), ("SigCgt", "handled signals")):
        if int(task.status[name], 16):
            yield of_task(task, item, "none", task.status[name])
    umask = promise.umask
    if umask is not None and "Umask" in task.status and int(task.status["Umask"], 8) != umask:
        yield of_task(task, "umask", f"{umask:04o}", task.status["Umask"])
    if task.status["Threads"] != "1":
        yield of_task(task, "threads", 1, task.status["Threads"])


# ---- Environment ----


def compare_environment(
    promise: Promise, task: Task, caller: Mapping[str, str] | None
) -> Iterator[Result]:
    """What its program was started with; a program may have written over it since."""
    if task.environment is None:
        yield unseen(task, "environment")
        return
    pairs = [entry.partition("=") for entry in task.environment]
    if any(not equals or not name for name, equals, _ in pairs) or (promise.set and not pairs):
        yield unseen(task, "environment", "the program has written over it")
        return
    found = {name: value for name, _, value in pairs}
    for name, value in found.items():
        promised = promise.set.get(name)
        if promise.service and name in _OF_SERVICES:
            continue
        if promised is None and _is_passed(promise, name):
            if caller is None:
                yield unseen(task, f"variable {name}", "the caller's can't be seen")
                continue
            promised = caller.get(name)
        if promised is None:
            yield of_task(task, f"variable {name}", "not set", value)
        elif value != promised:
            yield of_task(task, f"variable {name}", promised, value)
    for name, promised in promise.set.items():
        if name not in found:
            yield of_task(task, f"variable {name}", promised, "not set")


def _is_passed(promise: Promise, name: str) -> bool:
    return any(
        name.startswith(each[:-1]) if each.endswith("*") else name == each
        for each in promise.passed
    )


def changed_profiles(changed: Iterable[str]) -> Iterator[Result]:
    """Files of the profile that aren't what the sandbox was started from."""
    for path in changed:
        yield of_all("profile", f"{path} as at the start", "changed since")
