"""The comparison of threads with what a plan promises."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.plan.record import Plan
from sandbox.verify.compare import compare_tasks
from sandbox.verify.descriptors import is_of_no_file
from sandbox.verify.findings import Finding, Result, Unseen
from sandbox.verify.groups import holds
from sandbox.verify.observe import Observation, Place, Role, Task, limits_of
from sandbox.verify.promise import expect, makes_user_namespaces
from tests.plans import ROOT, USER, compiled

KINDS = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time")
CHILDREN = ("pid_for_children", "time_for_children")
MOUNTS = "20 10 0:50 / / ro - tmpfs none rw\n"
NOWHERE = Place(link="/", mount=20, device=50, inode=1, mode=0o040000, links=1)
OUTSIDE_FILE = Place(link="/etc", mount=1, device=8, inode=9, mode=0o040000, links=1)
LIMITS = tuple((1000, 2000) for _ in range(16))
PLAN = compiled(environment={"set": {"PATH": "/bin"}, "pass": ["LANG"]}, rlimits={"nofile": 100})


MAPS = {
    name: "".join(" ".join(map(str, row)) + "\n" for row in rows.rows) if rows else ""
    for name, rows in (("uid_map", expect(PLAN).uids), ("gid_map", expect(PLAN).gids))
} | {"setgroups": "allow" if expect(PLAN).sets_groups else "deny\n"}


def status(uid: int, **changes: str) -> dict[str, str]:
    row = " ".join([str(uid)] * 4)
    empty = "0000000000000000"
    sets = dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), empty)
    signals = dict.fromkeys(("SigBlk", "SigIgn", "SigCgt"), empty)
    return {
        "Uid": row,
        "Gid": row,
        "Groups": "",
        "NoNewPrivs": "1",
        "Threads": "1",
        "PPid": "1",
        "Seccomp": "0",
        "Seccomp_filters": "0",
        "Umask": "0022",
        "State": "S",
        **sets,
        **signals,
        **changes,
    }


def task(role: Role, uid: int, first_number: int, **changes: Any) -> Task:
    numbers = {kind: first_number + at for at, kind in enumerate(KINDS)}
    children = {name: numbers[name.partition("_")[0]] for name in CHILDREN}
    fields: dict[str, Any] = {
        "pid": 5,
        "tid": 5,
        "name": "it",
        "role": role,
        "status": status(uid),
        "namespaces": numbers | children,
        "within": frozenset(),
        "cgroup": frozenset(),
        "limits": LIMITS,
        "oom": 0,
        "descriptors": {},
        "environment": ("PATH=/bin",),
        "places": {"cwd": NOWHERE, "root": NOWHERE, "exe": NOWHERE},
        "mounts": MOUNTS,
        "maps": MAPS,
        "owner": 0,
        **changes,
    }
    return Task(**fields)


SUPERVISOR = task(Role.STRANGER, 0, 100)


def inside(plan: Plan = PLAN, role: Role = Role.COMMAND, **changes: Any) -> Task:
    """What the plan promises, but for these changes."""
    uid = expect(plan).uid
    fields: dict[str, Any] = {"status": status(uid, **changes.pop("status", {}))}
    limits = list(LIMITS)
    for number, limit in expect(plan).rlimits.items():
        limits[number] = limit
    return task(role, uid, 200, **{"limits": tuple(limits), **fields, **changes})


def compare(*tasks: Task, plan: Plan = PLAN, hidden: int = 0) -> list[Result]:
    seen = Observation(
        supervisor=SUPERVISOR,
        tasks=tasks,
        caller={"LANG": "C"},
        directory="/run/sbx/it",
        own_cgroups=(),
        hierarchies={},
        hidden=hidden,
    )
    return list(compare_tasks(expect(plan), seen))


def items(results: list[Result]) -> set[str]:
    return {each.item for each in results if isinstance(each, Finding)}


def test_what_is_as_promised_gives_nothing() -> None:
    assert compare(inside(role=Role.FIRST), inside()) == []


@pytest.mark.parametrize(
    ("changes", "item"),
    (
        ({"status": {"Uid": "0 0 0 0"}}, "uid"),
        ({"status": {"Gid": "1 1 1 1"}}, "gid"),
        ({"status": {"Groups": "27"}}, "groups"),
        ({"status": {"NoNewPrivs": "0"}}, "no_new_privs"),
        ({"oom": -1}, "oom_score_adj"),
        ({"descriptors": {7: OUTSIDE_FILE}}, "descriptor 7"),
        ({"places": {"cwd": OUTSIDE_FILE, "root": NOWHERE, "exe": NOWHERE}}, "cwd"),
        ({"places": {"cwd": NOWHERE, "root": OUTSIDE_FILE, "exe": NOWHERE}}, "root"),
        ({"environment": ("PATH=/evil",)}, "variable PATH"),
        ({"environment": ("PATH=/bin", "LD_PRELOAD=x")}, "variable LD_PRELOAD"),
        ({"environment": ("PATH=/bin", "LANG=de")}, "variable LANG"),
        ({"environment": ("LANG=C",)}, "variable PATH"),
        ({"role": Role.STRANGER}, "process"),
        ({"status": {"TracerPid": "77"}}, "tracer"),
        ({"maps": MAPS | {"uid_map": "0 0 1\n"}}, "uid_map"),
        ({"maps": MAPS | {"gid_map": "0 0 4294967295\n"}}, "gid_map"),
        ({"maps": MAPS | {"uid_map": ""}}, "uid_map"),
    ),
)
def test_each_thing_that_is_not_is_named(changes: Mapping[str, Any], item: str) -> None:
    assert item in items(compare(inside(role=Role.FIRST), inside(**changes)))


@pytest.mark.parametrize(
    ("changes", "item"),
    (
        ({"status": {"SigBlk": "0000000000000200"}}, "signal mask"),
        ({"status": {"SigIgn": "0000000000000200"}}, "ignored signals"),
        ({"status": {"SigCgt": "0000000000000200"}}, "handled signals"),
        ({"status": {"Umask": "0777"}}, "umask"),
        ({"status": {"Threads": "2"}}, "threads"),
        ({"owner": expect(PLAN).uid}, "dumpable"),
        ({"descriptors": {3: NOWHERE}}, "descriptor 3"),
    ),
)
def test_what_the_first_process_never_does_is_named(changes: Mapping[str, Any], item: str) -> None:
    assert items(compare(inside(role=Role.FIRST, **changes), inside())) == {item}
    # A program may do all of it.
    own = {} if item.startswith(("descriptor", "dumpable")) else changes
    assert compare(inside(role=Role.FIRST), inside(**own)) == []


def test_a_program_that_traces_another_one_inside_is_the_sandboxs_own() -> None:
    both = inside(status={"TracerPid": "6"}), inside(pid=6, tid=6)
    assert compare(inside(role=Role.FIRST), *both) == []


def test_that_root_cannot_be_told_from_roots_files_is_said() -> None:
    plan = compiled(ROOT, namespaces={"user": False}, identity={"user": 0, "group": 0})
    found = compare(inside(plan, Role.FIRST), plan=plan)
    assert "dumpable" in {each.item for each in found if isinstance(each, Unseen)}
    assert "dumpable" not in items(found)


@given(
    name=st.sampled_from(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")),
    bit=st.integers(0, 40),
    role=st.sampled_from((Role.FIRST, Role.COMMAND, Role.PROGRAM)),
)
def test_any_capability_in_any_set_of_any_process_is_named(name: str, bit: int, role: Role) -> None:
    found = compare(inside(role=role, status={name: f"{1 << bit:016x}"}))
    assert items(found) == {name}


@given(kind=st.sampled_from((*KINDS, *CHILDREN)), number=st.integers(1000, 2000))
def test_any_other_namespace_is_named(kind: str, number: int) -> None:
    other = inside()
    strange = inside(namespaces={**other.namespaces, kind: number})
    assert items(compare(inside(role=Role.FIRST), strange)) == {f"namespace {kind}"}


def test_the_supervisors_namespace_is_none_of_the_sandboxs_own() -> None:
    first = inside(role=Role.FIRST)
    shared = first._replace(namespaces={**first.namespaces, "net": 103})
    assert items(compare(shared)) == {"namespace net"}


@given(number=st.integers(0, 15), over=st.integers(1, 5), role=st.sampled_from(list(Role)))
def test_a_hard_limit_that_was_raised_is_named_in_every_process(
    number: int, over: int, role: Role
) -> None:
    one = inside(role=role)
    limits = list(one.limits)
    limits[number] = (limits[number][0], limits[number][1] + over)
    assert any(
        each.startswith("rlimit") for each in items(compare(one._replace(limits=tuple(limits))))
    )


def test_a_program_may_lower_its_limits_and_the_init_never_does() -> None:
    lower = tuple((soft - 1, hard - 1) for soft, hard in inside().limits)
    assert compare(inside(limits=lower)) == []
    assert len(compare(inside(role=Role.FIRST, limits=lower))) == 16


def test_a_filter_that_is_missing_is_named_and_one_more_is_the_programs_own() -> None:
    plan = compiled(
        seccomp={"enabled": True, "allow": ["@service"]}, environment={"set": {"PATH": "/bin"}}
    )
    good = {"Seccomp": "2", "Seccomp_filters": "1"}
    assert compare(inside(plan, status=good), plan=plan) == []
    assert compare(inside(plan, status={**good, "Seccomp_filters": "2"}), plan=plan) == []
    assert items(compare(inside(plan), plan=plan)) == {"seccomp", "seccomp_filters"}


def test_what_cannot_be_seen_is_said_of_each_item() -> None:
    hidden = inside(
        role=Role.FIRST,
        namespaces=dict.fromkeys((*KINDS, *CHILDREN)),
        descriptors=None,
        places=None,
    )
    found = compare(hidden, inside(), hidden=3)
    assert items(found) == set()
    assert {each.item for each in found if isinstance(each, Unseen)} == {
        *(f"namespace {kind}" for kind in (*KINDS, *CHILDREN)),
        *("descriptors", "places", "strangers"),
    }


def test_an_environment_that_a_program_has_written_over_is_not_known() -> None:
    found = compare(inside(environment=("nginx: master process", "", "")))
    assert [(type(each), each.item) for each in found] == [(Unseen, "environment")]


def test_a_descriptor_that_was_given_at_the_start_may_lead_outside_and_no_directory() -> None:
    log = Place(link="/log", mount=1, device=8, inode=5, mode=0o100000, links=1)
    assert compare(inside(descriptors={1: log, 9: log})) == []
    assert items(compare(inside(descriptors={9: log}))) == {"descriptor 9"}
    assert items(compare(inside(descriptors={1: OUTSIDE_FILE}))) == {"descriptor 1"}


def test_a_namespace_by_a_descriptor_is_somewhere() -> None:
    def place(link: str, links: int = 1) -> Place:
        return Place(link=link, mount=3, device=4, inode=5, mode=0o100000, links=links)

    assert is_of_no_file(place("pipe:[1]"))
    assert is_of_no_file(place("anon_inode:[eventfd]"))
    assert is_of_no_file(place("/memfd:x (deleted)", 0))
    assert not is_of_no_file(place("/memfd:x (deleted)"))
    assert not is_of_no_file(place("mnt:[4026531841]"))


def test_user_namespaces_are_reachable_without_a_filter_and_without_the_limit() -> None:
    shut = compiled(seccomp={"enabled": True, "allow": ["@service"]})
    left = compiled(seccomp={"enabled": True, "allow": ["@service", "unshare"]})
    assert not makes_user_namespaces(shut)
    assert makes_user_namespaces(left)
    assert expect(left).nests


@pytest.mark.parametrize("host", (ROOT, USER))
def test_ids_are_promised_as_numbered_outside(host: Any) -> None:
    found = expect(compiled(host))
    assert found.uids is not None
    assert found.uids.holds(found.uid)
    assert found.drops_groups == (host is ROOT)


@pytest.mark.parametrize(
    ("file", "value", "found", "same"),
    (
        ("memory.max", "100000000", "99999744", True),
        ("memory.max", "100000000", "max", False),
        ("pids.max", "20", "21", False),
        ("cpuset.cpus", "0,1,2", "0-2", True),
        ("io.max", "8:0 rbps=1 wbps=2", "8:0 rbps=1 wbps=2 riops=max wiops=max", True),
        ("io.max", "8:0 rbps=1", "8:0 rbps=2 wbps=max riops=max wiops=max", False),
        ("io.weight", "200", "default 200", True),
        ("cpu.weight", "200", "100", False),
        ("cpu.max", "50000 100000", "max 100000", False),
    ),
)
def test_limits_are_compared_as_the_kernel_writes_them(
    file: str, value: str, found: str, same: bool
) -> None:
    assert holds(file, value, found) == same


def test_limits_of_a_process_are_read_by_their_numbers() -> None:
    with open("/proc/self/limits", encoding="ascii") as file:
        found = limits_of(file.read())
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert len(found) == 16
    assert found[7] == (soft, hard)
