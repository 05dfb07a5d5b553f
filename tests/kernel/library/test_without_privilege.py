"""Everything that the library's tests say holds for a program without privilege as well."""

import os
import re
import sys

import pytest

from tests.conftest import TREE
from tests.kernel.harness import NOT_ROOT, Sandbox

HERE = os.path.dirname(os.path.abspath(__file__))


def test_the_library_serves_a_user_without_privilege(as_user: Sandbox) -> None:
    if os.geteuid() != 0:
        pytest.skip(NOT_ROOT)
    files = sorted(os.listdir(HERE))
    tests = [f"{HERE}/{name}" for name in files if name.startswith("test_")]
    done = as_user.program(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *(f"--rootdir={TREE}", "-c", f"{TREE}/pyproject.toml"),
            *("--basetemp", as_user.path("tmp")),
            *(path for path in tests if path != os.path.abspath(__file__)),
        ],
        cwd=TREE,
        env={**as_user.environment, "PYTHONDONTWRITEBYTECODE": "1"},
        timeout=110,
    )
    last = done.stdout.strip().rpartition("\n")[2]
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.match(r"[0-9]{2,} passed", last), done.stdout
