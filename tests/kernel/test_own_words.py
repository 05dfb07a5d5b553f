"""The launch's own words, and the caller's variables, are no payload's to read: PID 1 is a process of sbx's."""

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.harness import Running, Sandbox, answers
from tests.kernel.live import named, sbx
from tests.kernel.terminals import Terminal

WORD = "hush-hush"
VARIABLE = (
    f"vars.SECRET = 'none'\n[environment]\nset = {{ PATH = '/usr/bin:/bin' }}\npass = ['{WORD}']\n"
)
SET = ("--set", f"SECRET={WORD}")
SHOWN = "sbx-init\n"
TRIES = (("words", "/proc/1/cmdline"), ("read", "/proc/1/environ"))
WRITABLE = "[filesystem]\nproc = 'writable'\n"

Run = Callable[..., subprocess.CompletedProcess[str]]


def words(sandbox: Sandbox) -> list[str]:
    return [sandbox.probe, *TRIES[0], "+", *TRIES[1]]


def check(output: str) -> None:
    """Neither the words nor how long they are, and nothing of the variables."""
    command_line, environment = answers(output)
    assert (command_line.outcome, command_line.value) == ("ok", SHOWN)
    assert environment.outcome in {"EACCES", "EPERM"}


@pytest.fixture
def run(sandbox: Sandbox) -> Run:
    """A launch with a word of its own that isn't the payload's, and a variable."""

    def go(*options: str, text: str = "", **how: Any) -> subprocess.CompletedProcess[str]:
        env = {**sandbox.environment, "HIDDEN": WORD}
        return sandbox.run(
            VARIABLE + text, *words(sandbox), options=(*SET, *options), env=env, **how
        )

    return go


@pytest.mark.parametrize("text", ("", WRITABLE), ids=("read-only", "writable"))
def test_the_first_process_shows_no_word_of_the_launch(run: Run, text: str) -> None:
    """Cold, where Python has made the plan, and warm, where it takes no part."""
    check(run(text=text).stdout)
    check(run(text=text, warm=True).stdout)


def test_nor_where_a_tracer_follows(run: Run) -> None:
    check(run("--explain").stdout)


def test_nor_at_a_terminal_which_python_attends(sandbox: Sandbox) -> None:
    text = VARIABLE + "[process]\nterminal = 'auto'\n"
    terminal = Terminal(sandbox, sandbox.arguments(text, words(sandbox), SET))
    try:
        output = terminal.wait_for('"words".*\n.*"read".*\n')
    finally:
        terminal.close()
    check(output.replace("\r", ""))


def test_nor_to_a_program_that_joins_later(sandbox: Sandbox) -> None:
    """When the init has become all that it will be; what the payload was passed is the joining one's too."""
    env = {**sandbox.environment, WORD: "passed"}
    with named(sandbox, "words", text=VARIABLE, options=SET, env=env):
        check(sbx(sandbox, "exec", "words", *words(sandbox)).stdout)
        done = sbx(sandbox, "exec", "words", sandbox.probe, "dump")
        assert f"{WORD}=passed" in done.stdout


@contextlib.contextmanager
def bare(sandbox: Sandbox) -> Iterator[Running]:
    """The payload's own program without any sandbox around, which its caller's words are read of."""
    with sandbox.popen([sandbox.probe, "wait", WORD], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process


def test_a_process_that_hides_nothing_shows_them(sandbox: Sandbox) -> None:
    """The positive control: the same files of one that isn't sbx's."""
    with bare(sandbox) as process:
        found = sandbox.outside(
            ("words", f"/proc/{process.pid}/cmdline"), ("words", f"/proc/{process.pid}/environ")
        )
        process.kill()
    assert [answer.outcome for answer in found] == ["ok", "ok"]
    assert found[0].value == f"{sandbox.probe}\nwait\n{WORD}\n"
    assert f"HOME={sandbox.home}\n" in found[1].value


def test_the_payloads_own_words_are_whole(sandbox: Sandbox) -> None:
    """They lay among those that are overwritten; empty ones and long ones count."""
    own = [sandbox.probe, "words", "/proc/self/cmdline", "+", "exit", "0"]
    assert answers(sandbox.run("", *own, warm=True).stdout)[0].value == "\n".join([*own, ""])
    for more in ([""], ["x" * 100_000, "", "y"]):
        done = sandbox.run("", sandbox.probe, "dump", *more, warm=True)
        assert (done.returncode, done.stderr) == (0, "")


def test_who_started_it_still_sees_what_runs(sandbox: Sandbox) -> None:
    """The supervisor's words are its own: only the first process forgets them."""
    with named(sandbox, "seen") as process:
        shown = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert os.fsencode(sandbox.probe) in shown
