"""`sbx events`, `sbx stats` and `sbx gc`: what has happened, what is used, what is left."""

import itertools
import json
import os
import subprocess
import time
from typing import Any

import pytest

from sandbox import _cgroups
from tests.kernel.harness import Running, Sandbox, await_line
from tests.kernel.live import SECONDS, named, names, sbx, until

MIB = 1 << 20


@pytest.fixture
def place(shared_dir: str) -> str:
    """A runtime directory of the test's own."""
    path = os.path.join(shared_dir, "place")
    os.makedirs(path, 0o755)
    return path


def events(sandbox: Sandbox, *options: str) -> list[dict[str, Any]]:
    done = sbx(sandbox, "events", "--json", *options)
    assert (done.returncode, done.stderr) == (0, ""), done
    return [json.loads(line) for line in done.stdout.splitlines()]


def follower(sandbox: Sandbox, *options: str) -> Running:
    """`sbx events --follow`, once it looks."""
    process = sandbox.popen(
        [sandbox.launcher, "events", "-f", "--json", *options], stdout=subprocess.PIPE
    )
    until(lambda: _watches(process.pid), "it doesn't watch")
    return process


def _watches(pid: int) -> bool:
    """Whether a process waits for what happens in a directory."""
    try:
        fds = os.listdir(f"/proc/{pid}/fd")
        for fd in fds:
            with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii") as file:
                if "inotify wd:" in file.read():
                    return True
    except OSError:
        pass
    return False


def next_of(process: Running) -> dict[str, Any]:
    assert process.stdout is not None
    found = json.loads(process.stdout.readline())
    assert isinstance(found, dict)
    return found


# ---- events ----


def test_start_and_end_are_told(sandbox: Sandbox) -> None:
    with named(sandbox, "web") as process:
        process.terminate()
        process.wait(SECONDS)
    with named(sandbox, "hit", sandbox.probe, "wait") as process:
        sbx(sandbox, "kill", "hit")
        process.wait(SECONDS)
    sandbox.run("", sandbox.probe, "exit", "7", options=("--name", "short"))
    found = events(sandbox)
    assert [(each["event"], each["name"]) for each in found] == [
        (event, name) for name in ("web", "hit", "short") for event in ("started", "exited")
    ]
    assert [(each.get("code"), each.get("signal")) for each in found[1::2]] == [
        (0, None),
        (None, 9),
        (7, None),
    ]
    times = [each["time"] for each in found]
    assert times == sorted(times)
    assert [each["name"] for each in events(sandbox, "hit")] == ["hit", "hit"]
    assert events(sandbox, "--since", "0") == []
    assert len(events(sandbox, "--since", "1h")) == 6
    text = sbx(sandbox, "events").stdout
    assert "hit exited cause=signaled signal=9" in text
    done = sbx(sandbox, "stop", "web")
    assert (done.returncode, "'sbx events web' tells how" in done.stderr) == (125, True)


def test_what_has_no_name_and_is_short_makes_none(sandbox: Sandbox) -> None:
    assert sandbox.run("", sandbox.probe, "exit", "0").returncode == 0
    assert events(sandbox) == []


def test_events_are_followed_across_rotations_and_removals(sandbox: Sandbox) -> None:
    """Also where there is no log yet."""
    log = os.path.join(sandbox.runtime, ".events")
    with follower(sandbox) as process:
        with named(sandbox, "one"):
            assert next_of(process)["event"] == "started"
        assert names(sandbox) == []
        with named(sandbox, "two") as sandboxed:
            assert (next_of(process)["name"]) == "two"
            os.rename(log, f"{log}.1")
            sandboxed.terminate()
            sandboxed.wait(SECONDS)
            ended = next_of(process)
            assert (ended["event"], ended["name"]) == ("exited", "two")
        os.unlink(log)
        with named(sandbox, "three"):
            assert next_of(process)["name"] == "three"
        process.kill()


