"""What a person at a terminal gets: a hint when the payload fails, and the report of --explain."""

import os
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.cli import hint
from tests.kernel.harness import Sandbox
from tests.kernel.terminals import Terminal
from tests.kernel.test_terminal import SHELL

PLAIN = SHELL.replace('"auto"', '"never"')
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


class Opened:
    """Terminals of one test."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.all: list[Terminal] = []

    def __call__(
        self, *words: str, text: str, options: tuple[str, ...] = (), **how: Any
    ) -> Terminal:
        terminal = Terminal(self.sandbox, self.sandbox.arguments(text, words, options), **how)
        self.all.append(terminal)
        return terminal


@pytest.fixture
def opened(sandbox: Sandbox) -> Iterator[Opened]:
    found = Opened(sandbox)
    yield found
    for terminal in found.all:
        terminal.close()


def seen(terminal: Terminal) -> str:
    terminal.end()
    return ESCAPES.sub("", terminal.seen).replace("\r", "")


WAYS = (PLAIN, SHELL)


@pytest.mark.parametrize("text", WAYS, ids=("launcher", "python"))
def test_a_failure_is_followed_by_a_hint(opened: Opened, text: str) -> None:
    """From the launcher with and without a plan in the cache, and from Python, which attends a terminal."""
    for _ in range(2):
        found = seen(opened("/bin/sh", "-c", "exit 3", text=text))
        assert found == f"sbx: hint: {hint.FAILED}\n"


@pytest.mark.parametrize("text", WAYS, ids=("launcher", "python"))
def test_a_death_by_the_filter_is_said_to_be_one(opened: Opened, text: str) -> None:
    rule = '[[seccomp.rules]]\ncall = "getppid"\naction = "kill"\n'
    found = seen(opened("/bin/sh", "-c", "exit 3", text=text + rule))
    assert ": killed by the system call filter for getppid (seccomp.rules[0].call at " in found
    assert "hint" not in found


@pytest.mark.parametrize("text", WAYS, ids=("launcher", "python"))
@pytest.mark.parametrize("ending", ("exit 0", "kill -TERM $$", "exit 130"))
def test_nothing_is_said_of_success_and_of_signals_that_somebody_sends(
    opened: Opened, text: str, ending: str
) -> None:
    assert seen(opened("/bin/sh", "-c", ending, text=text)) == ""


@pytest.mark.parametrize("text", WAYS, ids=("launcher", "python"))
def test_hints_can_be_turned_off(opened: Opened, sandbox: Sandbox, text: str) -> None:
    environment = {**sandbox.environment, "SBX_HINTS": "0"}
    assert seen(opened("/bin/sh", "-c", "exit 3", text=text, env=environment)) == ""


def test_scripts_get_no_hint(opened: Opened, sandbox: Sandbox) -> None:
    assert sandbox.run(PLAIN, "/bin/sh", "-c", "exit 3").stderr == ""
    terminal = opened("/bin/sh", "-c", "exit 3", text=PLAIN, stderr=subprocess.PIPE)
    terminal.end()
    assert terminal.process.stderr is not None
    with terminal.process.stderr as messages:
        assert messages.read() == b""
    assert terminal.seen == ""


def test_a_payload_with_a_terminal_of_its_own_is_explained(opened: Opened) -> None:
    script = "tty; stty size; cat </etc/shadow; exit 4"
    terminal = opened("/bin/sh", "-c", script, text=SHELL, options=("--explain",))
    assert terminal.end() == 4
    assert terminal.is_restored()
    found = ESCAPES.sub("", terminal.seen).replace("\r", "")
    assert found.startswith("/dev/pts/0\n33 101\n")
    assert "openat /etc/shadow: ENOENT by sh" in found
    assert "sbx: hint:" not in found


def test_a_shell_that_is_explained_has_job_control(opened: Opened) -> None:
    shell = opened(text=SHELL, options=("--explain",))
    shell.wait_for("ready> $")
    shell.job("sleep 100")
    shell.type("\x1a")
    shell.wait_for("ready> $")
    assert "Stopped" in shell.command("jobs")
    shell.type("fg\n")
    shell.wait_for("exec sleep 100'\r\n")
    shell.type("\x03")
    shell.wait_for("ready> $")
    assert shell.command("echo $?") == "130"
    shell.command("cat /etc/shadow")
    shell.type("\x04")
    assert shell.end() == 1
    assert shell.is_restored()
    assert "/etc/shadow: ENOENT by cat" in ESCAPES.sub("", shell.seen)


def test_colours_are_for_terminals(opened: Opened, sandbox: Sandbox) -> None:
    environment = {**sandbox.environment, "TERM": "xterm"}
    words = ("/bin/sh", "-c", "cat /etc/shadow")
    terminal = opened(*words, text=PLAIN, options=("--explain",), env=environment)
    terminal.end()
    assert "\x1b[" in terminal.seen
    done = sandbox.run(PLAIN, *words, options=("--explain",), env=environment)
    assert "sbx: explain:" in done.stderr
    assert "\x1b" not in done.stderr
    path = os.path.join(sandbox.directory, "report")
    sandbox.run(PLAIN, *words, options=("--explain-to", path), env=environment)
    with open(path, encoding="utf-8") as file:
        assert file.read() == done.stderr.partition("directory\n")[2]
