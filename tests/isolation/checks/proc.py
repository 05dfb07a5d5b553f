"""/proc: the machine's settings, the kernel's tables, other processes."""

from tests.isolation.check import (
    OUTSIDE,
    OUTSIDE_AS_ROOT,
    ROOTED,
    Check,
    Control,
    attempt,
)

_KERNEL = "tests/kernel/"
_SET_UP = "tests/isolation/test_set_up.py::"
_WITHOUT_INIT = Control(how="[process]\ninit = false")

CHECKS = (
    Check(
        number=5,
        title="The launcher's file by /proc/PID/exe",
        weakness="the launcher's program, overwritten for the next who runs it",
        cves=("CVE-2019-5736",),
        attempts=(
            attempt("behind /proc/1/exe", "EACCES", _WITHOUT_INIT),
            attempt("open-to-read /proc/1/exe", "EACCES", _WITHOUT_INIT),
        ),
        tests=(f"{_SET_UP}test_a_script_that_names_proc_self_exe_runs_nothing_of_the_launchers",),
    ),
    Check(
        number=6,
        title="Files of the kernel's that tell of the machine",
        weakness="/proc/kcore, keys, timer_list",
        attempts=(
            attempt(
                "read /proc/kcore",
                "EACCES ENODATA ENOENT",
                Control(
                    how=OUTSIDE.how,
                    callers=("root",),
                    lacking=("ENOENT", "the kernel is built without CONFIG_PROC_KCORE"),
                ),
                because="its mode keeps it from most ids and a cover from the rest; some kernels have none",
            ),
            attempt("read /proc/timer_list", "EACCES", OUTSIDE_AS_ROOT),
            attempt("read /proc/keys", "ENODATA", OUTSIDE_AS_ROOT),
            attempt("take-off /proc/keys", "EPERM", Control(how=ROOTED.how, words="take-off-own")),
        ),
        tests=(
            f"{_KERNEL}test_root.py::test_a_cover_cannot_be_taken_off",
            f"{_KERNEL}test_proc.py::test_what_tells_of_other_users_is_empty",
            f"{_KERNEL}test_proc.py::test_a_mask_lies_read_only_on_its_own_mount",
        ),
    ),
    Check(
        number=7,
        title="What masks are made of",
        weakness="a mask that is made of the root's own /dev/null",
        cves=("CVE-2025-31133",),
        tests=(
            f"{_SET_UP}test_a_mask_is_made_of_nothing_that_the_root_holds",
            f"{_KERNEL}test_hostile_trees.py::test_covers_and_devices_are_made_of_nothing_that_changes_places_in_the_root",
        ),
    ),
    Check(
        number=8,
        title="/proc, /sys and /dev as links of the root's",
        weakness="a mount, a file made or removed where the root's links lead",
        cves=(
            "CVE-2019-19921",
            "CVE-2026-41579",
        ),
        tests=(
            f"{_KERNEL}test_hostile_trees.py::test_a_link_in_place_of_a_mount_point_leads_nowhere",
            f"{_KERNEL}test_hostile_trees.py::test_a_link_out_of_the_root_leads_nowhere",
        ),
    ),
    Check(
        number=9,
        title="The machine's switches",
        weakness="core_pattern, sysrq-trigger, modprobe and binfmt_misc as ways to the host",
        attempts=(
            attempt("open-to-write /proc/sys/kernel/core_pattern", "EACCES", OUTSIDE_AS_ROOT),
            attempt(
                "open-to-write /proc/sys/kernel/modprobe",
                "EACCES ENOENT",
                Control(
                    how=OUTSIDE.how,
                    callers=("root",),
                    lacking=("ENOENT", "the kernel is built without CONFIG_MODULES"),
                ),
                because="some kernels have no such file",
            ),
            attempt(
                "open-to-write /proc/sysrq-trigger",
                "EACCES ENOENT",
                Control(
                    how=OUTSIDE.how,
                    callers=("root",),
                    lacking=("ENOENT", "the kernel is built without CONFIG_MAGIC_SYSRQ"),
                ),
                because="some kernels have no such file",
            ),
            attempt("open-to-write /proc/sys/kernel/hostname", "EACCES", OUTSIDE_AS_ROOT),
            attempt("open-to-write /proc/sys/vm/drop_caches", "EACCES", OUTSIDE_AS_ROOT),
            attempt("fresh-proc /tmp", "EPERM", OUTSIDE),
        ),
        tests=(
            f"{_KERNEL}test_proc.py::test_the_machines_switches_cannot_be_turned",
            f"{_KERNEL}test_proc.py::test_the_switches_are_only_in_reach_through_the_mount",
        ),
    ),
    Check(
        number=10,
        title="Settings that the set-up makes in /proc",
        weakness="a setting that is written to a file of the root's, or by it to another",
        cves=(
            "CVE-2019-16884",
            "CVE-2025-52881",
        ),
        tests=(f"{_SET_UP}test_settings_go_to_the_kernel_and_not_to_a_proc_of_the_roots",),
    ),
    Check(
        number=11,
        title="Other processes",
        weakness="environments and memory of the supervisor's and the host's",
        attempts=(
            attempt("foreign-processes", "ESRCH", OUTSIDE),
            attempt("read /proc/1/environ", "EACCES", _WITHOUT_INIT),
        ),
        tests=(
            f"{_KERNEL}test_namespaces.py::test_the_payload_sees_no_process_but_the_sandboxs",
            f"{_KERNEL}test_proc.py::test_the_init_cannot_be_looked_into",
            f"{_KERNEL}test_proc.py::test_the_payload_as_root_cannot_look_into_init_either",
        ),
    ),
)
