"""A host in trouble: what lacks room, processes or namespaces is an error that says so, and nothing half is left."""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from sandbox import _cgroups
from tests.kernel.harness import MS_BIND, MS_REC, Sandbox, await_line, mount
from tests.kernel.test_records import await_record, named, names

SECONDS = 20.0


def full_runtime(sandbox: Sandbox, data: str) -> Callable[[], None]:
    """A stage in which the runtime directory is on a file system of its own, without a free page."""

    def stage() -> None:
        mount("tmpfs", sandbox.runtime, "tmpfs", data=f"{data},mode=700,uid={sandbox.uid}")
        with open(f"{sandbox.runtime}/filler", "wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                return

    return stage


@pytest.mark.parametrize("data", ("size=4k,nr_inodes=2", "size=4k"), ids=["no inode", "no page"])
def test_a_name_that_cannot_be_recorded_is_an_error(staged: Sandbox, data: str) -> None:
    """With room for the directory and none for what goes into it the program has begun: it ends."""
    options = ("--name", "crowded")
    words = (staged.probe, "wait")
    done = staged.run("", *words, options=options, stage=full_runtime(staged, data))
    assert done.returncode == 125
    assert "can't be recorded under its name: No space left on device" in done.stderr
    assert "SBX_RUNTIME_DIR" in done.stderr


def test_one_without_a_name_runs_where_nothing_can_be_recorded(staged: Sandbox) -> None:
    """For longer than the moment after which it would be recorded."""
    stage = full_runtime(staged, "size=4k,nr_inodes=2")
    words = (staged.probe, "line", "kill", "0", "0")
    with staged.start("", *words, stage=stage, stdin=subprocess.PIPE) as process:
        await_line(process)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.2)
        _, messages = process.communicate(b"\n", SECONDS)
        assert (process.returncode, messages) == (0, b"")


@pytest.mark.parametrize("kind", ("user", "mnt", "pid", "net"))
def test_a_host_without_namespaces_left_is_told(sandbox: Sandbox, kind: str) -> None:
    """In a user namespace that may hold none of the kind; the kernel says ENOSPC, which is no disk."""
    limit = f"/proc/sys/user/max_{kind}_namespaces"
    inner = [sandbox.launcher, "run", "-p", sandbox.profile(""), "--", sandbox.probe, "exit", "7"]
    script = f'echo 0 > {limit}; exec "$@"'
    done = sandbox.program(
        ["/usr/bin/unshare", "--user", "--map-root-user", "/bin/sh", "-c", script, "sh", *inner],
        env={**sandbox.environment, "XDG_CACHE_HOME": sandbox.path("cache")},
    )
    assert done.returncode == 125, done
    assert done.stdout == ""
    assert "namespace" in done.stderr
    assert "hint: " in done.stderr


def full_of_mounts(directory: str) -> Callable[[], None]:
    """A stage in whose mount namespace is room for no more than fs.mount-max has it."""

    def stage() -> None:
        mount("tmpfs", directory, "tmpfs")
        for number in range(32):
            os.mkdir(f"{directory}/{number}")
            os.mkdir(f"{directory}/more-{number}")
        copied = 0
        with contextlib.suppress(OSError):  # each copy doubles the tree
            for copied in range(32):
                mount(directory, f"{directory}/{copied}", flags=MS_BIND | MS_REC)
        for number in reversed(range(copied)):
            with contextlib.suppress(OSError):
                source = f"{directory}/{number}"
                mount(source, f"{directory}/more-{number}", flags=MS_BIND | MS_REC)

    return stage


def test_a_host_without_room_for_mounts_is_told(staged: Sandbox) -> None:
    done = staged.run("", staged.probe, "exit", "7", stage=full_of_mounts(staged.mkdir("crowd")))
    assert done.returncode == 125, done
    assert done.stdout == ""
    assert "a limit is reached (fs.mount-max" in done.stderr
    assert "hint: raise it: sysctl fs.mount-max" in done.stderr


@pytest.fixture
def lonely() -> Iterator[Callable[[], None]]:
    """What puts a process into a group whose pids.max is 1."""
    above = _cgroups.read().mounts["pids"]
    group = f"{above}/sbx-test-lonely-{os.getpid()}"
    os.mkdir(group)
    with open(f"{group}/pids.max", "w", encoding="ascii") as file:
        file.write("1")

    def enter() -> None:
        with open(f"{group}/cgroup.procs", "w", encoding="ascii") as file:
            file.write("0")

    yield enter
    os.rmdir(group)


@pytest.mark.parametrize("warm", (False, True), ids=["cold", "warm"])
def test_a_caller_whose_group_has_no_process_left_is_told(
    staged: Sandbox, lonely: Callable[[], None], warm: bool
) -> None:
    staged.run("", staged.probe, "exit", "0")
    if not warm:
        shutil.rmtree(staged.cache)
    done = staged.run("", staged.probe, "exit", "7", stage=lonely)
    assert (done.returncode, done.stdout) == (125, "")
    assert "no more processes may be started (RLIMIT_NPROC or pids.max)" in done.stderr


