"""One emulated machine for all tests here, with the tree's sbx installed in it."""

from collections.abc import Iterator

import pytest

from tests.applications import application
from tests.vm import host, image, wheel
from tests.vm.machine import Machine


@pytest.fixture(scope="session")
def machine_image(request: pytest.FixtureRequest) -> str:
    """The directory of the image; made where the cache has none."""
    for command in ("qemu-system-x86_64", "mmdebstrap", "mke2fs"):
        application(command)
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    say = reporter.write_line if reporter else print
    try:
        return image.provide(say)
    except host.UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def machine(machine_image: str) -> Iterator[Machine]:
    """The machine. Every test leaves it as it was: no process, no unit, no file but in `place`."""
    built = wheel.provide(image.cache_directory())
    with Machine(machine_image) as machine:
        wheel.install(machine, built)
        yield machine


@pytest.fixture
def place(machine: Machine) -> Iterator[str]:
    """An empty directory in the machine for one test, which all its users may enter."""
    path = machine.succeed("mktemp", "-d", "/var/tmp/test-XXXXXX").strip()
    machine.succeed("chmod", "755", path)
    yield path
    machine.succeed("rm", "-rf", path)
