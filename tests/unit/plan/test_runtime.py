"""The runtime directory is in no plan's sandbox, by whatever way it would come there."""

from typing import Any

import pytest

from sandbox.errors import ProfileError
from sandbox.host import Host
from sandbox.plan.compile import compile as compile_plan
from sandbox.plan.ops import Mask, MaskPath, ProvideDirectory
from sandbox.plan.record import Plan, VariableStamp
from tests.plans import ROOT, USER, compiled, ops_of, resolve

Caller = dict[str, tuple[str, ...] | None]


def covered(plan: Plan) -> list[str]:
    return [op.path for op in ops_of(plan, MaskPath) if op.how == Mask.DENY]


def of_caller(caller: Caller, host: Host = USER, /, **tables: Any) -> Plan:
    return compile_plan(resolve(tables, caller=caller), host)


@pytest.mark.parametrize(
    ("host", "tables", "expected"),
    (
        (ROOT, {"filesystem": {"read": ["/"]}}, ["/run/sbx"]),
        (ROOT, {"filesystem": {"write": ["/run"]}}, ["/run/sbx"]),
        (ROOT, {"filesystem": {"read": ["/var/run"]}}, ["/var/run/sbx"]),
        (USER, {"filesystem": {"read": ["/run"]}}, ["/run/user/1234/sbx"]),
        (USER, {"filesystem": {"read": ["/run/user/1234"]}}, ["/run/user/1234/sbx"]),
        (USER, {"filesystem": {"write": ["/tmp"]}}, ["/tmp/sbx-1234"]),
        (USER, {"filesystem": {"read": ["/"]}}, ["/tmp/sbx-1234", "/run/user/1234/sbx"]),
        (USER, {"filesystem": {"read": ["/", "/run"]}}, ["/tmp/sbx-1234", "/run/user/1234/sbx"]),
        (USER, {"filesystem": {"read": ["/run"], "deny": ["/run/user"]}}, ["/run/user"]),
        (USER, {"filesystem": {"read": ["/"], "tmpfs": ["/tmp", "/run"]}}, []),
        (
            USER,
            {"mounts": [{"type": "bind", "source": "/run/user", "target": "/x"}]},
            ["/x/1234/sbx"],
        ),
        (
            USER,
            {"mounts": [{"type": "overlay", "lower": ["/run"], "target": "/x"}]},
            ["/x/user/1234/sbx"],
        ),
        (
            USER,
            {"rootfs": {"type": "directory", "path": "/run"}},
            ["/user/1234/sbx"],
        ),
        (USER, {"filesystem": {"read": ["/usr", "/etc", "/home"]}}, []),
    ),
)
def test_it_is_covered_where_it_would_be_seen(
    host: Host, tables: dict[str, Any], expected: list[str]
) -> None:
    plan = compiled(host, **tables)
    assert sorted(covered(plan)) == sorted(expected)


@pytest.mark.parametrize(
    "tables",
    (
        {"filesystem": {"read": ["/run/user/1234/sbx"]}},
        {"filesystem": {"read": ["/run/user/1234/sbx/web/control"]}},
        {"filesystem": {"read": ["/", "/tmp/sbx-1234/web"]}},
        {"mounts": [{"type": "bind", "source": "/run/user/1234/sbx/web", "target": "/x"}]},
        {"mounts": [{"type": "bind", "source": "/var/run/user/1234/sbx", "target": "/x"}]},
    ),
)
def test_a_statement_that_names_it_is_refused(tables: dict[str, Any]) -> None:
    with pytest.raises(ProfileError, match="which no sandbox may see"):
        compiled(USER, **tables)


def test_it_is_made_where_it_has_to_be_covered() -> None:
    """Or it would be seen once it comes to be there."""
    plan = compiled(USER, filesystem={"read": ["/run"]})
    assert ops_of(plan, ProvideDirectory) == [ProvideDirectory(path="/run/user/1234/sbx")]


def test_what_a_variable_says_is_covered_too_and_the_plan_depends_on_it() -> None:
    """By the name that is said, and by what that leads to."""
    caller: Caller = {"SBX_RUNTIME_DIR": None, "XDG_RUNTIME_DIR": ("/srv/link", "/srv/run")}
    plan = of_caller(caller, filesystem={"read": ["/srv"]})
    assert sorted(covered(plan)) == ["/srv/link/sbx", "/srv/run/sbx"]
    stamps = [stamp for stamp in plan.stamps if isinstance(stamp, VariableStamp)]
    assert stamps == [
        VariableStamp(name="SBX_RUNTIME_DIR", is_set=0, value=""),
        VariableStamp(name="XDG_RUNTIME_DIR", is_set=1, value="/srv/link"),
    ]
    root = of_caller(
        {"SBX_RUNTIME_DIR": ("/srv/run", "/srv/run"), "XDG_RUNTIME_DIR": ("/srv/x", "/srv/x")},
        ROOT,
        filesystem={"read": ["/srv"]},
    )
    assert covered(root) == ["/srv/run"]


def test_what_shows_the_system_s_files_alone_costs_nothing() -> None:
    """Not an op, not a stamp."""
    caller: Caller = {"SBX_RUNTIME_DIR": ("/srv/run", "/srv/run"), "XDG_RUNTIME_DIR": None}
    plan = of_caller(caller, filesystem={"execute": ["/usr"], "read": ["/etc"]})
    assert ops_of(plan, ProvideDirectory) == []
    assert covered(plan) == []
    assert not any(isinstance(stamp, VariableStamp) for stamp in plan.stamps)
