"""What becomes of a sandbox with limits at its end, and of its control group in every case."""

import glob
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from sandbox import Pool, Profile, _cgroups
from sandbox import Sandbox as Library
from sandbox.library.result import Cause
from tests.kernel.harness import MS_BIND, MS_RDONLY, MS_REMOUNT, NOT_ROOT, Sandbox, mount

PROGRAMS = """
[filesystem]
read = ["/etc/ld.so.cache"]
execute = ["/usr", "/bin", "/lib", "/lib64"]
proc = "read-only"
[resources]
"""
LIMITS = 'memory_max = "32M"\nmemory_swap_max = 0\npids_max = 10\n'
HOG = ("/usr/bin/python3", "-I", "-S", "-c", "x = bytearray(100 << 20)")
FORKS = """
import os, signal, sys
for _ in range(40):
    try:
        if os.fork() == 0:
            signal.pause()
    except OSError:
        sys.exit(3)
"""


NAMED = ("--name", "limited")


def cgroups() -> list[str]:
    """The control groups of the sandbox of that name."""
    found = {f"{mount}/**/sbx/limited" for mount in _cgroups.read().mounts.values()}
    return [path for pattern in found for path in glob.glob(pattern, recursive=True)]


def reported(sandbox: Sandbox, text: str, *words: str) -> dict[str, Any]:
    """The object of --report, from a warm launch."""
    path = Path(sandbox.mkdir("reports")) / "end"
    for _ in range(2):
        sandbox.run(text, *words, options=("--report", str(path)))
    document: dict[str, Any] = json.loads(path.read_bytes())
    return document


# ---- Told ----


def test_who_is_killed_for_memory_is_told_the_limit_with_its_line_and_the_peak(
    as_root: Sandbox,
) -> None:
    """Cold and warm."""
    for _ in range(2):
        done = as_root.run(PROGRAMS + LIMITS, *HOG)
        assert done.returncode == 128 + signal.SIGKILL
        assert done.stderr.startswith("sbx: ")
        assert ": killed for memory: limit 32 MiB (resources.memory_max at " in done.stderr
        assert done.stderr.endswith(", peak 32.0 MiB\n")


def test_a_program_that_survives_the_death_of_another_is_told_of_it_as_well(
    as_root: Sandbox,
) -> None:
    words = ("/bin/sh", "-c", '"$@"; exit 7', "sh", *HOG)
    done = as_root.run(PROGRAMS + LIMITS, *words)
    assert done.returncode == 7
    assert ": exited with 7 after one of its processes was killed for memory: " in done.stderr


def test_a_program_that_makes_do_without_isnt_spoken_of(as_root: Sandbox) -> None:
    """It ends with 0; the report counts what happened."""
    words = ("/bin/sh", "-c", '"$@"; exit 0', "sh", *HOG)
    end = reported(as_root, PROGRAMS + LIMITS, *words)
    assert (end["cause"], end["exit_status"], end["usage"]["oom_kills"]) == ("exited", 0, 1)


def test_who_may_start_no_more_processes_is_told_the_limit(as_root: Sandbox) -> None:
    done = as_root.run(PROGRAMS + LIMITS, "/usr/bin/python3", "-I", "-S", "-c", FORKS)
    assert done.returncode == 3
    assert ": exited with 3 after it was refused another process once: limit 10" in done.stderr
    assert "(resources.pids_max at " in done.stderr


def test_a_report_counts_what_the_control_group_has_counted(as_root: Sandbox) -> None:
    end = reported(as_root, PROGRAMS + LIMITS, *HOG)
    usage = end["usage"]
    assert (end["cause"], end["signal"]) == ("memory", "SIGKILL")
    assert end["statement"]["key"] == "resources.memory_max"
    assert end["statement"]["value"] == "32 MiB"
    assert {"memory", "pids"} <= set(usage["measured"])
    assert 31 << 20 < usage["memory_peak"] <= 32 << 20
    assert (usage["oom_kills"], usage["pids_limit_hits"], usage["pids_peak"]) == (1, 0, 2)


def test_throttling_is_reported(as_root: Sandbox) -> None:
    spin = "import time; e = time.monotonic() + 0.4\nwhile time.monotonic() < e: pass"
    text = PROGRAMS + 'cpu_max = "10%"\n'
    usage = reported(as_root, text, "/usr/bin/python3", "-I", "-S", "-c", spin)["usage"]
    assert "throttling" in usage["measured"]
    assert usage["throttled_periods"] > 0
    assert usage["throttled_time"] > 0.05


# ---- Launches that fail, and why ----


def test_one_process_is_enough_only_without_an_init(as_root: Sandbox) -> None:
    text = "[process]\ninit = false\n[namespaces]\npid = false\n" + PROGRAMS.replace(
        "read-only", "none"
    )
    done = as_root.run(text + "pids_max = 1\n", "/bin/true")
    assert (done.returncode, done.stderr) == (0, "")
    assert "resources.pids_max" in as_root.refusal("[resources]\npids_max = 1\n")


def test_too_little_memory_for_a_launch_is_told_as_that(as_root: Sandbox) -> None:
    message = as_root.refusal('[resources]\nmemory_max = "64K"\n')
    assert "killed for memory before it could start the program: limit 64 KiB" in message


