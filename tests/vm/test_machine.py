"""The emulated machine is what it claims to be, and says faithfully what happens in it."""

import hashlib
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.vm.machine import Machine

USERS = ("root", "user")


def test_the_kernel_is_a_newer_one_than_most_hosts_have(machine: Machine) -> None:
    assert machine.succeed("uname", "-r").startswith("6.12.")


def test_systemd_is_its_first_process_and_content(machine: Machine) -> None:
    """Version 257, all units up, none failed."""
    assert machine.succeed("cat", "/proc/1/comm") == "systemd\n"
    assert machine.succeed("systemctl", "--version").startswith("systemd 257 ")
    assert machine.succeed("systemctl", "is-system-running") == "running\n"


def test_the_users_manager_is_up(machine: Machine) -> None:
    """uid 1000 has a systemd and a bus of its own without having logged in."""
    done = machine.run("systemctl", "--user", "is-system-running", user="user")
    assert (done.returncode, done.stdout) == (0, "running\n")
    assert machine.succeed("id", "--user", user="user") == "1000\n"


def test_cgroups_are_unified(machine: Machine) -> None:
    """Version 2 alone, with the controllers that sbx knows."""
    assert machine.succeed("stat", "-f", "-c", "%T", "/sys/fs/cgroup") == "cgroup2fs\n"
    controllers = machine.succeed("cat", "/sys/fs/cgroup/cgroup.controllers").split()
    assert {"cpu", "cpuset", "io", "memory", "pids"} <= set(controllers)


def test_commands_start_in_a_delegated_subtree(machine: Machine) -> None:
    """They sit in a leaf below a top without processes, so that controllers can be enabled."""
    leaf = machine.succeed("cat", "/proc/self/cgroup").strip().removeprefix("0::")
    assert os.path.basename(leaf) == "agent"
    top = f"/sys/fs/cgroup{os.path.dirname(leaf)}"
    assert machine.succeed("cat", f"{top}/cgroup.procs") == ""
    read = "import os, sys; print(os.getxattr(sys.argv[1], 'trusted.delegate'))"
    assert machine.succeed("python3", "-c", read, top) == "b'1'\n"
    file = f"{top}/cgroup.subtree_control"
    script = 'echo +memory +pids >"$1"; cat "$1"; echo -memory -pids >"$1"'
    assert {"memory", "pids"} <= set(machine.shell(script, file).stdout.split())


def test_no_service_was_started(machine: Machine) -> None:
    """They are there for the tests to start."""
    for command in ("nginx", "redis-server", "pgbench", "redis-benchmark", "wrk", "curl"):
        assert machine.run("sh", "-c", 'command -v "$1"', "sh", command).returncode == 0, command
    assert machine.succeed("sh", "-c", "ls /usr/lib/postgresql/*/bin/postgres")
    assert machine.succeed("ss", "-Hltn") == ""


def test_there_is_no_network_but_loopback(machine: Machine) -> None:
    assert machine.succeed("ls", "/sys/class/net") == "lo\n"


def test_the_clock_is_right_after_a_resume(machine: Machine) -> None:
    """The saved state is older than the test."""
    assert abs(float(machine.succeed("date", "+%s.%N")) - time.time()) < 10


def test_two_machines_of_one_state_draw_different_random_bytes(
    machine: Machine, machine_image: str
) -> None:
    """The pool that they have in common is seeded anew for each."""
    draw = ("python3", "-c", "import os; print(os.getrandom(16).hex())")
    with Machine(machine_image) as first, Machine(machine_image) as second:
        drawn = [one.succeed(*draw) for one in (first, second)]
    assert drawn[0] != drawn[1]


def test_what_a_machine_writes_ends_with_it(machine: Machine, machine_image: str) -> None:
    for _ in range(2):
        with Machine(machine_image) as other:
            assert other.run("test", "-e", "/root/mark").returncode == 1
            other.write("/root/mark", "here")
            other.succeed("sync")


# ---- Commands ----


@pytest.mark.parametrize("status", (0, 1, 77, 255))
def test_an_exit_status_comes_back(machine: Machine, status: int) -> None:
    assert machine.run("sh", "-c", f"exit {status}").returncode == status


def test_a_signal_comes_back_as_such(machine: Machine) -> None:
    assert machine.run("sh", "-c", "kill -KILL $$").returncode == -9


def test_output_and_messages_are_kept_apart(machine: Machine) -> None:
    done = machine.shell('echo "$1"; echo "$2" >&2', "out", "err")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_any_bytes_go_in_and_come_out(machine: Machine) -> None:
    """A megabyte of all values, through standard input and back."""
    data = os.urandom(1 << 20) + bytes(range(256))
    done = machine.start("cat", stdin=data).wait_bytes()
    assert (done.returncode, done.stdout == data) == (0, True)


