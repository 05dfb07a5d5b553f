"""`sbx logs`, and services in the background."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.kernel.harness import Sandbox
from tests.kernel.service.services import NOTIFIES, SECONDS, Services, until

FILE = '[service]\nlog = "file"\n'
NAMED = ("--name", "kept")


@pytest.fixture(autouse=True)
def no_logs(sandbox: Sandbox) -> Iterator[None]:
    yield
    shutil.rmtree(os.path.join(sandbox.logs, "kept"), ignore_errors=True)


def logs(services: Services, *words: str) -> subprocess.CompletedProcess[str]:
    sandbox = services.sandbox
    return sandbox.program([sandbox.launcher, "logs", *words])


def test_the_log_of_what_has_ended_is_printed_harmlessly(services: Services) -> None:
    said = "\x1b]0;owned\x07\ttab \u00fc\u202e"
    assert services.run(FILE, "out", said, "err", "two", options=NAMED).returncode == 0
    done = logs(services, "kept")
    assert sorted(done.stdout.splitlines()) == ["\\x1b]0;owned\\x07\ttab \u00fc\\u202e", "two"]
    assert said in logs(services, "--raw", "kept").stdout


def test_lines_can_be_counted_and_dated(services: Services) -> None:
    words = [word for number in range(20) for word in ("out", str(number))]
    text = FILE + 'log_size = "512"\nlog_files = 9\n'
    assert services.run(text, *words, options=NAMED).returncode == 0
    assert logs(services, "-n", "3", "kept").stdout == "17\n18\n19\n"
    assert logs(services, "kept").stdout.splitlines() == [str(number) for number in range(20)]
    assert logs(services, "--since", "1h", "kept").stdout.count("\n") == 20
    assert logs(services, "--since", "2100-01-01", "kept").stdout == ""
    assert "is no time" in logs(services, "--since", "x", "kept").stderr
    stamped = logs(services, "-t", "-n", "1", "kept").stdout
    assert stamped.endswith("Z 19\n")


def test_machines_get_an_object_for_each_piece(services: Services) -> None:
    assert services.run(FILE, "out", "x" * 20000, options=NAMED).returncode == 0
    found = [json.loads(line) for line in logs(services, "--json", "kept").stdout.splitlines()]
    assert [(each["partial"], len(each["text"])) for each in found] == [
        (True, 16384),
        (False, 3616),
    ]
    assert found[0]["stream"] == "stdout"
    assert logs(services, "kept").stdout == "x" * 20000 + "\n"


def test_following_goes_on_over_rotations_until_the_end(services: Services) -> None:
    sandbox = services.sandbox
    words = [w for number in range(60) for w in ("out", f"line {number:03d}", "sleep", "5")]
    text = FILE + 'log_size = "1K"\nlog_files = 50\n'
    with services.start(text, "await", *words, name="kept") as process:
        services.await_state("ready", "kept")
        arguments = [sandbox.launcher, "logs", "-f", "kept"]
        with sandbox.popen(arguments, stdout=subprocess.PIPE, encoding="utf-8") as following:
            process.send_signal(signal.SIGUSR1)
            heard = following.communicate(timeout=SECONDS)[0].splitlines()
            assert following.returncode == 0
        assert process.wait(SECONDS) == 0
    assert heard == ["signal 10", *(f"line {number:03d}" for number in range(60))]


def test_one_that_keeps_none_has_no_log(services: Services) -> None:
    done = logs(services, "nobody")
    assert done.returncode == 125
    assert "there is no log of 'nobody'" in done.stderr


def detached(services: Services, text: str, *words: str) -> subprocess.CompletedProcess[str]:
    return services.run(text, *words, options=("--detach", *NAMED))


def stop(services: Services) -> subprocess.CompletedProcess[str]:
    return services.sandbox.program([services.sandbox.launcher, "stop", "kept"])


def test_a_sandbox_in_the_background_is_there_when_its_start_returns(services: Services) -> None:
    done = detached(services, "", "out", "up", "await")
    assert (done.stdout, done.stderr, done.returncode) == ("kept\n", "", 0)
    assert services.state("kept")["state"] == "ready"
    assert until(lambda: logs(services, "kept").stdout == "up\n")
    assert stop(services).returncode == 0
    assert services.state("kept") == {}


def test_one_that_notifies_is_ready_then(services: Services) -> None:
    done = detached(services, NOTIFIES, "sleep", "300", "say", "READY=1\nSTATUS=up", "await")
    assert (done.stdout, done.returncode) == ("kept\n", 0)
    assert services.state("kept")["state"] == "ready"
    assert stop(services).returncode == 0


def test_one_that_fails_before_it_is_ready_says_so(services: Services) -> None:
    done = detached(services, NOTIFIES, "err", "no configuration", "exit", "3")
    assert done.returncode == 3
    assert "'kept' ended with 3 before it was ready" in done.stderr
    assert "sbx logs kept" in done.stderr
    assert logs(services, "kept").stdout == "no configuration\n"


def test_one_that_can_not_start_is_explained(services: Services) -> None:
    sandbox = services.sandbox
    done = sandbox.run(services.text(""), "/nonexistent", options=("--detach", *NAMED))
    assert done.returncode == 127
    assert "there is no command '/nonexistent'" in done.stderr


def test_a_name_that_is_taken_is_refused(services: Services) -> None:
    assert detached(services, "", "await").returncode == 0
    done = detached(services, "", "await")
    assert done.returncode == 125
    assert "another live sandbox has the name" in done.stderr
    assert stop(services).returncode == 0


def test_it_outlives_the_session_that_started_it(services: Services) -> None:
    done = services.run("", "await", options=("-d",))
    name = done.stdout.strip()
    assert name.startswith("probe-")
    assert services.state(name)["state"] == "ready"
    assert services.sandbox.program([services.sandbox.launcher, "stop", name]).returncode == 0
    shutil.rmtree(os.path.join(services.sandbox.logs, name))
