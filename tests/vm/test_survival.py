"""Services that outlive their supervisors, are checked, and are timed, under a real systemd."""

import json

import pytest

from tests.vm.machine import Machine
from tests.vm.units import Unit, installed

# With a file `hog` beside it, a child of it tries to have more memory than it may.
PROGRAM = """\
import os, time
while not os.path.exists("hog"):
    time.sleep(0.1)
if os.fork() == 0:
    x = bytearray(100 << 20)
os.wait()
time.sleep(1000)
"""
PROFILE = """\
schema = 1
[profile]
extends = "python-service"
[vars]
directory = "{place}/app"
[process]
command = ["python3", "-I", "-S", "{place}/app/program.py"]
[resources]
memory_max = "64M"
memory_swap_max = 0
pids_max = 30
[service]
survive = true
restart = "{restart}"
restart_delay = "100ms"
"""
WATCHED = """\
import os, socket, time
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    notify.connect(os.environ["NOTIFY_SOCKET"])
    notify.send(b"READY=1")
    while not os.path.exists("hang"):
        notify.send(b"WATCHDOG=1")
        time.sleep(0.2)
time.sleep(1000)
"""


def write(machine: Machine, place: str, program: str, profile: str) -> str:
    machine.succeed("install", "-d", "-m", "777", f"{place}/app")
    machine.write(f"{place}/app/program.py", program, 0o644)
    machine.write(f"{place}/app.toml", profile)
    return f"{place}/app.toml"


def first(machine: Machine) -> int:
    """The sandbox's first process, by which one knows that it is the same one."""
    (live,) = json.loads(machine.succeed("sbx", "ps", "--json"))
    return int(live["first"])


def kill_supervisor(unit: Unit) -> None:
    unit.systemctl("kill", "--kill-whom=main", "-s", "KILL", unit.name)


def test_a_killed_supervisor_is_replaced_and_limits_hold_on(machine: Machine, place: str) -> None:
    """The same program, its use and its limits as before; systemd's stop ends it."""
    profile = write(machine, place, PROGRAM, PROFILE.format(place=place, restart="on-failure"))
    with installed(machine, profile, "--now", name="kept") as unit:
        before = first(machine)
        for count in ("1", "2"):
            kill_supervisor(unit)
            unit.await_true(f"test $(systemctl show -P NRestarts kept) = {count}")
            unit.await_true("sbx ps | grep -w kept | grep -w ready")
            assert first(machine) == before
        (stats,) = json.loads(machine.succeed("sbx", "stats", "--json", "kept"))
        assert (stats["source"], stats["memory_max"], stats["pids_max"]) == ("cgroup", 64 << 20, 30)
        assert stats["memory"] > 0
        machine.succeed("touch", f"{place}/app/hog")
        unit.await_true("sbx events kept --json | grep -w limit | grep -w memory")
        assert first(machine) == before
        assert machine.succeed("sbx", "events", "kept").count(" adopted") == 2
        unit.systemctl("stop", "kept")
        assert unit.show("Result") == {"Result": "success"}
        assert machine.succeed("sbx", "ps", "--quiet") == ""


def test_one_that_nobody_has_taken_over_ends_when_its_unit_is_removed(
    machine: Machine, place: str
) -> None:
    """Without service.restart the next start takes it over; what is installed so, is warned of."""
    profile = write(machine, place, PROGRAM, PROFILE.format(place=place, restart="no"))
    done = machine.run("sbx", "systemd", "install", "--now", profile, "--name", "left")
    try:
        assert done.returncode == 0
        assert "service.survive without service.restart" in done.stderr
        unit = Unit(machine, "left")
        before = first(machine)
        kill_supervisor(unit)
        unit.await_true("sbx ps | grep -w left | grep -w orphaned")
        unit.systemctl("start", "left")
        assert first(machine) == before
        kill_supervisor(unit)
        unit.await_true("sbx ps | grep -w left | grep -w orphaned")
    finally:
        done = machine.run("sbx", "systemd", "remove", "left")
    assert (done.returncode, done.stderr) == (0, "")
    assert machine.succeed("sbx", "ps", "--quiet") == ""
    assert " stopping" in machine.succeed("sbx", "events", "left")


def test_an_unhealthy_service_is_stopped_and_started_again(machine: Machine, place: str) -> None:
    health = (
        '[service.health]\ncommand = ["test", "!", "-e", "ill"]\ninterval = "500ms"\n'
        'retries = 2\naction = "stop"\n'
    )
    text = PROFILE.format(place=place, restart="on-failure").replace("survive = true\n", "")
    profile = write(machine, place, PROGRAM, text + health)
    with installed(machine, profile, "--now", name="ill") as unit:
        unit.await_true("sbx events ill | grep -w healthy")
        machine.succeed("touch", f"{place}/app/ill")
        unit.await_true("test $(systemctl show -P NRestarts ill) -ge 1")
        machine.succeed("rm", f"{place}/app/ill")
        assert "its checks failed (service.health)" in unit.journal()
        unit.await_true("systemctl is-active ill && sbx ps | grep -w ill | grep -w ready")
        unit.systemctl("stop", "ill")
        assert unit.show("Result") == {"Result": "success"}


@pytest.mark.parametrize("jump", ("+3 days", "-3 days"))
def test_a_jump_of_the_clock_disturbs_no_time(machine: Machine, place: str, jump: str) -> None:
    """Neither watchdog nor checks nor runtime_max, nor those of the next supervisor; a hang is seen."""
    back = "-3 days" if jump[0] == "+" else "+3 days"
    text = PROFILE.format(place=place, restart="on-failure")
    text += 'type = "notify"\nwatchdog = "5s"\nruntime_max = "1h"\n'
    text += '[service.health]\ncommand = ["true"]\ninterval = "300ms"\n'
    profile = write(machine, place, WATCHED, text)
    with installed(machine, profile, "--now", name="timed") as unit:
        before = first(machine)
        machine.succeed("date", "-s", jump)
        try:
            machine.succeed("sleep", "2")
            kill_supervisor(unit)
            unit.await_true("test $(systemctl show -P NRestarts timed) = 1")
            unit.await_true("sbx ps | grep -w timed | grep -w ready")
            machine.succeed("sleep", "2")
            assert first(machine) == before
            assert unit.show("NRestarts", "SubState") == {"NRestarts": "1", "SubState": "running"}
            assert "day" not in machine.succeed("sbx", "ps")
            assert "unhealthy" not in machine.succeed("sbx", "events", "timed")
            machine.succeed("touch", f"{place}/app/hang")
            unit.await_true("test $(systemctl show -P NRestarts timed) = 2")
            assert "it gave no sign of life in time" in unit.journal()
        finally:
            machine.succeed("date", "-s", back)
            machine.succeed("rm", "-f", f"{place}/app/hang")
