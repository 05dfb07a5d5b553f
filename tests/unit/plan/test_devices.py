"""/dev: a mount with nodes of its own where the caller may make them, else the host's nodes."""

from dataclasses import replace
from typing import Any

import pytest

from sandbox.host import Host
from sandbox.plan.ops import (
    ANY_DEVICE,
    BindDevice,
    MakeDevice,
    MakeSymlink,
    MapIds,
    MountDev,
    MountDevpts,
)
from sandbox.plan.record import Plan
from tests.plans import ROOT, USER, compiled, ops_of


def nodes(plan: Plan) -> dict[str, tuple[int, int]]:
    """The device nodes: those made, or else those of the host."""
    made = {op.path: (op.major, op.minor) for op in ops_of(plan, MakeDevice)}
    return made or {op.target: (op.major, op.minor) for op in ops_of(plan, BindDevice)}


@pytest.mark.parametrize("host", (ROOT, USER))
def test_a_private_dev_holds_the_usual_nodes_and_no_more(host: Host) -> None:
    plan = compiled(host)
    assert nodes(plan) == {
        "/dev/null": (1, 3),
        "/dev/zero": (1, 5),
        "/dev/full": (1, 7),
        "/dev/random": (1, 8),
        "/dev/urandom": (1, 9),
        "/dev/tty": (5, 0),
    }
    assert ops_of(plan, MountDevpts) == [MountDevpts(target="/dev/pts")]
    assert [op.path for op in ops_of(plan, MakeSymlink)] == [
        "/dev/fd",
        "/dev/ptmx",
        "/dev/stderr",
        "/dev/stdin",
        "/dev/stdout",
    ]


@pytest.mark.parametrize(("host", "mount"), ((ROOT, "MountDev"), (USER, "MountTmpfs")))
def test_over_a_tree_dev_is_memory_and_sealed(host: Host, mount: str) -> None:
    plan = compiled(host, filesystem={"read": ["/"]}, devices={"allow": ["/dev/kvm"]})
    dev = [op for op in plan.ops if getattr(op, "target", getattr(op, "path", "")) == "/dev"]
    assert [type(op).__name__ for op in dev[:2]] == [mount, "SetMountAttributes"]
    assert plan.ops.index(dev[1]) > plan.ops.index(ops_of(plan, BindDevice)[-1])


@pytest.mark.parametrize(
    "host",
    (
        USER,
        replace(ROOT, capabilities=ROOT.capabilities - {"CAP_MKNOD"}),
        replace(ROOT, first_user_namespace=False),
    ),
)
def test_who_may_make_no_device_nodes_gets_the_hosts(host: Host) -> None:
    plan = compiled(host)
    assert not ops_of(plan, MakeDevice)
    assert {op.source for op in ops_of(plan, BindDevice)} == set(nodes(plan))


@pytest.mark.parametrize(
    ("identity", "owner"),
    (({"map": "range"}, None), ({"map": "self", "user": 7}, 0), ({"map": "host"}, 0)),
)
def test_user_0_inside_owns_dev(identity: dict[str, Any], owner: int | None) -> None:
    """Mount points and links are made there from inside."""
    plan = compiled(identity=identity)
    dev = ops_of(plan, MountDev)[0]
    maps = ops_of(plan, MapIds)
    expected = int(maps[0].uid_map.split()[1]) if owner is None else owner
    assert (dev.uid, dev.gid) == (expected, expected)


def test_a_further_device_is_any_character_device() -> None:
    plan = compiled(devices={"allow": ["/dev/kvm"]})
    kvm = BindDevice(source="/dev/kvm", target="/dev/kvm", major=ANY_DEVICE, minor=ANY_DEVICE)
    assert kvm in ops_of(plan, BindDevice)


def test_deny_takes_dev_and_its_nodes_away() -> None:
    plan = compiled(filesystem={"deny": ["/dev"], "proc": "none"})
    assert not nodes(plan)
    assert not ops_of(plan, MakeSymlink)
    plan = compiled(filesystem={"deny": ["/dev/tty"]})
    assert "/dev/tty" not in nodes(plan)
