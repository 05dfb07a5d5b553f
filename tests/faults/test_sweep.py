"""A sample of `./dev faults`: one fault at each kind of system call of a launch."""

import os
import subprocess
import sys

import pytest

from tests.faults.launches import TREE
from tests.kernel.harness import NOT_ROOT

SAMPLES = {
    "warm": 24,
    "warm-user": 12,
    "full": 20,
    "full-user": 12,
    "no-init": 6,
    "no-init-user": 6,
    "handed-over": 6,
}


@pytest.mark.skipif(os.geteuid() != 0, reason=NOT_ROOT)
@pytest.mark.parametrize(("launch", "count"), SAMPLES.items())
def test_whatever_fails_nothing_runs_without_a_layer_and_nothing_is_left(
    launch: str, count: int
) -> None:
    words = [sys.executable, "-m", "tests.faults", launch, "--sample", str(count), "--jobs", "1"]
    done = subprocess.run(words, cwd=TREE, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
