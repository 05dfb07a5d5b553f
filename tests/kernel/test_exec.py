"""`sbx exec`: another program in a live sandbox, with every layer that its own program has."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.kernel.harness import Running, Sandbox, answers, await_line
from tests.kernel.posture import Posture
from tests.kernel.terminals import Terminal
from tests.kernel.test_doors import RICH, state
from tests.kernel.test_records import EXEC, REQUEST, VERSION, await_record, hung_up
from tests.kernel.test_terminal import SHELL

SECONDS = 20.0
DIFFERS = {"NSpid", "NSpgid", "NSsid", "NStgid", "pid", "parent", "group", "session"}
"""Which process it is."""


@pytest.fixture
def join(sandbox: Sandbox) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `sbx exec` to its end."""

    def run(name: str, *words: str, options: tuple[str, ...] = (), **how: Any) -> Any:
        return sandbox.program([sandbox.launcher, "exec", *options, name, "--", *words], **how)

    return run


Join = Callable[..., subprocess.CompletedProcess[str]]


@contextlib.contextmanager
def named(sandbox: Sandbox, name: str, *words: str, text: str = "") -> Iterator[Running]:
    """A live sandbox whose program says that it is ready."""
    with sandbox.start(
        text, *(words or (sandbox.probe, "wait")), options=("--name", name)
    ) as process:
        await_line(process)
        await_record(sandbox, name)
        yield process
        process.kill()


@pytest.mark.parametrize("profile", ("", RICH), ids=["nothing", "rich"])
def test_every_layer_is_the_payloads(sandbox: Sandbox, join: Join, profile: str) -> None:
    """The same dump as by the sandbox's own program."""
    text = profile.format(lower=sandbox.mkdir("lower"))
    own = sandbox.dump(text)
    with named(sandbox, "layers", text=text):
        done = join("layers", sandbox.probe, "dump")
        assert (done.returncode, done.stderr) == (0, "")
    found, expected = state(Posture(json.loads(done.stdout))), state(own)
    for name in DIFFERS:
        for one in (found, found["status"], expected, expected["status"]):
            one.pop(name, None)
    del found["cgroup"], expected["cgroup"]  # the namespace's root is what its maker was in
    assert found == expected


REFUSED = (
    ("open", "/etc/x", "wc"),
    ("open", "/root/x", "r"),
    ("mount", "none", "/tmp", "tmpfs", "0"),
    ("ptrace", "1"),
    ("setns", "/proc/self/ns/mnt"),
)


def test_what_the_payload_may_not_do_it_may_not_either(sandbox: Sandbox, join: Join) -> None:
    """Landlock and the filter are each one's own, and no copy of an init's state."""
    with named(sandbox, "refused", text="[filesystem]\nread = ['/etc']"):
        for attempt in REFUSED:
            inside = sandbox.attempt("[filesystem]\nread = ['/etc']", *attempt)
            done = join("refused", sandbox.probe, *attempt)
            assert inside.outcome != "ok"
            assert answers(done.stdout)[0].outcome == inside.outcome, (attempt, done)


def test_streams_and_status_are_its_own(sandbox: Sandbox, join: Join) -> None:
    with named(sandbox, "streams", text=TOOLS):
        done = join("streams", "/bin/cat", stdin="through\n")
        assert (done.returncode, done.stdout, done.stderr) == (0, "through\n", "")
        for status in (0, 1, 42, 255):
            assert join("streams", sandbox.probe, "exit", str(status)).returncode == status
        for number in (9, 11, 15):
            assert join("streams", sandbox.probe, "die", str(number)).returncode == 128 + number


TOOLS = """
[filesystem]
execute = ["/usr", "/bin", "/lib", "/lib64"]
read = ["/etc/ld.so.cache"]
tmpfs = ["/tmp"]
[environment]
set = { PATH = "/usr/bin:/bin", KEPT = "1", CHANGED = "before" }
"""


