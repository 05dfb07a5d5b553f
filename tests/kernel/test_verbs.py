"""`sbx stop`, `kill`, `wait`, `pause` and `resume`: what is asked of a live sandbox happens."""

import json
import os
import signal
import subprocess
import time
from typing import Any

import pytest

from tests.kernel.harness import Running, Sandbox, await_line
from tests.kernel.live import SECONDS, listed, named, names, sbx, until


@pytest.fixture
def place(shared_dir: str) -> str:
    """A runtime directory of the test's own."""
    path = os.path.join(shared_dir, "place")
    os.makedirs(path, 0o755)
    return path


def refused(done: "subprocess.CompletedProcess[str]", words: str) -> None:
    assert done.returncode == 125, done
    assert words in done.stderr


def state_of(sandbox: Sandbox, name: str) -> str:
    return next(str(each["state"]) for each in listed(sandbox) if each["name"] == name)


def lines_of(process: Running, count: int) -> list[bytes]:
    assert process.stdout is not None
    return [process.stdout.readline() for _ in range(count)]


SHELL = 'filesystem.execute = ["/bin", "/lib", "/lib64", "/usr"]\n'


# ---- stop ----


def test_stop_asks_and_waits_for_the_end(sandbox: Sandbox) -> None:
    with named(sandbox, "polite") as process:
        done = sbx(sandbox, "stop", "polite")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert names(sandbox) == []
        assert process.wait(SECONDS) == 0
        assert lines_of(process, 1) == [b"15\n"]


def test_stop_kills_what_doesnt_end_in_time(sandbox: Sandbox) -> None:
    with named(sandbox, "deaf", sandbox.probe, "brood", "2") as process:
        await_line(process)
        begun = time.monotonic()
        done = sbx(sandbox, "stop", "-t", "200ms", "deaf")
        assert (done.returncode, done.stderr) == (0, "")
        assert time.monotonic() - begun < 5
        assert process.wait(SECONDS) == 128 + signal.SIGKILL


def test_stop_sends_another_signal(sandbox: Sandbox) -> None:
    with named(sandbox, "other") as process:
        done = sbx(sandbox, "stop", "--signal", "usr1", "--timeout", "300ms", "other")
        assert (done.returncode, done.stderr) == (0, "")
        assert lines_of(process, 1) == [f"{signal.SIGUSR1.value}\n".encode()]
        assert process.wait(SECONDS) == 128 + signal.SIGKILL


def test_stop_ends_several_and_all(sandbox: Sandbox) -> None:
    with named(sandbox, "one"), named(sandbox, "two"), named(sandbox, "three"):
        done = sbx(sandbox, "stop", "one", "nobody", "two", "one")
        refused(done, "there is no live sandbox 'nobody'")
        assert names(sandbox) == ["three"]
        assert sbx(sandbox, "stop", "--all").returncode == 0
        assert names(sandbox) == []
        assert sbx(sandbox, "stop", "--all").returncode == 0


def test_stop_says_that_a_supervisor_doesnt_answer(sandbox: Sandbox) -> None:
    """And kill ends such a one all the same, with everything that is left of it."""
    with named(sandbox, "asleep") as process:
        first = listed(sandbox)[0]["first"]
        process.send_signal(signal.SIGSTOP)
        done = sbx(sandbox, "stop", "asleep")
        refused(done, "doesn't answer")
        assert "sbx kill asleep" in done.stderr
        assert names(sandbox) == ["asleep"]
        done = sbx(sandbox, "kill", "asleep")
        assert (done.returncode, done.stderr) == (0, "")
        assert names(sandbox) == []
        assert "asleep" not in os.listdir(sandbox.runtime)
        assert process.wait(SECONDS) == -signal.SIGKILL
        until(lambda: not os.path.exists(f"/proc/{first}"), "its init lives")


