"""The plan as a whole: the order that privileges demand, what is refused, and that it is pure."""

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import __version__
from sandbox.errors import ProfileError, UnsupportedError
from sandbox.host import Host
from sandbox.plan import codec
from sandbox.plan.compile import compile as compile_plan
from sandbox.plan.kernel import NAMESPACES, UNLIMITED, Secure
from sandbox.plan.ops import (
    CreateNamespaces,
    Execute,
    InstallFilter,
    KeepDescriptor,
    LimitCapabilities,
    SetCapabilities,
    SetEnvironment,
    SetIds,
    SetRlimit,
    SetSecurebits,
    SetUmask,
)
from sandbox.plan.record import CwdStamp, FileStamp, HostStamp, Plan, PlanFlag, VariableStamp
from tests.plans import FILE, ROOT, USER, compiled, names, ops_of, resolve

PROGRAM = {"seccomp": {"allow": ["@program"]}}
HOSTS = {"root": ROOT, "user": USER}
FULL: dict[str, Any] = {
    "process": {"command": ["/bin/true", "x"], "stdin": "null", "descriptors": [9, 3]},
    "environment": {"set": {"B": "2", "A": "1"}, "pass": ["TERM", "LC_*"]},
    "filesystem": {"execute": ["/usr", "/bin"], "tmpfs": ["/tmp"], "deny": ["/usr/src"]},
    "rootfs": {"generate": ["passwd", "group"]},
    "rlimits": {"nofile": [64, 128], "as": "1G", "core": 0, "cpu": "unlimited"},
    **PROGRAM,
}


def positions(plan: Plan) -> dict[str, int]:
    """Where each kind of op stands first."""
    found: dict[str, int] = {}
    for index, name in enumerate(names(plan)):
        found.setdefault(name, index)
    return found


@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS)
def test_the_same_input_gives_the_same_bytes(host: Host) -> None:
    assert codec.encode(compiled(host, **FULL)) == codec.encode(compiled(host, **FULL))


PURITY = """
import os, sys
sys.path.insert(0, {tree!r})
from tests.plans import ROOT, USER, compiled

full = {full!r}
profiles = [full, {{**full, "identity": {{"map": "range"}}}}, {{**full, "network": {{"mode": "host"}}}}]
for host in (ROOT, USER):
    for tables in profiles:
        compiled(host, **tables)  # whatever is imported is imported now

def refuse(*args, **kwargs):
    raise AssertionError("the compiler looks at the machine")

harmless = ("compile", "exec", "object.", "sys._getframe", "builtins.id", "ctypes.", "code.")
def hook(event, args):
    memory = event == "open" and isinstance(args[0], int)
    if not memory and not event.startswith(harmless):
        raise AssertionError(f"the compiler looks at the machine: {{event}} {{args}}")

for name in ("stat", "lstat", "access", "readlink", "getcwd", "getuid", "geteuid", "getgid",
             "uname", "getpid", "urandom", "getlogin", "fstat"):
    setattr(os, name, refuse)
import time
time.time = time.time_ns = time.monotonic = refuse
os.environ = None
sys.addaudithook(hook)
{then}
for host in (ROOT, USER):
    for tables in profiles:
        assert compiled(host, **tables).ops
print("pure")
"""


def run_purity(then: str) -> subprocess.CompletedProcess[str]:
    tree = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
    code = PURITY.format(tree=tree, full=FULL, then=then)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )


def test_the_compiler_reads_nothing_of_the_machine() -> None:
    result = run_purity("")
    assert (result.stdout, result.returncode) == ("pure\n", 0), result.stderr


@pytest.mark.parametrize("look", ("open('/etc/passwd')", "os.listdir('/')", "os.stat('/')"))
def test_reading_the_machine_would_have_been_noticed(look: str) -> None:
    result = run_purity(look)
    assert "looks at the machine" in result.stderr
    assert result.returncode != 0


@pytest.mark.parametrize(
    ("seccomp", "wanted"),
    (
        ({"allow": ["@service"]}, False),
        ({"allow": ["@service", "@keyring"]}, True),
        ({"allow": ["@service", "@keyring"], "deny": ["add_key", "keyctl", "request_key"]}, False),
        ({"enabled": False}, True),
    ),
)
def test_where_keyrings_are_in_reach_the_payload_has_its_own(
    seccomp: dict[str, Any], wanted: bool
) -> None:
    kinds = names(compiled(seccomp=seccomp))
    assert ("NewKeyring" in kinds) == wanted
    if wanted:
        assert kinds.index("NewKeyring") < kinds.index("StartInit")


