"""What of the host explains a failure, looked at once there is one."""

import os

from sandbox._mountinfo import covered_proc


def covered() -> tuple[str, ...]:
    """What keeps the kernel from making a new /proc."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return covered_proc(file)


def is_filtered() -> bool:
    """Whether a system call filter is around sbx already."""
    with open("/proc/self/status", encoding="utf-8", errors="replace") as file:
        return any(line.split() == ["Seccomp:", "2"] for line in file)


def is_in_chroot() -> bool:
    """Whether the root is no mount point, as it always is but in some chroots."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return not any(line.split(" ")[4] == "/" for line in file)


def proc_is_anothers() -> bool:
    """Whether /proc belongs to another PID namespace than this process."""
    return os.readlink("/proc/self") != str(os.getpid())
