"""The program that uses the library: its threads, signals, forks and its end stay its own."""

import concurrent.futures
import contextlib
import os
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from sandbox import PIPE, Cause, Process, Sandbox, SandboxError, SetupError
from sandbox.process import server
from tests.kernel.harness import NOT_ROOT
from tests.kernel.library.conftest import children, eventually, kill_server, sandboxes

SLEEP = ["sleep", "1000"]


def test_many_threads_run_programs_at_once(box: Sandbox) -> None:
    def echo(number: int) -> str:
        return box.run(["echo", str(number)], text=True).check().stdout

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(echo, range(80))) == [f"{number}\n" for number in range(80)]


def test_a_sandbox_sees_no_word_of_the_server_that_started_it(box: Sandbox) -> None:
    """Nor of the variables that the server has from this program."""
    assert box.run(["cat", "/proc/1/cmdline"]).stdout == b"sbx-init\0"
    assert box.run(["cat", "/proc/1/environ"]).exit_code == 1


def test_a_program_outlives_the_thread_that_started_it(box: Sandbox) -> None:
    """The kernel's signal of the parent's death comes when a thread ends (prctl(2))."""
    started: list[Process[bytes]] = []
    thread = threading.Thread(target=lambda: started.append(box.start(["cat"], stdin=PIPE)))
    thread.start()
    thread.join()
    with started[0] as process:
        time.sleep(0.1)
        assert process.poll() is None
        assert process.stdin
        process.stdin.close()
        assert process.wait(60).ok


def test_a_handler_that_waits_for_every_child_takes_no_result(box: Sandbox) -> None:
    """A sandbox is no child of this process, so there is nothing to steal or to be interrupted by."""
    seen: list[int] = []

    def reap(number: int, frame: object) -> None:
        seen.append(number)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

    old = signal.signal(signal.SIGCHLD, reap)
    try:
        assert [box.run(["sh", "-c", f"exit {n}"]).exit_code for n in range(20)] == list(range(20))
    finally:
        signal.signal(signal.SIGCHLD, old)
    assert seen == []


def test_children_of_ones_own_stay_ones_own(box: Sandbox) -> None:
    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(5)"]) as child:
        assert box.run(["true"]).ok
        assert child.wait(60) == 5


def test_ignored_children_are_waited_for_all_the_same(box: Sandbox) -> None:
    old = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert box.run(["sh", "-c", "exit 3"]).exit_code == 3
        kill_server()
        assert box.run(["sh", "-c", "exit 4"]).exit_code == 4
    finally:
        signal.signal(signal.SIGCHLD, old)


def test_signals_and_processors_of_the_thread_are_as_before(box: Sandbox) -> None:
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    try:
        before = (signal.pthread_sigmask(signal.SIG_BLOCK, []), os.sched_getaffinity(0))
        box.run(["true"])
        with pytest.raises(SetupError):
            box.run(["nope"])
        after = (signal.pthread_sigmask(signal.SIG_BLOCK, []), os.sched_getaffinity(0))
        assert after == before
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def test_the_program_gets_no_blocked_or_ignored_signal_of_ones_own(box: Sandbox) -> None:
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        status = box.run(["cat", "/proc/self/status"], text=True).check().stdout
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    assert "SigBlk:\t0000000000000000" in status
    assert "SigIgn:\t0000000000000000" in status


def test_a_sandbox_has_nothing_of_this_processs_memory(box: Sandbox) -> None:
    """Its first process isn't a copy of this one, which may hold secrets and be large."""
    with box.start(SLEEP) as process:
        if os.geteuid() != 0:
            pytest.skip(NOT_ROOT)
        assert os.readlink(f"/proc/{process.pid}/exe") == os.path.realpath(server.launcher())
        with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
            size = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
    assert size < 2048


INTERRUPTED = """
import os, random, signal, threading
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background has it ignored
from sandbox import Sandbox
from sandbox.process import server
box = Sandbox("minimal")
box.run(["true"])
interrupted = 0
for _ in range(60):
    seconds = random.uniform(0, 0.004)
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    try:
        timer.start()
        box.run(["sleep", "1000"], timeout=20)
    except KeyboardInterrupt:
        interrupted += 1
    timer.join()
print(interrupted, server.current().pid, flush=True)
input()
"""