def test_variables_are_the_payloads_and_the_callers_said_ones(sandbox: Sandbox, join: Join) -> None:
    with named(sandbox, "variables", text=TOOLS):
        options = ("-e", "CHANGED=after", "--env", "NEW=a=b", "--cwd", "/tmp")
        done = join("variables", "sh", "-c", "env | sort; pwd", options=options)
        lines = [
            line for line in done.stdout.splitlines() if not line.startswith(("PWD", "_=", "SHLVL"))
        ]
        assert lines == ["CHANGED=after", "KEPT=1", "NEW=a=b", "PATH=/usr/bin:/bin", "/tmp"]
        assert join("variables", "true", options=("--cwd", "tmp")).returncode == 125
        done = join("variables", "true", options=("--cwd", "/nowhere"))
        assert done.returncode == 125
        assert "the working directory" in done.stderr


def test_long_command_lines_go_through(sandbox: Sandbox, join: Join) -> None:
    """What is more than a message holds goes in a memory file."""
    with named(sandbox, "long", text=TOOLS):
        words = ["x" * 100_000, *(str(n) for n in range(5_000))]
        done = join("long", "sh", "-c", "echo ${#1} $#", "sh", *words)
        assert done.stdout == "100000 5001\n"


def test_a_missing_command_is_127(sandbox: Sandbox, join: Join) -> None:
    with named(sandbox, "missing"):
        done = join("missing", "/no/such")
        assert done.returncode == 127
        assert "there is no command '/no/such' in the sandbox" in done.stderr
        assert join("missing", sandbox.probe, "exit", "0").returncode == 0


def test_signals_reach_it_and_not_the_payload(sandbox: Sandbox) -> None:
    with named(sandbox, "signals", sandbox.probe, "signals") as payload:
        arguments = [sandbox.launcher, "exec", "signals", sandbox.probe, "signals"]
        with sandbox.popen(arguments, stdout=subprocess.PIPE) as joined:
            await_line(joined)
            for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGIO, signal.SIGTERM):
                joined.send_signal(number)
                await_line(joined, f"{int(number)}\n".encode())
            assert joined.wait(SECONDS) == 0
        payload.terminate()
        await_line(payload, b"15\n")
        assert payload.wait(SECONDS) == 0


def test_a_signal_that_tells_of_io_still_reaches_the_payload(sandbox: Sandbox) -> None:
    """The init is told of requests by the same one."""
    with named(sandbox, "io", sandbox.probe, "signals") as payload:
        payload.send_signal(signal.SIGIO)
        await_line(payload, f"{int(signal.SIGIO)}\n".encode())


def test_it_ends_with_its_caller(sandbox: Sandbox, join: Join) -> None:
    with named(sandbox, "left", text=TOOLS):
        arguments = [sandbox.launcher, "exec", "left", sandbox.probe, "wait"]
        with sandbox.popen(arguments, stdout=subprocess.PIPE) as joined:
            await_line(joined)
            joined.kill()
        until = time.monotonic() + SECONDS
        count = "n=0; for p in /proc/[0-9]*; do n=$((n+1)); done; echo $n"
        while join("left", "sh", "-c", count).stdout != "3\n":  # init, payload, this shell
            assert time.monotonic() < until
            time.sleep(0.02)


def test_it_ends_with_the_sandbox(sandbox: Sandbox) -> None:
    with named(sandbox, "ending") as payload:
        arguments = [sandbox.launcher, "exec", "ending", sandbox.probe, "wait"]
        with sandbox.popen(arguments, stdout=subprocess.PIPE) as joined:
            await_line(joined)
            payload.terminate()
            assert joined.wait(SECONDS) == 128 + signal.SIGKILL


def test_many_at_once_and_one_after_another(sandbox: Sandbox) -> None:
    with named(sandbox, "many"):
        arguments = [sandbox.launcher, "exec", "many", sandbox.probe, "exit", "7"]
        for _ in range(3):
            joined = [sandbox.popen(arguments) for _ in range(20)]
            assert [process.wait(SECONDS) for process in joined] == [7] * 20