@pytest.mark.parametrize("warm", (False, True), ids=["cold", "warm"])
def test_a_caller_without_processes_left_is_told(as_user: Sandbox, warm: bool) -> None:
    """RLIMIT_NPROC counts all that the user has."""

    def crowd() -> None:
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))

    as_user.run("", as_user.probe, "exit", "0")
    if not warm:
        shutil.rmtree(as_user.cache)
    done = as_user.run("", as_user.probe, "exit", "7", before=crowd)
    assert done.returncode == 125
    assert "no more processes may be started (RLIMIT_NPROC or pids.max)" in done.stderr
    assert "ulimit -u" in done.stderr


@pytest.mark.parametrize("warm", (False, True), ids=["cold", "warm"])
@pytest.mark.parametrize("closed", ((0,), (1,), (2,), (0, 1, 2)), ids=str)
def test_closed_standard_streams_are_dev_null(
    sandbox: Sandbox, closed: tuple[int, ...], warm: bool
) -> None:
    """And no descriptor of sbx's own takes their place."""

    def close() -> None:
        for fd in closed:
            os.close(fd)

    done = sandbox.run("", sandbox.probe, "exit", "7", before=close, warm=warm)
    assert done.returncode == 7
    if 1 not in closed:
        found = sandbox.dump("", before=close)
        assert sorted(found.descriptors) == ["0", "1", "2"]
        assert {found.descriptors[str(fd)] for fd in closed} == {"/dev/null"}


def test_what_was_half_written_is_in_nobodys_way(sandbox: Sandbox) -> None:
    """A directory without a lock, with a record cut short: the name is free, and gc removes another."""
    for name in ("half", "rest"):
        os.mkdir(f"{sandbox.runtime}/{name}", 0o700)
        with open(f"{sandbox.runtime}/{name}/record", "wb") as file:
            file.write(b"version=1\0name=ha")
        with open(f"{sandbox.runtime}/{name}/record.new", "wb") as file:
            file.write(b"\xff" * 100)
        sandbox.own(f"{sandbox.runtime}/{name}")
    listed = sandbox.program([sandbox.launcher, "ps", "--quiet"])
    assert (listed.returncode, listed.stderr) == (0, "")
    assert not {"half", "rest"} & set(listed.stdout.split())
    done = sandbox.run("", sandbox.probe, "exit", "7", options=("--name", "half"))
    assert (done.returncode, done.stderr) == (7, "")
    assert "half" not in names(sandbox)
    assert sandbox.program([sandbox.launcher, "gc"]).returncode == 0
    assert "rest" not in names(sandbox)


def test_a_runtime_directory_that_is_deleted_ends_nothing(sandbox: Sandbox) -> None:
    """Neither the sandbox that was recorded there nor its status, and the next one makes it again."""
    with named(sandbox, "homeless", sandbox.probe, "signals") as process:
        shutil.rmtree(f"{sandbox.runtime}/homeless")
        process.terminate()
        output, messages = process.communicate(timeout=SECONDS)
        assert (process.returncode, output, messages) == (0, b"15\n", b"")
    done = sandbox.run("", sandbox.probe, "exit", "7", options=("--name", "homeless"))
    assert (done.returncode, done.stderr) == (7, "")


def test_a_time_limit_holds_while_nobody_reads_the_output(sandbox: Sandbox) -> None:
    """A program that waits for its reader waits no longer than it may."""
    text = 'filesystem.execute = ["/usr", "/lib", "/lib64"]\n[service]\nruntime_max = "200ms"\n'
    begun = time.monotonic()
    with sandbox.start(text, "/usr/bin/yes") as process:
        assert process.wait(SECONDS) == 124
    assert time.monotonic() - begun < SECONDS


def test_who_has_the_number_of_a_dead_sandboxs_process_is_left_alone(sandbox: Sandbox) -> None:
    """A supervisor is killed, and its numbers are an innocent process's by the time somebody looks."""
    with named(sandbox, "stale", sandbox.probe, "wait") as process:
        record = await_record(sandbox, "stale")
        process.send_signal(signal.SIGKILL)
        process.wait(SECONDS)
        with sandbox.popen(["/bin/sleep", "60"]) as innocent:
            record |= {"supervisor": str(innocent.pid), "first": str(innocent.pid)}
            with open(f"{sandbox.runtime}/stale/record", "w", encoding="utf-8") as file:
                file.write("".join(f"{key}={value}\0" for key, value in record.items()))
            for words in (("stop",), ("kill",), ("exec",), ("wait",), ("inspect",)):
                tail = ["/bin/true"] if words == ("exec",) else []
                done = sandbox.program([sandbox.launcher, *words, "stale", *tail])
                assert done.returncode == 125, (words, done)
            assert sandbox.program([sandbox.launcher, "stop", "--all"]).returncode == 0
            assert sandbox.program([sandbox.launcher, "gc"]).returncode == 0
            assert "stale" not in names(sandbox)
            assert innocent.poll() is None
            innocent.kill()
