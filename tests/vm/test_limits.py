"""Limits on cgroup v2 under systemd: where the control group lies, that it holds, and that it goes."""

import json

import pytest

from tests.vm.machine import Machine

PROFILE = """
schema = 1
[profile]
extends = "minimal"
[resources]
memory_max = "64M"
memory_swap_max = 0
pids_max = 20
"""
HOG = ("python3", "-I", "-S", "-c", "x = bytearray(200 << 20)")
DELEGATED = ("Delegate=yes",)


@pytest.fixture
def profile(machine: Machine, place: str) -> str:
    path = f"{place}/limited.toml"
    machine.write(path, PROFILE)
    return path


def left(machine: Machine) -> str:
    """The control groups of sandboxes, anywhere."""
    return machine.succeed("find", "/sys/fs/cgroup", "-path", "*/sbx/*", "-type", "d")


def test_roots_limits_hold_outside_of_services(machine: Machine, profile: str) -> None:
    """Cold and warm; the control group's namespace begins at the sandbox's own."""
    for _ in range(2):
        done = machine.run("sbx", "run", "-p", profile, "--", *HOG)
        assert done.returncode == 128 + 9
        assert ": killed for memory: limit 64 MiB (resources.memory_max at " in done.stderr
        done = machine.run("sbx", "run", "-p", profile, "--", "cat", "/proc/self/cgroup")
        assert (done.returncode, done.stdout) == (0, "0::/\n")
    assert left(machine) == ""


def test_sbx_itself_moves_out_of_a_delegated_services_way(machine: Machine, profile: str) -> None:
    """It is in the unit's own group at first, which only holds groups then."""
    for _ in range(2):
        words = ("sbx", "run", "-p", profile, "--", *HOG)
        done = machine.run(*words, unit=True, properties=DELEGATED)
        assert done.returncode == 128 + 9, done
        assert "killed for memory: limit 64 MiB" in done.stderr
    assert left(machine) == ""


def test_a_service_that_isnt_delegated_is_told_to_be(machine: Machine, profile: str) -> None:
    for _ in range(2):
        done = machine.run("sbx", "run", "-p", profile, "--", "true", unit=True)
        assert done.returncode == 125
        assert "systemd doesn't leave the control groups of" in done.stderr
        assert "Delegate=yes and DelegateSubgroup=supervisor" in done.stderr


def test_others_in_the_delegated_group_itself_are_in_the_way(
    machine: Machine, profile: str
) -> None:
    """The shell is in it, and stays there: it isn't sbx's to be moved."""
    script = f"sbx run -p {profile} -- true; echo status $?"
    done = machine.run("sh", "-c", script, unit=True, properties=DELEGATED)
    assert "status 125\n" in done.stdout
    assert "other processes are in sbx's own cgroup" in done.stderr
    assert "DelegateSubgroup=supervisor" in done.stderr


def test_the_report_counts_what_version_2_counts(
    machine: Machine, place: str, profile: str
) -> None:
    spin = "import time; e = time.monotonic() + 1\nwhile time.monotonic() < e: pass"
    text = PROFILE + 'cpu_max = "20%"\n'
    machine.write(f"{place}/throttled.toml", text)
    machine.run(
        *("sbx", "run", "-p", f"{place}/throttled.toml", "--report", f"{place}/end"),
        *("--", "python3", "-I", "-S", "-c", spin),
    )
    usage = json.loads(machine.read(f"{place}/end"))["usage"]
    assert {"memory", "cpu", "pids", "throttling"} <= set(usage["measured"])
    assert usage["throttled_time"] > 0.2
    assert 0 < usage["memory_peak"] <= 64 << 20


def test_what_is_left_behind_is_killed(machine: Machine, place: str) -> None:
    """By cgroup.kill, also without a PID namespace."""
    text = PROFILE.replace(
        "[resources]", '[namespaces]\npid = false\n[filesystem]\nproc = "none"\n[resources]'
    )
    machine.write(f"{place}/behind.toml", text)
    script = "sleep 4242 & setsid sleep 4242 & exit 4"
    done = machine.run("sbx", "run", "-p", f"{place}/behind.toml", "--", "sh", "-c", script)
    assert done.returncode == 4, done
    assert machine.run("pgrep", "-f", "sleep 4242").returncode == 1
    assert left(machine) == ""
