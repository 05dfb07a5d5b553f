"""[resources] as files of a control group: of version 2, of version 1, and where there is none."""

from dataclasses import replace
from typing import Any

import pytest

from sandbox._cgroups import Cgroups
from sandbox.errors import ProfileError, UnsupportedError
from sandbox.host import Host
from sandbox.plan.ops import CreateCgroup, CreateNamespaces, SetCgroup
from sandbox.plan.record import Watched
from tests.plans import CGROUP_V2, ROOT, USER, compiled, names, ops_of

V1 = replace(
    ROOT,
    cgroups=Cgroups(
        version="hybrid",
        mounts={
            name: f"/sys/fs/cgroup/{name}"
            for name in (
                "blkio",
                "cpu",
                "cpuacct",
                "cpuset",
                "freezer",
                "memory",
                "pids",
                "unified",
            )
        },
        swap=True,
        io_weights=("blkio.bfq.weight",),
    ),
)
EVERYTHING: dict[str, Any] = {
    "memory_max": "25%",
    "memory_swap_max": "1G",
    "cpu_max": "150%",
    "cpu_weight": 200,
    "cpuset_cpus": "0-1",
    "pids_max": 64,
    "io_max": [{"device": "/dev/vda", "rbps": "10M", "wiops": 100}],
    "io_weight": 5000,
}


def settings(host: Host = ROOT, **resources: Any) -> list[tuple[str, str]]:
    """The files that are written, and with what."""
    plan = compiled(host, resources=resources)
    return [(op.file, op.value) for op in ops_of(plan, SetCgroup) if op.file]


def lacking(host: Host, **resources: Any) -> str:
    with pytest.raises(UnsupportedError) as caught:
        compiled(host, resources=resources)
    return str(caught.value)


def without(*controllers: str) -> Host:
    """A host of version 2 without some controllers."""
    left = CGROUP_V2.controllers.difference(controllers)
    return replace(ROOT, cgroups=replace(CGROUP_V2, controllers=left))


def test_no_limits_no_cgroup() -> None:
    assert "CreateCgroup" not in names(compiled())
    assert "CreateCgroup" not in names(compiled(resources={"memory_max": "max", "pids_max": "max"}))


