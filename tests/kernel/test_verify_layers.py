"""`sbx verify`: a sandbox that was made without one of its plan's layers is told so, by each thread's own words."""

import os

import msgspec
import pytest

from sandbox.plan import ops
from sandbox.plan.kernel import NAMESPACES
from sandbox.plan.record import Op, Plan
from tests.kernel.harness import Sandbox, edited, without
from tests.kernel.verifying import started_from_another, verify

UNCONFINED = (
    ops.SetNoNewPrivileges,
    # None of them can be had without it.
    *(ops.InstallFilter, ops.RestrictSelf, ops.CreateLandlockRuleset, ops.AllowPath),
)
BOTH = frozenset({"init", "command"})
RICH = "[process]\numask = '0027'\n[rlimits]\nnofile = 100"


def findings(sandbox: Sandbox, promised: Plan, done: Plan) -> dict[str, set[str]]:
    """By item: the roles of whose threads it is found."""
    with started_from_another(sandbox, promised, done):
        found = verify(sandbox, "it")
    assert found.status == (1 if found.content["findings"] else 0)
    roles: dict[str, set[str]] = {}
    for each in found.content["findings"]:
        roles.setdefault(each["item"], set()).add(each["thread"].split()[0])
    return roles


def test_nothing_is_found_where_both_plans_are_one(sandbox: Sandbox) -> None:
    plan = sandbox.plan(RICH)
    assert findings(sandbox, plan, plan) == {}


SMALL = (ops.SetRlimit, ops.SetUmask, ops.MaskPath, ops.LimitCapabilities)
LAYERS: dict[str, tuple[tuple[type[Op], ...], dict[str, set[str]]]] = {
    "no_new_privs": (
        UNCONFINED,
        {
            "no_new_privs": {"init", "command"},
            "seccomp": {"command"},
            "seccomp_filters": {"command"},
        },
    ),
    "all of it": (
        SMALL,
        {
            "rlimit nofile": {"init", "command"},
            "umask": {"init"},
            "CapBnd": {"init", "command"},
            "mount /proc/keys": {"init"},
        },
    ),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_that_is_missing_is_found(as_root: Sandbox, layer: str) -> None:
    kinds, expected = LAYERS[layer]
    plan = as_root.plan(RICH)
    found = findings(as_root, plan, without(plan, *kinds))
    others = {item for item in found if item.startswith("mount /proc/")} - expected.keys()
    assert {item: roles for item, roles in found.items() if item not in others} == expected
    assert not others or ops.MaskPath in kinds


def test_a_user_finds_them_as_well(as_user: Sandbox) -> None:
    """The first process, which nobody could look into, is open here: its places and mounts are seen."""
    plan = as_user.plan(RICH)
    kinds = (*UNCONFINED, ops.SetRlimit, ops.SetUmask, ops.MaskPath, ops.ProtectProcess)
    found = findings(as_user, plan, without(plan, *kinds))
    assert {item for item in found if not item.startswith("mount /proc/")} == {
        *("no_new_privs", "seccomp", "seccomp_filters", "rlimit nofile", "umask", "dumpable")
    }
    assert "mount /proc/keys" in found
    assert found["dumpable"] == {"init"}


def test_environment_that_is_not_the_plans_is_found(as_user: Sandbox) -> None:
    plan = as_user.plan(RICH)

    def other(op: Op) -> Op:
        if not isinstance(op, ops.SetEnvironment):
            return op
        return msgspec.structs.replace(op, set=("LD_PRELOAD=/evil.so",))

    found = findings(as_user, plan, edited(plan, other))
    assert found == {"variable PATH": {"command"}, "variable LD_PRELOAD": {"command"}}


def test_namespaces_that_are_the_supervisors_are_found(as_root: Sandbox) -> None:
    plan = as_root.plan("")
    kinds = ("ipc", "uts", "cgroup", "time")
    bits = sum(NAMESPACES[kind][0] for kind in kinds)

    def shared(op: Op) -> Op | None:
        if isinstance(op, ops.CreateNamespaces):
            return ops.CreateNamespaces(flags=op.flags & ~bits)
        return None if isinstance(op, ops.SetHostname) else op

    found = findings(as_root, plan, edited(plan, shared))
    items = {f"namespace {kind}" for kind in (*kinds, "time_for_children")}
    assert found == dict.fromkeys(items, BOTH)


def test_capabilities_that_no_plan_gave_are_found(as_user: Sandbox) -> None:
    kept = as_user.plan("[capabilities]\nkeep = ['CAP_NET_BIND_SERVICE']\nambient = true")
    found = findings(as_user, as_user.plan(""), kept)
    assert found == dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), BOTH)


def test_ids_that_are_others_are_found(as_root: Sandbox) -> None:
    plan = as_root.plan("")

    def other(op: Op) -> Op:
        if isinstance(op, ops.MapIds):
            return msgspec.structs.replace(op, gid_map="0 500000 65536\n")
        return msgspec.structs.replace(op, uid=7) if isinstance(op, ops.SetIds) and op.uid else op

    found = findings(as_root, plan, edited(plan, other))
    assert found == dict.fromkeys(("uid", "gid", "gid_map"), BOTH)


def test_a_map_that_makes_the_caller_somebody_else_inside_is_found(as_user: Sandbox) -> None:
    """The id outside is the same: only the map tells."""
    found = findings(as_user, as_user.plan(""), as_user.plan("[identity]\nmap = 'root'"))
    assert {"uid_map", "gid_map"} <= found.keys()
    assert "uid" not in found


def test_groups_of_the_supervisors_that_were_kept_are_found(as_root: Sandbox) -> None:
    plan = as_root.plan("[namespaces]\nuser = false\n[identity]\nuser = 7\ngroup = 7")
    with started_from_another(
        as_root, plan, without(plan, ops.SetGroups), before=lambda: os.setgroups([27])
    ):
        found = verify(as_root, "it").findings
    assert found["groups"]["found"] == "27"
