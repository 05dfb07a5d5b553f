"""A terminal of the sandbox's own, driven as a person would through a real pseudo-terminal."""

import os
import pty
import signal
import subprocess
import termios
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.kernel.harness import Sandbox
from tests.kernel.terminals import COLUMNS, ROWS, Terminal
from tests.kernel.traces import vanished

SHELL = """
[process]
command = ["/bin/bash", "--norc", "--noprofile", "-i"]
cwd = "/tmp"
terminal = "auto"
[environment]
set = { PATH = "/usr/bin:/bin", PS1 = "ready> ", HOME = "/tmp", HISTFILE = "", BASH_SILENCE_DEPRECATION_WARNING = "1", INPUTRC = "/nonexistent", TERM = "dumb" }
[filesystem]
execute = ["/usr", "/bin", "/lib", "/lib32", "/lib64", "/libx32"]
read = ["/etc/ld.so.cache"]
tmpfs = ["/tmp"]
"""
CTRL_C, CTRL_D, CTRL_Z, CTRL_BACKSLASH = "\x03", "\x04", "\x1a", "\x1c"


@pytest.fixture
def open_terminal(sandbox: Sandbox) -> Iterator[Callable[..., Terminal]]:
    """Starts `sbx run` on a terminal, by default with a shell."""
    opened = []

    def start(*words: str, text: str = SHELL, **how: Any) -> Terminal:
        terminal = Terminal(sandbox, sandbox.arguments(text, words), **how)
        opened.append(terminal)
        return terminal

    yield start
    for terminal in opened:
        terminal.close()


@pytest.fixture
def shell(open_terminal: Callable[..., Terminal]) -> Terminal:
    """A shell that waits for a command."""
    terminal = open_terminal()
    terminal.wait_for("ready> $")
    return terminal


def test_the_terminal_is_the_sandboxs_own_and_the_payloads(
    shell: Terminal, sandbox: Sandbox
) -> None:
    assert shell.command("tty; ls /dev/pts") == "/dev/pts/0\n0  ptmx"
    owner = shell.command("stat -c '%u %a' /dev/pts/0; id -u").split()
    assert owner == [owner[2], "620", owner[2]]
    streams = shell.command("ls -l /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2")
    assert streams.count("-> /dev/pts/0") == 3
    assert shell.command("echo >/dev/tty && ps -o tty= -p $$") == "pts/0"


def test_the_window_size_is_the_callers_and_follows_it(shell: Terminal) -> None:
    assert shell.command("stty size") == f"{ROWS} {COLUMNS}"
    shell.command("trap 'echo resized' WINCH")
    shell.job("cat")
    shell.resize(50, 132)
    shell.type(CTRL_D)
    shell.wait_for("resized\r\n")
    shell.wait_for("ready> $")
    assert shell.command("stty size") == "50 132"


def test_the_window_has_its_size_from_the_start(open_terminal: Callable[..., Terminal]) -> None:
    """A program that asks at once gets the right answer, and no SIGWINCH afterwards."""
    for _ in range(5):
        terminal = open_terminal("/bin/stty", "size")
        assert terminal.end() == 0
        assert terminal.seen == f"{ROWS} {COLUMNS}\r\n"


def test_the_settings_are_the_callers(open_terminal: Callable[..., Terminal]) -> None:
    """Such as the key that erases, and that characters may be several bytes long."""
    master, slave = pty.openpty()
    settings = termios.tcgetattr(slave)
    settings[0] |= termios.IXANY
    settings[6][termios.VERASE] = b"\x08"
    try:
        termios.tcsetattr(slave, termios.TCSANOW, settings)
        terminal = open_terminal("/bin/stty", "-a", stdin=slave)
        assert terminal.end() == 0
        assert "erase = ^H;" in terminal.seen
        assert " ixany" in terminal.seen
    finally:
        os.close(master)
        os.close(slave)


def test_ctrl_c_ends_the_foreground_job_and_not_the_shell(shell: Terminal) -> None:
    shell.job("sleep 100")
    shell.type(CTRL_C)
    shell.wait_for("ready> $")
    assert shell.command("echo $?") == str(128 + signal.SIGINT)


def test_ctrl_backslash_quits_the_foreground_job(shell: Terminal) -> None:
    shell.job("sleep 100")
    shell.type(CTRL_BACKSLASH)
    shell.wait_for("ready> $")
    assert shell.command("echo $?") == str(128 + signal.SIGQUIT)


def test_ctrl_z_stops_a_job_that_fg_goes_on_with(shell: Terminal) -> None:
    shell.job("cat")
    shell.type(CTRL_Z)
    shell.wait_for("ready> $")
    assert "Stopped" in shell.command("jobs")
    shell.type("fg\n")
    shell.wait_for("exec cat'\r\n")
    shell.type("again\n")
    shell.wait_for("again\r\nagain\r\n")
    shell.type(CTRL_D)
    shell.wait_for("ready> $")
    assert shell.command("jobs; echo $?") == "0"


def test_a_background_job_is_stopped_when_it_reads(shell: Terminal) -> None:
    """Job control as it should be: the shell leads the session of the terminal."""
    shell.command("cat &")
    shell.command("true")
    assert "Stopped" in shell.command("sleep 0.1; jobs")


def test_ctrl_d_ends_the_shell_and_its_status_is_sbxs(shell: Terminal) -> None:
    shell.command("(exit 7)")
    shell.type(CTRL_D)
    assert shell.end() == 7
    assert shell.is_restored()


