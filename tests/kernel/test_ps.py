"""`sbx ps` and `sbx inspect`: what lives is listed, and nothing else."""

import fcntl
import functools
import json
import os
import shutil
import signal
import struct
import subprocess
import threading

import pytest

from tests.kernel.harness import Running, Sandbox, await_line
from tests.kernel.live import SECONDS, listed, named, names, sbx, until


@pytest.fixture
def place(shared_dir: str) -> str:
    """A runtime directory of the test's own."""
    path = os.path.join(shared_dir, "place")
    os.makedirs(path, 0o755)
    return path


def forged(sandbox: Sandbox, name: str, content: bytes, *, locked: bool) -> int:
    """A record that no supervisor has written; its descriptor, which holds the lock."""
    path = os.path.join(sandbox.runtime, name)
    os.mkdir(path, 0o700)
    with open(os.path.join(path, "record"), "wb") as file:
        file.write(content)
    sandbox.own(path, os.path.join(path, "record"))
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    if locked:
        read_lock = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
        fcntl.fcntl(fd, 37, read_lock)  # F_OFD_SETLK
    return fd


def record_of(supervisor: int, first: int) -> bytes:
    fields = {
        "name": "forged",
        "profile": "/p.toml",
        "supervisor": supervisor,
        "first": first,
        "has_init": 1,
        "started_ns": 1,
        "begun_ns": 1,
        "plan_fd": 3,
        "argv": "sleep",
    }
    return "".join(f"{key}={value}\0" for key, value in fields.items()).encode()


def one_has_ended(processes: list[Running]) -> bool:
    return any(process.poll() is not None for process in processes)


def test_what_lives_is_listed_until_it_ends(sandbox: Sandbox) -> None:
    assert names(sandbox) == []
    with named(sandbox, "web.1") as process:
        (found,) = listed(sandbox)
        assert (found["name"], found["state"]) == ("web.1", "running")
        assert found["command"] == [sandbox.probe, "signals"]
        assert found["supervisor"] == process.pid
        assert found["uid"] == sandbox.uid
        done = sbx(sandbox, "ps")
        head, line = done.stdout.splitlines()
        assert head.split() == ["NAME", "PROFILE", "PID", "UP", "MEMORY", "STATE", "COMMAND"]
        assert line.split()[0] == "web.1"
        assert line.endswith(f"{sandbox.probe} signals")
        assert sbx(sandbox, "ps", "-q").stdout == "web.1\n"
        process.terminate()
        process.wait(SECONDS)
    assert names(sandbox) == []


def test_one_whose_supervisor_was_killed_isnt_listed(sandbox: Sandbox) -> None:
    with named(sandbox, "killed") as process:
        process.kill()
        process.wait(SECONDS)
        assert os.path.exists(os.path.join(sandbox.runtime, "killed", "record"))
        assert names(sandbox) == []
        done = sbx(sandbox, "inspect", "killed")
        assert done.returncode == 125
        assert "there is no live sandbox 'killed'" in done.stderr


@pytest.mark.parametrize(
    "content",
    (
        b"",
        b"\0" * 100,
        b"\xff\xfe=\0supervisor=x\0",
        b"name=a",
        b"x" * 200_000,
        record_of(1, 2)[:-22],
    ),
    ids=("empty", "nul", "bytes", "short", "long", "cut"),
)
def test_a_record_of_garbage_is_none(sandbox: Sandbox, content: bytes) -> None:
    """Even while somebody holds its lock."""
    fd = forged(sandbox, "forged", content, locked=True)
    try:
        assert names(sandbox) == []
        assert sbx(sandbox, "inspect", "forged").returncode == 125
    finally:
        os.close(fd)


