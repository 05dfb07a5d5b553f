"""What [service] says becomes ops, and what is for those who start sbx changes none."""

import signal
from typing import Any

import pytest

from sandbox.errors import ProfileError
from sandbox.plan.ops import SetDeathSignal, StartInit, Survive
from sandbox.plan.service import NOTIFY_PATH
from sandbox.plan.service_ops import OpenNotify, RunService
from sandbox.units import UNLIMITED
from tests.plans import ROOT, compiled, ops_of

PROGRAM = {"seccomp": {"allow": ["@program"]}}


def test_what_only_a_unit_brings_about_changes_no_launch() -> None:
    service = {"restart": "always", "restart_delay": "5s", "slice": "web.slice"}
    stated = compiled(ROOT, **PROGRAM, service=service)
    assert stated.ops == compiled(ROOT, **PROGRAM).ops


def test_a_service_is_run_with_its_times_in_microseconds() -> None:
    service = {"stop_signal": "SIGINT", "stop_timeout": "infinity", "runtime_max": "2s"}
    (run,) = ops_of(compiled(ROOT, **PROGRAM, service=service), RunService)
    assert (run.notifies, run.stop_signal, run.stop_timeout) == (0, signal.SIGINT, UNLIMITED)
    assert (run.start_timeout, run.runtime_max, run.watchdog) == (90_000_000, 2_000_000, 0)
    assert "killed never" in run.describe()


def test_only_a_service_that_notifies_has_a_socket_for_it() -> None:
    assert ops_of(compiled(ROOT, **PROGRAM, service={"stop_signal": "SIGINT"}), OpenNotify) == []
    service = {"type": "notify", "notify_access": "all"}
    (opened,) = ops_of(compiled(ROOT, **PROGRAM, service=service), OpenNotify)
    assert opened == OpenNotify(path=NOTIFY_PATH, from_all=1)


def test_a_socket_in_a_dev_that_is_not_the_sandboxes_own_is_a_conflict() -> None:
    with pytest.raises(ProfileError) as caught:
        compiled(ROOT, **PROGRAM, service={"type": "notify"}, devices={"dev": "none"})
    assert caught.value.problems[0].key == "service.type"


def test_what_survives_gets_no_death_signal_of_its_supervisors() -> None:
    process = {"terminal": "never"}
    stated = compiled(ROOT, **PROGRAM, process=process, service={"survive": True})
    assert len(ops_of(stated, Survive)) == 1
    assert ops_of(stated, SetDeathSignal) == []
    shared = {"process": process, "namespaces": {"pid": False}, "filesystem": {"proc": "none"}}
    kinds = [type(op) for op in compiled(ROOT, **PROGRAM, **shared, service={"survive": True}).ops]
    assert kinds.count(SetDeathSignal) == 1
    assert kinds.index(SetDeathSignal) > kinds.index(StartInit)


@pytest.mark.parametrize(
    ("key", "process"),
    (
        ("process.init = true", {"terminal": "never", "init": False}),
        ("process.terminal = 'never'", {"terminal": "auto"}),
    ),
)
def test_what_cannot_do_without_a_supervisor_does_not_survive_it(
    key: str, process: dict[str, Any]
) -> None:
    with pytest.raises(ProfileError) as caught:
        compiled(ROOT, **PROGRAM, process=process, service={"survive": True})
    problem = caught.value.problems[0]
    assert problem.key == "service.survive"
    assert key in problem.hint
