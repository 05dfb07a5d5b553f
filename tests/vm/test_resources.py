"""[resources] on cgroup version 2: for root, in units of systemd, and for a user with a systemd."""

from collections.abc import Callable
from typing import TypeAlias

import pytest

from tests.vm.machine import Done, Machine

Run: TypeAlias = Callable[..., Done]

TIGHT = 'memory_max = "24M"\nmemory_swap_max = 0\npids_max = 20\ncpu_max = "150%"'
HOG = "head -c 64M /dev/zero | tail >/dev/null"
WHERE = "cat /proc/self/cgroup"
# Forks until it may no longer, says how many lived beside it, and ends them.
FORKS = """
import os, signal
made = []
try:
    while len(made) < 100:
        made.append(os.fork())
        if made[-1] == 0:
            signal.pause()
except BlockingIOError:
    print(len(made))
for pid in made:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
"""
IN_UNIT = ("Delegate=yes",)
IN_LEAF = ("Delegate=yes", "DelegateSubgroup=supervisor")


@pytest.fixture
def limited(machine: Machine, place: str) -> Run:
    """Runs a command of the shell's under limits; cold at first, then warm."""

    def run(limits: str, script: str, *, directly: bool = False, **how: object) -> Done:
        path = f"{place}/limited.toml"
        machine.write(
            path, f'schema = 1\nprofile.extends = "minimal"\n[resources]\n{limits}\n', 0o644
        )
        words = ("sbx", "run", "--profile", path, "--", "sh", "-c", script)
        if directly:
            return machine.run(*words, **how)  # type: ignore[arg-type]
        # A unit's first process, or its child, as a shell starts one.
        return machine.run("sh", "-c", '"$@"; exit $?', "sh", *words, **how)  # type: ignore[arg-type]

    return run


CALLERS: dict[str, dict[str, object]] = {
    "root in a delegated subtree": {},
    "root in a delegated unit": {"properties": IN_LEAF},
    "root as a delegated unit": {"properties": IN_UNIT, "directly": True},
    "user in a scope of its own": {"user": "user", "unit": True},
    "user in a delegated unit": {"user": "user", "properties": IN_LEAF},
    "user as a delegated unit": {"user": "user", "properties": IN_UNIT, "directly": True},
    "user from a service of the system's": {"user": "user"},
}


@pytest.mark.parametrize("caller", CALLERS)
def test_limits_hold_for_every_caller_that_may_have_a_cgroup(limited: Run, caller: str) -> None:
    """Cold and warm; the payload sees its cgroup as the top, and nothing of where it is.

    The hog comes last: where what the kernel has killed takes seconds to end, it kills the shell too.
    """
    for _ in ("cold", "warm"):
        done = limited(TIGHT, f"{WHERE}; python3 -I -S -c '{FORKS}'; {HOG}", **CALLERS[caller])
        assert (done.returncode, done.stdout) == (128 + 9, "0::/\n17\n"), done


@pytest.mark.parametrize("caller", ("root in a delegated subtree", "user in a scope of its own"))
def test_nothing_is_left(machine: Machine, limited: Run, caller: str) -> None:
    """No cgroup of the sandbox's, and no scope."""
    done = limited(TIGHT, "exit 3", **CALLERS[caller])
    assert done.returncode == 3
    _await_removal(machine)


def _await_removal(machine: Machine) -> None:
    """A scope goes shortly after its last process."""
    find = "find /sys/fs/cgroup -type d -path '*/sbx/*' -o -type d -name 'sbx-*.scope'"
    wait = f'for _ in $(seq 50); do [ -z "$({find})" ] && exit 0; sleep .1; done; {find}; exit 1'
    done = machine.shell(wait)
    assert done.returncode == 0, done.stdout


def test_all_of_version_2_can_be_had_by_root(machine: Machine, limited: Run) -> None:
    disk = machine.succeed("sh", "-c", "echo /dev/$(lsblk -dno NAME | head -1)").strip()
    limits = (
        'memory_max = "50%"\nmemory_high = "40%"\ncpu_weight = 50\ncpuset_cpus = "1"\n'
        f'cpuset_mems = "0"\nio_max = [{{ device = "{disk}", rbps = "5M", wiops = 50 }}]'
    )
    done = limited(limits, "nproc")
    assert (done.returncode, done.stdout) == (0, "1\n"), done


def test_a_weight_for_disks_needs_a_scheduler_that_heeds_it(limited: Run) -> None:
    done = limited("io_weight = 50", "true")
    assert done.returncode == 125
    assert "no disk of this host has a scheduler that heeds weights" in done.stderr


