"""The probe of attempts, and each caller with a scene of its own; all live as long as the tests do."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import pytest

from tests.conftest import UNPRIVILEGED
from tests.isolation import surroundings
from tests.isolation.build import build_probe
from tests.isolation.check import Caller
from tests.isolation.doors import Results
from tests.isolation.scene import prepare
from tests.kernel.conftest import (  # noqa: F401 -- sbx as each caller, for what is tried at set-up
    as_root,
    as_user,
    no_waiting_for_ever,
    place,
    places,
    probe,
    sandbox,
    staged,
)
from tests.kernel.harness import NOT_ROOT, Sandbox, interpreter
from tests.reachable import closed_directory


@pytest.fixture(scope="session")
def attempts_probe() -> Iterator[str]:
    """The program that makes the attempts; all users may run it."""
    with tempfile.TemporaryDirectory(prefix="sbx-attempts-") as directory:
        os.chmod(directory, 0o755)
        yield build_probe(directory)


def _results(caller: Caller, sbx_path: str, program: str, directory: str, own: str) -> Results:
    tests_are_root = os.geteuid() == 0
    user = UNPRIVILEGED if tests_are_root and caller == "user" else None
    if user is not None:
        closed = closed_directory(sbx_path, sys.executable, os.path.dirname(__file__))
        if closed:
            pytest.skip(f"other users may not enter {closed}, so they can't run this sbx")
    scene = prepare(program, directory)
    if tests_are_root:
        subprocess.run(["setcap", "cap_net_raw+ep", scene.names["capable"]], check=True)
    caller_of_sbx = Sandbox(
        launcher=sbx_path,
        probe=program,
        directory=directory,
        place=own,
        user=user,
        python=interpreter(),
    )
    return Results(caller, caller_of_sbx, scene)


@pytest.fixture(scope="session")
def directories() -> Iterator[str]:
    """A place for each caller's files that other users may enter."""
    with tempfile.TemporaryDirectory(prefix="sbx-isolation-") as directory:
        os.chmod(directory, 0o755)
        yield directory


@pytest.fixture(scope="session", params=["root", "user"])
def results(
    request: pytest.FixtureRequest, sbx_path: str, attempts_probe: str, directories: str
) -> Iterator[Results]:
    """What came of every attempt of root's, and again of an account's without privilege."""
    caller: Caller = request.param
    if caller == "root" and os.geteuid() != 0:
        pytest.skip(NOT_ROOT)
    own = os.path.join(directories, caller)
    for path in (own, f"{own}/files"):
        os.mkdir(path)
        os.chmod(path, 0o755)
    found = _results(caller, sbx_path, attempts_probe, f"{own}/files", f"{own}/place")
    with surroundings.all_of_it(found.sandbox, found.scene):
        yield found
