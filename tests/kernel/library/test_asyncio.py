"""`run_async` and `start_async`: the event loop goes on while programs run."""

import asyncio
import os
import signal
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from sandbox import PIPE, Cause, Sandbox, SetupError
from tests.kernel.library.conftest import sandboxes

SLEEP = ["sleep", "1000"]
Value = TypeVar("Value")


def run(work: Coroutine[Any, Any, Value]) -> Value:
    """To its end, in an event loop that complains of what is slow or forgotten."""
    return asyncio.run(work, debug=True)


def test_a_program_runs_to_its_end(box: Sandbox) -> None:
    data = os.urandom(1_000_000)
    result = run(box.run_async(["cat"], input=data))
    assert (result.cause, result.stdout) == (Cause.EXITED, data)
    assert run(box.run_async(["cat"], input="text", text=True)).stdout == "text"


def test_many_programs_run_at_once(box: Sandbox) -> None:
    async def all_of_them() -> list[bytes]:
        calls = (box.run_async(["sh", "-c", f"sleep 0.2; echo {n}"]) for n in range(40))
        return [result.stdout for result in await asyncio.gather(*calls)]

    begun = time.monotonic()
    assert run(all_of_them()) == [b"%d\n" % n for n in range(40)]
    assert time.monotonic() - begun < 40 * 0.2


def test_the_loop_goes_on_meanwhile(box: Sandbox) -> None:
    async def count() -> int:
        task = asyncio.create_task(box.run_async(["sleep", "0.3"]))
        turns = 0
        while not task.done():
            await asyncio.sleep(0.01)
            turns += 1
        return turns

    assert run(count()) > 5


@pytest.mark.parametrize(
    ("command", "how", "cause"),
    (
        (SLEEP, {"timeout": 0.2}, Cause.TIMEOUT),
        (["yes"], {"max_output": 1000}, Cause.OUTPUT_LIMIT),
        (["sh", "-c", "kill -SEGV $$"], {}, Cause.SIGNALED),
    ),
)
def test_limits_are_kept(
    box: Sandbox, command: list[str], how: dict[str, Any], cause: Cause
) -> None:
    result = run(box.run_async(command, **how))
    assert result.cause is cause
    assert len(result.stdout) in {0, 1000}


def test_a_program_that_cannot_be_started_is_an_error(box: Sandbox, without_init: Sandbox) -> None:
    for sandbox in (box, without_init):
        with pytest.raises(SetupError, match="there is no command 'nope'"):
            run(sandbox.run_async(["nope"]))
        with pytest.raises(SetupError, match="there is no command 'nope'"):
            run(sandbox.start_async(["nope"], stdin=PIPE, stdout=PIPE))


@pytest.mark.parametrize("after", (0, 0.001, 0.003, 0.1))
def test_a_cancelled_call_ends_its_program(box: Sandbox, after: float) -> None:
    async def cancel() -> None:
        async with asyncio.timeout(after):
            await box.run_async(SLEEP, input=bytes(1_000_000))

    with pytest.raises(TimeoutError):
        run(cancel())


def test_a_conversation_over_pipes(box: Sandbox) -> None:
    async def talk() -> bytes:
        async with await box.start_async(["cat"], stdin=PIPE, stdout=PIPE) as process:
            assert process.stdin
            assert process.stdout
            process.stdin.write(b"line\n")
            answer = await process.stdout.readline()
            assert repr(process) == f"<AsyncProcess 'cat': pid {process.pid}>"
            process.stdin.close()
            assert (await process.wait()).ok
            return answer

    assert run(talk()) == b"line\n"


@pytest.mark.parametrize("which", ("box", "without_init"))
def test_leaving_the_block_ends_the_program(which: str, request: pytest.FixtureRequest) -> None:
    box: Sandbox = request.getfixturevalue(which)

    async def leave() -> None:
        async with await box.start_async(SLEEP, stdin=PIPE) as process:
            assert len(sandboxes()) == 1
        assert sandboxes() == []
        assert (await process.wait()).cause is Cause.KILLED

    run(leave())


def test_signals_reach_the_program(box: Sandbox) -> None:
    async def terminate() -> signal.Signals | None:
        async with await box.start_async(SLEEP) as process:
            process.terminate()
            return (await process.wait()).signal

    assert run(terminate()) is signal.SIGTERM


def test_waiting_can_be_given_up_and_taken_up_again(box: Sandbox) -> None:
    async def wait_twice() -> bool:
        async with await box.start_async(["cat"], stdin=PIPE) as process:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(process.wait(), 0.05)
            assert process.stdin
            process.stdin.close()
            return (await process.wait()).ok

    assert run(wait_twice())


def test_a_burst_beyond_what_the_server_takes_in_at_once(box: Sandbox) -> None:
    async def burst() -> list[bool]:
        results = await asyncio.gather(*(box.run_async(["true"]) for _ in range(400)))
        return [result.ok for result in results]

    assert run(burst()) == [True] * 400
