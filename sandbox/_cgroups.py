"""Control groups as this machine has them: which version, which controllers, what they count.

`read` is of the machine and goes into `Host`. `own` is of the calling process, whose place differs
from launch to launch: no plan may depend on it. Sources: cgroups(7) and the kernel's
admin-guide/cgroup-v2.rst and cgroup-v1.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

CgroupVersion = Literal["v1", "hybrid", "v2", "none"]

TOP: Final = "/sys/fs/cgroup"
UNIFIED: Final = "unified"
_DELEGATED: Final = ("user.delegate", "trusted.delegate")
# Where csrc/cgroup_place.c moves the supervisor, since what divides resources holds no process.
_LEAF: Final = "supervisor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cgroups:
    """The machine's control groups."""

    version: CgroupVersion = "none"
    mounts: Mapping[str, str] = field(default_factory=dict)
    """Controller to mount point; that of version 2 under the key "unified"."""
    controllers: frozenset[str] = frozenset()
    """Those that the hierarchy of version 2 has."""
    swap: bool = False
    """Swap space is counted apart from memory, so that it can be limited."""
    io_weights: tuple[str, ...] = ()
    """The files that a weight for disks goes into, of the mechanisms that heed one."""

    def version_of(self, controller: str) -> int:
        """1 or 2, where that controller is; 0 where there is none."""
        if controller in self.controllers:
            return 2
        return int(controller in self.mounts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """The calling process's own control group, in the hierarchy of version 2."""

    directory: str
    """The delegated unit that it lies in, if there is one."""
    controllers: frozenset[str]
    """What it can hand on to cgroups below it."""
    delegated: bool
    """Its processes may divide it: whoever manages it says so, or it belongs to the caller."""
    service: str
    """The unit of systemd's that it is or lies in, if that is a service; empty otherwise."""


def read(top: str = TOP) -> Cgroups:
    """What this machine has, in the usual places: reading mountinfo costs more than all the rest."""
    version, mounts = _mounts(top)
    unified = mounts.get(UNIFIED)
    controllers = controllers_of(unified) if unified else frozenset[str]()
    return Cgroups(
        version=version,
        mounts=mounts,
        controllers=controllers,
        swap=_counts_swap(mounts, controllers),
        io_weights=tuple(_io_weights(mounts, controllers)),
    )


def own(mounts: Mapping[str, str], pid: int | None = None) -> Own | None:
    """Where a process is, by default the caller; None where version 2 isn't mounted."""
    unified = mounts.get(UNIFIED)
    path = own_paths(pid).get("")
    if unified is None or path is None:
        return None
    subtree, unit = _subtree(unified, path)
    directory = subtree or unified + path.rstrip("/")
    return Own(
        directory=directory,
        controllers=controllers_of(directory),
        delegated=bool(subtree),
        service=unit if unit.endswith(".service") else "",
    )


def controllers_of(directory: str) -> frozenset[str]:
    """What a cgroup of version 2 can hand on to those below it."""
    return _words(f"{directory}/cgroup.controllers")


def user_bus(environ: Mapping[str, str], uid: int) -> str:
    """The socket of the user's message bus, by which its systemd is reached; empty without one."""
    for directory in (environ.get("XDG_RUNTIME_DIR", ""), f"/run/user/{uid}"):
        path = f"{directory}/bus"
        if directory.startswith("/") and os.path.exists(path):
            return path
    return ""


def own_paths(pid: int | None = None) -> dict[str, str]:
    """A process's path in the hierarchy of each controller; that of version 2 under "".

    Empty where /proc can't tell.
    """
    found = {}
    for line in _read(f"/proc/{'self' if pid is None else pid}/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        found.update(dict.fromkeys(controllers.split(","), path))
    return found


def _mounts(top: str) -> tuple[CgroupVersion, dict[str, str]]:
    if os.path.exists(f"{top}/cgroup.controllers"):
        return "v2", {UNIFIED: top}
    mounts: dict[str, str] = {}
    for name in sorted(_entries(top)):
        path = f"{top}/{name}"
        if name == UNIFIED or os.path.exists(f"{path}/cgroup.controllers"):
            mounts[UNIFIED] = path
        elif os.path.exists(f"{path}/cgroup.procs"):
            mounts.update(dict.fromkeys(name.split(","), path))
    if UNIFIED in mounts:
        return "hybrid", mounts
    return ("v1" if mounts else "none"), mounts


def _counts_swap(mounts: Mapping[str, str], controllers: frozenset[str]) -> bool:
    """The top has no such file in version 2: any cgroup with a limit of memory tells."""
    if "memory" not in controllers:
        return os.path.exists(f"{mounts.get('memory', '')}/memory.memsw.limit_in_bytes")
    for directory in _some_below(mounts[UNIFIED]):
        if os.path.exists(f"{directory}/memory.max"):
            return os.path.exists(f"{directory}/memory.swap.max")
    return os.path.exists("/proc/swaps")


def _io_weights(mounts: Mapping[str, str], controllers: frozenset[str]) -> Iterator[str]:
    """A weight does something only where a scheduler or a cost model of a disk's heeds it."""
    queues = (f"/sys/block/{name}/queue/scheduler" for name in _entries("/sys/block"))
    has_bfq = any("[bfq]" in _read(queue) for queue in queues)
    if "io" in controllers:
        if "enable=1" in _read(f"{mounts[UNIFIED]}/io.cost.qos"):
            yield "io.weight"
        if has_bfq:
            yield "io.bfq.weight"
    elif "blkio" in mounts and has_bfq:
        yield "blkio.bfq.weight"


def _subtree(top: str, path: str) -> tuple[str, str]:
    """What of `path` its processes may divide, empty if nothing, and the unit that it lies in.

    csrc/cgroup_place.c decides in the same way at each launch.
    """
    parts = path.strip("/").split("/")
    ends = [at for at, part in enumerate(parts, 1) if part.endswith((".service", ".scope"))]
    if ends:
        directory = "/".join((top, *parts[: ends[-1]]))
        return (directory if _is_delegated(directory) else ""), parts[ends[-1] - 1]
    if os.geteuid() == 0:
        return "", ""
    places = [parts, parts[:-1]] if parts[-1] == _LEAF else [parts]
    directories = ("/".join((top, *place)).rstrip("/") for place in places)
    return next(filter(_belongs_to_caller, directories), ""), ""


def _is_delegated(unit: str) -> bool:
    """What systemd marks with Delegate=; one from before 252 only gives it to the unit's user."""
    uid = os.geteuid()
    for name in _DELEGATED:
        try:
            if os.getxattr(unit, name) == b"1":
                return uid == 0 or _belongs_to_caller(unit)
        except OSError:  # none is set, or it may not be seen
            continue
    try:
        return uid != 0 and os.stat(unit).st_uid == uid != os.stat(os.path.dirname(unit)).st_uid
    except OSError:
        return False


def _belongs_to_caller(directory: str) -> bool:
    files = (f"{directory}/{name}" for name in ("cgroup.procs", "cgroup.subtree_control"))
    return all(os.access(file, os.W_OK, effective_ids=True) for file in files)


def _some_below(directory: str) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)][:16]
    except OSError:
        return []


def _entries(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _words(path: str) -> frozenset[str]:
    return frozenset(_read(path).split())


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""
