"""A service runs on when its supervisor is killed, and another one takes it over with all that it does."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kernel.harness import Running
from tests.kernel.live import sbx
from tests.kernel.service.services import NOTIFIES, SECONDS, Manager, Services, until

SURVIVES = "survive = true\n"
# With a log: what it would inherit is a pipe of the test's, which ends with the supervisor.
PLAIN = '[process]\nterminal = "never"\n[service]\nlog = "file"\n' + SURVIVES
NOISY = tuple(word for i in range(400) for word in ("out", f"line {i}", "sleep", "10"))


class Survivors:
    """Services that lose their supervisors."""

    def __init__(self, services: Services, logs: str) -> None:
        self.services = services
        self.sandbox = services.sandbox
        self.environment = {**services.sandbox.environment, "SBX_LOG_DIR": logs}
        self.logs = logs

    def start(self, text: str, *words: str, **env: str) -> Running:
        return self.services.start(text, *words, env={**self.environment, **env})

    def orphan(self, text: str, *words: str, state: str = "ready") -> None:
        """A service whose supervisor is killed once it has reached that state."""
        with self.start(text, *words) as process:
            self.services.await_state(state)
            # The init looks around only after its first moment.
            time.sleep(0.1)
            process.kill()
            process.wait(SECONDS)

    def adopt(self, **env: str) -> Running:
        return self.sandbox.popen(
            [self.sandbox.launcher, "adopt", "web"],
            env={**self.environment, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    def listed(self) -> list[dict[str, Any]]:
        found = json.loads(sbx(self.sandbox, "ps", "--json").stdout)
        assert isinstance(found, list)
        return found

    def await_supervisor(self, process: Running) -> None:
        def reached() -> bool:
            return [each["supervisor"] for each in self.listed()] == [process.pid]

        assert until(reached), process.communicate()

    def log(self) -> list[str]:
        try:
            with open(os.path.join(self.logs, "web", "log"), encoding="utf-8") as file:
                return [line.split(" ", 3)[3].rstrip("\n") for line in file]
        except FileNotFoundError:
            return []


@pytest.fixture
def survivors(services: Services) -> Iterator[Survivors]:
    logs = services.sandbox.mkdir(f"logs-{time.monotonic_ns()}")
    made = Survivors(services, logs)
    yield made
    # Whatever a test has left running has no supervisor that ends with the test.
    for live in made.listed():
        with contextlib.suppress(ProcessLookupError):
            os.kill(live["first"], signal.SIGKILL)
    assert until(lambda: made.listed() == [])
    shutil.rmtree(os.path.join(services.sandbox.runtime, "web"), ignore_errors=True)


def test_it_runs_on_and_is_taken_over_and_ends_as_it_would(survivors: Survivors) -> None:
    survivors.orphan(PLAIN, "await", "exit", "7")
    assert [each["state"] for each in survivors.listed()] == ["orphaned"]
    with survivors.adopt() as process:
        survivors.await_supervisor(process)
        assert [each["state"] for each in survivors.listed()] == ["ready"]
        process.terminate()
        assert process.wait(SECONDS) == 7
    lines = sbx(survivors.sandbox, "events", "--json", "web").stdout.splitlines()
    told = [json.loads(line)["event"] for line in lines]
    assert told[-5:] == ["started", "ready", "adopted", "stopping", "exited"]
    assert survivors.listed() == []
    assert not os.path.exists(os.path.join(survivors.sandbox.runtime, "web"))


def test_no_line_of_its_output_is_lost_though_two_supervisors_are_killed(
    survivors: Survivors,
) -> None:
    survivors.orphan(PLAIN, *NOISY)
    with survivors.adopt() as process:
        survivors.await_supervisor(process)
        assert until(lambda: len(survivors.log()) > 20)
        process.kill()
    with survivors.adopt() as process:
        assert process.wait(SECONDS) == 0
    assert survivors.log() == [f"line {i}" for i in range(400)]


def test_what_it_says_meanwhile_is_heard_by_the_next(
    survivors: Survivors, manager: Manager
) -> None:
    text = PLAIN + NOTIFIES.removeprefix("[service]\n")
    words = ("say", "READY=1", "sleep", "700", "say", "STATUS=alone", "await", "exit", "0")
    survivors.orphan(text, *words)
    time.sleep(0.8)
    with survivors.adopt(NOTIFY_SOCKET=manager.path) as process:
        heard = manager.hear_until("STATUS=alone")
        assert "READY=1" in "\n".join(heard)
        process.terminate()
        assert process.wait(SECONDS) == 0


def test_only_one_of_many_gets_it(survivors: Survivors) -> None:
    survivors.orphan(PLAIN, "await", "exit", "0")
    with contextlib.ExitStack() as stack:
        asking = [stack.enter_context(survivors.adopt()) for _ in range(5)]
        assert until(lambda: sum(each.poll() is not None for each in asking) == 4)
        (winner,) = (each for each in asking if each.poll() is None)
        for each in asking:
            if each is not winner:
                assert each.returncode == 125
                assert "it has a supervisor" in each.communicate()[1]
        survivors.await_supervisor(winner)
        winner.terminate()
        assert winner.wait(SECONDS) == 0


def test_its_end_while_nobody_looked_is_told_by_the_next(survivors: Survivors) -> None:
    survivors.orphan(PLAIN, "sleep", "500", "exit", "9")
    assert until(lambda: survivors.listed() == [])
    with survivors.adopt() as process:
        assert process.wait(SECONDS) == 9
        assert "ended while it had no supervisor" in process.communicate()[1]
    with survivors.adopt() as process:
        assert process.wait(SECONDS) == 125
        assert "there is no live sandbox of this name" in process.communicate()[1]


def test_one_that_was_killed_meanwhile_says_so(survivors: Survivors) -> None:
    survivors.orphan(PLAIN, "sleep", "60000")
    first = survivors.listed()[0]["first"]
    with survivors.adopt() as process:
        survivors.await_supervisor(process)
        os.kill(first, signal.SIGKILL)
        assert process.wait(SECONDS) == 128 + signal.SIGKILL


def test_to_start_it_again_is_to_take_it_over(survivors: Survivors) -> None:
    words = ("await", "exit", "3")
    command = json.dumps([survivors.services.program, *words])
    text = survivors.services.text(PLAIN.replace("[process]", f"[process]\ncommand = {command}"))
    arguments = survivors.sandbox.arguments(text, (), ("--name", "web"))[:-1]
    how: dict[str, Any] = {"env": survivors.environment, "stderr": subprocess.PIPE}
    with survivors.sandbox.popen(arguments, **how) as process:
        survivors.services.await_state("ready")
        time.sleep(0.1)
        process.kill()
    (orphan,) = survivors.listed()
    with survivors.sandbox.popen(arguments, **how) as process:
        survivors.await_supervisor(process)
        assert survivors.listed()[0]["first"] == orphan["first"]
        process.terminate()
        assert process.wait(SECONDS) == 3


def test_its_name_is_taken(survivors: Survivors) -> None:
    survivors.orphan(PLAIN, "await", "exit", "0")
    with survivors.start(PLAIN, "exit", "0") as process:
        assert process.wait(SECONDS) == 125
    assert [each["state"] for each in survivors.listed()] == ["orphaned"]
    done = sbx(survivors.sandbox, "stop", "web")
    assert done.returncode == 125
    assert "sbx adopt web" in done.stderr


def test_the_health_check_goes_on(survivors: Survivors) -> None:
    text = PLAIN + '[service.health]\ncommand = ["/no/such"]\ninterval = "100ms"\nretries = 1\n'
    survivors.orphan(text, "await", "exit", "0")
    place = os.path.join(survivors.sandbox.runtime, "web", "health")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(place)
    with survivors.adopt() as process:
        assert until(lambda: os.path.exists(place))
        assert until(lambda: survivors.listed()[0]["state"] == "unhealthy")
        process.kill()


def test_one_that_does_not_survive_ends_with_its_supervisor(survivors: Survivors) -> None:
    text = "[service]\nstop_signal = 'SIGTERM'\n"
    with survivors.start(text, "await") as process:
        survivors.services.await_state("ready")
        with survivors.adopt() as asking:
            assert asking.wait(SECONDS) == 125
            assert "doesn't survive its supervisor" in asking.communicate()[1]
        first = survivors.listed()[0]["first"]
        process.kill()
        assert until(lambda: not os.path.exists(f"/proc/{first}"))


def test_the_payload_reaches_none_of_what_is_kept_for_the_next(survivors: Survivors) -> None:
    """Its init holds the descriptors: not even their directory is the payload's to read."""
    words = ("show", "/proc/1/fd/3")
    with survivors.start(PLAIN, *words) as process:
        assert process.wait(SECONDS) == 99
    assert survivors.log() == ["service: /proc/1/fd/3: Permission denied"]


def test_to_die_with_the_supervisor_and_to_survive_it_is_a_conflict(survivors: Survivors) -> None:
    text = PLAIN.replace("[process]", "[process]\ndie_with_parent = true")
    done = survivors.services.run(text, "exit", "0")
    assert done.returncode == 125
    assert "service.survive: process.die_with_parent = true says" in done.stderr


def test_the_time_that_it_may_live_goes_on(survivors: Survivors) -> None:
    survivors.orphan(PLAIN + 'runtime_max = "3s"\n', "await", "exit", "0")
    begun = time.monotonic()
    with survivors.adopt() as process:
        assert process.wait(SECONDS) == 124
        assert time.monotonic() - begun < 3
