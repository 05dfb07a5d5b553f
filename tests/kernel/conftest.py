"""The probe, and sbx as each of the callers that it is made for."""

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from types import FrameType

import pytest

from tests.conftest import UNPRIVILEGED
from tests.kernel.harness import NOT_ROOT, Sandbox, interpreter
from tests.kernel.probe_program import ready_probe
from tests.reachable import closed_directory

HERE = os.path.dirname(os.path.abspath(__file__))

SECONDS = 120 * max(1, int(os.environ.get("SBX_RACE_ROUNDS", "0")) // 200)


@pytest.fixture(autouse=True)
def no_waiting_for_ever() -> Iterator[None]:
    """What hangs is a failure, and the sandboxes of the test end with it."""
    old = signal.signal(signal.SIGALRM, _too_late)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, old)


def _too_late(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"the test has taken more than {SECONDS} seconds")


@pytest.fixture(scope="session")
def probe() -> Iterator[str]:
    """The probe, linked statically so that it runs in an empty root; all users may run it."""
    with tempfile.TemporaryDirectory(prefix="sbx-probe-") as directory:
        os.chmod(directory, 0o755)
        yield ready_probe(directory)


@pytest.fixture(scope="session")
def places() -> Iterator[str]:
    """Where each caller keeps profiles and their plans, for all tests."""
    with tempfile.TemporaryDirectory(prefix="sbx-places-") as directory:
        os.chmod(directory, 0o755)
        yield directory


@pytest.fixture
def place(places: str) -> str:
    """The directory for the test at hand; one that looks at the cache has its own."""
    return places


def _sandbox(path: str, probe: str, directory: str, place: str, user: int | None) -> Sandbox:
    if user is not None:
        closed = closed_directory(path, sys.executable, HERE)
        if closed:
            pytest.skip(f"other users may not enter {closed}, so they can't run this sbx")
    return Sandbox(
        launcher=path,
        probe=probe,
        directory=directory,
        place=os.path.join(place, "root" if user is None else "user"),
        user=user,
        python=interpreter(),
    )


@pytest.fixture
def as_root(sbx_path: str, probe: str, shared_dir: str, place: str) -> Sandbox:
    """sbx run by root."""
    if os.geteuid() != 0:
        pytest.skip(NOT_ROOT)
    return _sandbox(sbx_path, probe, shared_dir, place, None)


@pytest.fixture
def as_user(sbx_path: str, probe: str, shared_dir: str, place: str) -> Sandbox:
    """sbx run by an account without privilege."""
    return _sandbox(sbx_path, probe, shared_dir, place, UNPRIVILEGED if os.geteuid() == 0 else None)


@pytest.fixture(params=["root", "user"])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """sbx run by root, and again by an account without privilege."""
    found = request.getfixturevalue(f"as_{request.param}")
    assert isinstance(found, Sandbox)
    return found


@pytest.fixture
def staged(sandbox: Sandbox) -> Sandbox:
    """The same, where root can first mount things for the test in a private mount namespace."""
    if os.geteuid() != 0:
        pytest.skip(NOT_ROOT)
    return sandbox
