"""[resources]: what a limit may look like, what two of them mean together, and who may raise one."""

import pytest

from tests.unit.profile.conftest import Load, Problems, Write


@pytest.mark.parametrize(
    ("text", "key", "words"),
    (
        ("memory_max = '512 MB'", "memory_max", "512M"),
        ("memory_max = 0", "memory_max", "without memory"),
        ("memory_max = '0%'", "memory_max", "above 0%"),
        ("memory_max = true", "memory_max", "expected a size"),
        ("memory_high = 1.5", "memory_high", "expected a size"),
        ("memory_swap_max = '10%'", "memory_swap_max", "share of the swap"),
        ("cpu_max = 2", "cpu_max", "write '2 cpus' or '2%'"),
        ("cpu_max = 1.5", "cpu_max", "write '1.5 cpus' or '1.5%'"),
        ("cpu_max = '2'", "cpu_max", "write '2 cpus'"),
        ("cpu_weight = 0", "cpu_weight", "from 1 to 10000"),
        ("cpu_weight = '100'", "cpu_weight", "leave out the quotes"),
        ("cpuset_cpus = 0", "cpuset_cpus", "write '0'"),
        ("cpuset_cpus = '3-1'", "cpuset_cpus", "write '1-3'"),
        ("cpuset_cpus = ''", "cpuset_cpus", "list of numbers"),
        ("pids_max = 0", "pids_max", "from 1 to"),
        ("pids_max = '-1'", "pids_max", "a whole number or 'max'"),
        ("pids_max = '0'", "pids_max", "from 1 to"),
        ("io_weight = 10001", "io_weight", "from 1 to 10000"),
        ("io_max = [{ device = '/dev/vda', rbps = 0 }]", "io_max[0].rbps", "a rate of 0"),
        ("io_max = [{ device = 'vda', rbps = 1 }]", "io_max[0].device", "absolute path"),
        ("io_max = [{ rbps = 1 }]", "io_max[0]", "'device' is missing"),
        ("io_max = [{ device = '/dev/vda', bps = 1 }]", "io_max[0].bps", "no such key"),
        ("memory = '1G'", "memory", "no such key"),
        ("cpuset = '0'", "cpuset", "did you mean 'cpuset_"),
        ("pid_max = 5", "pid_max", "did you mean 'pids_max'?"),
        ("cgroup = 1", "cgroup", "true or false"),
        ("io_max = [{ device = '/dev/vda' }]", "io_max[0]", "limits nothing"),
        ("pids_max = 1", "pids_max", "sbx's init"),
        ("memory_max = '1G'\nmemory_high = '2G'", "memory_high", "never takes effect"),
        ("memory_max = '10%'\nmemory_high = '20%'", "memory_high", "never takes effect"),
    ),
)
def test_what_is_no_limit_is_told_with_its_key(
    problems: Problems, text: str, key: str, words: str
) -> None:
    (problem,) = problems(f"[resources]\n{text}")
    assert problem.key == f"resources.{key}"
    assert words in f"{problem.reason} {problem.hint}"


def test_limits_are_kept_as_they_are_written(load_text: Load) -> None:
    resources = load_text(
        "[resources]\ncgroup = true\nmemory_max = '512M'\nmemory_high = '10%'\n"
        "memory_swap_max = 0\ncpu_max = '1.5 cpus'\ncpu_weight = 50\ncpuset_cpus = '3,0-1,2'\n"
        "pids_max = 'max'\nio_weight = 200\n"
        "io_max = [{ device = '/dev//vda', rbps = '10M', wiops = 100 }]"
    ).profile.resources
    assert (resources.memory_max, resources.memory_high) == ("512M", "10%")
    assert (resources.memory_swap_max, resources.pids_max) == (0, "max")
    assert resources.cpuset_cpus == "0-3"
    assert resources.io_max[0].limits() == (("rbps", "10M"), ("wiops", 100))
    assert resources.io_max[0].device == "/dev/vda"


