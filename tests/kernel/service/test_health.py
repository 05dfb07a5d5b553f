"""A service is looked at from within its sandbox, and others are told what was found."""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kernel.harness import Running, Sandbox
from tests.kernel.live import sbx
from tests.kernel.service.services import NOTIFIES, SECONDS, Manager, until

HERE = os.path.dirname(os.path.abspath(__file__))
ENDED = 124
OFTEN = 'interval = "100ms"\ntimeout = "500ms"\nretries = 2\n'
IDLE = ("idle", "-")


class Patient:
    """One service with its check; `file` holds the number that the command ends with."""

    def __init__(self, sandbox: Sandbox, program: str, directory: str) -> None:
        self.sandbox = sandbox
        self.program = program
        self.file = os.path.join(directory, "number")
        self.says(0)

    def says(self, number: int) -> None:
        # In place: what the sandbox has mounted is this file.
        with open(self.file, "w", encoding="ascii") as file:
            file.write(str(number))

    def text(self, health: str, more: str = "", service: str = "") -> str:
        binds = "".join(
            f'[[mounts]]\ntype = "bind"\nsource = "{path}"\ntarget = "{path}"\nexecute = true\n'
            for path in (self.program, self.file)
        )
        return f"{more}{binds}{service}[service.health]\n{health}"

    def command(self, verb: str = "check") -> str:
        return f'command = ["{self.program}", "{verb}", "{self.file}"]\n'

    def start(
        self, health: str, *words: str, more: str = "", service: str = "", **how: Any
    ) -> Running:
        text = self.text(health, more, service)
        how.setdefault("options", ("--name", "patient"))
        return self.sandbox.start(text, self.program, *(words or IDLE), encoding="utf-8", **how)

    def health(self) -> dict[str, Any]:
        """As `sbx inspect` tells it."""
        done = sbx(self.sandbox, "inspect", "--json", "patient")
        found = json.loads(done.stdout)["health"] if done.returncode == 0 else None
        return found or {}

    def file_says(self) -> dict[str, str]:
        """What its file says; quicker to ask than sbx is."""
        try:
            with open(os.path.join(self.sandbox.runtime, "patient", "health"), "rb") as file:
                text = file.read().decode()
        except FileNotFoundError:
            return {}
        return dict(pair.split("=", 1) for pair in text.split("\0") if pair)

    def becomes(self, state: str, reason: str = "") -> None:
        found: dict[str, str] = {}

        def reached() -> bool:
            found.clear()
            found.update(self.file_says())
            return found.get("state") == state and reason in found["reason"]

        assert until(reached), f"wanted {state} {reason!r}, found {found}"


@pytest.fixture(scope="session")
def health_probe() -> Iterator[str]:
    """The program of health_probe.c, linked statically; all users may run it."""
    with tempfile.TemporaryDirectory(prefix="sbx-health-") as directory:
        os.chmod(directory, 0o755)
        path = os.path.join(directory, "patient")
        compiler = os.environ.get("CC", "cc").split()
        flags = ("-std=gnu17", "-D_GNU_SOURCE", "-O1", "-static", "-Wall", "-Wextra", "-Werror")
        source = os.path.join(HERE, "health_probe.c")
        subprocess.run([*compiler, *flags, "-o", path, source], check=True)
        yield path


@pytest.fixture
def patient(sandbox: Sandbox, health_probe: str) -> Iterator[Patient]:
    with tempfile.TemporaryDirectory(prefix="sbx-patient-") as directory:
        os.chmod(directory, 0o755)
        yield Patient(sandbox, health_probe, directory)


def test_a_command_that_ends_with_0_makes_it_healthy(patient: Patient) -> None:
    with patient.start(patient.command() + OFTEN):
        patient.becomes("healthy")
        found = patient.health()
        assert (found["failures"], found["reason"]) == (0, "")
        assert "healthy for" in sbx(patient.sandbox, "inspect", "patient").stdout