def test_ctrl_c_at_any_moment_leaves_nothing_running() -> None:
    command = [sys.executable, "-W", "ignore", "-c", INTERRUPTED]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as program:  # type: ignore[call-overload]
        interrupted, pid = program.stdout.readline().split()
        assert int(interrupted) > 50
        assert eventually(lambda: children(int(pid)) == [])
        program.communicate("\n")
    assert program.returncode == 0


def test_ctrl_c_at_the_terminal_is_for_this_process_alone(box: Sandbox) -> None:
    """The server and its sandboxes are in a process group of their own."""
    with box.start(SLEEP) as process:
        assert os.getpgid(process.pid) != os.getpgrp()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_runs_programs_of_its_own(box: Sandbox) -> None:
    with box.start(["cat"], stdin=PIPE) as process:
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if box.run(["echo", "x"]).stdout == b"x\n" else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert process.poll() is None
        assert process.stdin
        process.stdin.close()
        assert process.wait(60).ok


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_leaves_the_sandboxes_of_its_parent_alone(box: Sandbox) -> None:
    """Its copy of a process can't be used, and ends nothing when it goes."""
    with box.start(SLEEP) as process:
        child = os.fork()
        if child == 0:
            refused = 0
            for use in (process.poll, process.kill, process.wait):
                try:
                    use()
                except SandboxError:
                    refused += 1
            process.close()
            os._exit(refused)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
        time.sleep(0.1)
        assert process.poll() is None


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_in_the_midst_of_threads_is_sound(box: Sandbox) -> None:
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            box.run(["true"])

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                os._exit(0 if box.run(["true"]).ok else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()


HOST = """
import os, sys
from sandbox import Profile, Sandbox
box = Sandbox(Profile(extends="minimal", process={{"die_with_parent": {dies}}}))
process = box.start(["sleep", "1000"])
print(process.pid, flush=True)
{then}
"""


def host(then: str, *, dies: bool = True) -> "subprocess.Popen[str]":
    """A program that has a sandbox, and then does this."""
    return subprocess.Popen(
        [sys.executable, "-c", HOST.format(then=textwrap.dedent(then), dies=dies)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )


def ends(pid: int) -> bool:
    """Whether a process that may just end does."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], 30)[0])
    finally:
        os.close(pidfd)


@pytest.mark.parametrize("dies", (True, False))
@pytest.mark.parametrize(
    "then",
    (
        "os.kill(os.getpid(), 9)",
        "os.kill(os.getpid(), 15)",
        "raise SystemExit",
        "os._exit(3)",
        "os.fork() or __import__('time').sleep(2); os._exit(0)",
    ),
)
def test_sandboxes_end_with_their_program(then: str, dies: bool) -> None:
    """However it ends, whatever the profile says, and though a fork of it may live on."""
    with host(then, dies=dies) as program:
        assert program.stdout
        pid = int(program.stdout.readline())
        assert ends(pid)


def test_a_program_under_development_mode_ends_without_warnings() -> None:
    script = "from sandbox import Sandbox; print(Sandbox('minimal').run(['true']).ok)"
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


def test_the_next_call_has_a_new_server_when_the_old_one_was_killed(box: Sandbox) -> None:
    with box.start(SLEEP) as process:
        kill_server()
        assert process.wait(60).cause is Cause.KILLED
        assert ends(process.pid)
    assert box.run(["echo", "again"]).stdout == b"again\n"


def test_a_program_that_gives_up_its_user_has_a_new_server(box: Sandbox) -> None:
    """The old one would still have the right to everything."""
    if os.geteuid() != 0:
        pytest.skip(NOT_ROOT)
    script = """
        from sandbox.process import server
        old = server.current().pid
        os.setresgid(61234, 61234, 61234)
        os.setresuid(61234, 61234, 61234)
        answer = Sandbox("minimal").run(["id", "-u"]).stdout.decode().strip()
        uid = os.stat(f"/proc/{server.current().pid}").st_uid
        print(answer, uid, server.current().pid != old, flush=True)
        """
    with host(script) as program:
        output, _ = program.communicate()
    assert output.split()[1:] == ["61234", "61234", "True"]


def test_a_server_serves_only_the_user_that_it_was_started_as() -> None:
    """Whoever has its socket and has given up privileges can't get them back by it."""
    if os.geteuid() != 0:
        pytest.skip(NOT_ROOT)
    script = """
        from sandbox.process import server
        os.setresuid(61234, 61234, 61234)
        kept = server.current()
        channel = kept.start(1, b"")
        import select
        select.select([channel], [], [], 30)
        print("refused" if channel.receive() is None else "served", flush=True)
        """
    with host(script) as program:
        output, _ = program.communicate()
    assert output.split()[1:] == ["refused"]


def test_the_server_holds_nothing_of_this_process(box: Sandbox) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    try:
        kill_server()
        box.run(["true"])
        found = server.current()
        assert found
        links = {
            os.readlink(f"/proc/{found.pid}/fd/{n}") for n in os.listdir(f"/proc/{found.pid}/fd")
        }
        kinds = {link.partition("[")[0] for link in links}
        assert kinds <= {"/dev/null", "socket:", "anon_inode:"}, links
        with open(f"/proc/{found.pid}/environ", "rb") as file:
            assert file.read() == b""
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("closed", ((0,), (1,), (2,), (0, 1, 2)))
def test_nothing_of_ours_is_taken_for_a_standard_stream(
    tmp_path: Path, closed: tuple[int, ...]
) -> None:
    """Where the program has closed one, a program in a sandbox gets /dev/null as this one."""
    script = f"""
        import os
        from sandbox import DEVNULL, PIPE, Sandbox
        for fd in {closed}:
            os.close(fd)
        box = Sandbox("minimal")
        for stream in (None, PIPE):
            streams = {{"stdin": None, "stdout": stream, "stderr": stream}}
            with open({str(tmp_path / "links")!r}, "a") as links:
                command = ["sh", "-c", "for n in 0 1 2; do readlink /proc/$$/fd/$n >&9; done"]
                assert box.run(command, descriptors={{9: links}}, **streams).ok
                process = box.start(command, descriptors={{9: links}}, **streams)
                assert process.communicate().ok
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    links = (tmp_path / "links").read_text().split()
    assert len(links) == 12
    assert not [link for link in links if link.startswith(("socket:", "anon_inode:"))]


def test_importing_the_package_imports_nothing_else() -> None:
    """The command line's cold start pays for it."""
    script = (
        "import sys; before = set(sys.modules); import sandbox; print(set(sys.modules) - before)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=os.path.dirname(
            os.path.dirname(os.path.abspath(sys.modules["sandbox"].__file__ or ""))
        ),
    )
    assert done.stdout.strip() == "{'sandbox'}"


def test_what_is_offered_is_all_there() -> None:
    import sandbox

    names: dict[str, Any] = {name: getattr(sandbox, name) for name in sandbox.__all__}
    assert None not in names.values()
    assert set(sandbox.__all__) <= set(dir(sandbox))
    with pytest.raises(AttributeError, match="no attribute 'Sandbx'"):
        sandbox.Sandbx  # type: ignore[attr-defined]  # noqa: B018


def test_no_sandbox_of_another_one_is_in_reach(box: Sandbox) -> None:
    """A positive control of `sandboxes`: it sees those that live."""
    with box.start(SLEEP), box.start(SLEEP):
        assert len(sandboxes()) == 2
        assert all(len(children(pid)) == 1 for pid in sandboxes())


def test_a_sandbox_is_for_the_user_that_made_it() -> None:
    if os.geteuid() != 0:
        pytest.skip(NOT_ROOT)
    script = """
        from sandbox import SandboxError
        os.setresuid(61234, 61234, 61234)
        try:
            box.run(["true"])
        except SandboxError as error:
            print(error.message)
        """
    with host(script) as program:
        output, _ = program.communicate()
    assert "this sandbox was made ready for another user" in output
