"""The probe of attempts, and each caller with a scene of its own; all live as long as the tests do."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import pytest

from tests.conftest import UNPRIVILEGED
from tests.isolation.build import build_probe
from tests.isolation.check import Caller
from tests.isolation.doors import Results
from tests.isolation.scene import prepare
from tests.kernel.harness import NOT_ROOT, Sandbox, interpreter
from tests.reachable import closed_directory


@pytest.fixture(scope="session")
def attempts_probe() -> Iterator[str]:
    """The program that makes the attempts; all users may run it."""
    with tempfile.TemporaryDirectory(prefix="sbx-attempts-") as directory:
        os.chmod(directory, 0o755)
        yield build_probe(directory)


def _results(caller: Caller, sbx_path: str, probe: str, directory: str, place: str) -> Results:
    as_root = os.geteuid() == 0
    user = UNPRIVILEGED if as_root and caller == "user" else None
    if user is not None:
        closed = closed_directory(sbx_path, sys.executable, os.path.dirname(__file__))
        if closed:
            pytest.skip(f"other users may not enter {closed}, so they can't run this sbx")
    scene = prepare(probe, directory)
    if as_root:
        subprocess.run(["setcap", "cap_net_raw+ep", scene.names["capable"]], check=True)
    sandbox = Sandbox(
        launcher=sbx_path,
        probe=probe,
        directory=directory,
        place=place,
        user=user,
        python=interpreter(),
    )
    return Results(caller, sandbox, scene)


@pytest.fixture(scope="session")
def directories() -> Iterator[str]:
    """A place for each caller's files that other users may enter."""
    with tempfile.TemporaryDirectory(prefix="sbx-isolation-") as directory:
        os.chmod(directory, 0o755)
        yield directory


@pytest.fixture(scope="session", params=["root", "user"])
def results(
    request: pytest.FixtureRequest, sbx_path: str, attempts_probe: str, directories: str
) -> Results:
    """What came of every attempt of root's, and again of an account's without privilege."""
    caller: Caller = request.param
    if caller == "root" and os.geteuid() != 0:
        pytest.skip(NOT_ROOT)
    own = os.path.join(directories, caller)
    for path in (own, f"{own}/files"):
        os.mkdir(path)
        os.chmod(path, 0o755)
    return _results(caller, sbx_path, attempts_probe, f"{own}/files", f"{own}/place")
