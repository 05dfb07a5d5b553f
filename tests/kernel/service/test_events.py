"""`sbx events`: what befalls sandboxes, in order and bounded."""

import json
import os
import subprocess
from typing import Any

from tests.kernel.service.services import NOTIFIES, SECONDS, Services


def told(services: Services, name: str) -> list[dict[str, Any]]:
    sandbox = services.sandbox
    done = sandbox.program([sandbox.launcher, "events", "--json", name])
    assert done.returncode == 0
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_life_of_a_service_is_told(services: Services) -> None:
    words = (
        "say",
        "READY=1",
        "await",
        "say",
        "RELOADING=1",
        "say",
        "READY=1",
        "await",
        "exit",
        "3",
    )
    with services.start(NOTIFIES, *words, name="told") as process:
        services.await_state("ready", "told")
        process.send_signal(10)
        assert process.stdout is not None
        process.stdout.readline()
        services.await_state("ready", "told")
        process.terminate()
        assert process.wait(SECONDS) == 3
    found = told(services, "told")
    names = [each["event"] for each in found]
    assert names[0] == "started"
    assert names[1:3] == ["ready", "reloading"] or names[1] == "ready"
    assert names[-2:] == ["stopping", "exited"]
    assert (found[-1]["cause"], found[-1]["code"]) == ("stopped", 3)
    assert [each["time"] for each in found] == sorted(each["time"] for each in found)


def test_an_end_by_a_signal_says_so(services: Services) -> None:
    done = services.run(
        '[service]\nruntime_max = "100ms"\n', "sleep", "9000", options=("--name", "late")
    )
    assert done.returncode == 124
    assert told(services, "late")[-1]["cause"] == "timeout"


def test_following_hears_what_comes(services: Services) -> None:
    sandbox = services.sandbox
    arguments = [sandbox.launcher, "events", "-f", "heard"]
    with sandbox.popen(arguments, stdout=subprocess.PIPE, encoding="utf-8") as following:
        # Of a program that ends before anybody looks no event tells that it was ready.
        words = ("sleep", "500", "exit", "0")
        services.run("[service]\nstop_timeout = '5s'\n", *words, options=("--name", "heard"))
        assert following.stdout is not None
        lines = [following.stdout.readline() for _ in range(3)]
        following.kill()
    assert [line.split()[3] for line in lines] == ["started", "ready", "exited"]


def test_the_file_is_bounded(services: Services) -> None:
    runtime = services.sandbox.path("runtime")
    os.mkdir(runtime, 0o700)
    services.sandbox.own(runtime)
    path = os.path.join(runtime, ".events")
    with open(path, "w", encoding="utf-8") as file:
        file.write('{"time":1,"name":"old","event":"started"}\n' * 30000)
    services.sandbox.own(path)
    env = {**services.sandbox.environment, "SBX_RUNTIME_DIR": runtime}
    service = "[service]\nstop_timeout = '5s'\n"
    assert services.run(service, "exit", "0", options=("--name", "new"), env=env).returncode == 0
    assert os.path.getsize(path) < 1000
    assert os.path.getsize(f"{path}.1") > 1 << 20
