"""What `sbx init` asks at a terminal: each question with a line on what it means."""

import os
import shlex
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import click

from sandbox.cli import output
from sandbox.errors import SandboxError

if TYPE_CHECKING:
    from sandbox.draft.bases import Shipped

NOTHING = "-"

_T = TypeVar("_T")


class Question(NamedTuple):
    """What is asked, and why, in a line."""

    text: str
    why: str


COMMAND = Question("Command", "What is to run, as you type it in a shell.")
BASE = Question(
    "Start from", "A profile whose grants this one has too; 'sbx profiles' tells what each is for."
)
READ = Question("Read", "Files and directories that it may read. A blank stands between two.")
WRITE = Question("Write", "Files and directories that it may change, too.")
DENY = Question("Deny", "What below those it must not open, such as .git or a file of passwords.")
NETWORK = Question(
    "Network",
    "none, loopback (sockets inside the sandbox), or host: all that this machine reaches.",
)
PASS = Question("Variables", "Variables of your environment that it gets; 'LC_*' takes several.")
TERMINAL = Question(
    "Terminal", "A terminal of its own: auto for what people type into, else never."
)
OUTPUT = Question("File", "Where the profile is written; '-' prints it.")


def ask_command(judge: Callable[[tuple[str, ...]], object]) -> tuple[str, ...]:
    """Ask for a command until there is one that `judge` raises no error for."""

    def parse(text: str) -> tuple[str, ...]:
        words = tuple(shlex.split(text))
        if not words:
            raise ValueError("there is no word in it")
        judge(words)
        return words

    return _ask(COMMAND, parse)


def ask_base(shipped: Sequence["Shipped"], default: str) -> str:
    """Ask for the profile to start from; a file's path will do too."""
    listed = "Shipped: " + ", ".join(profile.name for profile in shipped)
    text = textwrap.fill(listed, 98, break_on_hyphens=False)
    print(output.paint(text, "dim", sys.stderr), file=sys.stderr)
    names = {profile.name for profile in shipped}

    def parse(text: str) -> str:
        if text not in names and not os.path.isfile(text):
            raise ValueError("that is neither a name of the list nor a file")
        return text

    return _ask(BASE, parse, default)


def ask_paths(question: Question, default: Sequence[str] = ()) -> tuple[str, ...]:
    """Ask for paths, written as in a shell; `~` is the home."""
    return _ask(question, _words, shlex.join(default))


def ask_names(question: Question) -> tuple[str, ...]:
    """Ask for names of variables."""
    return _ask(question, _words, "")


def ask_choice(question: Question, choices: Sequence[str], default: str) -> str:
    """Ask for one of several words."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"it is one of {', '.join(choices)}")
        return text

    return _ask(question, parse, default)


def ask_file(default: str) -> str:
    """Ask where to write, until there is a name that nothing has."""

    def parse(text: str) -> str:
        if text != NOTHING and os.path.lexists(text):
            raise ValueError("that exists already")
        return text

    return _ask(OUTPUT, parse, default)


def _words(text: str) -> tuple[str, ...]:
    return () if text == NOTHING else tuple(shlex.split(text))


def _ask(question: Question, parse: Callable[[str], _T], default: str | None = None) -> _T:
    """Ask until `parse` raises neither ValueError nor SandboxError."""
    print(output.paint(question.why, "dim", sys.stderr), file=sys.stderr)
    if default and parse is _words:
        print(output.paint(f"'{NOTHING}' for nothing.", "dim", sys.stderr), file=sys.stderr)
    while True:
        answer = click.prompt(
            output.paint(question.text, "strong", sys.stderr),
            default=default,
            show_default=bool(default),
            err=True,
        )
        try:
            return parse(answer)
        except SandboxError as error:
            output.report_error(error)
        except ValueError as error:
            output.report([str(error)])