@pytest.mark.parametrize("warm", (False, True))
def test_a_control_group_file_system_that_is_read_only_is_named(
    as_root: Sandbox, warm: bool
) -> None:
    where = _cgroups.read().mounts["pids"]

    def stage() -> None:
        mount("", where, flags=MS_BIND | MS_REMOUNT | MS_RDONLY)

    text = PROGRAMS + "pids_max = 10\n"
    if warm:
        assert as_root.run(text, "/bin/true").returncode == 0
    done = as_root.run(text, "/bin/true", stage=stage)
    assert done.returncode == 125
    assert f"{where} is mounted read-only around sbx" in done.stderr
    assert f"hint: mount it writable: mount -o remount,rw {where}" in done.stderr
    assert ".toml:" in done.stderr


def test_a_hierarchy_that_has_gone_since_the_plan_was_made_is_named(as_root: Sandbox) -> None:
    where = _cgroups.read().mounts["pids"]
    text = PROGRAMS + "pids_max = 10\n"
    assert as_root.run(text, "/bin/true").returncode == 0
    done = as_root.run(text, "/bin/true", stage=lambda: mount("none", where, "tmpfs"))
    assert done.returncode == 125
    assert "resources.pids_max" in done.stderr
    assert "hint: " in done.stderr


# ---- Where it is, and that nothing of it stays ----


def test_the_control_group_namespace_begins_at_the_sandboxs_own(as_root: Sandbox) -> None:
    done = as_root.run(PROGRAMS + LIMITS, "/bin/cat", "/proc/self/cgroup")
    assert all(line.endswith(":/") for line in done.stdout.splitlines())
    text = "[namespaces]\ncgroup = false\n" + PROGRAMS + LIMITS
    done = as_root.run(text, "/bin/cat", "/proc/self/cgroup")
    assert "/sbx/" in done.stdout


def test_everything_of_the_sandbox_is_in_it(as_root: Sandbox) -> None:
    """Its init as well, which is what the limit on processes counts first."""
    text = PROGRAMS + LIMITS
    with as_root.start(text, "/bin/sleep", "60", options=NAMED) as running:
        groups: list[str] = []
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            groups = cgroups()
            if groups and all(len(processes(path)) == 2 for path in groups):
                break
            time.sleep(0.01)
        assert groups
        assert all(len(processes(path)) == 2 for path in groups), groups
        running.send_signal(signal.SIGTERM)
        running.wait()
    assert cgroups() == []


def processes(group: str) -> list[str]:
    return Path(group, "cgroup.procs").read_text(encoding="ascii").split()


@pytest.mark.parametrize("init", ("true", "false"))
def test_what_is_left_behind_is_killed_without_a_pid_namespace_too(
    as_root: Sandbox, init: str
) -> None:
    head = f"[process]\ninit = {init}\n[namespaces]\npid = false\n"
    text = head + PROGRAMS.replace('"read-only"', '"none"') + LIMITS
    script = "sleep 300 & setsid sleep 300 & exit 4"
    assert as_root.run(text, "/bin/sh", "-c", script, options=NAMED).returncode == 4
    assert cgroups() == []


def test_nothing_is_left_of_a_fork_bomb(as_root: Sandbox) -> None:
    bomb = "bomb() { bomb | bomb & }; bomb; sleep 0.3"
    text = PROGRAMS + 'pids_max = 100\nmemory_max = "64M"\n'
    as_root.run(text, "/bin/bash", "-c", bomb, options=NAMED)
    assert cgroups() == []


def test_a_name_that_is_taken_by_another_is_no_obstacle(as_root: Sandbox) -> None:
    """One that a crash has left, or of another PID namespace."""
    text = PROGRAMS + "pids_max = 10\n"
    assert as_root.run(text, "/bin/true").returncode == 0
    pattern = f"{_cgroups.read().mounts['pids']}/**/sbx"
    base = next(iter(glob.glob(pattern, recursive=True)))
    stale = Path(base, "taken")
    stale.mkdir()
    try:
        done = as_root.run(text, "/bin/true", options=("--name", "taken"))
        assert (done.returncode, done.stderr) == (0, "")
        assert stale.is_dir()
        assert not Path(base, "taken-1").exists()
    finally:
        stale.rmdir()


# ---- Through the library ----


@pytest.mark.skipif(os.geteuid() != 0, reason=NOT_ROOT)
def test_the_library_tells_the_same() -> None:
    text = 'schema = 1\n[profile]\nextends = "minimal"\n[resources]\n' + LIMITS
    profile = Profile.from_toml(text)
    result = Library(profile).run(HOG)
    assert result.cause is Cause.MEMORY
    assert result.signal is signal.SIGKILL
    assert "killed for memory (resources.memory_max)" in result.reason
    assert result.counted is not None
    assert result.counted.oom_kills == 1
    result = Library(profile).run(["/usr/bin/python3", "-I", "-S", "-c", FORKS])
    assert (result.cause, result.exit_code) == (Cause.PIDS, 3)
    with Pool(profile, size=2) as pool:
        assert pool.run(["/bin/true"]).cause is Cause.EXITED
        assert pool.run(HOG).cause is Cause.MEMORY