def test_process_ids_that_have_become_others_are_never_taken(as_root: Sandbox) -> None:
    """A record names the processes of somebody else, as after a reuse of their ids."""
    with subprocess.Popen(["sleep", "100"]) as other:
        fd = forged(as_root, "forged", record_of(os.getpid(), other.pid), locked=True)
        try:
            for verb in ("inspect",):
                done = sbx(as_root, verb, "forged")
                assert done.returncode == 125, done
                assert "'forged' has just ended" in done.stderr
            assert other.poll() is None
        finally:
            os.close(fd)
            other.kill()


def test_a_runtime_directory_that_isnt_there_holds_nothing(sandbox: Sandbox) -> None:
    environment = sandbox.environment | {"SBX_RUNTIME_DIR": sandbox.path("none")}
    assert listed(sandbox, env=environment) == []
    with named(sandbox, "lost") as process:
        shutil.rmtree(sandbox.runtime)
        os.mkdir(sandbox.runtime, 0o755)
        sandbox.own(sandbox.runtime)
        assert names(sandbox) == []
        process.terminate()
        assert process.wait(SECONDS) == 0


def test_a_runtime_directory_of_others_isnt_believed(sandbox: Sandbox) -> None:
    path = sandbox.mkdir("shared")
    os.chmod(path, 0o777)
    done = sbx(sandbox, "ps", env=sandbox.environment | {"SBX_RUNTIME_DIR": path})
    assert done.returncode == 125
    assert "belongs to another user, or others may write to it" in done.stderr