@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS)
def test_each_op_stands_where_the_privileges_that_it_needs_are_there(host: Host) -> None:
    plan = compiled(host, **FULL)
    at = positions(plan)
    last = {name: index for index, name in enumerate(names(plan))}
    order = (
        *("CreateNamespaces", "MapIds", "MountRoot", "EnterRoot", "CreateLandlockRuleset"),
        *("AllowPath", "SetSecurebits", "SetCapabilities", "SetNoNewPrivileges"),
        *("ProtectProcess", "StartInit", "NewSession", "ChangeDirectory", "SealDescriptors"),
        *("KeepDescriptor", "RestrictSelf", "InstallFilter", "Execute"),
    )
    assert [at[name] for name in order] == sorted(at[name] for name in order)
    assert at["SetSecurebits"] < last["SetIds"] < at["SetCapabilities"]
    assert last["AllowPath"] < at["SetSecurebits"]
    assert last["KeepDescriptor"] < at["RestrictSelf"]
    assert at["Execute"] == len(plan.ops) - 1
    if "SetGroups" in at:
        assert at["SetGroups"] < last["SetIds"]


@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS)
def test_the_death_signal_is_asked_for_again_once_ids_have_changed(host: Host) -> None:
    kinds = names(compiled(host))
    assert kinds.count("SetDeathSignal") == 2
    again = len(kinds) - 1 - kinds[::-1].index("SetDeathSignal")
    assert kinds.index("SetCapabilities") < again < kinds.index("StartInit")
    assert "SetDeathSignal" not in names(compiled(host, process={"die_with_parent": False}))


def test_without_a_pid_namespace_the_payload_asks_for_the_death_signal_too() -> None:
    kinds = names(compiled(namespaces={"pid": False}, filesystem={"proc": "none"}))
    assert kinds.index("StartInit") < len(kinds) - 1 - kinds[::-1].index("SetDeathSignal")


def test_without_init_there_is_one_process() -> None:
    kinds = names(compiled(process={"init": False}))
    assert not {"StartInit", "ProtectProcess"} & set(kinds)


def test_namespaces_are_those_of_the_profile() -> None:
    (op,) = ops_of(compiled(), CreateNamespaces)
    assert op.flags == sum(flag for flag, _ in NAMESPACES.values())
    off = {"ipc": False, "time": False, "cgroup": False, "uts": False}
    plan = compiled(namespaces=off, network={"mode": "host"})
    (op,) = ops_of(plan, CreateNamespaces)
    assert op.flags == sum(NAMESPACES[kind][0] for kind in ("user", "mnt", "pid"))
    assert not {"SetHostname", "BringUpLoopback"} & set(names(plan))


def test_a_namespace_that_the_host_lacks_is_an_error_unless_optional() -> None:
    host = replace(ROOT, namespaces=ROOT.namespaces - {"time"})
    with pytest.raises(UnsupportedError, match="clocks"):
        compiled(host)
    plan = compiled(host, profile={"optional": ["namespaces.time"]})
    assert plan.not_enforced == ("namespaces.time",)
    assert not ops_of(plan, CreateNamespaces)[0].flags & NAMESPACES["time"][0]
    limited = replace(ROOT, namespace_limits={**ROOT.namespace_limits, "net": 0})
    with pytest.raises(UnsupportedError, match="max_net_namespaces"):
        compiled(limited)


def test_a_kernel_that_is_too_old_is_named() -> None:
    with pytest.raises(UnsupportedError, match=r"lacks openat2, mount_setattr.*\n.*5\.12"):
        compiled(replace(ROOT, openat2=False, mount_setattr=False))


def test_what_is_not_enforced_makes_the_plan_depend_on_the_boot() -> None:
    host = replace(ROOT, landlock_abi=0)
    plan = compiled(host, profile={"optional": ["landlock"]})
    assert "/proc" in {item.path for item in plan.watched}
    assert "/proc" not in {item.path for item in compiled().watched}