def test_a_command_that_does_not_read_its_input_is_no_error(machine: Machine) -> None:
    assert machine.run("true", stdin=bytes(1 << 20)).returncode == 0


def test_time_that_is_up_ends_a_command_and_its_children(machine: Machine) -> None:
    """What it has written until then is there."""
    with pytest.raises(subprocess.TimeoutExpired) as late:
        machine.run("sh", "-c", "echo begun; sleep 4711 & sleep 4711", timeout=2)
    assert late.value.output == b"begun\n"
    assert machine.run("pgrep", "-fx", "sleep 4711").returncode == 1


def test_time_that_is_up_ends_a_unit(machine: Machine) -> None:
    script = "echo begun; exec sleep 4712"
    with machine.start("sh", "-c", script, unit=True, timeout=8) as running:
        running.await_output("begun\n")
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait()
    machine.shell("while pgrep -fx 'sleep 4712'; do sleep 0.1; done", timeout=10)


def test_a_missing_program_is_an_error(machine: Machine) -> None:
    with pytest.raises(OSError, match="/no/such/program"):
        machine.run("/no/such/program")


def test_commands_run_at_the_same_time(machine: Machine) -> None:
    """Each waits for a file that another writes."""
    wait = "until test -e /run/gate; do sleep 0.1; done; echo through"
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(machine.shell, wait) for _ in range(3)]
        machine.write("/run/gate", "")
        assert {future.result().stdout for future in waiting} == {"through\n"}
    machine.succeed("rm", "/run/gate")


@pytest.mark.parametrize("unit", (False, True))
def test_a_command_in_the_background_can_be_heard_and_signalled(
    machine: Machine, unit: bool
) -> None:
    script = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.1; done"
    with machine.start("sh", "-c", script, unit=unit) as running:
        running.await_output("ready\n")
        running.signal(15)
        done = running.wait()
    assert (done.returncode, done.stdout) == (3, "ready\nbye\n")


def test_waiting_for_output_tells_of_an_early_end(machine: Machine) -> None:
    with (
        machine.start("echo", "other") as running,
        pytest.raises(AssertionError, match="has ended: 'other"),
    ):
        running.await_output("ready\n")


@pytest.mark.parametrize("user", USERS)
def test_a_unit_has_its_own_cgroup_and_properties(machine: Machine, user: str) -> None:
    """systemd's manager, the system's or the user's, runs it; status and output are its own."""
    script = 'cd "/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)"; pwd; cat memory.max; exit 5'
    done = machine.run("sh", "-c", script, user=user, properties=("MemoryMax=50M",))
    place, limit = done.stdout.splitlines()
    above = "system.slice" if user == "root" else "user@1000.service"
    assert (done.returncode, limit) == (5, str(50 << 20))
    assert f"/{above}/" in place
    assert place.endswith(".service")


@pytest.mark.parametrize("user", USERS)
def test_what_a_command_finds_is_like_after_a_login(machine: Machine, user: str) -> None:
    found = dict(
        line.split("=", 1) for line in machine.succeed("env", user=user).splitlines() if "=" in line
    )
    home = "/root" if user == "root" else "/home/user"
    assert (found["HOME"], found["USER"], found["LANG"]) == (home, user, "C.UTF-8")
    assert machine.succeed("pwd", user=user) == f"{home}\n"
    assert found.get("XDG_RUNTIME_DIR") == (None if user == "root" else "/run/user/1000")


# ---- Files ----


def test_files_and_directories_go_in_and_come_out(
    machine: Machine, place: str, tmp_path: Path
) -> None:
    """Content, modes and links as they are; the owner is root."""
    source = tmp_path / "a source"
    (source / "below").mkdir(parents=True)
    (source / "below" / "program").write_bytes(bytes(range(256)))
    (source / "below" / "program").chmod(0o755)
    (source / "link").symlink_to("below/program")
    machine.put(str(source), f"{place}/copy, a")
    assert machine.succeed("stat", "-c", "%U %a", f"{place}/copy, a/below/program") == "root 755\n"
    machine.get(f"{place}/copy, a", str(tmp_path / "back"))
    assert (tmp_path / "back" / "below" / "program").read_bytes() == bytes(range(256))
    assert (tmp_path / "back" / "link").readlink() == Path("below/program")


def test_a_file_is_written_and_read(machine: Machine, place: str) -> None:
    data = os.urandom(100_000)
    machine.write(f"{place}/new/file", data, 0o600)
    assert machine.read(f"{place}/new/file") == data
    digest = machine.succeed("sha256sum", f"{place}/new/file").split()[0]
    assert digest == hashlib.sha256(data).hexdigest()
    assert machine.succeed("stat", "-c", "%a", f"{place}/new/file") == "600\n"


def test_a_missing_file_is_an_error(machine: Machine) -> None:
    with pytest.raises(OSError, match="No such file"):
        machine.read("/no/such/file")
