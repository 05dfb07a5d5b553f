"""Runs tests of tests/kernel and tests/isolation inside the emulated machine."""

import os
import tempfile
from collections.abc import Mapping

from tests.isolation import build
from tests.kernel.probe_program import build_probe
from tests.vm import recipe
from tests.vm.machine import Done, Machine


def run_tests(
    machine: Machine,
    place: str,
    *words: str,
    timeout: float = 300,
    env: Mapping[str, str] | None = None,
) -> Done:
    """pytest with these words, in a copy of the tests in the machine's directory `place`.

    sbx is the installed one. As in CI, a skip for a reason that isn't known is a failure. Temporary
    files are not in /tmp, where systemd mounts a tmpfs that honours no set-user-id bits.
    """
    with tempfile.TemporaryDirectory() as scratch:
        machine.put(build_probe(scratch), f"{place}/probe")
        machine.put(build.build_probe(scratch), f"{place}/attempts")
    for name in ("tests", "pyproject.toml"):
        machine.put(os.path.join(recipe.TREE, name), f"{place}/{name}")
    return machine.run(
        *(f"{recipe.ENVIRONMENT}/bin/python", "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider"),
        *words,
        env={
            "CI": "true",
            "TMPDIR": "/var/tmp",
            "SBX_TEST_PROBE": f"{place}/probe",
            "SBX_TEST_ATTEMPTS": f"{place}/attempts",
            **(env or {}),
        },
        cwd=place,
        timeout=timeout,
    )
