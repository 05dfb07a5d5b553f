"""The installed wheel works in the machine, for root and for a user."""

import pytest

from tests.vm.machine import Machine

USERS = ("root", "user")


@pytest.mark.parametrize("user", USERS)
def test_sbx_runs_a_shipped_profile(machine: Machine, user: str) -> None:
    """Cold and warm, with the program's own exit status."""
    for _ in ("cold", "warm"):
        done = machine.run(
            "sbx", "run", "--profile", "minimal", "--", "sh", "-c", "echo in; exit 7", user=user
        )
        assert (done.returncode, done.stdout, done.stderr) == (7, "in\n", "")


@pytest.mark.parametrize("user", USERS)
def test_doctor_has_nothing_to_complain_of(machine: Machine, user: str) -> None:
    """The machine's kernel gives all that sbx uses."""
    done = machine.run("sbx", "doctor", user=user)
    assert (done.returncode, done.stderr) == (0, "")
