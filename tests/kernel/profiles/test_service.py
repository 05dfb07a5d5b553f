"""The bases of services: what every service shares is refused there already."""

import os

import pytest

from tests.kernel.harness import Sandbox
from tests.kernel.profiles import attempts, services
from tests.kernel.profiles.examples import examples


@pytest.mark.parametrize("profile", ("minimal", "service"))
def test_what_no_service_may_do_is_refused_in_its_base(sandbox: Sandbox, profile: str) -> None:
    answers = attempts.assert_refused(sandbox, profile)
    assert len(answers) >= 21


def test_the_examples_run_a_command(sandbox: Sandbox) -> None:
    """The second with the host's network namespace."""
    words = "sh -c 'umask; cat; ulimit -c; readlink /proc/self/ns/net'"
    seen = [
        sandbox.program(services.command(sandbox, example, {"COMMAND": words})).stdout.split()
        for example in examples("service")
    ]
    assert [each[:2] for each in seen] == [["0027", "0"]] * 2
    assert [each[2] == os.readlink("/proc/self/ns/net") for each in seen] == [False, True]


def test_what_a_test_says_is_granted_has_to_go_well(sandbox: Sandbox) -> None:
    """The assertion isn't blind: it fails for a profile that allows more, and for one that doesn't."""
    with pytest.raises(AssertionError, match="ECONNREFUSED"):
        attempts.assert_refused(sandbox, "service", granted=[attempts.HOST_LOOPBACK])
    wide = sandbox.write(
        "wide.toml",
        "schema = 1\n[profile]\nextends = 'service'\n[network]\nmode = 'host'\n"
        f"[filesystem]\nread = ['{sandbox.home}']\n",
    )
    with pytest.raises(AssertionError, match=attempts.HOST_LOOPBACK) as caught:
        attempts.assert_refused(sandbox, wide)
    assert attempts.UNIX_SOCKET in str(caught.value)
