"""Landlock says the same as the mounts: it never takes what they give, nor opens what they don't."""

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.errors import UnsupportedError
from sandbox.plan.kernel import Access, NetAccess, Scoped
from sandbox.plan.landlock import ABIS, Rule, known, needed
from sandbox.plan.ops import AllowPath, CreateLandlockRuleset
from sandbox.plan.record import Plan
from tests.plans import ROOT, compiled, names, ops_of

HEADER = "/usr/include/linux/landlock.h"
READ = Access.READ_FILE | Access.READ_DIR
PATHS = ("/", "/a", "/a/b", "/a/b/c", "/d")


def bare(**filesystem: Any) -> Plan:
    return compiled(filesystem={"proc": "none", **filesystem}, devices={"dev": "none"})


def allowed(plan: Plan, path: str) -> Access:
    """What the rules give at a path: a rule holds for everything beneath it."""
    given_ = Access(0)
    for op in ops_of(plan, AllowPath):
        if op.path == "/" or f"{path}/".startswith(f"{op.path}/"):
            given_ |= Access(op.access)
    return given_


def test_the_rights_have_the_numbers_of_the_kernels_header() -> None:
    with open(HEADER, encoding="utf-8") as file:
        text = file.read()
    stated = dict(
        re.findall(
            r"#define LANDLOCK_(?:ACCESS_FS|ACCESS_NET|SCOPE)_(\w+)\s+\(1ULL << (\d+)\)", text
        )
    )
    assert len(stated) >= 14
    ours = {bit.name: bit.value for kind in (Access, NetAccess, Scoped) for bit in kind if bit.name}
    for name, shift in stated.items():
        assert ours[name] == 1 << int(shift), name


def test_files_in_memory_can_be_executed_where_that_is_said() -> None:
    plan = bare(tmpfs=["/a", {"path": "/d", "execute": True}])
    assert not allowed(plan, "/a") & Access.EXECUTE
    assert allowed(plan, "/d") & Access.EXECUTE


def test_every_right_came_with_one_version() -> None:
    seen = Access(0)
    for abi in ABIS:
        assert not abi.access & seen
        seen |= abi.access
    assert seen == Access((1 << 16) - 1)
    assert known(1)[0].bit_count() == 13
    assert known(3)[0].bit_count() == 15
    assert known(99) == known(len(ABIS))


@pytest.mark.parametrize("abi", range(1, 8))
def test_everything_that_the_kernel_knows_is_denied_first_and_no_more(abi: int) -> None:
    plan = compiled(
        replace(ROOT, landlock_abi=abi), filesystem={"write": ["/srv"], "execute": ["/usr"]}
    )
    (ruleset,) = ops_of(plan, CreateLandlockRuleset)
    access, scoped = known(abi)
    assert (ruleset.fs, ruleset.scoped) == (access, scoped)
    assert all(not op.access & ~access for op in ops_of(plan, AllowPath))
    assert all(op.access for op in ops_of(plan, AllowPath))


def test_lists_become_rights() -> None:
    plan = bare(read=["/r"], write=["/w"], execute=["/x"])
    assert allowed(plan, "/r") == READ
    assert allowed(plan, "/x") == READ | Access.EXECUTE
    write = allowed(plan, "/w")
    assert write & Access.REFER
    assert write & Access.TRUNCATE
    assert not write & (Access.EXECUTE | Access.MAKE_CHAR | Access.MAKE_BLOCK | Access.IOCTL_DEV)
    assert allowed(plan, "/elsewhere") == Access.READ_DIR


def test_links_at_the_top_need_no_rule_of_their_own() -> None:
    assert [op.path for op in ops_of(bare(execute=["/bin", "/usr"]), AllowPath)] == ["/", "/usr"]


def test_devices_may_be_controlled_and_shared_memory_written() -> None:
    plan = compiled()
    assert allowed(plan, "/dev/tty") & Access.IOCTL_DEV
    assert not allowed(plan, "/dev/null") & Access.MAKE_REG
    assert allowed(plan, "/dev/shm") & Access.MAKE_REG


def test_proc_is_written_to_only_where_it_is_writable() -> None:
    assert not allowed(compiled(), "/proc/self") & Access.WRITE_FILE
    assert allowed(compiled(filesystem={"proc": "writable"}), "/proc/self") & Access.WRITE_FILE


def test_an_overlay_over_the_root_may_be_written_to() -> None:
    rootfs = {"type": "directory", "path": "/i"}
    assert not allowed(compiled(rootfs=rootfs), "/srv") & Access.WRITE_FILE
    assert allowed(compiled(rootfs={**rootfs, "overlay": "tmpfs"}), "/srv") & Access.WRITE_FILE


