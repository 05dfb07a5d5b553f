"""The library in the test's own process; after each test nothing may be left of what it did."""

import contextlib
import gc
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from sandbox import Profile, Sandbox
from sandbox.process import server

SECONDS = 30


@pytest.fixture(scope="session")
def box() -> Sandbox:
    """Sandboxes of the smallest shipped profile."""
    return Sandbox("minimal")


@pytest.fixture(scope="session")
def without_init() -> Sandbox:
    """Sandboxes whose first process is the program."""
    return Sandbox(Profile(extends="minimal", process={"init": False}))


@pytest.fixture(autouse=True)
def nothing_is_left(box: Sandbox) -> Iterator[None]:
    """No descriptor here, no sandbox of the server's."""
    box.run(["true"])
    before = open_descriptors()
    yield
    gc.collect()
    assert open_descriptors() == before
    assert eventually(lambda: sandboxes() == []), sandboxes()


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether something comes true within the time that a busy machine may need."""
    deadline = time.monotonic() + SECONDS
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def kill_server() -> None:
    """Ends it from outside; its sandboxes are dead then, or don't execute another instruction."""
    found = server.current()
    assert found
    os.kill(found.pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):  # another thread has replaced it already
        os.waitid(os.P_PID, found.pid, os.WEXITED | os.WNOWAIT)


def open_descriptors() -> Counter[str]:
    """How many there are of each kind; the server's socket may be another one than before."""
    found: Counter[str] = Counter()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one by which the list was read
            found[os.readlink(f"/proc/self/fd/{number}").partition("[")[0]] += 1
    return found


def sandboxes() -> list[int]:
    """The first processes of the sandboxes that live."""
    current = server.current()
    return children(current.pid) if current else []


def children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]