@pytest.mark.parametrize("ending", ("exit 9", "kill -9 $$", "exec sleep 0"))
def test_the_callers_terminal_is_put_back_however_the_payload_ends(
    shell: Terminal, ending: str
) -> None:
    assert not shell.is_restored()
    shell.type(ending + "\n")
    assert shell.end() == {"exit 9": 9, "kill -9 $$": 137, "exec sleep 0": 0}[ending]
    assert shell.is_restored()


def test_a_signal_to_sbx_reaches_the_payload(shell: Terminal) -> None:
    shell.command("trap 'echo terminated; exit 3' TERM")
    shell.type("sleep 1000 & echo running; wait\n")
    shell.wait_for("running\r\n")
    shell.process.terminate()
    assert shell.end() == 3
    assert "terminated" in shell.seen
    assert shell.is_restored()


def test_when_the_callers_terminal_hangs_up_everything_ends(
    shell: Terminal, sandbox: Sandbox
) -> None:
    shell.job("sleep 1000")
    os.close(shell.slave)
    os.close(shell.master)
    shell.master = shell.slave = -1
    shell.process.wait(10)
    assert vanished(sandbox)


def test_a_killed_sbx_takes_the_session_along(shell: Terminal, sandbox: Sandbox) -> None:
    shell.job("sleep 1000")
    shell.process.kill()
    shell.process.wait(10)
    assert vanished(sandbox)


def test_long_output_arrives_whole(shell: Terminal) -> None:
    shell.type("seq 1 200000 | cksum; seq 1 200000; echo the end\n")
    output = shell.wait_for("\r\nthe end\r\n").replace("\r", "")
    assert "\n" + "\n".join(map(str, range(1, 200001))) + "\n" in output


def test_long_input_arrives_whole(shell: Terminal) -> None:
    shell.command("stty -echo -icanon")
    shell.type("head -c 300000 | wc -c\n")
    for _ in range(30):
        shell.type("x" * 10000)
    shell.wait_for("300000\r\n")


def test_output_from_just_before_the_end_is_not_lost(
    open_terminal: Callable[..., Terminal],
) -> None:
    for _ in range(5):
        terminal = open_terminal("/bin/sh", "-c", "seq 1 5000; echo last; kill -9 $$")
        assert terminal.end() == 137
        assert terminal.seen.endswith("\r\n5000\r\nlast\r\n")


def test_processes_that_outlive_the_shell_do_not_hold_sbx(
    open_terminal: Callable[..., Terminal], sandbox: Sandbox
) -> None:
    terminal = open_terminal("/bin/bash", "-c", "trap '' HUP; sleep 1000 & exit 4")
    assert terminal.end() == 4
    assert vanished(sandbox)


def test_a_command_that_is_not_there_leaves_the_terminal_alone(
    open_terminal: Callable[..., Terminal],
) -> None:
    terminal = open_terminal("nosuch")
    assert terminal.end() == 127
    assert "sbx: error: " in terminal.seen
    assert "there is no command 'nosuch' in the sandbox\r\n" in terminal.seen
    assert terminal.is_restored()


def test_only_streams_that_are_a_terminal_become_one(
    open_terminal: Callable[..., Terminal],
) -> None:
    script = "test -t 0 && test ! -t 1 && test -t 2 && echo so it is; echo seen >&2"
    terminal = open_terminal("/bin/sh", "-c", script, stdout=subprocess.PIPE)
    assert terminal.end() == 0
    assert terminal.process.stdout is not None
    assert terminal.process.stdout.read() == b"so it is\n"
    assert terminal.seen == "seen\r\n"


def test_without_a_terminal_auto_means_none(sandbox: Sandbox) -> None:
    done = sandbox.run(SHELL, "/bin/sh", "-c", "tty; ls /dev/pts; exit 5", stdin="")
    assert (done.returncode, done.stdout) == (5, "not a tty\nptmx\n")


def test_with_another_stdin_auto_means_none(open_terminal: Callable[..., Terminal]) -> None:
    terminal = open_terminal(
        "/bin/sh", "-c", "tty; ls /dev/pts", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    assert terminal.end() == 0
    assert terminal.process.stdout is not None
    assert terminal.process.stdout.read() == b"not a tty\nptmx\n"


def test_always_without_a_terminal_is_an_error(sandbox: Sandbox) -> None:
    text = SHELL.replace('"auto"', '"always"')
    message = sandbox.refusal(text, "/bin/true")
    assert 'process.terminal = "always", but none of the standard streams is a terminal' in message


def test_always_makes_one_of_whichever_stream_is(open_terminal: Callable[..., Terminal]) -> None:
    text = SHELL.replace('"auto"', '"always"')
    terminal = open_terminal(
        "/bin/sh", "-c", "test ! -t 0 && test -t 1 && tty <&1", text=text, stdin=subprocess.DEVNULL
    )
    assert terminal.end() == 0
    assert terminal.seen == "/dev/pts/0\r\n"


def test_never_leaves_the_callers_terminal_as_stream_but_not_as_controlling_one(
    open_terminal: Callable[..., Terminal],
) -> None:
    text = SHELL.replace('"auto"', '"never"')
    terminal = open_terminal("/bin/sh", "-c", "test -t 0 && ! (: </dev/tty) && echo so", text=text)
    assert terminal.end() == 0
    assert terminal.seen.endswith("so\r\n")