def test_the_log_is_bounded(sandbox: Sandbox) -> None:
    log = os.path.join(sandbox.runtime, ".events")
    line = json.dumps({"time": 1, "event": "old", "name": "x" * 50}) + "\n"
    with open(log, "w", encoding="ascii") as file:
        file.write(line * (MIB // len(line) + 1))
    sandbox.own(log)
    with named(sandbox, "fresh"):
        pass
    assert os.path.getsize(log) < 4096
    assert os.path.getsize(f"{log}.1") > MIB
    found = events(sandbox)
    assert found[-1]["name"] == "fresh"
    assert found[0]["event"] == "old"


@pytest.mark.parametrize(
    "content", (b"\xff\xfe\n{}\n[1]\n{\n", b"x" * 200_000, b"[" * 100_000 + b"\n")
)
def test_garbage_in_the_log_is_left_out(sandbox: Sandbox, content: bytes) -> None:
    log = os.path.join(sandbox.runtime, ".events")
    with open(log, "wb") as file:
        file.write(content + b"\n")
    sandbox.own(log)
    with named(sandbox, "sound"):
        pass
    assert {each["name"] for each in events(sandbox)} == {"sound"}


def test_a_log_that_can_t_be_written_is_in_nobodys_way(sandbox: Sandbox) -> None:
    """A pipe in its place would make a writer wait."""
    log = os.path.join(sandbox.runtime, ".events")
    os.mkfifo(log)
    sandbox.own(log)
    with named(sandbox, "quick") as process:
        process.terminate()
        assert process.wait(SECONDS) == 0


def test_a_wrong_moment_is_an_error(sandbox: Sandbox) -> None:
    for text in ("soon", "2026-13-01", "-1"):
        done = sbx(sandbox, "events", f"--since={text}")
        assert done.returncode == 125
        assert "--since" in done.stderr


LIMITED = """
[filesystem]
read = ["/etc/ld.so.cache"]
execute = ["/usr", "/bin", "/lib", "/lib64"]
[resources]
memory_max = "32M"
memory_swap_max = 0
pids_max = 10
"""
# Each line that it reads is a limit to hit.
HITS = """
import os, signal, sys
print("ready", flush=True)
while line := sys.stdin.readline():
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        if line == "memory\\n":
            x = bytearray(100 << 20)
        for i in range(20):
            try:
                if os.fork() == 0:
                    signal.pause()
            except OSError:
                pass
        os.killpg(0, signal.SIGKILL)
    os.waitpid(pid, 0)
    print("ready", flush=True)
"""


@pytest.mark.parametrize("resource", ("memory", "pids"))
def test_a_limit_is_told_as_it_is_hit_and_not_each_time(as_root: Sandbox, resource: str) -> None:
    """The first time at once, further ones later, and with the end what was counted in all.

    Version 1 says nothing of pids since Linux 6.11.
    """
    is_live = resource == "memory" or _cgroups.read().version_of("pids") == 2

    def told() -> list[dict[str, Any]]:
        return [each for each in events(as_root) if each["event"] == "limit"]

    program = ("/usr/bin/python3", "-I", "-S", "-c", HITS)
    with named(as_root, "hits", *program, text=LIMITED) as process:
        assert process.stdin is not None
        await_line(process)
        assert told() == []
        for number in range(4):
            process.stdin.write(f"{resource}\n".encode())
            process.stdin.flush()
            await_line(process)
            if is_live and number == 0:
                until(told, "nothing is told")
        process.stdin.close()
        assert process.wait(SECONDS) == 0
    *early, last = told()
    assert {(each["name"], each["resource"]) for each in told()} == {("hits", resource)}
    assert bool(early) == is_live
    counts = [each["count"] for each in told()]
    assert sorted(set(counts)) == counts
    # A slow machine takes longer than it is silent.
    gaps = [b["time"] - a["time"] for a, b in itertools.pairwise(early)]
    assert all(gap > 9 for gap in gaps), gaps
    assert last["count"] == 4 if resource == "memory" else last["count"] >= 4
    assert events(as_root)[-1]["event"] == "exited"


# ---- stats ----


def test_stats_tell_what_is_used(sandbox: Sandbox) -> None:
    with named(sandbox, "many", sandbox.probe, "brood", "3") as process:
        await_line(process)
        done = sbx(sandbox, "stats", "--json", "many")
        assert (done.returncode, done.stderr) == (0, "")
        (found,) = json.loads(done.stdout)
        assert found["name"] == "many"
        assert found["source"] == "processes"
        assert found["memory"] > 100_000
        assert found["pids"] >= 7
        assert found["cpu_percent"] is not None
        head, line = sbx(sandbox, "stats").stdout.splitlines()
        assert head.split()[:3] == ["NAME", "CPU%", "MEMORY"]
        assert line.split()[0] == "many"
        done = sbx(sandbox, "stats", "nobody")
        assert done.returncode == 125


def test_stats_go_on_until_what_they_watch_has_ended(sandbox: Sandbox) -> None:
    with named(sandbox, "watched") as process:
        watching = sandbox.popen(
            [sandbox.launcher, "stats", "--watch", "--interval", "100ms", "--json", "watched"],
            stdout=subprocess.PIPE,
        )
        with watching:
            assert watching.stdout is not None
            for _ in range(3):
                assert json.loads(watching.stdout.readline())[0]["name"] == "watched"
            process.terminate()
            process.wait(SECONDS)
            assert watching.wait(SECONDS) == 0


# ---- gc ----


def test_gc_removes_what_a_killed_supervisor_left(sandbox: Sandbox) -> None:
    with named(sandbox, "alive"):
        for name in ("dead", "gone"):
            with named(sandbox, name) as process:
                process.kill()
                process.wait(SECONDS)
        passing = os.path.join(sandbox.runtime, ".half.123")
        os.mkdir(passing, 0o700)
        sandbox.own(passing)
        done = sbx(sandbox, "gc", "--dry-run")
        assert (done.returncode, done.stderr) == (0, "")
        assert f"would remove record {sandbox.runtime}/dead" in done.stdout
        assert os.path.exists(os.path.join(sandbox.runtime, "dead"))
        done = sbx(sandbox, "gc", "--json")
        removed = {each["path"] for each in json.loads(done.stdout) if each["removed"]}
        expected = {os.path.join(sandbox.runtime, name) for name in ("dead", "gone", ".half.123")}
        assert expected <= removed
        entries = {name for name in os.listdir(sandbox.runtime) if not name.startswith(".events")}
        assert entries == {"alive"}
        assert sandbox.runtime not in sbx(sandbox, "gc").stdout
        assert names(sandbox) == ["alive"]


def test_gc_is_in_no_launchs_way(sandbox: Sandbox) -> None:
    """Names are taken, and given up, beside it."""
    loop = "while :; do sbx gc >/dev/null || exit 9; done"
    path = f"{os.path.dirname(sandbox.launcher)}:/usr/bin:/bin"
    collecting = sandbox.popen(["/bin/sh", "-c", loop], env=sandbox.environment | {"PATH": path})
    with collecting:
        for _ in range(20):
            done = sandbox.run("", sandbox.probe, "exit", "0", options=("--name", "taken"))
            assert (done.returncode, done.stderr) == (0, "")
            os.mkdir(os.path.join(sandbox.runtime, "taken"), 0o700)
            sandbox.own(os.path.join(sandbox.runtime, "taken"))
        assert collecting.poll() is None
        collecting.kill()
        time.sleep(0.2)


def test_gc_removes_the_cgroup_of_a_paused_one_that_was_killed(as_root: Sandbox) -> None:
    with named(as_root, "iced") as process:
        assert sbx(as_root, "pause", "iced").returncode == 0
        with open(os.path.join(as_root.runtime, "iced", "paused"), encoding="ascii") as file:
            group = dict(pair.split("=") for pair in file.read().split("\0") if pair)["path"]
        process.kill()
        process.wait(SECONDS)
        until(lambda: not _processes(group), "its processes live")
        done = sbx(as_root, "gc")
        assert (done.returncode, done.stderr) == (0, "")
        assert f"removed cgroup {group}" in done.stdout
        assert not os.path.exists(group)


def _processes(group: str) -> str:
    with open(f"{group}/cgroup.procs", encoding="ascii") as file:
        return file.read()


def test_gc_believes_no_record_that_names_something_else(sandbox: Sandbox) -> None:
    """A record says which cgroups to remove; only cgroups of sbx's are, and nothing is written."""
    victim = sandbox.mkdir("sbx/victim")
    file = sandbox.write("sbx/victim/freezer.state", "kept")
    empty = sandbox.mkdir("sbx/empty")
    place = os.path.join(sandbox.runtime, "forged")
    os.mkdir(place, 0o700)
    with open(os.path.join(place, "record"), "w", encoding="ascii") as record:
        record.write(f"cgroup={victim}\0cgroup={empty}\0cgroup=/sys/fs/cgroup\0")
    with open(os.path.join(place, "paused"), "w", encoding="ascii") as mark:
        mark.write(f"path={victim}\0file=freezer.state\0thawed=gone\0")
    sandbox.own(place, os.path.join(place, "record"), os.path.join(place, "paused"))
    assert sbx(sandbox, "gc").returncode == 0
    assert not os.path.exists(place)
    assert os.path.isdir(empty)
    with open(file, encoding="ascii") as kept:
        assert kept.read() == "kept"


def test_root_removes_no_record_of_others(as_root: Sandbox, as_user: Sandbox) -> None:
    """Where their directories lead to is theirs to change at any moment."""
    from sandbox.live import leftovers

    with named(as_user, "theirs") as process:
        process.kill()
        process.wait(SECONDS)
    assert list(leftovers.collect(as_root.runtime, [as_user.runtime], dry=False)) == []
    assert "theirs" in os.listdir(as_user.runtime)
