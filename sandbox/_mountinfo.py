"""What /proc/self/mountinfo tells (proc_pid_mountinfo(5))."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

# Directories of procfs that are nothing but mount points (proc_create_mount_point in the kernel).
_ALWAYS_EMPTY: Final = frozenset({"/sys/fs/binfmt_misc", "/fs/nfsd", "/openprom", "/xen"})
# Of a mount whose root has been removed since.
_DELETED: Final = "//deleted"


class Mount(NamedTuple):
    """One line."""

    number: int
    parent: int
    device: str
    """Major and minor number of the file system's."""
    root: str
    """What of the file system is mounted; without the mark of what has been removed."""
    point: str
    flags: frozenset[str]
    """Of the mount itself: ro, nosuid, nodev, noexec and the like."""
    propagation: tuple[str, ...]
    kind: str
    options: frozenset[str]
    """Of the file system."""


class Table:
    """All mounts that a process sees, and how they lie over each other."""

    def __init__(self, text: str) -> None:
        self.mounts = tuple(_parsed(text.splitlines()))
        self.by_number: Mapping[int, Mount] = {m.number: m for m in self.mounts}
        self._over = {(m.parent, m.point): m for m in self.mounts if m.parent != m.number}

    def root(self) -> Mount | None:
        """The one that all others lie on."""
        return next((m for m in self.mounts if m.parent not in self.by_number), None)

    def at(self, path: str) -> tuple[Mount, str] | None:
        """The mount that `path` lies on, and where in its file system; the path has no links."""
        here = self.root()
        if here is None:
            return None
        here = self._topmost(here, here.point)
        place = ""
        for name in filter(None, path.split("/")):
            place += f"/{name}"
            here = self._topmost(here, place)
        rest = path[len(here.point) :] if here.point != "/" else path
        return here, f"{here.root.rstrip('/')}/{rest.lstrip('/')}".rstrip("/") or "/"

    def _topmost(self, here: Mount, point: str) -> Mount:
        while (above := self._over.get((here.number, point))) is not None:
            here = above
        return here


def _parsed(lines: Iterable[str]) -> Iterator[Mount]:
    for line in lines:
        left, _, right = line.partition(" - ")
        number, parent, device, root, point, flags, *propagation = left.split(" ")
        kind, _, rest = right.partition(" ")
        yield Mount(
            number=int(number),
            parent=int(parent),
            device=device,
            root=_unescaped(root).removesuffix(_DELETED),
            point=_unescaped(point),
            flags=frozenset(flags.split(",")),
            propagation=tuple(propagation),
            kind=kind,
            options=frozenset(rest.rpartition(" ")[2].split(",")),
        )


def covered_proc_words(covered: tuple[str, ...]) -> tuple[str, str]:
    """What is wrong where parts of /proc are covered, and what to do about it."""
    where = f": {', '.join(covered)}" if covered else ""
    hint = (
        "uncover it (podman run --security-opt unmask=ALL, docker run --security-opt "
        "systempaths=unconfined, bwrap --bind /proc /proc), or set filesystem.proc = "
        '"none" and profile.optional = ["namespaces.limit"]'
    )
    return f"the kernel refuses a new /proc here, since parts of this one are covered{where}", hint


def unbindable(lines: Iterable[str]) -> tuple[str, ...]:
    """Mount points that a bind mount of a directory above them leaves out (mount_namespaces(7))."""
    found = {
        _unescaped(line.split(" ")[4])
        for line in lines
        if "unbindable" in line.partition(" - ")[0].split(" ")[6:]
    }
    return tuple(sorted(found))


def cgroup_points(lines: Iterable[str]) -> tuple[str, ...]:
    """Where control groups can be reached: the mount points of their file systems, topmost alone.

    The usual place is one of them whether or not anything is mounted there.
    """
    found = {"/sys/fs/cgroup"}
    for line in lines:
        left, _, right = line.partition(" - ")
        if right.startswith(("cgroup ", "cgroup2 ")):
            found.add(_unescaped(left.split(" ")[4]))
    points = sorted(found)
    return tuple(p for p in points if not any(p.startswith(f"{above}/") for above in points))


def _unescaped(text: str) -> str:
    """A path as it is; mountinfo writes blanks, newlines and backslashes in octal."""
    for character in " \t\n\\":
        text = text.replace(f"\\{ord(character):03o}", character)
    return text


def covered_proc(lines: Iterable[str]) -> tuple[str, ...]:
    """Mount points below /proc that keep a user namespace from mounting a new one, from mountinfo.

    The kernel (mnt_already_visible in fs/namespace.c) wants one procfs that is seen as a whole:
    with nothing mounted on it but on directories that are always empty, and neither read-only nor
    of another atime.
    """
    whole: dict[str, str] = {}
    above: list[tuple[str, str]] = []
    for line in lines:
        left, _, right = line.partition(" - ")
        number, parent, _, top, point, options = left.split(" ")[:6]
        above.append((parent, point))
        flags = options.split(",")
        if right.startswith("proc ") and top == "/" and "rw" in flags and "relatime" in flags:
            whole[number] = point
    covers: dict[str, list[str]] = {number: [] for number in whole}
    for parent, point in above:
        if parent in whole and point.removeprefix(whole[parent]) not in _ALWAYS_EMPTY:
            covers[parent].append(point)
    if not above or any(not points for points in covers.values()):
        return ()
    return tuple(sorted({point for points in covers.values() for point in points})) or ("/proc",)
