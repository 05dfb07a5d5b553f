"""The bases of services: what every service shares is refused there already."""

import pytest

from tests.kernel.harness import Sandbox
from tests.kernel.profiles import attempts, services
from tests.kernel.profiles.examples import examples


@pytest.mark.parametrize("profile", ("minimal", "service"))
def test_what_no_service_may_do_is_refused_in_its_base(sandbox: Sandbox, profile: str) -> None:
    answers = attempts.assert_refused(sandbox, profile)
    assert len(answers) >= 21


def test_the_example_runs_a_command(sandbox: Sandbox) -> None:
    (example,) = examples("service")
    arguments = services.command(sandbox, example, {"COMMAND": "sh -c 'umask; cat; ulimit -c'"})
    assert sandbox.program(arguments).stdout == "0027\n0\n"


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
