"""What of the host explains a failure, looked at once there is one."""

import os

from sandbox._mountinfo import covered_proc


def covered() -> tuple[str, ...]:
    """What keeps the kernel from making a new /proc."""
    return covered_proc(_lines("/proc/self/mountinfo"))


def is_filtered() -> bool:
    """Whether a system call filter is around sbx already."""
    return any(line.split() == ["Seccomp:", "2"] for line in _lines("/proc/self/status"))


def is_in_chroot() -> bool:
    """Whether the root is no mount point, as it always is but in some chroots."""
    mounts = _lines("/proc/self/mountinfo")
    return bool(mounts) and not any(line.split(" ")[4] == "/" for line in mounts)


def proc_is_anothers() -> bool:
    """Whether /proc belongs to another PID namespace than this process."""
    try:
        return os.readlink("/proc/self") != str(os.getpid())
    except OSError:
        return True


def _lines(path: str) -> list[str]:
    """Of a file in /proc; none where that can't be read."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.readlines()
    except OSError:
        return []
