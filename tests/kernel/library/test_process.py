"""`Sandbox.start`: a program that runs while the caller does something else."""

import os
import select
import signal
import time

import pytest

from sandbox import PIPE, Cause, Process, Sandbox, SetupError
from tests.kernel.library.conftest import sandboxes

SLEEP = ["sleep", "1000"]


def is_alive(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


def test_a_conversation_over_pipes(box: Sandbox) -> None:
    with box.start(["cat"], stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr is None
        for line in ("first\n", "second\n"):
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline() == line
        process.stdin.close()
        assert process.wait(60).ok


def test_streams_carry_bytes_by_default(box: Sandbox) -> None:
    with box.start(["printf", "\\377"], stdout=PIPE) as process:
        assert process.stdout
        assert process.stdout.read() == b"\xff"


@pytest.mark.parametrize("which", ("box", "without_init"))
def test_a_process_is_there_from_the_start_to_its_end(
    which: str, request: pytest.FixtureRequest
) -> None:
    box: Sandbox = request.getfixturevalue(which)
    with box.start(SLEEP) as process:
        assert is_alive(process.pid)
        assert process.poll() is None
        assert repr(process) == f"<Process 'sleep': pid {process.pid}>"
        with pytest.raises(TimeoutError, match=r"'sleep' still runs after 0\.05 s"):
            process.wait(0.05)
        process.kill()
        result = process.wait(60)
        assert (result.cause, result.signal) == (Cause.KILLED, signal.SIGKILL)
        assert process.poll() is result
        assert process.wait() is result
        assert not is_alive(process.pid)
        process.terminate()
        process.kill()


@pytest.mark.parametrize("which", ("box", "without_init"))
def test_a_program_that_cannot_be_started_says_so_at_once(
    which: str, request: pytest.FixtureRequest
) -> None:
    box: Sandbox = request.getfixturevalue(which)
    with pytest.raises(SetupError, match="there is no command 'nope'"):
        box.start(["nope"], stdin=PIPE, stdout=PIPE, stderr=PIPE)


def test_terminate_asks_the_program_to_end(box: Sandbox) -> None:
    with box.start(SLEEP) as process:
        process.terminate()
        result = process.wait(60)
        assert (result.cause, result.signal) == (Cause.SIGNALED, signal.SIGTERM)


def test_signals_reach_the_program(box: Sandbox) -> None:
    script = "trap 'echo caught; exit 7' USR1; echo ready; while :; do sleep 0.01; done"
    with box.start(["sh", "-c", script], stdout=PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGUSR1)
        assert process.stdout.readline() == "caught\n"
        assert process.wait(60).exit_code == 7


@pytest.mark.parametrize("which", ("box", "without_init"))
def test_kill_ends_the_whole_sandbox(which: str, request: pytest.FixtureRequest) -> None:
    box: Sandbox = request.getfixturevalue(which)
    with box.start(["sh", "-c", "trap '' TERM; sleep 1000 & sleep 1000"]) as process:
        process.kill()
        result = process.wait(60)
        assert result.cause is Cause.KILLED
        assert result.signal is signal.SIGKILL
        assert result.reason == "was killed with its whole sandbox, from outside"


def test_leaving_the_block_ends_the_program(box: Sandbox) -> None:
    with box.start(SLEEP) as process:
        pass
    assert not is_alive(process.pid)
    assert process.wait().cause is Cause.KILLED


def test_an_exception_ends_the_program(box: Sandbox) -> None:
    with pytest.raises(ZeroDivisionError), box.start(SLEEP, stdin=PIPE) as process:
        1 / 0  # noqa: B018
    assert not is_alive(process.pid)


def test_a_process_that_nobody_has_any_more_ends(box: Sandbox) -> None:
    process: Process[bytes] | None = box.start(SLEEP)
    assert len(sandboxes()) == 1
    assert process
    process = None
    deadline = time.monotonic() + 10
    while sandboxes() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sandboxes() == []


def test_the_descriptor_of_the_process_tells_its_end(box: Sandbox) -> None:
    with box.start(["cat"], stdin=PIPE) as process:
        assert process.stdin
        assert select.select([process.pidfd], [], [], 0.05)[0] == []
        process.stdin.close()
        assert select.select([process.pidfd], [], [], 60)[0] == [process.pidfd]


def test_communicate_carries_everything_to_the_end(box: Sandbox) -> None:
    data = os.urandom(500_000)
    with box.start(["cat"], stdin=PIPE, stdout=PIPE) as process:
        assert process.communicate(data).check().stdout == data


def test_communicate_keeps_time_and_amount(box: Sandbox) -> None:
    with box.start(SLEEP) as process:
        assert process.communicate(timeout=0.1).cause is Cause.TIMEOUT
    with box.start(["yes"], stdout=PIPE) as process:
        result = process.communicate(max_output=10)
        assert (result.cause, result.stdout) == (Cause.OUTPUT_LIMIT, b"y\n" * 5)


def test_a_sandbox_that_its_operator_kills_is_no_error(box: Sandbox) -> None:
    with box.start(SLEEP) as process:
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait(60).cause is Cause.KILLED