def test_a_controller_that_users_do_not_get_is_told(limited: Run) -> None:
    """By default systemd hands cpu, memory and pids on to them."""
    done = limited('cpuset_cpus = "0"', "true", user="user", unit=True)
    assert done.returncode == 125
    assert "resources.cpuset_cpus" in done.stderr
    assert "user@.service" in done.stderr


def test_a_service_that_is_not_delegated_is_an_error(limited: Run) -> None:
    """Of the system's for root, and of the user's where sbx is what the unit stands for."""
    done = limited(TIGHT, "true", unit=True)
    assert done.returncode == 125
    assert "Delegate=yes" in done.stderr
    assert "resources" in done.stderr
    done = limited(TIGHT, "true", user="user", unit=True, directly=True)
    assert done.returncode == 125
    assert "Delegate=yes" in done.stderr
    assert "systemctl --user edit test-" in done.stderr


def test_a_read_only_cgroup_file_system_is_an_error(limited: Run) -> None:
    done = limited(TIGHT, "true", properties=("Delegate=yes", "ProtectControlGroups=yes"))
    assert done.returncode == 125
    assert "read-only" in done.stderr
    assert "hint: " in done.stderr


def test_a_user_without_a_systemd_is_told_how_to_get_one(limited: Run) -> None:
    done = limited(TIGHT, "true", user="nobody", env={"HOME": "/tmp"}, cwd="/")
    assert done.returncode == 125
    assert "loginctl enable-linger" in done.stderr


def test_a_dead_bus_is_an_error(machine: Machine, limited: Run, place: str) -> None:
    """One that nobody listens at, and one without a systemd."""
    machine.succeed("install", "-d", "-o", "user", f"{place}/run")
    env = {"XDG_RUNTIME_DIR": f"{place}/run"}
    bind = "import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])"
    machine.succeed("python3", "-c", bind, f"{place}/run/bus", user="user")
    done = limited(TIGHT, "true", user="user", env=env)
    assert done.returncode == 125
    assert f"bus {place}/run/bus can't be reached: Connection refused" in done.stderr
    machine.succeed("rm", f"{place}/run/bus")
    daemon = ("dbus-daemon", "--session", f"--address=unix:path={place}/run/bus", "--nofork")
    with machine.start(*daemon, "--print-address", user="user") as bus:
        bus.await_output("unix:")
        done = limited(TIGHT, "true", user="user", env=env)
    assert done.returncode == 125
    assert "there is no systemd at this bus" in done.stderr
    assert "hint: " in done.stderr


def test_a_payload_that_mounts_its_cgroup_cannot_lift_its_limits(
    machine: Machine, limited: Run
) -> None:
    """In namespaces of its own, with Landlock off. What a user's makes below it goes with it."""
    script = (
        "unshare --user --map-root-user --mount --propagation unchanged --cgroup sh -c '"
        "mount -t cgroup2 none /mnt || exit 9; cat /mnt/pids.max; "
        "for file in memory.max pids.max cpu.max; do "
        "{ echo max >/mnt/$file; } 2>/dev/null && echo lifted $file; done; "
        "mkdir /mnt/below 2>/dev/null && echo 0 >/mnt/below/cgroup.procs; cat /mnt/pids.max'"
    )
    more = '[seccomp]\nallow = ["@namespaces", "@mount"]\n[landlock]\nenabled = false\n'
    more += '[filesystem]\ntmpfs = ["/mnt"]\nproc = "writable"'
    for how in (CALLERS["root in a delegated subtree"], CALLERS["user in a scope of its own"]):
        done = limited(f"{TIGHT}\n{more}", script, **how)
        assert (done.returncode, done.stdout) == (0, "20\n20\n"), done
        _await_removal(machine)


@pytest.mark.parametrize(
    ("how", "words"),
    (
        ({}, "held below /sys/fs/cgroup/system.slice/machine-agent.service"),
        ({"unit": True}, "cgroup systemd manages alone"),
        ({"user": "user", "unit": True}, "a scope that sbx asks of the user's systemd"),
        ({"user": "user", "unit": True}, "not handed on to users: cpuset, io"),
        ({"user": "nobody", "env": {"HOME": "/tmp"}, "cwd": "/"}, "no systemd of that user runs"),
    ),
)
def test_doctor_tells_where_limits_are_held(
    machine: Machine, how: dict[str, object], words: str
) -> None:
    done = machine.run("sbx", "doctor", "--json", **how)  # type: ignore[arg-type]
    assert words in done.stdout, done
