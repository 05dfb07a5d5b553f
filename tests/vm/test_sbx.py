"""The installed wheel works in the machine, for root and for a user."""

import re

import pytest

from tests.vm.kernel_tests import run_tests
from tests.vm.machine import Machine

USERS = ("root", "user")

# Of each layer some tests of tests/kernel: all of them would take an hour here.
TELLING = {
    "test_privileges.py": ("a_set_user_id_program",),
    "test_namespaces.py": ("landlock", "as_the_top"),
    "test_root.py": ("mounted_on_the_host_later",),
    "test_mounts.py": ("idmap_shows", "an_overlay_takes_changes"),
    "test_events.py": ("a_limit_is_told",),
}


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


def test_what_holds_on_other_kernels_holds_on_this_one(machine: Machine, place: str) -> None:
    """Mounts, privileges, namespaces, Landlock's newest scopes, events of control groups."""
    names = " or ".join(name for names in TELLING.values() for name in names)
    done = run_tests(machine, place, "-k", names, *(f"tests/kernel/{file}" for file in TELLING))
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"^(\d+) passed", done.stdout, re.MULTILINE)
    assert passed
    assert int(passed[1]) > 12