def test_conflicts_are_reported_all_at_once_and_placed() -> None:
    with pytest.raises(ProfileError) as caught:
        compiled(
            ROOT,
            identity={"user": 70000},
            capabilities={"keep": ["CAP_KILL"]},
            rootfs={"overlay": "tmpfs"},
            seccomp={"allow": ["@nothing", "reed"]},
        )
    problems = {(problem.file, problem.key) for problem in caught.value.problems}
    assert problems == {
        (FILE, "identity.user"),
        (FILE, "capabilities.keep"),
        (FILE, "rootfs.overlay"),
        (FILE, "seccomp.allow[0]"),
        (FILE, "seccomp.allow[1]"),
    }


def test_a_filter_that_the_launch_itself_cannot_pass_is_refused() -> None:
    with pytest.raises(ProfileError, match="starting the payload"):
        compiled(ROOT, seccomp={"allow": ["read"]})


def test_a_machine_without_filters_is_unsupported() -> None:
    with pytest.raises(UnsupportedError, match="riscv64"):
        compiled(replace(ROOT, machine="riscv64", seccomp_actions=frozenset()), **PROGRAM)


def test_the_filter_is_the_machines_own() -> None:
    (here,) = ops_of(compiled(ROOT, **PROGRAM), InstallFilter)
    (there,) = ops_of(compiled(replace(ROOT, machine="aarch64"), **PROGRAM), InstallFilter)
    assert here.program != there.program
    assert len(here.program) % 8 == 0
    logged = {"seccomp": {"allow": ["@program"], "log": True}}
    assert ops_of(compiled(ROOT, **logged), InstallFilter)[0].flags == 2


def test_a_kernel_that_cannot_log_is_an_error_unless_optional() -> None:
    host = replace(ROOT, seccomp_actions=ROOT.seccomp_actions - {"log"})
    logged = {"seccomp": {"allow": ["@program"], "log": True}}
    with pytest.raises(UnsupportedError, match="log"):
        compiled(host, **logged)
    plan = compiled(host, profile={"optional": ["seccomp.log"]}, **logged)
    assert ops_of(plan, InstallFilter)[0].flags == 0


ALL_LOCKED = (
    Secure.NOROOT
    | Secure.NOROOT_LOCKED
    | Secure.NO_SETUID_FIXUP
    | Secure.NO_SETUID_FIXUP_LOCKED
    | Secure.KEEP_CAPS_LOCKED
    | Secure.NO_CAP_AMBIENT_RAISE
    | Secure.NO_CAP_AMBIENT_RAISE_LOCKED
)


def test_by_default_every_capability_goes_and_no_bit_brings_one_back() -> None:
    plan = compiled()
    assert ops_of(plan, LimitCapabilities) == [LimitCapabilities(bounding=0)]
    assert ops_of(plan, SetCapabilities) == [SetCapabilities(permitted=0, inheritable=0, ambient=0)]
    assert ops_of(plan, SetSecurebits) == [SetSecurebits(bits=ALL_LOCKED)]


def test_ambient_capabilities_are_in_every_set() -> None:
    plan = compiled(capabilities={"keep": ["CAP_CHOWN", "CAP_KILL"], "ambient": True})
    assert ops_of(plan, LimitCapabilities) == [LimitCapabilities(bounding=0x21)]
    assert ops_of(plan, SetCapabilities) == [
        SetCapabilities(permitted=0x21, inheritable=0x21, ambient=0x21)
    ]
    (bits,) = ops_of(plan, SetSecurebits)
    assert not bits.bits & Secure.NO_CAP_AMBIENT_RAISE
    assert bits.bits & Secure.NO_SETUID_FIXUP


def test_root_inside_with_capabilities_loses_them_when_it_becomes_another_user() -> None:
    root = {"user": "root", "group": "root"}
    plan = compiled(capabilities={"keep": ["CAP_SETUID"]}, identity=root)
    assert not ops_of(plan, SetSecurebits)
    assert ops_of(plan, SetCapabilities) == [
        SetCapabilities(permitted=0x80, inheritable=0, ambient=0)
    ]
    plan = compiled(capabilities={"keep": ["CAP_SETUID"], "ambient": True}, identity=root)
    assert not ops_of(plan, SetSecurebits)[0].bits & Secure.NO_SETUID_FIXUP


def test_capabilities_that_exec_would_take_away_are_refused() -> None:
    with pytest.raises(ProfileError, match="user 1000 loses them"):
        compiled(capabilities={"keep": ["CAP_KILL"]})


