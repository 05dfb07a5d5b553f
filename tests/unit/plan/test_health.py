"""service.health becomes what the supervisor and its probe need."""

from typing import Any

import pytest

from sandbox.errors import ProfileError
from sandbox.plan.health_ops import CheckBy, CheckHealth
from tests.plans import ROOT, compiled, ops_of

ALLOWED = {"seccomp": {"allow": ["@program", "@network"]}}


def check(allowed: Any = ALLOWED, **health: Any) -> CheckHealth:
    (found,) = ops_of(compiled(ROOT, **allowed, service={"health": health}), CheckHealth)
    return found


def test_a_command_is_taken_as_it_is_with_its_times_in_microseconds() -> None:
    found = check(
        {"seccomp": {"allow": ["@program"]}}, command=["a", "b c"], interval="2s", timeout="1 min"
    )
    assert (found.by, found.words) == (CheckBy.COMMAND, ("a", "b c"))
    assert (found.interval, found.timeout, found.retries) == (2_000_000, 60_000_000, 3)
    assert (found.start_period, found.stops) == (0, 0)
    assert found.describe().startswith("check the service every 2 s: a b c; unhealthy after 3")


@pytest.mark.parametrize(
    ("health", "words"),
    (
        ({"tcp": "localhost:080"}, ("tcp", "127.0.0.1", "80")),
        ({"tcp": "[::1]:80"}, ("tcp", "::1", "80")),
        ({"unix": "/run/a"}, ("unix", "/run/a")),
    ),
)
def test_an_address_is_numbers_for_the_probe(
    health: dict[str, str], words: tuple[str, ...]
) -> None:
    assert check(**health).words == words


@pytest.mark.parametrize(
    ("http", "address", "first", "host"),
    (
        ("http://127.0.0.1:8080/a?b=c", ("127.0.0.1", "8080"), "GET /a?b=c", "127.0.0.1:8080"),
        ("http://[::1]", ("::1", "80"), "GET /", "[::1]"),
        ("http://localhost/", ("127.0.0.1", "80"), "GET /", "localhost"),
    ),
)
def test_http_is_one_request(http: str, address: tuple[str, str], first: str, host: str) -> None:
    kind, *where, request = check(http=http).words
    assert (kind, tuple(where)) == ("http", address)
    lines = request.split("\r\n")
    assert lines[:2] == [f"{first} HTTP/1.1", f"Host: {host}"]
    assert lines[-2:] == ["", ""]
    assert "Connection: close" in lines


def test_an_end_of_the_unhealthy_is_said() -> None:
    found = check(tcp="[::1]:80", action="stop")
    assert found.stops == 1
    assert "tcp [::1]:80" in found.describe()
    assert found.describe().endswith("which ends it")


@pytest.mark.parametrize("health", ({"tcp": "[::1]:80"}, {"http": "http://[::1]"}, {"unix": "/a"}))
def test_a_probe_that_the_filter_would_refuse_is_a_conflict(health: dict[str, str]) -> None:
    with pytest.raises(ProfileError) as caught:
        check({"seccomp": {"allow": ["@program"], "deny": ["socket"]}}, **health)
    (problem,) = caught.value.problems
    assert problem.key == f"service.health.{next(iter(health))}"
    assert "socket" in problem.reason


def test_a_sandbox_without_an_init_has_nobody_to_start_a_check() -> None:
    with pytest.raises(ProfileError) as caught:
        check({**ALLOWED, "process": {"init": False}}, command=["a"])
    assert caught.value.problems[0].key == "service.health.command"
