"""/proc as a plan has it: read-only, covered where it tells of the machine, and what is set through it."""

from typing import Any

import pytest

from sandbox.errors import ProfileError
from sandbox.plan.kernel import Attr
from sandbox.plan.ops import (
    AttachProc,
    Bind,
    BindMount,
    CreateProc,
    Mask,
    MaskPath,
    SetSysctl,
)
from tests.plans import USER, binds, compiled, names, ops_of

READ = Attr.RDONLY | Attr.NOSUID | Attr.NODEV | Attr.NOEXEC
EXECUTE = Attr.RDONLY | Attr.NOSUID | Attr.NODEV
WRITE = Attr.NOSUID | Attr.NODEV | Attr.NOEXEC
MAKERS = {"AttachProc", "BindDevice", "BindMount", "MakeSymlink", "MaskPath", "MountTmpfs"}
BARE: dict[str, Any] = {"devices": {"dev": "none"}}


def test_proc_is_read_only_and_what_tells_of_the_machine_is_covered() -> None:
    plan = compiled()
    assert ops_of(plan, AttachProc) == [AttachProc(target="/proc", attributes=READ)]
    masked = [op.path for op in ops_of(plan, MaskPath)]
    assert "/proc/interrupts" in masked
    assert "/proc/keys" in masked
    assert "/proc/kcore" not in masked


@pytest.mark.parametrize("kind", ("host", "self", "root"))
def test_a_payload_that_is_the_hosts_user_0_doesnt_see_what_root_alone_reads(kind: str) -> None:
    plan = compiled(identity={"map": kind})
    assert "/proc/kcore" in [op.path for op in ops_of(plan, MaskPath)]
    plan = compiled(USER, identity={"map": "root"})
    assert "/proc/kcore" not in [op.path for op in ops_of(plan, MaskPath)]


def test_a_writable_proc_keeps_the_kernels_settings_read_only() -> None:
    plan = compiled(filesystem={"proc": "writable"})
    assert ops_of(plan, AttachProc)[0].attributes == WRITE
    assert binds(plan)["/proc/sys"] == READ
    assert binds(plan)["/proc/sysrq-trigger"] == READ
    assert all(op.flags & Bind.FROM_ROOT for op in ops_of(plan, BindMount))


def test_a_proc_of_processes_alone_comes_after_the_one_that_settings_go_through() -> None:
    plan = compiled(USER, filesystem={"proc": "pid"}, seccomp={"allow": ["@program"]})
    assert [op.options for op in ops_of(plan, CreateProc)] == [0, 1]
    assert not [op for op in ops_of(plan, MaskPath) if op.path.startswith("/proc")]


def test_user_namespaces_inside_are_turned_off_unless_allowed() -> None:
    off = [SetSysctl(path="user/max_user_namespaces", value="0")]
    allow = {"allow": ["@program"]}
    assert ops_of(compiled(seccomp=allow), SetSysctl) == off
    assert ops_of(compiled(seccomp=allow, filesystem={"proc": "none"}), SetSysctl) == off
    allow = {"allow": ["@program", "@namespaces"]}
    assert not ops_of(compiled(seccomp=allow), SetSysctl)


@pytest.mark.parametrize(
    ("call", "condition", "reaches"),
    (
        ("unshare", {"op": "eq", "value": 0x10000000}, True),
        ("unshare", {"op": "eq", "value": 0x20000}, False),
        ("clone", {"op": "in", "values": [17, 0x70000011]}, True),
        ("clone", {"op": "in", "values": [17, 0x20000011]}, False),
        ("clone", {"op": "masked-eq", "value": 0, "mask": 0x7E020000}, False),
        ("clone", {"op": "masked-eq", "value": 0, "mask": 0x20000}, True),
        ("clone", {"op": "ne", "value": 0}, True),
        ("setns", {"op": "ne", "value": 0}, False),
    ),
)
def test_they_stay_on_for_a_rule_that_lets_user_namespaces_be_made(
    call: str, condition: dict[str, Any], *, reaches: bool
) -> None:
    rule = {"call": call, "action": "allow", "args": [{"index": 0, **condition}]}
    plan = compiled(seccomp={"allow": ["@program"], "rules": [rule]})
    assert bool(ops_of(plan, SetSysctl)) is not reaches
    refused = rule | {"action": "deny"}
    assert ops_of(compiled(seccomp={"allow": ["@program"], "rules": [refused]}), SetSysctl)


def test_the_hosts_own_setting_is_never_touched() -> None:
    plan = compiled(identity={"map": "host"}, seccomp={"allow": ["@program"]})
    assert not ops_of(plan, SetSysctl)


def test_proc_without_a_pid_namespace_is_refused() -> None:
    with pytest.raises(ProfileError, match="PID namespace"):
        compiled(namespaces={"pid": False})
    plan = compiled(namespaces={"pid": False}, filesystem={"proc": "none"})
    assert not ops_of(plan, CreateProc)


def test_what_is_denied_in_proc_is_covered_once_proc_is_there() -> None:
    plan = compiled(filesystem={"deny": ["/proc/sys", "/proc/keys"]})
    masks = {op.path: op.how for op in ops_of(plan, MaskPath)}
    assert masks["/proc/sys"] == masks["/proc/keys"] == Mask.DENY
    kinds = names(plan)
    assert kinds.index("AttachProc") < kinds.index("MaskPath")
    assert [op.path for op in ops_of(plan, MaskPath)].count("/proc/keys") == 1
