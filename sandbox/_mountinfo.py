"""What /proc/self/mountinfo tells (proc_pid_mountinfo(5))."""

from collections.abc import Iterable
from typing import Final

# Directories of procfs that are nothing but mount points (proc_create_mount_point in the kernel).
_ALWAYS_EMPTY: Final = frozenset({"/sys/fs/binfmt_misc", "/fs/nfsd"})


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
