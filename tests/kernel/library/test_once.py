"""A call whose sandbox or server is killed is tried again only where its program has not begun."""

import concurrent.futures
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from sandbox import Cause, Pool, Profile, Result
from tests.kernel import inject
from tests.kernel.harness import NOT_ROOT
from tests.kernel.library.conftest import eventually, kill_server, sandboxes

Call: TypeAlias = Callable[[], "concurrent.futures.Future[Result[bytes]]"]

RUN = ["sh", "-c", "echo ran >&9; sleep 0.2"]


KILLS: dict[str, Callable[[int], None]] = {
    "sandbox": lambda pid: os.kill(pid, signal.SIGKILL),
    "server": lambda _: kill_server(),
}


@pytest.fixture
def init() -> bool:
    return True


@pytest.fixture
def pool(init: bool) -> Iterator[Pool]:
    """One sandbox that waits for its call."""
    if os.geteuid() != 0:
        pytest.skip(NOT_ROOT)
    with Pool(Profile(extends="minimal", process={"init": init}), size=1) as made:
        assert eventually(lambda: made.ready == 1)
        yield made


@pytest.fixture
def call(pool: Pool, tmp_path: Path) -> Iterator[Call]:
    """Has another thread run a program that tells each time it begins."""
    with (
        concurrent.futures.ThreadPoolExecutor(1) as thread,
        open(tmp_path / "told", "ab") as told,
    ):
        yield lambda: thread.submit(pool.run, RUN, descriptors={9: told})


@pytest.mark.parametrize("init", (True, False))
@pytest.mark.parametrize("kill", KILLS)
def test_a_sandbox_that_never_took_its_call_is_replaced(
    pool: Pool, call: Call, tmp_path: Path, kill: str
) -> None:
    (pid,) = sandboxes()
    with inject.traced(pid):
        result = call()
        assert eventually(lambda: pool.ready == 0)
        KILLS[kill](pid)
    assert result.result().ok
    assert (tmp_path / "told").read_text() == "ran\n"


@pytest.mark.parametrize("kill", KILLS)
def test_a_program_that_has_begun_is_not_run_again(
    pool: Pool, call: Call, tmp_path: Path, kill: str
) -> None:
    """Even where nobody has told yet that it runs: the init is held once it has been executed."""
    (pid,) = sandboxes()
    with inject.traced(pid):
        result = call()
        inject.hold_after_vfork(pid)
        assert eventually(lambda: (tmp_path / "told").read_text() == "ran\n")
        KILLS[kill](pid)
    done = result.result()
    assert (done.cause, done.signal) == (Cause.KILLED, signal.SIGKILL)
    assert (tmp_path / "told").read_text() == "ran\n"