def test_many_readers_are_in_nobodys_way(sandbox: Sandbox) -> None:
    """A stale name can be taken while it is looked at, and a live one never looks stale."""
    from sandbox.live import records

    with named(sandbox, "stale") as process:
        process.kill()
        process.wait(SECONDS)
    done = threading.Event()
    missing: list[str] = []

    def look() -> None:
        while not done.is_set():
            records.read(sandbox.runtime, "stale")
            if records.read(sandbox.runtime, "steady") is None:
                missing.append("steady")

    with named(sandbox, "steady"):
        threads = [threading.Thread(target=look) for _ in range(8)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(10):
                ended = sandbox.run("", sandbox.probe, "exit", "0", options=("--name", "stale"))
                assert (ended.returncode, ended.stderr) == (0, "")
                os.mkdir(os.path.join(sandbox.runtime, "stale"), 0o700)
                sandbox.own(os.path.join(sandbox.runtime, "stale"))
        finally:
            done.set()
            for thread in threads:
                thread.join()
    assert missing == []


def test_two_that_want_a_dead_ones_name_at_once_get_it_once(sandbox: Sandbox) -> None:
    with named(sandbox, "wanted") as process:
        process.kill()
        process.wait(SECONDS)
    for _ in range(5):
        both = [
            sandbox.start("", sandbox.probe, "signals", options=("--name", "wanted"))
            for _ in range(2)
        ]
        until(functools.partial(one_has_ended, both), "both have the name")
        codes = [p.poll() for p in both]
        assert sorted(codes, key=str) == [125, None], codes
        until(lambda: names(sandbox) == ["wanted"], "nobody has the name")
        for p in both:
            p.kill()
            p.communicate()


def test_escapes_in_a_command_are_harmless(sandbox: Sandbox) -> None:
    with named(sandbox, "evil", sandbox.probe, "signals", "\x1b]0;x\x07\n"):
        done = sbx(sandbox, "ps")
        assert "\x1b" not in done.stdout
        assert "\\x1b]0;x\\x07\\n" in done.stdout
        assert len(done.stdout.splitlines()) == 2


def test_names_of_others_are_root_s_alone_to_see(as_user: Sandbox, as_root: Sandbox) -> None:
    done = sbx(as_user, "ps", "--all-users")
    assert done.returncode == 125
    assert "--all-users is for root" in done.stderr
    with named(as_user, "theirs"):
        assert names(as_root) == []


def test_a_wrong_name_is_told_the_right_one(sandbox: Sandbox) -> None:
    with named(sandbox, "frontend"):
        done = sbx(sandbox, "inspect", "frontent")
        assert done.returncode == 125
        assert "hint: did you mean 'frontend'?" in done.stderr
        done = sbx(sandbox, "inspect", "../frontend")
        assert "there is no live sandbox '../frontend'" in done.stderr


def test_names_complete(sandbox: Sandbox) -> None:
    with named(sandbox, "frontend"):
        words = {
            "_SBX_COMPLETE": "bash_complete",
            "COMP_WORDS": "sbx inspect fr",
            "COMP_CWORD": "2",
        }
        done = sbx(sandbox, env=sandbox.environment | words)
        assert done.stdout == "plain,frontend\n"


def test_inspect_tells_what_holds(sandbox: Sandbox) -> None:
    with named(sandbox, "looked-at", text="rlimits.nofile = 99\n") as process:
        done = sbx(sandbox, "inspect", "--json", "looked-at")
        assert (done.returncode, done.stderr) == (0, ""), done
        found = json.loads(done.stdout)
        assert found["processes"]["supervisor"] == process.pid
        assert found["processes"]["count"] == 2
        payload = found["processes"]["payload"]
        with open(f"/proc/{payload}/cmdline", encoding="ascii") as file:
            assert file.read().split("\0")[1] == "signals"
        assert found["ids"]["no_new_privs"] == "1"
        assert found["ids"]["seccomp"] == "2"
        assert all(found["namespaces"][kind]["own"] for kind in ("user", "mnt", "pid", "ipc"))
        assert found["namespaces"]["pid"]["inode"] == os.stat(f"/proc/{payload}/ns/pid").st_ino
        assert found["mounts"] > 3
        assert set(found["descriptors"]) == {"0", "1", "2"}
        enforced = "; ".join(found["enforced"])
        for words in ("new namespaces", "Landlock denies", "filter system calls", "99"):
            assert words in enforced
        text = sbx(sandbox, "inspect", "looked-at").stdout
        assert "no program can gain privileges" in text


def test_hundreds_are_listed(sandbox: Sandbox) -> None:
    """500 records, of which those count that are locked."""
    from sandbox.live import records

    held = [
        forged(sandbox, f"many-{number}", record_of(os.getpid(), 2), locked=number % 2 == 0)
        for number in range(500)
    ]
    try:
        assert len(records.all_live(sandbox.runtime)) == 250
    finally:
        for fd in held:
            os.close(fd)


def test_a_stopped_supervisor_is_listed_all_the_same(sandbox: Sandbox) -> None:
    with named(sandbox, "asleep") as process:
        process.send_signal(signal.SIGSTOP)
        assert names(sandbox) == ["asleep"]
        process.send_signal(signal.SIGCONT)


def test_root_sees_those_of_all_users(as_user: Sandbox, as_root: Sandbox) -> None:
    """In the place that sbx chooses by itself."""
    if os.path.isdir(f"/run/user/{as_user.uid}"):
        place = f"/run/user/{as_user.uid}/sbx"
    else:
        place = f"/tmp/sbx-{as_user.uid}"
    had_one = os.path.isdir(place)
    own = {key: value for key, value in as_user.environment.items() if key != "SBX_RUNTIME_DIR"}
    words = as_user.arguments("", (as_user.probe, "signals"), ("--name", "of-a-user"))
    with as_user.popen(words, env=own, stdout=subprocess.PIPE) as process:
        await_line(process)
        until(lambda: os.path.exists(f"{place}/of-a-user/record"), "no record")
        done = sbx(as_root, "ps", "--all-users", "--json")
        found = {each["name"]: each["uid"] for each in json.loads(done.stdout)}
        assert found["of-a-user"] == as_user.uid
        assert f"{as_user.uid}" in sbx(as_root, "ps", "--all-users").stdout
        process.terminate()
        assert process.wait(SECONDS) == 0
    if not had_one:
        shutil.rmtree(place)
