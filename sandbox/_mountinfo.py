"""What /proc/self/mountinfo tells (proc_pid_mountinfo(5))."""

from collections.abc import Iterable
from typing import Final

# Directories of procfs that are nothing but mount points (proc_create_mount_point in the kernel).
_ALWAYS_EMPTY: Final = frozenset({"/sys/fs/binfmt_misc", "/fs/nfsd", "/openprom", "/xen"})


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
