"""How an end is told: a line where the exit status doesn't say it, and --report for programs."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.harness import Sandbox

SHELL = '[filesystem]\nexecute = ["/usr", "/bin", "/lib", "/lib64"]\n'
KILLING = '[[seccomp.rules]]\ncall = "{}"\naction = "kill"\n'


def report_of(sandbox: Sandbox, text: str, *words: str) -> dict[str, Any]:
    """The object of --report, from a cold launch and a warm one, which agree."""
    path = Path(sandbox.mkdir("reports")) / "end"
    found: list[dict[str, Any]] = []
    for _ in range(2):
        done = sandbox.run(text, *words, options=("--report", str(path), "--name", "ended"))
        document: dict[str, Any] = json.loads(path.read_bytes())
        assert document["exit_status"] == done.returncode
        found.append(document)
    cold, warm = ({k: v for k, v in d.items() if k != "usage"} for d in found)
    assert cold == warm
    return found[1]


def test_an_exit_is_reported(sandbox: Sandbox) -> None:
    end = report_of(sandbox, "", sandbox.probe, "exit", "3")
    assert (end["schema"], end["name"], end["cause"]) == (1, "ended", "exited")
    assert end["command"] == [sandbox.probe, "exit", "3"]
    assert (end["exit_code"], end["signal"], end["error"]) == (3, None, None)
    assert end["reason"] == "exited with 3"
    assert end["usage"]["measured"] == []
    assert 0 < end["usage"]["duration"] < 60
    assert end["usage"]["memory_peak"] > 0


def test_a_signal_is_reported(sandbox: Sandbox) -> None:
    end = report_of(sandbox, "", sandbox.probe, "die", str(int(signal.SIGKILL)))
    assert (end["cause"], end["exit_code"], end["signal"]) == ("signaled", None, "SIGKILL")
    assert end["reason"] == "ended by SIGKILL (Killed)"


def test_a_launch_that_fails_is_reported(sandbox: Sandbox) -> None:
    end = report_of(sandbox, "", "/no/such")
    assert (end["cause"], end["exit_status"], end["usage"]) == ("failed", 127, None)
    assert end["error"]["message"] == "there is no command '/no/such' in the sandbox"


def test_a_profile_that_is_wrong_is_reported(sandbox: Sandbox) -> None:
    path = Path(sandbox.mkdir("reports")) / "end"
    done = sandbox.run("nonsense = 1", "true", options=("--report", str(path)))
    end = json.loads(path.read_bytes())
    assert (done.returncode, end["exit_status"], end["cause"]) == (125, 125, "failed")
    assert "nonsense" in done.stderr


def test_processor_time_is_the_sandboxs(sandbox: Sandbox) -> None:
    words = ("/bin/sh", "-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done")
    usage = report_of(sandbox, SHELL, *words)["usage"]
    assert 0.01 < usage["user_time"] + usage["system_time"] < usage["duration"] * os.cpu_count()


@pytest.mark.parametrize("warm", (False, True))
def test_a_death_by_the_filter_names_the_call(sandbox: Sandbox, warm: bool) -> None:
    text = SHELL + KILLING.format("mkdir")
    for _ in range(1 + warm):
        done = sandbox.run(text, "/bin/sh", "-c", "exec mkdir /tmp/x")
    assert done.returncode == 128 + signal.SIGSYS
    line = "killed by the system call filter for mkdir (seccomp.rules[0].call at "
    assert done.stderr.startswith("sbx: ")
    assert line in done.stderr


def test_the_filters_report_names_the_statement(sandbox: Sandbox) -> None:
    text = SHELL + KILLING.format("mkdir")
    end = report_of(sandbox, text, "/bin/sh", "-c", "exec mkdir /tmp/x")
    assert (end["cause"], end["signal"]) == ("filter", "SIGSYS")
    assert end["system_calls"] == ["mkdir"]
    assert end["statement"]["key"] == "seccomp.rules[0].call"


def test_of_several_calls_that_are_killed_for_none_is_made_up(sandbox: Sandbox) -> None:
    """The kernel's log may tell which it was; without it both are named."""
    text = SHELL + KILLING.format("mkdir") + KILLING.format("chroot")
    end = report_of(sandbox, text, "/bin/sh", "-c", "exec mkdir /tmp/x")
    assert end["system_calls"] in (["mkdir"], ["chroot", "mkdir"])
    assert "mkdir" in end["reason"]


def test_a_file_that_cant_be_written_is_an_error_before_the_launch(sandbox: Sandbox) -> None:
    options = ("--report", "/no/such/directory/end")
    for _ in range(2):
        done = sandbox.run("", sandbox.probe, "say", "hello", options=options)
        assert (done.returncode, done.stdout) == (125, "")
        assert "--report: /no/such/directory/end: No such file or directory" in done.stderr


def test_a_report_and_timing_dont_go_together(sandbox: Sandbox) -> None:
    done = sandbox.run("", sandbox.probe, "exit", "0", options=("--report", "x", "--timing"))
    assert done.returncode == 125
    assert "--timing and --report don't go together" in done.stderr