def test_generated_files_can_be_read_and_their_directory_listed() -> None:
    plan = compiled(rootfs={"generate": ["passwd", "group"]})
    assert allowed(plan, "/etc/passwd") == READ
    assert [op.path for op in ops_of(plan, AllowPath)].count("/etc") == 1


def test_an_optional_mount_has_an_optional_rule() -> None:
    mount = {"type": "bind", "source": "/s", "target": "/s", "optional": True}
    rules = {op.path: op.flags for op in ops_of(compiled(mounts=[mount]), AllowPath)}
    assert rules["/s"] == 1
    assert rules["/dev"] == 0


def test_without_landlock_in_the_profile_there_is_none() -> None:
    plan = compiled(landlock={"enabled": False})
    assert not {"CreateLandlockRuleset", "AllowPath", "RestrictSelf"} & set(names(plan))


def test_a_kernel_without_landlock_is_an_error_unless_it_is_optional() -> None:
    host = replace(ROOT, landlock_abi=0)
    with pytest.raises(UnsupportedError, match="no Landlock") as caught:
        compiled(host)
    assert "'landlock' to profile.optional" in caught.value.hint
    plan = compiled(host, profile={"optional": ["landlock"]})
    assert plan.not_enforced == ("landlock",)
    assert names(plan)[0] == "SkipFeature"
    assert "RestrictSelf" not in names(plan)


def test_a_version_too_old_is_named_and_what_it_can_is_enforced_if_optional() -> None:
    host = replace(ROOT, landlock_abi=3)
    with pytest.raises(UnsupportedError, match="ABI 6 is needed; this kernel has 3") as caught:
        compiled(host, landlock={"minimum_abi": 6})
    assert "Linux 6.12" in caught.value.hint
    optional = {"optional": ["landlock"]}
    plan = compiled(host, landlock={"minimum_abi": 6}, profile=optional)
    assert "RestrictSelf" in names(plan)
    assert "landlock" in plan.not_enforced


@pytest.mark.parametrize(
    ("tables", "gap"),
    (
        ({}, False),
        ({"network": {"mode": "host"}}, True),
        ({"namespaces": {"pid": False}, "filesystem": {"proc": "none"}}, True),
        ({"network": {"mode": "host"}, "landlock": {"scopes": ["signal"]}}, False),
        ({"network": {"mode": "host"}, "landlock": {"scopes": []}}, False),
    ),
)
def test_a_missing_scope_is_an_error_where_no_namespace_does_the_same(
    tables: dict[str, Any], gap: bool
) -> None:
    host = replace(ROOT, landlock_abi=5)
    if gap:
        with pytest.raises(UnsupportedError, match="ABI 6"):
            compiled(host, **tables)
        tables = {**tables, "profile": {"optional": ["landlock.scopes"]}}
    plan = compiled(host, **tables)
    wanted = tables.get("landlock", {}).get("scopes") != []
    assert plan.not_enforced == (("landlock.scopes",) if wanted else ())


def test_rules_that_add_nothing_are_left_out() -> None:
    rules = [
        Rule("/a", READ),
        Rule("/a/b", Access.READ_FILE),
        Rule("/a/c", READ | Access.EXECUTE),
        Rule("/a/c/d", Access.EXECUTE),
        Rule("/b", Access.IOCTL_DEV),
    ]
    assert [r.path for r in needed(iter(rules), READ | Access.EXECUTE)] == ["/a", "/a/c"]


@st.composite
def statements(draw: st.DrawFn) -> dict[str, list[str]]:
    paths = st.lists(st.sampled_from(PATHS), unique=True, max_size=3)
    return {name: draw(paths) for name in ("read", "write", "execute", "deny")}


@given(statements())
def test_landlock_never_takes_what_a_statement_gives(found: dict[str, list[str]]) -> None:
    plan = bare(**found)
    right = {"read": READ, "write": Access.MAKE_REG, "execute": Access.EXECUTE}
    for name, bits in right.items():
        for path in found[name]:
            if path not in found["deny"]:
                assert bits & ~allowed(plan, path) == 0


@given(statements())
def test_landlock_opens_nothing_that_no_statement_allows(found: dict[str, list[str]]) -> None:
    plan = bare(**found)
    for path in PATHS:
        above = [p for p in PATHS if p == "/" or f"{path}/".startswith(f"{p}/")]
        for name, bits in (("write", Access.WRITE_FILE), ("execute", Access.EXECUTE)):
            if not any(p in found[name] for p in above):
                assert not allowed(plan, path) & bits
        listed = {*found["read"], *found["write"], *found["execute"]} - set(found["deny"])
        if not listed.intersection(above):
            assert not allowed(plan, path) & Access.READ_FILE