def test_a_limit_may_hold_a_variable(load_text: Load) -> None:
    text = "[vars]\nmemory = '64M'\npids = '9'\n[resources]\n"
    resources = load_text(
        f"{text}memory_max = '${{memory}}'\npids_max = '${{pids}}'"
    ).profile.resources
    assert (resources.memory_max, resources.pids_max) == ("64M", 9)


@pytest.mark.parametrize(
    ("text", "wanted"),
    (
        ("", False),
        ("[resources]", False),
        ("[resources]\ncgroup = true", True),
        ("[resources]\nmemory_max = 'max'\nmemory_swap_max = 'max'\npids_max = 'max'", False),
        ("[resources]\nmemory_swap_max = 0", True),
        ("[resources]\npids_max = 9", True),
        ("[resources]\nio_max = [{ device = '/dev/vda', rbps = 1 }]", True),
    ),
)
def test_any_limit_brings_a_cgroup(load_text: Load, text: str, wanted: bool) -> None:
    assert load_text(text).profile.resources.wanted is wanted


def test_rates_of_different_disks_are_united_and_those_of_one_replaced(
    write: Write, load_text: Load
) -> None:
    write(
        "[resources]\nio_max = [{ device = '/dev/a', rbps = 1 }, { device = '/dev/b', rbps = 2 }]",
        "base",
    )
    found = load_text(
        "[profile]\nextends = 'base.toml'\n[[resources.io_max]]\ndevice = '/dev/b'\nwbps = 3"
    ).profile.resources.io_max
    assert [(entry.device, entry.limits()) for entry in found] == [
        ("/dev/a", (("rbps", 1),)),
        ("/dev/b", (("wbps", 3),)),
    ]


SEALED = """
[profile]
sealed = ["resources"]
[resources]
cgroup = true
memory_max = "1G"
memory_high = "50%"
cpu_max = "2 cpus"
cpu_weight = 100
cpuset_cpus = "0-2"
pids_max = 100
io_max = [{ device = "/dev/a", rbps = "1M" }]
"""


@pytest.mark.parametrize(
    "text",
    (
        "memory_max = '2G'",
        "memory_max = 'max'",
        "memory_max = '1%'",
        "memory_high = '60%'",
        "memory_high = 1",
        "cpu_max = '201%'",
        "cpu_max = 'max'",
        "cpu_max = '3000 1000'",
        "cpu_weight = 101",
        "cpuset_cpus = '0-3'",
        "pids_max = 101",
        "pids_max = 'max'",
        "cgroup = false",
        "io_max = [{ device = '/dev/a', rbps = '2M' }]",
        "io_max = [{ device = '/dev/a', wbps = 1 }]",
    ),
)
def test_a_sealed_limit_cannot_be_raised(write: Write, problems: Problems, text: str) -> None:
    write(SEALED, "base")
    (problem,) = problems(f"[profile]\nextends = 'base.toml'\n[resources]\n{text}")
    assert "seals resources, so it cannot be raised" in problem.reason


@pytest.mark.parametrize(
    "text",
    (
        "memory_max = '1G'",
        "memory_max = '512M'",
        "memory_high = '10%'",
        "memory_swap_max = 0",
        "cpu_max = '200%'",
        "cpu_max = '1000 10000'",
        "cpu_weight = 1",
        "cpuset_cpus = '1'",
        "cpuset_mems = '0'",
        "pids_max = 2",
        "cgroup = true",
        "io_weight = 10000",
        "io_max = [{ device = '/dev/a', rbps = '1M', riops = 5 }]",
        "io_max = [{ device = '/dev/c', wbps = 1 }]",
    ),
)
def test_a_sealed_limit_can_be_lowered_and_others_added(
    write: Write, problems: Problems, text: str
) -> None:
    write(SEALED, "base")
    assert problems(f"[profile]\nextends = 'base.toml'\n[resources]\n{text}") == ()
