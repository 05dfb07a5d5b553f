"""Attempts that other kernels lack the feature for: here they are made, and their controls succeed."""

import re

from tests.isolation import catalogue
from tests.vm.kernel_tests import run_tests
from tests.vm.machine import Machine

MODULES = ("dccp_ipv4", "vsock")


def test_what_other_kernels_lack_is_stopped_here_and_succeeds_without_sbx(
    machine: Machine, place: str
) -> None:
    """By the cold and the warm door, as root and as a user."""
    # Debian's kernel loads these only when told to, and keeps dccp for ever.
    machine.succeed("modprobe", "-a", *MODULES)
    done = run_tests(
        machine,
        place,
        *("-k", "not library", "tests/isolation/test_attempts.py"),
        env={"SBX_TEST_COMPLETE_KERNEL": "1"},
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"^(\d+) passed", done.stdout, re.MULTILINE)
    assert passed
    lacking = sum(bool(tried.attempt.control.lacking) for tried in catalogue.attempts())
    # By two doors and the control, by both callers.
    assert int(passed[1]) == lacking * 3 * 2
