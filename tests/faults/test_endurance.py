"""A short version of `./dev faults endurance`."""

import os
import subprocess
import sys

import pytest

from tests.faults.launches import TREE
from tests.kernel.harness import NOT_ROOT


@pytest.mark.skipif(os.geteuid() != 0, reason=NOT_ROOT)
def test_nothing_grows_from_one_launch_to_the_next() -> None:
    words = [sys.executable, "-m", "tests.faults", "endurance", "--rounds", "200"]
    done = subprocess.run(words, cwd=TREE, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
