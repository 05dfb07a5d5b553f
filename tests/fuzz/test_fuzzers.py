"""What reads hostile bytes, from the seeds and what fuzzing has found, and a moment further.

`./dev fuzz` runs the same for long, and those in Python under Atheris.
"""

import importlib
import os
import sys

import pytest

from tests.fuzz import running
from tests.fuzz.targets import TARGETS

SECONDS = int(os.environ.get("SBX_FUZZ_SECONDS", "2"))
IN_C = [name for name, target in TARGETS.items() if not target.python]
IN_PYTHON = [name for name, target in TARGETS.items() if target.python]


@pytest.mark.parametrize("name", IN_C)
def test_no_bytes_lead_it_astray(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What the target takes can be followed to its end, and what it can't read it refuses."""
    found = running.fuzz(name, SECONDS)
    assert not found.crash, found.crash
    assert found.edges > 0
    with capsys.disabled():
        sys.stdout.write(f"\n{name}: {SECONDS} s, {found.runs} runs, {found.edges} edges covered ")


@pytest.mark.parametrize("name", IN_PYTHON)
def test_nothing_that_was_found_leads_it_astray(name: str) -> None:
    one_input = importlib.import_module(f"tests.fuzz.{name}_inputs").one_input
    for data in (*TARGETS[name].seeds(), *running.corpus(name)):
        one_input(data)