def test_one_that_fails_makes_it_unhealthy_and_says_why_in_plain_characters(
    patient: Patient,
) -> None:
    patient.says(3)
    with patient.start(patient.command() + OFTEN) as process:
        patient.becomes("unhealthy", "the check ended with 3: the number is 3?[31m")
        listed = json.loads(sbx(patient.sandbox, "ps", "--json").stdout)
        assert [each["state"] for each in listed] == ["unhealthy"]
        assert process.poll() is None
        told = json.loads(sbx(patient.sandbox, "events", "--json").stdout.splitlines()[-1])
        assert (told["event"], told["reason"]) == ("unhealthy", patient.file_says()["reason"])


def test_it_recovers_and_fails_again(patient: Patient) -> None:
    with patient.start(patient.command() + OFTEN):
        for number, state in ((0, "healthy"), (1, "unhealthy"), (0, "healthy"), (2, "unhealthy")):
            patient.says(number)
            patient.becomes(state)


def test_fewer_failures_than_it_takes_change_nothing(patient: Patient) -> None:
    text = patient.command() + 'interval = "100ms"\nretries = 1000\n'
    with patient.start(text):
        patient.becomes("healthy")
        patient.says(1)
        patient.becomes("healthy", "ended with 1")
        assert until(lambda: int(patient.file_says()["failures"]) >= 3)
        assert patient.file_says()["state"] == "healthy"


def test_a_check_that_hangs_has_failed_and_is_gone(patient: Patient) -> None:
    patient.says(1)
    with patient.start(patient.command("hang") + OFTEN):
        patient.becomes("unhealthy", "the check took longer than 0.5 s")
        patient.says(0)
        patient.becomes("healthy")
        count = json.loads(sbx(patient.sandbox, "inspect", "--json", "patient").stdout)
        assert count["processes"]["count"] <= 3


@pytest.mark.parametrize("verb", ("flood", "leave"))
def test_what_writes_much_or_leaves_a_process_behind_is_no_trouble(
    patient: Patient, verb: str
) -> None:
    with patient.start(patient.command(verb) + OFTEN.replace("500ms", "10s")):
        patient.becomes("healthy")


def test_a_service_whose_output_is_kept_is_looked_at_all_the_same(patient: Patient) -> None:
    with patient.start(patient.command() + OFTEN, service='[service]\nlog = "file"\n'):
        patient.becomes("healthy")


def test_a_missing_program_is_a_failure_in_words(patient: Patient) -> None:
    with patient.start('command = ["/no/such/program"]\n' + OFTEN):
        patient.becomes("unhealthy", "the check can't be started: No such file or directory")


def test_failures_at_the_start_do_not_count_until_it_has_succeeded_once(patient: Patient) -> None:
    patient.says(1)
    with patient.start(patient.command() + OFTEN + 'start_period = "1h"\n'):
        patient.becomes("starting", "ended with 1")
        time.sleep(0.5)
        assert patient.file_says()["state"] == "starting"
        patient.says(0)
        patient.becomes("healthy")
        patient.says(1)
        patient.becomes("unhealthy")


def test_one_that_is_to_stop_ends_with_its_own_status(patient: Patient) -> None:
    patient.says(1)
    with patient.start(patient.command() + OFTEN + 'action = "stop"\n') as process:
        assert "its checks failed (service.health)" in process.communicate(timeout=SECONDS)[1]
        assert process.returncode == ENDED
    assert patient.file_says() == {}


def test_a_service_that_notifies_is_looked_at_once_it_is_ready(
    patient: Patient, manager: Manager
) -> None:
    patient.says(1)
    env = {**patient.sandbox.environment, "NOTIFY_SOCKET": manager.path}
    health = patient.command() + OFTEN + 'action = "stop"\n'
    with patient.start(health, service=NOTIFIES, env=env):
        time.sleep(0.6)
        assert patient.file_says() == {}


