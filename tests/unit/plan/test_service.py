"""What no launch can bring about is refused, and what is for those who start sbx is not."""

import signal
from typing import Any

import pytest

from sandbox.errors import ProfileError, UnsupportedError
from sandbox.plan.service import NOTIFY_PATH, UNENFORCED
from sandbox.plan.service_ops import OpenNotify, RunService
from sandbox.profile.resolved import KeyPath, key_text
from sandbox.units import UNLIMITED
from tests.plans import ROOT, compiled, ops_of

PROGRAM = {"seccomp": {"allow": ["@program"]}}
STATED: dict[KeyPath, dict[str, Any]] = {
    ("service", "survive"): {"service": {"survive": True}},
}


def test_every_key_that_is_not_enforced_has_its_case() -> None:
    assert set(UNENFORCED) <= set(STATED)


@pytest.mark.parametrize("key", UNENFORCED, ids=key_text)
def test_what_nothing_enforces_is_an_error_that_names_it(key: KeyPath) -> None:
    with pytest.raises(UnsupportedError) as caught:
        compiled(ROOT, **PROGRAM, **STATED[key])
    assert caught.value.message.startswith(("service.", "secrets"))
    assert caught.value.hint


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
