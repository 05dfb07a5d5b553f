"""What a supervisor that was killed leaves, and who still learns of it: control groups, ends, logs."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from sandbox.live import left_logs
from tests.kernel.harness import Running, Sandbox
from tests.kernel.live import named, sbx
from tests.kernel.service.services import SECONDS, Services, until

LIMITED = "[resources]\npids_max = 50\n"
SURVIVES = '[process]\nterminal = "never"\n[service]\nlog = "file"\nsurvive = true\n'
LONGEST = "x" * 64


def cgroups_of(sandbox: Sandbox, name: str) -> list[str]:
    """As its record names them."""
    with open(os.path.join(sandbox.runtime, name, "record"), encoding="utf-8") as file:
        pairs = [pair.partition("=") for pair in file.read().split("\0")]
    return [value for key, _, value in pairs if key == "cgroup"]


def kill(services: Services, process: Running, name: str) -> None:
    """The supervisor of one that survives it, once its init listens for the next."""
    services.await_state("ready", name)
    time.sleep(0.1)
    process.kill()
    process.wait(SECONDS)


def adopt(sandbox: Sandbox, name: str) -> Running:
    words = [sandbox.launcher, "adopt", name]
    return sandbox.popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")


def is_empty(group: str) -> bool:
    with open(os.path.join(group, "cgroup.procs"), encoding="ascii") as file:
        return file.read() == ""


def test_gc_removes_the_limits_of_a_supervisor_that_was_killed(as_root: Sandbox) -> None:
    with named(as_root, "limited", text=LIMITED) as process:
        groups = cgroups_of(as_root, "limited")
        assert groups
        process.kill()
        process.wait(SECONDS)
    assert until(lambda: all(map(is_empty, groups)))
    done = sbx(as_root, "gc", "--dry-run")
    assert all(f"would remove cgroup {group}" in done.stdout for group in groups)
    assert all(map(os.path.isdir, groups))
    done = sbx(as_root, "gc")
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"removed cgroup {group}\n" in done.stdout for group in groups)
    assert not any(map(os.path.exists, groups))
    assert "limited" not in sbx(as_root, "gc").stdout


def test_gc_leaves_the_limits_of_what_has_outlived_its_supervisor(
    service_probe: str, as_root: Sandbox
) -> None:
    services = Services(as_root, service_probe)
    with services.start(SURVIVES + LIMITED, "await", "exit", "4", name="left") as process:
        kill(services, process, "left")
    groups = cgroups_of(as_root, "left")
    assert groups
    assert "left" not in sbx(as_root, "gc").stdout
    assert not any(map(is_empty, groups))
    with adopt(as_root, "left") as process:
        assert until(lambda: "ready" in sbx(as_root, "ps").stdout)
        process.terminate()
        assert process.wait(SECONDS) == 4
    assert not any(map(os.path.exists, groups))


def test_a_group_with_a_number_behind_the_longest_name_is_found_again(
    service_probe: str, as_root: Sandbox
) -> None:
    """Where another one has its name."""
    services = Services(as_root, service_probe)
    with named(as_root, LONGEST, text=LIMITED) as process:
        taken = cgroups_of(as_root, LONGEST)
        process.terminate()
        assert process.wait(SECONDS) == 0
    for group in taken:
        os.mkdir(group)
    try:
        with services.start(SURVIVES + LIMITED, "await", "exit", "4", name=LONGEST) as process:
            kill(services, process, LONGEST)
        groups = cgroups_of(as_root, LONGEST)
        assert [group.rpartition("-")[0] for group in groups] == taken
        with adopt(as_root, LONGEST) as process:
            assert until(lambda: "ready" in sbx(as_root, "ps").stdout)
            process.terminate()
            assert process.wait(SECONDS) == 4
        assert not any(map(os.path.exists, groups))
    finally:
        for group in taken:
            os.rmdir(group)


def test_who_takes_over_removes_no_directory_that_is_no_control_group(services: Services) -> None:
    """Its record may be damaged."""
    sandbox = services.sandbox
    victim = sandbox.mkdir(f"victim-{time.monotonic_ns()}")
    with services.start(SURVIVES, "await", "exit", "4", name="left") as process:
        kill(services, process, "left")
    with open(os.path.join(sandbox.runtime, "left", "record"), "a", encoding="utf-8") as record:
        record.write(f"cgroup={victim}\0")
    with adopt(sandbox, "left") as process:
        assert until(lambda: "ready" in sbx(sandbox, "ps").stdout)
        process.terminate()
        assert process.wait(SECONDS) == 4
    assert os.path.isdir(victim)


def ended_alone(services: Services, *words: str, name: str = "alone") -> None:
    """A service that has ended while it had no supervisor."""
    with services.start(SURVIVES, *words, name=name) as process:
        kill(services, process, name)
    path = os.path.join(services.sandbox.runtime, name, "end")
    assert until(lambda: os.path.getsize(path) > 0)
    assert until(lambda: name not in sbx(services.sandbox, "ps", "-q").stdout)


def exits(sandbox: Sandbox, name: str) -> list[tuple[str, int]]:
    """How sandboxes of this name have ended, by their events."""
    lines = sbx(sandbox, "events", "--json", name).stdout.splitlines()
    found = [event for line in lines if (event := json.loads(line))["event"] == "exited"]
    return [(each["cause"], each.get("code", each.get("signal"))) for each in found]


def test_an_end_without_a_supervisor_is_told_until_gc_and_by_it(services: Services) -> None:
    sandbox = services.sandbox
    before = exits(sandbox, "alone")
    ended_alone(services, "sleep", "400", "exit", "7")
    for _ in range(2):
        assert sbx(sandbox, "wait", "alone").returncode == 7
    (told,) = json.loads(sbx(sandbox, "wait", "--json", "alone").stdout)
    assert (told["name"], told["exit_status"]) == ("alone", 7)
    assert "alone" not in sbx(sandbox, "ps").stdout
    assert exits(sandbox, "alone") == before
    done = sbx(sandbox, "gc", "--json")
    (found,) = (each for each in json.loads(done.stdout) if each["path"].endswith("/alone"))
    assert (found["removed"], found["code"], found["signal"]) == (True, 7, None)
    assert exits(sandbox, "alone") == [*before, ("exited", 7)]
    assert sbx(sandbox, "wait", "alone").returncode == 125


def test_adopt_tells_such_an_end_to_those_who_follow_events(services: Services) -> None:
    before = exits(services.sandbox, "alone")
    ended_alone(services, "sleep", "400", "exit", "6")
    with adopt(services.sandbox, "alone") as process:
        assert process.wait(SECONDS) == 6
    assert exits(services.sandbox, "alone") == [*before, ("exited", 6)]


def test_a_signal_is_told_as_one(services: Services) -> None:
    sandbox = services.sandbox
    with services.start(SURVIVES, "await", name="alone") as process:
        main = int(services.await_state("ready", "alone")["main"])
        kill(services, process, "alone")
    os.kill(main, signal.SIGKILL)
    assert until(lambda: "alone" not in sbx(sandbox, "ps", "-q").stdout)
    assert sbx(sandbox, "wait", "alone").returncode == 128 + signal.SIGKILL
    done = sbx(sandbox, "gc")
    assert "/alone, which ended while it had no supervisor: " in done.stdout
    assert exits(sandbox, "alone")[-1] == ("signaled", signal.SIGKILL)


# ---- Logs ----

LOGGED = '[service]\nlog = "file"\n'


@pytest.fixture
def old(services: Services) -> str:
    """The directory of a log that nobody has written to for long."""
    assert services.run(LOGGED, "out", "x", options=("--name", "old")).returncode == 0
    path = os.path.join(services.sandbox.logs, "old")
    make_old(path)
    return path


def make_old(path: str) -> None:
    month = time.time() - 31 * 86400
    for each in (*(os.path.join(path, name) for name in os.listdir(path)), path):
        os.utime(each, (month, month))


def test_gc_removes_old_logs_of_what_has_gone(services: Services, old: str) -> None:
    sandbox = services.sandbox
    assert services.run(LOGGED, "out", "x", options=("--name", "young")).returncode == 0
    assert old not in sbx(sandbox, "gc", "--logs", "32d").stdout
    assert old not in sbx(sandbox, "gc", "--logs", "infinity").stdout
    assert f"would remove log {old}\n" in sbx(sandbox, "gc", "--dry-run").stdout
    assert os.path.isdir(old)
    assert f"removed log {old}\n" in sbx(sandbox, "gc").stdout
    assert not os.path.exists(old)
    assert sbx(sandbox, "logs", "young").stdout == "x\n"
    sbx(sandbox, "gc", "--logs", "0")
    assert "young" not in os.listdir(sandbox.logs)


def test_gc_leaves_the_log_of_what_lives_wherever_it_is_recorded(services: Services) -> None:
    """A supervisor holds it, also one with another runtime directory."""
    sandbox = services.sandbox
    path = os.path.join(sandbox.logs, "quiet")
    other = sandbox.environment | {"SBX_RUNTIME_DIR": sandbox.mkdir(f"run-{time.monotonic_ns()}")}
    with services.start(LOGGED, "out", "x", "await", name="quiet", env=other) as process:
        assert until(lambda: os.path.isdir(path) and os.listdir(path) == ["log"])
        assert sbx(sandbox, "gc", "--logs", "0").returncode == 0
        assert os.path.isdir(path)
        process.terminate()
        assert process.wait(SECONDS) == 0
    sbx(sandbox, "gc", "--logs", "0")
    assert not os.path.exists(path)


@pytest.mark.parametrize("other", ("log.old", "access.log", "log.0", "sub/"))
def test_what_holds_anything_else_is_no_log(tmp_path: Path, other: str) -> None:
    for name in ("old", "strange"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "log").touch()
    beside = tmp_path / "strange" / other
    beside.mkdir() if other.endswith("/") else beside.touch()
    for name in ("old", "strange"):
        make_old(str(tmp_path / name))
    assert list(left_logs.old(str(tmp_path), (), 60)) == [str(tmp_path / "old")]
    assert list(left_logs.old(str(tmp_path), ("old",), 60)) == []


def test_gc_follows_no_link_to_a_log(services: Services, old: str) -> None:
    there = services.sandbox.path(f"there-{time.monotonic_ns()}")
    os.rename(old, there)
    os.symlink(there, old)
    assert old not in sbx(services.sandbox, "gc").stdout
    assert os.listdir(there) == ["log"]
    os.unlink(old)


def test_gc_of_logs_is_in_no_launchs_way(services: Services) -> None:
    sandbox = services.sandbox
    path = f"{os.path.dirname(sandbox.launcher)}:/usr/bin:/bin"
    loop = "while :; do sbx gc --logs 0 >/dev/null || exit 9; done"
    environment = sandbox.environment | {"PATH": path}
    with sandbox.popen(["/bin/sh", "-c", loop], env=environment) as collecting:
        for _ in range(10):
            done = services.run(LOGGED, "out", "x", options=("--name", "raced"))
            assert (done.returncode, done.stderr) == (0, "")
        assert collecting.poll() is None
        collecting.kill()
        collecting.wait(SECONDS)
        time.sleep(0.3)
