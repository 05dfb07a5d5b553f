"""`Pool`: sandboxes that are built before it is known what will run in them."""

import asyncio
import concurrent.futures
import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Cause, Pool, Profile, Sandbox, SandboxError, SetupError
from tests.kernel.harness import NOT_ROOT
from tests.kernel.library.conftest import children, eventually, kill_server, sandboxes


@pytest.fixture
def pool(box: Sandbox) -> Iterator[Pool]:
    """Three that are ready."""
    with Pool(box, size=3) as made:
        assert eventually(lambda: made.ready == 3)
        yield made


def test_a_call_is_as_one_of_a_sandbox(pool: Pool) -> None:
    result = pool.run(["sh", "-c", "cat; echo err >&2; exit 3"], input=b"in")
    assert (result.stdout, result.stderr, result.exit_code) == (b"in", b"err\n", 3)
    assert pool.run(["cat"], input="text", text=True).stdout == "text"
    assert pool.run(["cat", "/proc/1/cmdline"]).stdout == b"sbx-init\0"
    assert pool.run(["pwd"], cwd="/usr").stdout == b"/usr\n"
    assert pool.run(["sh", "-c", "echo $A"], env={"A": "b"}).stdout == b"b\n"
    assert pool.run(["sleep", "1000"], timeout=0.1).cause is Cause.TIMEOUT
    assert pool.run(["yes"], max_output=10).cause is Cause.OUTPUT_LIMIT
    with pytest.raises(SetupError, match="there is no command 'nope'"):
        pool.run(["nope"])


def test_a_call_is_as_one_of_a_sandbox_with_asyncio(pool: Pool) -> None:
    async def calls() -> list[bytes]:
        work = (pool.run_async(["echo", str(number)]) for number in range(20))
        return [result.stdout for result in await asyncio.gather(*work)]

    assert asyncio.run(calls()) == [b"%d\n" % number for number in range(20)]


def test_a_call_takes_one_that_was_ready_and_another_one_follows(pool: Pool) -> None:
    before = set(sandboxes())
    assert len(before) == 3
    assert pool.run(["true"]).ok
    # The one that was taken has ended, but may have to wait for the server to see it.
    assert eventually(lambda: pool.ready == len(sandboxes()) == 3)
    assert len(before & set(sandboxes())) == 2


def test_what_is_ready_waits_before_its_program_and_is_no_load(pool: Pool) -> None:
    """Only the first process is there, and it sleeps so that the load average doesn't count it."""
    for pid in sandboxes():
        assert children(pid) == []
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            assert file.read().rpartition(")")[2].split()[0] == "S"


def test_nothing_passes_from_one_call_to_the_next(box: Sandbox) -> None:
    with Pool(box, size=1) as pool:
        for _ in range(3):
            script = "cat /tmp/left 2>/dev/null; echo secret > /tmp/left; echo $$"
            assert pool.run(["sh", "-c", script], env={"S": "x"}).stdout == b"2\n"
            assert eventually(lambda: pool.ready == 1)


def test_a_call_in_a_pool_is_confined_as_any_other(pool: Pool) -> None:
    script = "cat /proc/self/status; ls /proc/self/fd"
    status = pool.run(["sh", "-c", script], text=True).check().stdout
    assert "Seccomp:\t2" in status
    assert "NoNewPrivs:\t1" in status
    assert "CapEff:\t0000000000000000" in status
    assert status.endswith("0\n1\n2\n3\n")  # 3: by which ls reads the list


def test_what_waits_holds_nothing_but_its_channel(pool: Pool) -> None:
    if os.geteuid() != 0:
        pytest.skip(NOT_ROOT)
    for pid in sandboxes():
        links = [
            os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")
        ]
        assert sum(link.startswith("socket:") for link in links) == 1, links
        assert not any(link.startswith("pipe:") for link in links), links


def test_more_calls_than_are_ready_are_served_all_the_same(pool: Pool) -> None:
    def echo(number: int) -> bytes:
        return pool.run(["sh", "-c", f"sleep 0.1; echo {number}"]).stdout

    with concurrent.futures.ThreadPoolExecutor(12) as threads:
        found = list(threads.map(echo, range(36)))
    assert found == [b"%d\n" % number for number in range(36)]


def test_one_that_dies_while_it_waits_is_replaced(pool: Pool) -> None:
    for pid in sandboxes():
        os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: pool.ready == 0)
    assert pool.run(["echo", "x"]).stdout == b"x\n"
    assert eventually(lambda: pool.ready == 3)


def test_a_killed_server_is_replaced(pool: Pool) -> None:
    kill_server()
    assert pool.run(["echo", "x"]).stdout == b"x\n"
    assert eventually(lambda: pool.ready == 3)


@pytest.mark.parametrize("init", (True, False))
def test_what_is_wrong_with_a_profile_is_known_at_once(tmp_path: Path, init: bool) -> None:
    data = tmp_path / "data"
    data.mkdir()
    profile = Profile(extends="minimal", filesystem={"read": [data]}, process={"init": init})
    with Pool(profile, size=2) as pool:
        assert pool.run(["true"]).ok
    data.rmdir()
    with pytest.raises(SetupError, match="does not exist"):
        Pool(profile, size=2)


def test_a_profile_may_change_below_a_pool(tmp_path: Path) -> None:
    """What can't be built any more is an error of the call, with the place."""
    data = tmp_path / "data"
    data.mkdir()
    with Pool(Profile(extends="minimal", filesystem={"read": [data]}), size=1) as pool:
        data.rmdir()
        assert pool.run(["true"]).ok  # it was ready before
        assert eventually(lambda: sandboxes() == [])
        with pytest.raises(SetupError, match="does not exist"):
            pool.run(["true"])


def test_a_closed_pool_has_nothing_and_serves_nobody(box: Sandbox) -> None:
    pool = Pool(box, size=3)
    pool.close()
    assert sandboxes() == []
    pool.close()
    with pytest.raises(SandboxError, match="the pool is closed"):
        pool.run(["true"])


def test_a_pool_that_nobody_has_any_more_is_gone(box: Sandbox) -> None:
    pool: Pool | None = Pool(box, size=2)
    assert pool
    pool = None
    gc.collect()
    assert eventually(lambda: sandboxes() == [])


def test_closing_leaves_calls_that_run_alone(box: Sandbox) -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        with Pool(box, size=1) as pool:
            call = threads.submit(pool.run, ["sh", "-c", "sleep 0.5; echo done"])
            assert eventually(lambda: any(children(pid) for pid in sandboxes()))
        assert call.result().stdout == b"done\n"


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_has_a_pool_of_its_own(pool: Pool) -> None:
    before = set(sandboxes())
    child = os.fork()
    if child == 0:
        try:
            fine = pool.run(["echo", "x"]).stdout == b"x\n" and eventually(lambda: pool.ready == 3)
            os._exit(0 if fine else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert set(sandboxes()) == before
    assert pool.ready == 3


def test_a_pool_of_nothing_is_refused(box: Sandbox) -> None:
    with pytest.raises(ValueError, match="at least one"):
        Pool(box, size=0)