def test_limits_are_written_by_the_names_of_version_2() -> None:
    assert settings(**EVERYTHING, memory_high="20%", cpuset_mems="0") == [
        ("cpuset.cpus", "0-1"),
        ("cpuset.mems", "0"),
        ("memory.max", str(2 << 30)),
        ("memory.high", str((8 << 30) // 5)),
        ("memory.swap.max", str(1 << 30)),
        ("cpu.weight", "200"),
        ("cpu.max", "150000 100000"),
        ("pids.max", "64"),
        ("io.max", "/dev/vda rbps=10485760 wiops=100"),
        ("io.bfq.weight", "545"),
    ]


def test_limits_are_written_by_the_names_of_version_1() -> None:
    assert settings(V1, **EVERYTHING) == [
        ("cpuset.cpus", "0-1"),
        ("cpuset.mems", ""),
        ("memory.limit_in_bytes", str(2 << 30)),
        ("memory.memsw.limit_in_bytes", str(3 << 30)),
        ("cpu.shares", "2048"),
        ("cpu.cfs_period_us", "100000"),
        ("cpu.cfs_quota_us", "150000"),
        ("pids.max", "64"),
        ("blkio.throttle.read_bps_device", "/dev/vda 10485760"),
        ("blkio.throttle.write_iops_device", "/dev/vda 100"),
        ("blkio.bfq.weight", "545"),
    ]


def test_a_cpuset_of_version_1_gets_what_is_above_where_nothing_is_said() -> None:
    """An empty one lets no process in."""
    assert settings(V1, cpuset_cpus="1") == [("cpuset.cpus", "1"), ("cpuset.mems", "")]
    assert settings(V1, cpuset_mems="0") == [("cpuset.cpus", ""), ("cpuset.mems", "0")]


@pytest.mark.parametrize(("host", "version"), ((ROOT, 2), (V1, 1), (USER, 2)))
def test_the_cgroup_comes_before_everything_that_makes_processes(host: Host, version: int) -> None:
    plan = compiled(host, resources={"pids_max": 9})
    order = [type(op) for op in plan.ops]
    assert order.index(CreateCgroup) < order.index(SetCgroup) < order.index(CreateNamespaces)
    assert ops_of(plan, CreateCgroup) == [CreateCgroup(version=version)]
    hierarchies = {op.hierarchy for op in ops_of(plan, SetCgroup)}
    assert hierarchies == ({"/sys/fs/cgroup"} if version == 2 else {"/sys/fs/cgroup/pids"})


def test_a_cgroup_without_limits_measures() -> None:
    measured = [op.controller for op in ops_of(compiled(resources={"cgroup": True}), SetCgroup)]
    assert measured == ["memory", "cpu", "pids", "io"]
    measured = [op.controller for op in ops_of(compiled(V1, resources={"cgroup": True}), SetCgroup)]
    assert measured == ["memory", "cpuacct", "pids", "freezer"]


def test_version_1_has_only_the_cgroups_that_its_limits_need() -> None:
    """Each one costs a launch time."""
    ops = ops_of(compiled(V1, resources={"memory_max": "1G", "pids_max": 5}), SetCgroup)
    assert {op.controller for op in ops} == {"memory", "pids"}


def test_what_a_limit_was_made_from_is_watched() -> None:
    watched = compiled(V1, resources={"memory_max": "10%"}).watched
    assert Watched("/proc", follow=True) in watched
    assert Watched("/sys/fs/cgroup/memory", follow=True, any_state=True) in watched


@pytest.mark.parametrize(
    ("host", "resources", "words"),
    (
        (replace(ROOT, cgroups=Cgroups()), {"pids_max": 5}, ("no cgroup file system", "mount -t")),
        (without("memory"), {"memory_max": 1 << 20}, ("'memory'", "cgroup_enable=memory")),
        (without("io"), {"io_weight": 5}, ("resources.io_weight", "'io'")),
        (without("cpuset"), {"cpuset_cpus": "0"}, ("resources.cpuset_cpus", "'cpuset'")),
        (V1, {"memory_high": "1G"}, ("version 1 has no such", "profile.optional")),
        (V1, {"memory_swap_max": 0}, ("only together with memory", "set memory_max")),
        (
            replace(ROOT, cgroups=replace(CGROUP_V2, swap=False)),
            {"memory_swap_max": 0},
            ("doesn't count swap", "swapaccount=1"),
        ),
        (
            replace(V1, cgroups=replace(V1.cgroups, swap=False)),
            {"memory_max": "1G", "memory_swap_max": 0},
            ("doesn't count swap", "swapaccount=1"),
        ),
        (
            replace(ROOT, cgroups=replace(CGROUP_V2, io_weights=())),
            {"io_weight": 5},
            ("heeds weights", "echo bfq", "profile.optional"),
        ),
        (ROOT, {"cpuset_cpus": "2-9"}, ("no processor 4-9", "it has 0-3")),
        (ROOT, {"cpuset_mems": "1"}, ("no memory node 1", "it has 0")),
        (
            replace(V1, cgroups=replace(V1.cgroups, controllers=frozenset({"pids"}))),
            {"memory_max": "1G", "pids_max": 4},
            ("can't be in both", "unified_cgroup_hierarchy"),
        ),
    ),
)
def test_what_the_host_cannot_hold_is_an_error_with_a_remedy(
    host: Host, resources: dict[str, Any], words: tuple[str, ...]
) -> None:
    message = lacking(host, **resources)
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("host", "feature", "resources"),
    (
        (V1, "resources.memory_high", {"memory_high": "1G", "memory_max": "2G"}),
        (
            replace(ROOT, cgroups=replace(CGROUP_V2, io_weights=())),
            "resources.io_weight",
            {"io_weight": 7, "pids_max": 5},
        ),
    ),
)
def test_what_is_no_hard_limit_can_be_optional(
    host: Host, feature: str, resources: dict[str, Any]
) -> None:
    plan = compiled(host, resources=resources, profile={"optional": [feature]})
    assert plan.not_enforced == (feature,)
    assert "CreateCgroup" in names(plan)


def test_a_share_and_a_size_are_compared_on_the_machine() -> None:
    with pytest.raises(ProfileError, match="above memory_max"):
        compiled(resources={"memory_max": "1G", "memory_high": "50%"})
    assert settings(memory_max="5G", memory_high="50%")[1] == ("memory.high", str(4 << 30))


def test_the_two_versions_weigh_alike() -> None:
    """What is usual in one is usual in the other, and the ends stay within what the kernel takes."""
    shares = {w: dict(settings(V1, cpu_weight=w))["cpu.shares"] for w in (1, 100, 10000)}
    assert shares == {1: "10", 100: "1024", 10000: "102400"}
    weights = {w: dict(settings(io_weight=w))["io.bfq.weight"] for w in (1, 100, 10000)}
    assert weights == {1: "1", 100: "100", 10000: "1000"}


def test_each_op_says_what_it_does() -> None:
    plan = compiled(resources={"memory_max": "512M"})
    said = [op.describe() for op in plan.ops if isinstance(op, CreateCgroup | SetCgroup)]
    assert said[:2] == [
        "make a control group of its own (cgroup v2) and start in it",
        "limit by control group: memory.max = 536870912 (512 MiB)",
    ]
    assert said[2] == "measure with the controller cpu"
