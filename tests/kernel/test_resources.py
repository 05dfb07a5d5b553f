"""[resources] on this kernel: what goes beyond a limit is stopped, and the same below it runs."""

import glob
import os
import signal

import pytest

from sandbox import _cgroups
from tests.kernel.harness import Sandbox

PROGRAMS = """
[filesystem]
read = ["/etc/ld.so.cache"]
execute = ["/usr", "/bin", "/lib", "/lib64"]
[resources]
"""
HOG = "x = bytearray({mebibytes} << 20); print(len(x))"
FORKS = """
import os, signal
children = []
try:
    for _ in range(40):
        child = os.fork()
        if child == 0:
            signal.pause()
        children.append(child)
except OSError as error:
    print(error.errno, end=" ")
print(len(children))
"""
SPIN = """
import time
end = time.monotonic() + 1
while time.monotonic() < end:
    pass
print(time.process_time())
"""
AFFINITY = "import os; print(*sorted(os.sched_getaffinity(0)))"


def python(sandbox: Sandbox, limits: str, code: str) -> tuple[int, str]:
    """How a Python program ends under limits, and what it says."""
    done = sandbox.run(PROGRAMS + limits, "/usr/bin/python3", "-I", "-S", "-c", code, options=NAMED)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


NAMED = ("--name", "resourceful")


def left_over() -> list[str]:
    """Cgroups of the sandbox of that name."""
    found = {f"{mount}/**/sbx/resourceful*" for mount in _cgroups.read().mounts.values()}
    return [path for pattern in found for path in glob.glob(pattern, recursive=True)]


def test_what_takes_more_memory_than_its_limit_is_killed(as_root: Sandbox) -> None:
    tight, wide = 'memory_max = "48M"\nmemory_swap_max = 0', 'memory_max = "400M"'
    assert python(as_root, tight, HOG.format(mebibytes=100))[0] == 128 + signal.SIGKILL
    assert python(as_root, tight, HOG.format(mebibytes=4)) == (0, f"{4 << 20}\n")
    assert python(as_root, wide, HOG.format(mebibytes=100)) == (0, f"{100 << 20}\n")


def test_a_share_of_the_machines_memory_is_a_limit(as_root: Sandbox) -> None:
    """As small a share as holds nothing but a few MiB on any machine."""
    text = 'memory_max = "0.2%"\nmemory_swap_max = 0'
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    hog = HOG.format(mebibytes=max(64, whole // 500 * 2 >> 20))
    assert python(as_root, text, hog)[0] == 128 + signal.SIGKILL


def test_processes_beyond_the_limit_are_not_started(as_root: Sandbox) -> None:
    """sbx's init and the program are two of them."""
    assert python(as_root, "pids_max = 10", FORKS) == (0, "11 8\n")
    assert python(as_root, "pids_max = 100", FORKS) == (0, "40\n")


def test_processor_time_is_bounded(as_root: Sandbox) -> None:
    status, used = python(as_root, 'cpu_max = "5%"', SPIN)
    assert status == 0
    assert float(used) < 0.2
    status, used = python(as_root, "cgroup = true", SPIN)
    assert float(used) > 0.2


def test_a_processor_is_chosen(as_root: Sandbox) -> None:
    mine = sorted(os.sched_getaffinity(0))
    last = mine[-1]
    assert python(as_root, f'cpuset_cpus = "{last}"', AFFINITY) == (0, f"{last}\n")
    everyone = " ".join(map(str, mine))
    assert python(as_root, "pids_max = 9", AFFINITY) == (0, f"{everyone}\n")


def test_a_processor_is_chosen_that_is_none_of_the_callers(as_root: Sandbox) -> None:
    """What the caller is bound to lies outside of the sandbox's processors: these are what it gets."""
    callers = os.sched_getaffinity(0)
    if len(callers) < 2:
        return
    os.sched_setaffinity(0, {min(callers)})
    try:
        last = max(callers)
        assert python(as_root, f'cpuset_cpus = "{last}"', AFFINITY) == (0, f"{last}\n")
    finally:
        os.sched_setaffinity(0, callers)


def test_all_limits_hold_together(as_root: Sandbox) -> None:
    limits = 'memory_max = "64M"\ncpu_max = "2 cpus"\ncpu_weight = 50\npids_max = 10\n'
    limits += 'cpuset_cpus = "0"\ncpuset_mems = "0"\n'
    assert python(as_root, limits, AFFINITY) == (0, "0\n")
    assert python(as_root, limits, FORKS) == (0, "11 8\n")
    assert python(as_root, limits, HOG.format(mebibytes=200))[0] == 128 + signal.SIGKILL
    assert left_over() == []


def test_nothing_is_left_after_a_launch_that_fails(as_root: Sandbox) -> None:
    text = PROGRAMS + "pids_max = 10"
    done = as_root.run(text, "/no/such/program", options=NAMED)
    assert done.returncode == 127
    assert left_over() == []


@pytest.mark.parametrize(
    ("limits", "words"),
    (
        ('cpuset_cpus = "4095"', "no processor 4095"),
        ('cpuset_mems = "1023"', "no memory node 1023"),
        ('io_max = [{ device = "/dev/null", rbps = 1 }]', "no block device"),
        ('io_max = [{ device = "/dev/none", rbps = 1 }]', "no such block device"),
    ),
)
def test_what_cannot_be_held_is_told_with_its_line(
    as_root: Sandbox, limits: str, words: str
) -> None:
    message = as_root.refusal(f"[resources]\n{limits}\n")
    assert words in message
    assert "hint: " in message
    assert ".toml:" in message


def test_a_limit_below_what_a_launch_needs_is_named(as_root: Sandbox) -> None:
    message = as_root.refusal('[resources]\nmemory_max = "64K"\n')
    assert "resources.memory_max" in message


def test_a_user_without_a_delegated_cgroup_is_told_why_and_what_to_do(as_user: Sandbox) -> None:
    """Nothing is run without its limits."""
    if as_user.is_root:
        pytest.fail("this caller is root")
    message = as_user.refusal("[resources]\npids_max = 9\n")
    assert "hint: " in message
    assert "limits" in message


def test_the_kept_plan_says_nothing_of_where_the_caller_is(as_root: Sandbox) -> None:
    """It holds for any cgroup that sbx is started in."""
    text = "[resources]\npids_max = 9\n"
    as_root.plan(text)
    with open(as_root.plan_file(text), "rb") as file:
        plan = file.read()
    own = {path for path in _cgroups.own_paths().values() if path != "/"}
    assert not any(path.encode() in plan for path in own)


@pytest.mark.parametrize("profile", ("untrusted-shell", "agent"))
def test_shipped_profiles_for_strangers_work_take_limits(as_root: Sandbox, profile: str) -> None:
    """By --set; without it they have none, and no cgroup."""
    words = ("/usr/bin/python3", "-I", "-S", "-c", FORKS)
    variables = {"memory": "256M", "cpus": "2 cpus", "pids": "10"}
    done = as_root.shipped(profile, *words, variables=variables)
    assert (done.returncode, done.stdout) == (0, "11 8\n"), done
    done = as_root.shipped(profile, *words)
    assert (done.returncode, done.stdout) == (0, "40\n"), done