def test_the_manager_is_told(patient: Patient, manager: Manager, service_probe: str) -> None:
    patient.says(4)
    env = {**patient.sandbox.environment, "NOTIFY_SOCKET": manager.path}
    bind = f'[[mounts]]\ntype = "bind"\nsource = "{service_probe}"\ntarget = "{service_probe}"\n'
    text = patient.text(patient.command() + OFTEN, bind + "execute = true\n", NOTIFIES)
    words = (service_probe, "say", "READY=1", "sleep", "60000")
    options = ("--name", "patient")
    with patient.sandbox.start(text, *words, options=options, env=env):
        assert manager.hear_until("STATUS=unhealthy: the check ended with 4: the number is 4?[31m")
        patient.says(0)
        assert manager.hear_until("STATUS=healthy")


HTTP = 'http = "http://127.0.0.1:8080/health?x=1"\n' + OFTEN
OK = "HTTP/1.1 200 OK\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "state", "reason"),
    (
        (OK, "healthy", ""),
        ("HTTP/1.0 302 Found\r\nLocation: http://192.0.2.1/\r\n\r\n", "healthy", ""),
        ("HTTP/1.1 404 Not Found\r\n\r\n", "unhealthy", "the answer's status is 404"),
        ("HTTP/1.1 503\r\n", "unhealthy", "the answer's status is 503"),
        ("HTTP/1.1 99999999999\r\n", "unhealthy", "no answer of HTTP"),
        ("SSH-2.0-OpenSSH_9.9\r\n", "unhealthy", "no answer of HTTP"),
        ("HTTP", "unhealthy", "no answer of HTTP"),
        ("silent", "unhealthy", "took longer than 0.5 s"),
    ),
)
def test_http_is_judged_by_the_answers_status(
    patient: Patient, answer: str, state: str, reason: str
) -> None:
    with patient.start(HTTP, "serve", "8080", answer):
        patient.becomes(state, reason)


def test_the_request_is_one_of_http(patient: Patient) -> None:
    with patient.start(HTTP, "serve", "8080", OK) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "GET /health?x=1 HTTP/1.1\n"
        assert process.stdout.readline() == "Host: 127.0.0.1:8080\n"


@pytest.mark.parametrize(
    ("check", "where"),
    (('tcp = "localhost:81"\n', "8081"), ('unix = "/run/a.sock"\n', "/run/b.sock")),
)
def test_a_connection_that_nobody_takes_is_a_failure(
    patient: Patient, check: str, where: str
) -> None:
    with patient.start(check + OFTEN, "serve", where, OK, more=TMPFS):
        patient.becomes("unhealthy", "no connection: ")


TMPFS = '[[mounts]]\ntype = "tmpfs"\ntarget = "/run"\n'


@pytest.mark.parametrize(
    ("check", "where"),
    (('tcp = "127.0.0.1:8081"\n', "8081"), ('unix = "/run/a.sock"\n', "/run/a.sock")),
)
def test_a_connection_that_is_accepted_is_enough(patient: Patient, check: str, where: str) -> None:
    with patient.start(check + OFTEN, "serve", where, "silent", more=TMPFS):
        patient.becomes("healthy")


@pytest.mark.alone
def test_looking_costs_the_supervisor_next_to_nothing(patient: Patient) -> None:
    with patient.start('tcp = "127.0.0.1:8081"\n' + OFTEN, "serve", "8081", "silent") as process:
        patient.becomes("healthy")
        before, begun = ticks(process.pid), time.monotonic()
        time.sleep(1.5)
        assert (ticks(process.pid) - before) / 100 < 0.2 * (time.monotonic() - begun)


def ticks(pid: int) -> int:
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_a_filter_without_sockets_refuses_such_a_check_by_name(sandbox: Sandbox) -> None:
    text = '[service.health]\ntcp = "127.0.0.1:80"\n[seccomp]\nallow = ["@program"]\ndeny = ["connect"]\n'
    done = sandbox.run(text, sandbox.probe, "exit", "0")
    assert done.returncode == 125
    assert "service.health.tcp" in done.stderr
    assert "refuses connect" in done.stderr