def test_a_caller_that_says_nothing_holds_up_nobody(sandbox: Sandbox, join: Join) -> None:
    with (
        named(sandbox, "silent", sandbox.probe, "signals") as payload,
        contextlib.ExitStack() as held,
    ):
        for _ in range(70):  # more than there are places
            asking = held.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            asking.connect(os.path.join(sandbox.runtime, "silent", "control"))
            with contextlib.suppress(BrokenPipeError):
                asking.send(REQUEST.pack(VERSION, EXEC, 0, 0, 0))
        payload.send_signal(signal.SIGUSR1)
        await_line(payload, b"10\n")
        held.close()
        until = time.monotonic() + SECONDS
        while join("silent", sandbox.probe, "exit", "0").returncode:
            assert time.monotonic() < until
        payload.terminate()
        assert payload.wait(SECONDS) == 0


def test_nonsense_for_the_init_harms_nobody(sandbox: Sandbox, join: Join) -> None:
    with named(sandbox, "nonsense"):
        for message in (
            b"",
            b"x",
            b"CXBS" + b"\xff" * 20,
            b"\x43\x58\x42\x53" + bytes(20),
            b"z" * 30_000,
        ):
            asking = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            asking.settimeout(SECONDS)
            asking.connect(os.path.join(sandbox.runtime, "nonsense", "control"))
            asking.send(REQUEST.pack(VERSION, EXEC, 0, 0, 0))
            asking.send(message)
            while not hung_up(asking):
                pass
            asking.close()
        bad = REQUEST.pack(VERSION, EXEC, 0, 0, 99)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
            asking.settimeout(SECONDS)
            asking.connect(os.path.join(sandbox.runtime, "nonsense", "control"))
            asking.send(bad)
            assert hung_up(asking)
        assert join("nonsense", sandbox.probe, "exit", "3").returncode == 3


def test_a_program_that_busies_its_init_cant_put_it_off(sandbox: Sandbox, join: Join) -> None:
    """The init listens when a moment has passed by the clock, not once it has had nothing to do for so long."""
    orphans = "echo ready; while :; do (sleep 0.005 &); sleep 0.005; done"
    with named(sandbox, "busy", "sh", "-c", orphans, text=SHELL):
        begun = time.monotonic()
        assert join("busy", "true", timeout=SECONDS).returncode == 0
        assert time.monotonic() - begun < SECONDS / 2


def test_without_an_init_nothing_can_be_started(sandbox: Sandbox, join: Join) -> None:
    with named(sandbox, "bare", text="[process]\ninit = false"):
        done = join("bare", "true")
        assert done.returncode == 125
        assert "set process.init = true" in done.stderr


def test_an_unknown_name_is_told(sandbox: Sandbox, join: Join) -> None:
    for name in ("nobody", "../nobody", "-x", ""):
        assert join(name, "true").returncode == 125
    assert "there is no live sandbox 'nobody'" in join("nobody", "true").stderr


def test_a_declared_descriptor_is_the_payloads_alone(sandbox: Sandbox, join: Join) -> None:
    text = "[process]\ndescriptors = [3]"
    reader, writer = os.pipe()

    def before() -> None:
        os.dup2(writer, 3)

    with sandbox.start(
        text, sandbox.probe, "wait", options=("--name", "fds"), before=before, pass_fds=(3, writer)
    ) as process:
        await_line(process)
        await_record(sandbox, "fds")
        done = join("fds", sandbox.probe, "dump")
        assert set(Posture(json.loads(done.stdout)).descriptors) == {"0", "1", "2"}
        process.kill()
    os.close(reader)
    os.close(writer)


def test_with_a_terminal_of_its_own(sandbox: Sandbox) -> None:
    """Into a sandbox that has one itself, which Python attends."""
    own = Terminal(sandbox, sandbox.arguments(SHELL, (), ("--name", "shell")))
    try:
        own.wait_for("ready> $")
        joined = Terminal(sandbox, [sandbox.launcher, "exec", "shell", "bash", "--norc", "-i"])
        try:
            joined.wait_for("ready> $")
            assert joined.command("tty") == "/dev/pts/1"
            assert joined.command("stty size") == "33 101"
            joined.type("exit 5\n")
            assert joined.process.wait(SECONDS) == 5
        finally:
            joined.close()
        assert own.command("echo still here") == "still here"
    finally:
        own.close()
