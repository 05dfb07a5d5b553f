"""The probe, and sbx as each of the callers that it is made for."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import pytest

from tests.conftest import UNPRIVILEGED, _above, _open_to_all
from tests.kernel.harness import Sandbox, interpreter

HERE = os.path.dirname(os.path.abspath(__file__))
PROBE_SOURCES = ("probe.c", "probe_self.c")

NOT_ROOT = "the tests don't run as root"


@pytest.fixture(scope="session")
def probe() -> Iterator[str]:
    """The probe, linked statically so that it runs in an empty root; all users may run it."""
    with tempfile.TemporaryDirectory(prefix="sbx-probe-") as directory:
        os.chmod(directory, 0o755)
        path = os.path.join(directory, "probe")
        sources = (os.path.join(HERE, name) for name in PROBE_SOURCES)
        compiler = os.environ.get("CC", "cc").split()
        flags = ("-std=gnu17", "-D_GNU_SOURCE", "-O1", "-static", "-Wall", "-Wextra", "-Werror")
        subprocess.run([*compiler, *flags, "-o", path, *sources], check=True)
        yield path


def _sandbox(path: str, probe: str, directory: str, user: int | None) -> Sandbox:
    if user is not None:
        parts = (path, sys.executable, HERE)
        blocked = next((p for p in _above(*parts) if not _open_to_all(p)), None)
        if blocked:
            pytest.skip(f"other users may not enter {blocked}, so they can't run this sbx")
    return Sandbox(launcher=path, probe=probe, directory=directory, user=user, python=interpreter())


@pytest.fixture
def as_root(sbx_path: str, probe: str, shared_dir: str) -> Sandbox:
    """sbx run by root."""
    if os.geteuid() != 0:
        pytest.skip(NOT_ROOT)
    return _sandbox(sbx_path, probe, shared_dir, None)


@pytest.fixture
def as_user(sbx_path: str, probe: str, shared_dir: str) -> Sandbox:
    """sbx run by an account without privilege."""
    return _sandbox(sbx_path, probe, shared_dir, UNPRIVILEGED if os.geteuid() == 0 else None)


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
