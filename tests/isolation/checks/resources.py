"""Using up the machine, and the control groups that keep a sandbox from it."""

from tests.isolation.check import OUTSIDE, OUTSIDE_AS_ROOT, Bare, Check, Control, attempt

# The descriptors that the scene's careless caller has left open count against nofile until execve.
LIMITS = """\
[rlimits]
nofile = 256
fsize = "4M"
core = 0
nproc = 20
as = "64M"
"""
SMALL = """\
[filesystem]
tmpfs = [{ path = "/small", size = "4M" }]
[devices]
shm_size = "4M"
"""
_NO_CORE = Control(how=Bare.OUTSIDE, lacking=("ENODATA", "the caller's own limit is 0"))


def _elsewhere(words: str) -> Control:
    return Control(how=Bare.OUTSIDE, words=words)


CHECKS = (
    Check(
        number=47,
        title="Control groups",
        weakness="release_agent, limits that the payload lifts or leaves",
        cves=("CVE-2022-0492",),
        attempts=(
            attempt("mount-groups pids /tmp", "EPERM", OUTSIDE_AS_ROOT),
            attempt("mount-groups 2 /tmp", "EPERM", OUTSIDE_AS_ROOT),
        ),
        tests=(
            "tests/kernel/test_cgroupfs.py::test_what_is_writable_above_leaves_control_groups_alone",
            "tests/kernel/test_cgroupfs.py::test_root_itself_cannot_change_them",
            "tests/kernel/test_cgroupfs.py::test_to_ask_for_it_is_an_error",
            "tests/vm/test_resources.py::test_a_payload_that_mounts_its_cgroup_cannot_lift_its_limits",
        ),
    ),
    Check(
        number=48,
        title="Names that lead elsewhere",
        weakness="a directory of control groups or records that is made by a name such as ..",
        tests=(
            "tests/kernel/test_records.py::test_a_bad_name_is_refused",
            "tests/isolation/test_names.py::test_a_name_leads_no_verb_elsewhere",
        ),
    ),
    Check(
        number=49,
        title="Fork bombs",
        weakness="processes without end",
        attempts=(attempt("forks 40", "EAGAIN", OUTSIDE, profile=LIMITS),),
        tests=(
            "tests/isolation/test_bombs.py::test_a_fork_bomb_leaves_the_host_alone_and_is_reaped",
            "tests/kernel/test_limit_ends.py::test_nothing_is_left_of_a_fork_bomb",
            "tests/vm/test_resources.py::test_limits_hold_for_every_caller_that_may_have_a_cgroup",
        ),
    ),
    Check(
        number=50,
        title="Memory bombs",
        weakness="memory by any name: anonymous, memory files, tmpfs, /dev/shm",
        attempts=(
            attempt("memory 128", "ENOMEM", OUTSIDE, profile=LIMITS),
            attempt(
                "fill /dev/shm/big 8",
                "ENOSPC",
                _elsewhere("fill {work}/big 8"),
                profile=SMALL,
            ),
            attempt(
                "fill /small/big 8",
                "ENOSPC",
                _elsewhere("fill {work}/big 8"),
                profile=SMALL,
            ),
        ),
        tests=(
            "tests/isolation/test_bombs.py::test_memory_by_any_name_ends_its_own_sandbox_alone",
            "tests/kernel/test_mounts.py::test_a_tmpfs_holds_what_it_says_and_no_more",
            "tests/vm/test_resources.py::test_limits_hold_for_every_caller_that_may_have_a_cgroup",
        ),
    ),
    Check(
        number=51,
        title="Disks, files, descriptors and cores",
        weakness="what a single process takes without end",
        attempts=(
            attempt("descriptors 400", "EMFILE", OUTSIDE, profile=LIMITS),
            attempt("raise-limit 1", "EPERM", OUTSIDE_AS_ROOT, profile=LIMITS),
            attempt("fill {work}/big 8", "EFBIG", OUTSIDE, profile=LIMITS),
            attempt("memory-file 8", "EFBIG", OUTSIDE, profile=LIMITS),
            attempt("files /small 2000", "ENOSPC", _elsewhere("files {work} 2000"), profile=SMALL),
            attempt("core {work}", "ENODATA", _NO_CORE, profile=LIMITS),
        ),
        tests=(
            "tests/kernel/test_process.py::test_a_file_cannot_grow_past_its_limit",
            "tests/kernel/test_process.py::test_a_hard_limit_cannot_be_raised",
            "tests/kernel/test_mounts.py::test_a_tmpfs_holds_a_limited_number_of_files",
        ),
    ),
)
