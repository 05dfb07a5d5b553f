"""From the launch to the last process: init, signals, and nothing left behind."""

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.kernel.harness import Sandbox, await_line, outcomes
from tests.kernel.traces import left, vanished

INIT = pytest.mark.parametrize("init", ("true", "false"), ids=["init", "bare"])
FORWARDED = ("HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "WINCH", "CONT", "RTMIN", "TERM")


@pytest.fixture
def brood(sandbox: Sandbox) -> Iterator[tuple[str, ...]]:
    """A command that leaves deaf processes all over, each named after the test."""
    yield (sandbox.probe, "brood", "3", sandbox.directory)
    for pid in left(sandbox):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


# ---- Init ----


def test_the_payload_is_process_2_of_an_init_or_process_1_itself(sandbox: Sandbox) -> None:
    with_init, bare = (sandbox.dump(f"[process]\ninit = {i}") for i in ("true", "false"))
    assert (with_init.pid, with_init.parent) == (2, 1)
    assert (bare.pid, bare.parent) == (1, 0)


def test_init_reaps_orphans(sandbox: Sandbox) -> None:
    assert sandbox.attempt("", "orphan").value == "reaped"


def test_without_init_nobody_reaps_orphans(sandbox: Sandbox) -> None:
    """The positive control: the payload is process 1 and doesn't wait for them."""
    assert " Z 1 " in sandbox.attempt("[process]\ninit = false", "orphan").value


def test_the_payload_cannot_kill_the_init(sandbox: Sandbox) -> None:
    """Landlock refuses it; where it doesn't, the kernel spares process 1."""
    tries = [("kill", 1, signal.SIGKILL), ("kill", 1, signal.SIGSTOP)]
    assert outcomes(sandbox.attempts("", *tries)) == ["EPERM"] * 2
    unscoped = "[landlock]\nscopes = ['abstract-unix-socket']"
    assert outcomes(sandbox.attempts(unscoped, *tries)) == ["ok"] * 2


@INIT
def test_signals_reach_the_payload(sandbox: Sandbox, init: str) -> None:
    with sandbox.start(f"[process]\ninit = {init}", sandbox.probe, "signals") as process:
        await_line(process)
        for name in FORWARDED:
            number = getattr(signal, f"SIG{name}")
            process.send_signal(number)
            await_line(process, b"%d\n" % number)
        assert process.wait(10) == 0


def test_a_signal_that_ends_the_payload_ends_sbx_with_its_number(sandbox: Sandbox) -> None:
    with sandbox.start("", sandbox.probe, "wait") as process:
        await_line(process)
        process.terminate()
        assert process.wait(10) == 128 + signal.SIGTERM


def test_a_signal_before_the_payload_runs_is_not_lost(sandbox: Sandbox) -> None:
    """Sent while the sandbox is being made, it ends the payload as soon as there is one."""
    sandbox.run("", sandbox.probe, "exit", "0")
    for _ in range(20):
        with sandbox.start("", sandbox.probe, "wait", stage=sandbox.without_python()) as process:
            time.sleep(random.uniform(0, 0.01))
            process.terminate()
            assert process.wait(10) in {-signal.SIGTERM, 128 + signal.SIGTERM}


@pytest.mark.parametrize("warm", (False, True), ids=["cold", "warm"])
def test_a_caller_that_ignores_and_blocks_signals_changes_nothing(
    sandbox: Sandbox, warm: bool
) -> None:
    def spoil() -> None:
        for number in range(1, 32):
            if number not in {signal.SIGKILL, signal.SIGSTOP}:
                signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())

    done = sandbox.run("", sandbox.probe, "exit", "42", before=spoil, warm=warm)
    assert done.returncode == 42
    done = sandbox.run("", sandbox.probe, "die", "15", before=spoil, warm=warm)
    assert done.returncode == 128 + 15
    assert sandbox.attempt("", "orphan", before=spoil).value == "reaped"


# ---- The end ----


@INIT
def test_when_sbx_ends_all_processes_of_the_sandbox_have_ended(
    sandbox: Sandbox, init: str, brood: tuple[str, ...]
) -> None:
    with sandbox.start(f"[process]\ninit = {init}", *brood) as process:
        await_line(process)
        assert len(left(sandbox)) >= 7
        payload = next(p for p, words in left(sandbox).items() if is_payload(p, words))
        os.kill(payload, signal.SIGKILL)
        assert process.wait(10) == 128 + signal.SIGKILL
        assert left(sandbox) == {}


def is_payload(pid: int, words: str) -> bool:
    """The first process that runs the probe."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        fields = dict(line.split(":", 1) for line in file)
    return " brood " in words and " run " not in words and fields["NSpid"].split()[-1] in {"1", "2"}


@INIT
def test_the_sandbox_dies_with_sbx(sandbox: Sandbox, init: str, brood: tuple[str, ...]) -> None:
    with sandbox.start(f"[process]\ninit = {init}", *brood) as process:
        await_line(process)
        assert len(left(sandbox)) >= 7
        process.kill()
        process.wait(10)
        assert vanished(sandbox)


def test_a_sandbox_that_may_outlive_sbx_does(sandbox: Sandbox, brood: tuple[str, ...]) -> None:
    """The positive control of the tests around it."""
    with sandbox.start("[process]\ndie_with_parent = false", *brood) as process:
        await_line(process)
        process.kill()
        process.wait(10)
        assert not vanished(sandbox, 0.3)


@INIT
def test_a_kill_at_any_moment_of_the_launch_leaves_nothing(
    sandbox: Sandbox, init: str, brood: tuple[str, ...]
) -> None:
    text = f"[process]\ninit = {init}"
    with sandbox.start(text, *brood) as process:  # for the plan, and how long it takes
        await_line(process)
        process.kill()
    arguments = sandbox.arguments(text, brood)
    moments = random.Random(2)
    for _ in range(40):
        process = sandbox.popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        with process:
            time.sleep(moments.uniform(0, 0.012))
            process.kill()
            process.wait(10)
            assert vanished(sandbox)


def test_a_kill_while_python_compiles_leaves_nothing(
    sandbox: Sandbox, brood: tuple[str, ...]
) -> None:
    arguments = [*sandbox.arguments("[vars]\na = ''", ()), *brood]
    arguments[2:2] = ["--set", "a=b"]  # never from the cache
    moments = random.Random(3)
    for _ in range(5):
        with sandbox.popen(arguments, stdout=subprocess.DEVNULL) as process:
            time.sleep(moments.uniform(0, 0.3))
            process.kill()
            process.wait(10)
            assert vanished(sandbox)


def test_a_failed_launch_leaves_nothing(sandbox: Sandbox) -> None:
    for text in ("[process]\ncwd = '/nowhere'", "[rlimits]\nnofile = 1\nstack = 4096"):
        sandbox.run(text, sandbox.probe, "exit", "0")
        assert left(sandbox) == {}


def test_output_behind_a_closed_pipe_ends_the_payload_and_not_sbx(sandbox: Sandbox) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = sandbox.run("", sandbox.probe, "wait", stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")