def test_wrong_words_are_told_what_is_right(sandbox: Sandbox) -> None:
    refused(sbx(sandbox, "stop"), "no sandbox is named")
    refused(sbx(sandbox, "stop", "--all", "x"), "--all and names don't go together")
    refused(sbx(sandbox, "stop", "-t", "soon", "x"), "isn't a duration")
    done = sbx(sandbox, "kill", "-s", "TREM", "x")
    refused(done, "there is no signal 'TREM'; did you mean 'TERM'")
    refused(sbx(sandbox, "kill", "-s", "99", "x"), "there is no signal '99'")


# ---- kill ----


def test_kill_ends_everything(sandbox: Sandbox) -> None:
    with named(sandbox, "brood", sandbox.probe, "brood", "5") as process:
        await_line(process)
        done = sbx(sandbox, "kill", "brood")
        assert (done.returncode, done.stderr) == (0, "")
        assert names(sandbox) == []
        assert process.wait(SECONDS) == 128 + signal.SIGKILL


def test_kill_sends_a_signal_to_the_command(sandbox: Sandbox) -> None:
    with named(sandbox, "told") as process:
        for word in ("HUP", "SIGUSR2", "10"):
            done = sbx(sandbox, "kill", "--signal", word, "told")
            assert (done.returncode, done.stderr) == (0, "")
        assert lines_of(process, 3) == [b"1\n", b"12\n", b"10\n"]
        assert names(sandbox) == ["told"]
        refused(sbx(sandbox, "kill", "-s", "STOP", "told"), "would stop the sandbox's init")


def test_a_user_can_t_reach_the_sandboxes_of_another(as_user: Sandbox, as_root: Sandbox) -> None:
    """Not even with the name of the directory."""
    os.chmod(as_root.runtime, 0o755)
    with named(as_root, "roots") as process:
        env = as_user.environment | {"SBX_RUNTIME_DIR": as_root.runtime}
        for verb in ("stop", "kill", "wait", "pause", "inspect"):
            refused(sbx(as_user, verb, "roots", env=env), "belongs to another user")
        assert process.poll() is None


# ---- wait ----


def waiter(sandbox: Sandbox, words: list[str], **how: Any) -> Running:
    """`sbx wait`, once it has asked everybody and waits for answers."""
    program = [sandbox.launcher, "wait", *words]
    waiting = sandbox.popen(program, stderr=subprocess.PIPE, text=True, **how)
    until(lambda: _sleeps_in_poll(waiting.pid), "it doesn't wait")
    return waiting


def _sleeps_in_poll(pid: int) -> bool:
    """In poll(2), with time to spare: what it does before that doesn't sleep there."""
    try:
        with open(f"/proc/{pid}/wchan", encoding="ascii") as file:
            return "poll" in file.read()
    except OSError:
        return False


def test_wait_ends_as_the_command_did(sandbox: Sandbox) -> None:
    for name, words, status in (
        ("fine", "exit 0", 0),
        ("three", "exit 3", 3),
        ("hit", "kill -9 $$", 137),
    ):
        script = ("/usr/bin/sh", "-c", f"read x; {words}")
        with named(sandbox, name, *script, text=SHELL) as process:
            waiting = waiter(sandbox, [name])
            assert waiting.poll() is None
            assert process.stdin is not None
            process.stdin.write(b"\n")
            process.stdin.flush()
            with waiting:
                assert waiting.wait(SECONDS) == status
            assert process.wait(SECONDS) == status


def test_wait_for_several_tells_of_each(sandbox: Sandbox) -> None:
    with named(sandbox, "one") as one, named(sandbox, "two", sandbox.probe, "wait") as two:
        waiting = waiter(sandbox, ["--json", "one", "two"], stdout=subprocess.PIPE)
        one.terminate()
        sbx(sandbox, "kill", "two")
        with waiting:
            output, _ = waiting.communicate(timeout=SECONDS)
        ends = {end["name"]: end for end in json.loads(output)}
        assert ends["one"]["exit_status"] == 0
        assert ends["one"]["cause"] == "exited"
        assert ends["one"]["usage"]["duration"] > 0
        assert (ends["two"]["exit_status"], ends["two"]["signal"]) == (137, "SIGKILL")
        assert ends["two"]["command"][-1] == "wait"
        assert waiting.returncode == 1
        two.wait(SECONDS)