def test_rlimits_come_by_number_and_that_of_open_files_last() -> None:
    assert ops_of(compiled(**FULL), SetRlimit) == [
        SetRlimit(resource=0, soft=UNLIMITED, hard=UNLIMITED),
        SetRlimit(resource=4, soft=0, hard=0),
        SetRlimit(resource=9, soft=1 << 30, hard=1 << 30),
        SetRlimit(resource=7, soft=64, hard=128),
    ]


def test_the_environment_is_sorted_and_the_umask_octal() -> None:
    plan = compiled(**FULL)
    assert ops_of(plan, SetEnvironment) == [
        SetEnvironment(set=("A=1", "B=2"), passed=("LC_*", "TERM"))
    ]
    assert ops_of(plan, SetUmask) == [SetUmask(mask=0o022)]
    assert ops_of(plan, KeepDescriptor) == [KeepDescriptor(number=3), KeepDescriptor(number=9)]
    assert ops_of(plan, Execute) == [Execute(argv=("/bin/true", "x"))]


@pytest.mark.parametrize(
    ("process", "ops", "flag"),
    (
        ({}, ["NewSession"], 0),
        ({"new_session": False}, [], 0),
        ({"terminal": "auto"}, ["OpenTerminal"], PlanFlag.TERMINAL_AUTO),
        ({"terminal": "always"}, ["OpenTerminal"], PlanFlag.TERMINAL_ALWAYS),
    ),
)
def test_sessions_and_terminals(process: dict[str, Any], ops: list[str], flag: int) -> None:
    plan = compiled(USER, process=process)
    assert [name for name in names(plan) if name in {"NewSession", "OpenTerminal"}] == ops
    assert plan.flags == flag


def test_sources_are_opened_outside_where_only_the_caller_may() -> None:
    assert compiled(ROOT).flags & PlanFlag.SOURCES_OUTSIDE
    assert not compiled(ROOT, identity={"map": "host"}).flags & PlanFlag.SOURCES_OUTSIDE
    assert not compiled(USER).flags & PlanFlag.SOURCES_OUTSIDE


def test_only_the_range_of_root_starts_as_root_inside() -> None:
    assert ops_of(compiled(ROOT), SetIds)[0] == SetIds(uid=0, gid=0)
    assert len(ops_of(compiled(ROOT, identity={"map": "self"}), SetIds)) == 1


def test_the_stamps_say_what_the_plan_was_made_from() -> None:
    resolved = resolve(
        environment={"PORT": "80", "NONE": None}, uses_cwd=True, cwd="/work", files=(FILE,)
    )
    plan = compile_plan(resolved, USER)
    assert plan.stamps == (
        HostStamp(release="6.18.0", version=__version__, uid=1234, gid=1235, capabilities=0),
        FileStamp(path=FILE, follow=1, exists=1, device=1, inode=2, size=3, mtime_ns=4, ctime_ns=5),
        VariableStamp(name="NONE", is_set=0, value=""),
        VariableStamp(name="PORT", is_set=1, value="80"),
        CwdStamp(path="/work"),
    )
    assert plan.flags & PlanFlag.FOR_CWD


def test_subordinate_ids_make_the_plan_depend_on_their_files() -> None:
    plan = compiled(USER, identity={"map": "range"})
    watched = {item.path for item in plan.watched}
    assert {"/etc/subuid", "/etc/subgid", "/usr/bin/newuidmap"} <= watched
    assert not compiled(USER).watched


@given(st.data())
def test_the_order_of_everything_that_is_a_set_changes_nothing(data: st.DataObject) -> None:
    tables: dict[str, dict[str, Any]] = {
        "filesystem": {"read": ["/a", "/b", "/a/c"], "tmpfs": ["/t", "/u"]},
        "environment": {"pass": ["A", "B", "C*"], "set": {"X": "1", "Y": "2"}},
        "process": {"descriptors": [3, 4, 9]},
        "capabilities": {"keep": ["CAP_KILL", "CAP_CHOWN"], "ambient": True},
        "rootfs": {"generate": ["passwd", "group", "hosts"]},
    }
    mixed = {
        table: {
            key: data.draw(st.permutations(value))
            if isinstance(value, list)
            else dict(data.draw(st.permutations(list(value.items()))))
            if isinstance(value, dict)
            else value
            for key, value in content.items()
        }
        for table, content in tables.items()
    }
    assert compiled(ROOT, **mixed).ops == compiled(ROOT, **tables).ops
