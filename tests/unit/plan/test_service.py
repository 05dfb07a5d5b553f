"""What no launch can bring about is refused, and what is for those who start sbx is not."""

from typing import Any

import pytest

from sandbox.errors import UnsupportedError
from sandbox.plan.service import UNENFORCED
from sandbox.profile.resolved import KeyPath, key_text
from tests.plans import ROOT, compiled

PROGRAM = {"seccomp": {"allow": ["@program"]}}
STATED: dict[KeyPath, dict[str, Any]] = {
    ("service", "type"): {"service": {"type": "notify"}},
    ("service", "watchdog"): {"service": {"type": "notify", "watchdog": "30s"}},
    ("service", "survive"): {"service": {"survive": True}},
    ("service", "log"): {"service": {"log": "journal"}},
    ("service", "log_size"): {"service": {"log": "file", "log_size": "1M"}},
    ("service", "log_files"): {"service": {"log": "file", "log_files": 2}},
    ("service", "sockets"): {"service": {"sockets": ["http"]}},
    ("service", "health"): {"service": {"health": {"tcp": "127.0.0.1:80"}}},
    ("secrets",): {"secrets": {"a": {"env": "A"}}},
}


def test_every_key_that_is_not_enforced_has_its_case() -> None:
    assert set(UNENFORCED) <= set(STATED)


@pytest.mark.parametrize("key", UNENFORCED, ids=key_text)
def test_what_nothing_enforces_is_an_error_that_names_it(key: KeyPath) -> None:
    with pytest.raises(UnsupportedError) as caught:
        compiled(ROOT, **PROGRAM, **STATED[key])
    assert caught.value.message.startswith(("service.", "secrets"))
    assert caught.value.hint


def test_what_a_unit_brings_about_is_no_error() -> None:
    service = {
        "restart": "always",
        "restart_delay": "5s",
        "slice": "web.slice",
        "stop_signal": "SIGINT",
        "stop_timeout": "infinity",
        "start_timeout": 10,
        "reload_signal": "SIGHUP",
    }
    stated = compiled(ROOT, **PROGRAM, service=service)
    assert stated.ops == compiled(ROOT, **PROGRAM).ops
