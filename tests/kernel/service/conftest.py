"""The service program, and a manager for it."""

import os
import subprocess
import tempfile
from collections.abc import Iterator

import pytest

from tests.kernel.harness import Sandbox
from tests.kernel.service.services import Manager, Services

HERE = os.path.dirname(os.path.abspath(__file__))


@pytest.fixture(scope="session")
def service_probe() -> Iterator[str]:
    """The program of service_probe.c, linked statically; all users may run it."""
    with tempfile.TemporaryDirectory(prefix="sbx-service-") as directory:
        os.chmod(directory, 0o755)
        path = os.path.join(directory, "service")
        compiler = os.environ.get("CC", "cc").split()
        flags = ("-std=gnu17", "-D_GNU_SOURCE", "-O1", "-static", "-Wall", "-Wextra", "-Werror")
        source = os.path.join(HERE, "service_probe.c")
        subprocess.run([*compiler, *flags, "-o", path, source], check=True)
        yield path


@pytest.fixture
def services(sandbox: Sandbox, service_probe: str) -> Services:
    return Services(sandbox, service_probe)


@pytest.fixture
def manager() -> Iterator[Manager]:
    with tempfile.TemporaryDirectory(prefix="sbx-manager-") as directory:
        os.chmod(directory, 0o755)
        opened = Manager(directory)
        yield opened
        opened.close()


@pytest.fixture
def managed(sandbox: Sandbox, manager: Manager) -> dict[str, str]:
    """The environment of a supervisor that a manager has started."""
    return {**sandbox.environment, "NOTIFY_SOCKET": manager.path}
