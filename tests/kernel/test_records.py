"""What a live sandbox leaves in the runtime directory, and what can be asked of it there."""

import contextlib
import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.kernel.harness import Running, Sandbox, await_line

VERSION = 1
EXEC, WAIT, STOP = 1, 2, 3
REQUEST = struct.Struct("=IIIIQ")
END = struct.Struct("=Ii4i")
SECONDS = 20.0


def await_record(sandbox: Sandbox, name: str) -> dict[str, str]:
    """The record of a sandbox, once it is there."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        with contextlib.suppress(FileNotFoundError):
            with open(os.path.join(sandbox.runtime, name, "record"), encoding="utf-8") as file:
                pairs = [line.partition("=") for line in file.read().split("\0") if line]
            return {key: value for key, _, value in pairs}
        time.sleep(0.01)
    raise AssertionError(f"no record of {name}")


@contextlib.contextmanager
def named(sandbox: Sandbox, name: str, *words: str, text: str = "") -> Iterator[Running]:
    """A sandbox with a name whose program has been started."""
    with sandbox.start(text, *words, options=("--name", name)) as process:
        await_line(process)
        await_record(sandbox, name)
        yield process
        process.kill()


def ask(sandbox: Sandbox, name: str, verb: int, signal: int = 0, value: int = 0) -> socket.socket:
    asking = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    asking.settimeout(SECONDS)
    asking.connect(os.path.join(sandbox.runtime, name, "control"))
    with contextlib.suppress(BrokenPipeError):  # hung up already
        asking.send(REQUEST.pack(VERSION, verb, signal, 0, value))
    return asking


def hung_up(asking: socket.socket) -> bool:
    try:
        return asking.recv(1) == b""
    except ConnectionResetError:  # what was sent is unread
        return True


def names(sandbox: Sandbox) -> list[str]:
    return sorted(os.listdir(sandbox.runtime))


def test_a_named_sandbox_is_recorded_while_it_lives(sandbox: Sandbox) -> None:
    with sandbox.start("", sandbox.probe, "signals", options=("--name", "web.1")) as process:
        await_line(process)
        record = await_record(sandbox, "web.1")
        assert record["name"] == "web.1"
        assert record["supervisor"] == str(process.pid)
        assert record["profile"] == sandbox.profile("")
        assert record["argv"] == "signals"
        process.terminate()
        assert process.wait(SECONDS) == 0
    assert "web.1" not in names(sandbox)


def test_one_without_a_name_is_recorded_once_it_has_lived_a_moment(sandbox: Sandbox) -> None:
    with sandbox.start("", sandbox.probe, "signals") as process:
        record = await_record(sandbox, f"probe-{process.pid}")
        assert record["first"] != record["supervisor"]
        process.kill()
    done = sandbox.run("", sandbox.probe, "exit", "0", warm=True)
    assert done.returncode == 0


def test_a_short_program_leaves_no_trace_and_asks_for_none(sandbox: Sandbox) -> None:
    """Where there is no runtime directory, none is made for it."""
    environment = sandbox.environment | {"SBX_RUNTIME_DIR": sandbox.path("none")}
    for _ in range(2):
        done = sandbox.run("", sandbox.probe, "exit", "3", env=environment)
        assert done.returncode == 3
    assert not os.path.exists(sandbox.path("none"))


def test_a_name_is_given_once(sandbox: Sandbox) -> None:
    with named(sandbox, "only", sandbox.probe, "signals"):
        done = sandbox.run("", sandbox.probe, "exit", "0", options=("--name", "only"))
        assert (done.returncode, done.stdout) == (125, "")
        assert "another live sandbox has the name" in done.stderr


@pytest.mark.parametrize("name", ("", ".", "..", "a/b", "-a", "a b", "x" * 65, "\u00e4"))
def test_a_bad_name_is_refused(sandbox: Sandbox, name: str) -> None:
    done = sandbox.run("", sandbox.probe, "exit", "0", options=("--name", name))
    assert done.returncode == 125
    assert "no name for a sandbox" in done.stderr


def test_the_name_of_a_dead_one_is_free(sandbox: Sandbox) -> None:
    """A killed supervisor can't clean up."""
    with named(sandbox, "again", sandbox.probe, "signals") as process:
        process.kill()
        process.wait(SECONDS)
        assert "again" in names(sandbox)
        done = sandbox.run("", sandbox.probe, "exit", "0", options=("--name", "again"))
        assert (done.returncode, done.stderr) == (0, "")
    assert "again" not in names(sandbox)


