"""Whether the kernel would let a user namespace mount a new /proc, told from the list of mounts."""

import pytest

from sandbox._mountinfo import cgroup_points, covered_proc, unbindable

ROOT = "1 0 8:1 / / rw,relatime - ext4 /dev/vda rw"
PROC = "2 1 0:5 / /proc rw,nosuid,nodev,noexec,relatime shared:3 - proc proc rw"


def mounts(*lines: str) -> tuple[str, ...]:
    return covered_proc((ROOT, *lines))


def test_a_whole_proc_is_not_covered() -> None:
    assert mounts(PROC) == ()
    assert mounts(PROC, "3 1 0:6 / /sys rw,relatime - sysfs sysfs rw") == ()


def test_what_is_mounted_below_covers_it() -> None:
    found = mounts(
        PROC,
        "4 2 0:5 /sys /proc/sys ro,relatime - proc proc rw",
        "5 2 0:7 / /proc/acpi ro,relatime - tmpfs tmpfs rw",
        "6 1 0:7 / /process ro,relatime - tmpfs tmpfs rw",
    )
    assert found == ("/proc/acpi", "/proc/sys")


@pytest.mark.parametrize("point", ("/proc/sys/fs/binfmt_misc", "/proc/fs/nfsd"))
def test_a_directory_that_is_always_empty_may_be_mounted_on(point: str) -> None:
    assert mounts(PROC, f"4 2 0:9 / {point} rw,relatime - binfmt_misc none rw") == ()


@pytest.mark.parametrize("flags", ("ro,nosuid,relatime", "rw,nosuid,noatime", "rw,nosuid"))
def test_flags_that_a_new_one_may_not_lose_cover_it(flags: str) -> None:
    assert mounts(f"2 1 0:5 / /proc {flags} - proc proc rw") == ("/proc",)


def test_a_part_of_a_proc_is_not_one() -> None:
    assert mounts("2 1 0:5 /sys /proc/sys rw,relatime - proc proc rw") == ("/proc",)


def test_a_second_one_that_is_whole_suffices() -> None:
    cover = "4 2 0:7 / /proc/acpi ro,relatime - tmpfs tmpfs rw"
    assert mounts(PROC, cover, "5 1 0:8 / /mnt/proc rw,relatime - proc proc rw") == ()


def test_without_a_list_nothing_is_known() -> None:
    assert covered_proc(()) == ()


def test_unbindable_mounts_are_found_by_the_fields_that_are_optional() -> None:
    lines = (
        ROOT,
        "4 1 0:7 / /srv/a\\040b rw,relatime unbindable - tmpfs tmpfs rw",
        "5 1 0:7 / /srv/unbindable rw,relatime shared:2 - tmpfs unbindable rw",
    )
    assert unbindable(lines) == ("/srv/a b",)


def test_control_groups_are_found_wherever_they_are_mounted() -> None:
    """The usual place counts also before something is mounted there."""
    assert cgroup_points((ROOT, PROC)) == ("/sys/fs/cgroup",)
    found = cgroup_points(
        (
            ROOT,
            "2 1 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw",
            "3 2 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu",
            r"4 1 0:30 /user.slice /mnt/my\040groups rw,relatime shared:9 - cgroup2 none rw",
        )
    )
    assert found == ("/mnt/my groups", "/sys/fs/cgroup")
