"""Plans for hosts that lack, cover or link what others have."""

from dataclasses import replace

import pytest

from sandbox.errors import ProfileError, UnsupportedError
from sandbox.plan.kernel import Access, Attr, Scoped
from sandbox.plan.ops import (
    AllowPath,
    AttachProc,
    CreateLandlockRuleset,
    CreateProc,
    MaskPath,
    SetSysctl,
    SkipFeature,
    WriteFile,
)
from tests.plans import ROOT, USER, compiled, ops_of

COVERED = replace(USER, covered_proc=("/proc/kcore", "/proc/sys"))


def test_an_unmasked_proc_is_writable_and_nothing_in_it_covered() -> None:
    plan = compiled(filesystem={"proc": "unmasked"})
    (proc,) = ops_of(plan, AttachProc)
    assert not proc.attributes & Attr.RDONLY
    assert [op for op in ops_of(plan, MaskPath) if op.path.startswith("/proc/")] == []


def test_an_unmasked_proc_is_not_for_root_of_the_machine() -> None:
    for tables in ({"identity": {"map": "host"}}, {"namespaces": {"user": False}}):
        with pytest.raises(ProfileError, match="change the kernel's settings"):
            compiled(filesystem={"proc": "unmasked"}, **tables)


def test_without_file_rules_only_the_scopes_are_left() -> None:
    plan = compiled(landlock={"files": False})
    (ruleset,) = ops_of(plan, CreateLandlockRuleset)
    assert (ruleset.fs, ruleset.scoped) == (Access(0), Scoped.SIGNAL | Scoped.ABSTRACT_UNIX_SOCKET)
    assert ops_of(plan, AllowPath) == []
    assert ops_of(compiled(landlock={"files": False, "scopes": []}), CreateLandlockRuleset) == []


def test_a_covered_proc_is_told_before_the_launch() -> None:
    with pytest.raises(UnsupportedError, match="/proc/kcore, /proc/sys"):
        compiled(COVERED)
    with pytest.raises(UnsupportedError, match="the limit on user namespaces"):
        compiled(COVERED, filesystem={"proc": "none"}, seccomp={"allow": ["@program"]})


def test_a_covered_proc_matters_to_none_who_makes_no_new_one() -> None:
    """In the host's user namespace the kernel lets root make one."""
    plan = compiled(replace(ROOT, covered_proc=("/proc/sys",)), identity={"map": "host"})
    assert len(ops_of(plan, CreateProc)) == 1


def test_the_limit_that_is_set_through_a_new_proc_can_be_optional() -> None:
    tables = {"filesystem": {"proc": "none"}, "seccomp": {"allow": ["@program"]}}
    plan = compiled(COVERED, profile={"optional": ["namespaces.limit"]}, **tables)
    assert ops_of(plan, SetSysctl) == []
    assert ops_of(plan, CreateProc) == []
    assert [op.feature for op in ops_of(plan, SkipFeature)] == ["namespaces.limit"]
    plain = compiled(USER, profile={"optional": ["namespaces.limit"]}, **tables)
    assert len(ops_of(plain, SetSysctl)) == 1
    assert ops_of(plain, SkipFeature) == []


def test_who_has_no_id_is_told_before_the_launch() -> None:
    with pytest.raises(UnsupportedError, match="isn't mapped in its user namespace"):
        compiled(replace(USER, mapped=False))


def generated(shown: list[str], links: dict[str, str | None]) -> list[str]:
    host = replace(USER, etc_links=links)
    rootfs = {"generate": ["hostname", "machine-id"]}
    plan = compiled(host, rootfs=rootfs, filesystem={"read": shown, "proc": "none"})
    return sorted(op.path for op in ops_of(plan, WriteFile))


def test_a_generated_file_lies_where_the_hosts_link_leads() -> None:
    """If that is shown, over the link itself; else in the root in memory."""
    links: dict[str, str | None] = {"hostname": "/run/hostname"}
    assert generated(["/etc"], links) == ["/etc/machine-id", "/run/hostname"]
    assert generated(["/etc", "/run"], links) == ["/etc/hostname", "/etc/machine-id"]
    assert generated(["/"], links) == ["/etc/hostname", "/etc/machine-id"]
    assert generated([], links) == ["/etc/hostname", "/etc/machine-id"]


def test_a_generated_file_that_the_hosts_etc_lacks_is_left_out_where_that_is_shown() -> None:
    links: dict[str, str | None] = {"machine-id": None}
    assert generated(["/etc"], links) == ["/etc/hostname"]
    assert generated(["/"], links) == ["/etc/hostname"]
    assert generated([], links) == ["/etc/hostname", "/etc/machine-id"]


@pytest.mark.parametrize("read", ("/srv", "/srv/data", "/srv/data/inner"))
def test_an_unbindable_mount_in_what_is_shown_is_refused(read: str) -> None:
    host = replace(USER, unbindable=("/srv/data/inner",))
    with pytest.raises(UnsupportedError, match="'/srv/data/inner' is unbindable"):
        compiled(host, filesystem={"read": [read]})


def test_an_unbindable_mount_that_is_covered_or_elsewhere_is_no_matter() -> None:
    host = replace(USER, unbindable=("/srv/data/inner",))
    for filesystem in (
        {"read": ["/srv/data"], "deny": ["/srv/data/inner"]},
        {"read": ["/srv"], "mask": ["/srv/data"]},
        {"read": ["/srv/data/innermost"]},
        {"read": ["/"]},  # the mount namespace's own copy has it
    ):
        compiled(host, filesystem=filesystem)


def test_the_same_capabilities_in_another_user_namespace_are_others() -> None:
    assert replace(ROOT, first_user_namespace=False).capability_mask != ROOT.capability_mask