def test_a_launch_that_fails_leaves_no_name(sandbox: Sandbox) -> None:
    done = sandbox.run("", "/no/such", options=("--name", "failing"))
    assert done.returncode == 127
    assert "failing" not in names(sandbox)


@pytest.mark.parametrize("mode", (0o777, 0o720), ids=oct)
def test_a_runtime_directory_of_others_is_refused(sandbox: Sandbox, mode: int) -> None:
    """What has no name runs without a record then."""
    shared = sandbox.mkdir("shared")
    os.chmod(shared, mode)
    environment = sandbox.environment | {"SBX_RUNTIME_DIR": shared}
    done = sandbox.run("", sandbox.probe, "exit", "0", options=("--name", "n"), env=environment)
    assert done.returncode == 125
    assert "belongs to another user, or others may write to it" in done.stderr
    with sandbox.start("", sandbox.probe, "signals", env=environment) as process:
        time.sleep(0.2)
        process.terminate()
        assert process.wait(SECONDS) == 0
    assert os.listdir(shared) == []


def test_who_waits_is_told_the_end(sandbox: Sandbox) -> None:
    with named(sandbox, "ending", sandbox.probe, "signals") as process:
        waiting = [ask(sandbox, "ending", WAIT) for _ in range(3)]
        process.terminate()
        for asking in waiting:
            version, status, *failure = END.unpack(asking.recv(4096)[: END.size])
            assert (version, status, failure) == (VERSION, 0, [0, 0, 0, 0])
            asking.close()
        assert process.wait(SECONDS) == 0


def test_stop_sends_the_signal_and_then_ends_everything(sandbox: Sandbox) -> None:
    with sandbox.start("", sandbox.probe, "brood", "1", options=("--name", "stubborn")) as process:
        await_line(process)
        await_record(sandbox, "stubborn")
        asking = ask(sandbox, "stubborn", STOP, signal=15, value=100)
        _, status, *_ = END.unpack(asking.recv(4096)[: END.size])
        assert status == 9
        assert process.wait(SECONDS) == 128 + 9
        asking.close()


def test_nonsense_is_hung_up_on(sandbox: Sandbox) -> None:
    """So are more connections than there is room for; the sandbox goes on."""
    with named(sandbox, "asked", sandbox.probe, "signals") as process:
        path = os.path.join(sandbox.runtime, "asked", "control")
        for message in (
            b"x",
            REQUEST.pack(2, WAIT, 0, 0, 0),
            REQUEST.pack(1, 99, 0, 0, 0),
            b"y" * 4000,
        ):
            asking = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            asking.settimeout(SECONDS)
            asking.connect(path)
            with contextlib.suppress(BrokenPipeError):
                asking.send(message)
            assert hung_up(asking)
            asking.close()
        held = [ask(sandbox, "asked", WAIT) for _ in range(64)]
        late = ask(sandbox, "asked", WAIT)
        assert hung_up(late)
        for asking in held:
            asking.close()
        late.close()
        process.terminate()
        assert process.wait(SECONDS) == 0


def test_another_user_may_not_ask(sandbox: Sandbox) -> None:
    os.chmod(sandbox.runtime, 0o755)
    with named(sandbox, "mine", sandbox.probe, "signals"):
        place = os.path.join(sandbox.runtime, "mine")
        os.chmod(place, 0o755)
        os.chmod(os.path.join(place, "control"), 0o777)
        done = subprocess.run(
            ["python3", "-c", ASK, os.path.join(place, "control")],
            user=61235,
            group=61235,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == "hung up\n", done.stderr


ASK = """
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.settimeout(20)
s.connect(sys.argv[1])
try:
    s.send(bytes((1,0,0,0,2,0,0,0)) + bytes(16))
    print("hung up" if s.recv(100) == b"" else "answered")
except OSError:
    print("hung up")
"""
