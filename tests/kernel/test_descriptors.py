"""Descriptors: the payload has the standard streams, what the profile declares, and nothing else."""

import fcntl
import os
import resource
from collections.abc import Iterator

import pytest

from tests.kernel.harness import Sandbox
from tests.kernel.pieces import bind

FIRST, LAST = 3, 200


@pytest.fixture
def many() -> Iterator[tuple[int, ...]]:
    """Things to be inherited, above the numbers that the tests look at; the last two directories."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard > LAST
    low = [*os.pipe(), os.memfd_create("file"), os.open("/dev/null", os.O_RDWR)]
    low += [os.open("/", os.O_RDONLY), os.open("/proc", os.O_PATH)]
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, LAST + 1) for fd in low]
    for fd in low:
        os.close(fd)
    yield tuple(high)
    for fd in high:
        os.close(fd)


def fill(sources: tuple[int, ...]) -> None:
    """In the child: every number from 3 to 200 becomes a copy of one of the sources."""
    for number in range(FIRST, LAST + 1):
        os.dup2(sources[number % len(sources)], number, inheritable=True)


def dup(source: int, target: int) -> None:
    os.dup2(source, target, inheritable=True)


def arrived(sandbox: Sandbox, text: str, many: tuple[int, ...], **how: bool) -> dict[str, str]:
    found: dict[str, str] = sandbox.dump(
        text, before=lambda: fill(many), close_fds=False, **how
    ).descriptors
    # The one by which the probe reads the list is its own.
    return {number: target for number, target in found.items() if "/proc/" not in target}


@pytest.mark.parametrize("init", ("true", "false"))
@pytest.mark.parametrize("warm", (False, True))
def test_no_descriptor_of_the_callers_arrives(
    sandbox: Sandbox, many: tuple[int, ...], init: str, warm: bool
) -> None:
    found = arrived(sandbox, f"[process]\ninit = {init}", many, warm=warm)
    assert set(found) == {"0", "1", "2"}


def test_declared_descriptors_arrive_and_only_they(sandbox: Sandbox, many: tuple[int, ...]) -> None:
    found = arrived(sandbox, "[process]\ndescriptors = [6, 198]", many)
    assert set(found) == {"0", "1", "2", "6", "198"}


def test_a_declared_descriptor_that_is_a_directory_is_an_error(
    sandbox: Sandbox, many: tuple[int, ...]
) -> None:
    """With it everything above would be in reach: openat(7, "../..")."""
    for number in (4, 5):
        message = sandbox.refusal(
            f"[process]\ndescriptors = [{number}]", before=lambda: fill(many), close_fds=False
        )
        assert f"process.descriptors[0]: descriptor {number} is a directory" in message


def test_a_declared_descriptor_is_the_callers(sandbox: Sandbox) -> None:
    reader, writer = os.pipe()
    try:
        text = "[process]\ndescriptors = [7]"
        words = ("writefd", 7, "through")
        done = sandbox.attempt(text, *words, before=lambda: dup(writer, 7), close_fds=False)
        assert done.outcome == "ok"
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)
        os.close(writer)


def test_a_declared_descriptor_that_is_not_open_is_an_error(sandbox: Sandbox) -> None:
    message = sandbox.refusal("[process]\ndescriptors = [7]")
    assert ".toml:5: process.descriptors[0]: descriptor 7 is declared, but not open" in message
    assert "hint: open it: sbx run ... 7<FILE" in message


@pytest.mark.parametrize("number", (3, 4, 5, 6, 7, 8, 12, 20))
def test_a_descriptor_of_sbxs_own_is_never_taken_for_a_declared_one(
    as_user: Sandbox, number: int
) -> None:
    message = as_user.refusal(f"[process]\ndescriptors = [{number}]")
    assert f"descriptor {number} is declared, but not open" in message


@pytest.mark.parametrize("stream", (0, 1, 2))
def test_a_directory_as_a_standard_stream_is_refused(sandbox: Sandbox, stream: int) -> None:
    def redirect() -> None:
        os.dup2(os.open("/etc", os.O_RDONLY), stream)

    done = sandbox.run("", sandbox.probe, "exit", "0", before=redirect)
    name = ("input", "output", "error")[stream]
    assert done.returncode == 125
    if stream != 2:
        assert f"standard {name} is a directory" in done.stderr


@pytest.mark.parametrize("closed", ((0,), (1,), (2,), (0, 1, 2)))
def test_closed_standard_streams_stay_harmless(sandbox: Sandbox, closed: tuple[int, ...]) -> None:
    """No descriptor of sbx's own takes their place in the payload: it gets /dev/null."""
    report = sandbox.mkdir("report", 0o777)
    text = bind(report, "/report", "writable = true") + (
        "[filesystem]\nread = ['/etc/ld.so.cache']\n"
        "execute = ['/usr', '/bin', '/lib', '/lib64', '/lib32', '/libx32']"
    )

    def close() -> None:
        for fd in closed:
            os.close(fd)

    for door in ("cold", "warm"):
        shell = f"ls -l /proc/self/fd >/report/{door}; exit 7"
        assert sandbox.run(text, "/bin/sh", "-c", shell, before=close).returncode == 7
        with open(f"{report}/{door}", encoding="utf-8") as file:
            links = dict(line.split()[-3::2] for line in file if "->" in line)
        assert set(links) == {"0", "1", "2", "3"}, links  # ls writes to 1 and reads 3
        assert {links[str(fd)] for fd in closed if fd != 1} <= {"/dev/null"}