def test_wait_gives_up_when_the_time_is_over(sandbox: Sandbox) -> None:
    with named(sandbox, "long"):
        done = sbx(sandbox, "wait", "--timeout", "100ms", "long")
        assert (done.returncode, done.stdout) == (124, "")
        assert "still running: long" in done.stderr


def test_wait_says_that_a_supervisor_was_killed(sandbox: Sandbox) -> None:
    with named(sandbox, "lost") as process:
        waiting = waiter(sandbox, ["lost"])
        process.kill()
        with waiting:
            _, messages = waiting.communicate(timeout=SECONDS)
        assert waiting.returncode == 125
        assert "has gone without saying how the sandbox ended" in messages
        assert "sbx gc" in messages


# ---- pause and resume ----


def test_what_is_paused_stands_still_and_goes_on(as_root: Sandbox) -> None:
    with named(as_root, "still") as process:
        done = sbx(as_root, "pause", "still")
        assert (done.returncode, done.stderr) == (0, "")
        assert state_of(as_root, "still") == "paused"
        refused(sbx(as_root, "pause", "still"), "is paused already")
        process.send_signal(signal.SIGUSR1)
        time.sleep(0.2)
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        assert process.stdout.read() is None
        os.set_blocking(process.stdout.fileno(), True)
        done = sbx(as_root, "resume", "still")
        assert (done.returncode, done.stderr) == (0, "")
        assert lines_of(process, 1) == [b"10\n"]
        assert state_of(as_root, "still") == "running"
        refused(sbx(as_root, "resume", "still"), "isn't paused")


@pytest.mark.parametrize("verb", ("stop", "kill"))
def test_what_is_paused_can_be_ended(as_root: Sandbox, verb: str) -> None:
    with named(as_root, "ended", as_root.probe, "brood", "3") as process:
        await_line(process)
        assert sbx(as_root, "pause", "ended").returncode == 0
        options = ("-t", "100ms") if verb == "stop" else ()
        done = sbx(as_root, verb, *options, "ended")
        assert (done.returncode, done.stderr) == (0, "")
        assert process.wait(SECONDS) == 128 + signal.SIGKILL
    assert _cgroups_called("ended") == []


def test_a_pause_leaves_no_cgroup(as_root: Sandbox) -> None:
    with named(as_root, "clean"):
        assert sbx(as_root, "pause", "clean").returncode == 0
        assert len(_cgroups_called("clean")) == 1
        assert sbx(as_root, "resume", "clean").returncode == 0
        assert _cgroups_called("clean") == []


def test_pausing_takes_a_cgroup(as_user: Sandbox) -> None:
    with named(as_user, "groupless") as process:
        done = sbx(as_user, "pause", "groupless")
        refused(done, "has no cgroup that you may freeze")
        assert "[resources]" in done.stderr
        assert state_of(as_user, "groupless") == "running"
        process.send_signal(signal.SIGUSR1)
        assert lines_of(process, 1) == [b"10\n"]


def _cgroups_called(name: str) -> list[str]:
    return [
        os.path.join(where, name)
        for where, directories, _ in os.walk("/sys/fs/cgroup")
        if name in directories
    ]


def test_an_explained_sandbox_has_a_name_too(sandbox: Sandbox) -> None:
    with named(sandbox, "followed", options=("--explain",)) as process:
        assert names(sandbox) == ["followed"]
        done = sbx(sandbox, "stop", "followed")
        assert (done.returncode, done.stderr) == (0, "")
        assert process.wait(SECONDS) == 0
    done = sbx(sandbox, "ps", "-q")
    assert done.stdout == ""
