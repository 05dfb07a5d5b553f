"""The probe of attempts, and each caller with a scene of its own; all live as long as the tests do."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import pytest

from tests.conftest import UNPRIVILEGED
from tests.isolation import surroundings
from tests.isolation.build import ready_probe
from tests.isolation.by_library import LibrarySandbox
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
)
from tests.kernel.harness import NOT_ROOT, Sandbox, interpreter
from tests.reachable import closed_directory


def by_library(found: Sandbox) -> Sandbox:
    """The same caller, with the library."""
    return LibrarySandbox(
        launcher=found.launcher,
        probe=found.probe,
        directory=found.directory,
        place=found.place,
        user=found.user,
        python=interpreter(),
    )


@pytest.fixture(params=["command", "library"])
def door(request: pytest.FixtureRequest, results: Results) -> Sandbox:
    """The caller of the results, by either door."""
    return by_library(results.sandbox) if request.param == "library" else results.sandbox


@pytest.fixture(params=["command", "library"])
def as_user_by_door(request: pytest.FixtureRequest) -> Sandbox:
    """An account without privilege, by either door."""
    found = request.getfixturevalue("as_user")
    assert isinstance(found, Sandbox)
    return by_library(found) if request.param == "library" else found


@pytest.fixture(params=["root", "user"])
def by_command(request: pytest.FixtureRequest) -> Sandbox:
    """`sbx run` by root, and by an account without privilege."""
    found = request.getfixturevalue(f"as_{request.param}")
    assert isinstance(found, Sandbox)
    return found


@pytest.fixture(params=["root", "root by the library", "user", "user by the library"])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """Both callers by both doors: the command line, cold and then warm, and the library."""
    caller, _, library = request.param.partition(" ")
    found = request.getfixturevalue(f"as_{caller}")
    assert isinstance(found, Sandbox)
    return by_library(found) if library else found


@pytest.fixture
def staged(sandbox: Sandbox) -> Sandbox:
    """The same, where root can first mount things for the test in a private mount namespace."""
    if os.geteuid() != 0:
        pytest.skip(NOT_ROOT)
    return sandbox


@pytest.fixture(scope="session")
def attempts_probe() -> Iterator[str]:
    """The program that makes the attempts; all users may run it."""
    with tempfile.TemporaryDirectory(prefix="sbx-attempts-") as directory:
        os.chmod(directory, 0o755)
        yield ready_probe(directory)


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
