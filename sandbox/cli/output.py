"""How the command line speaks to people: errors, and colour where it is wanted."""

import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from sandbox.errors import Problem, SandboxError

STYLES = {
    "error": "1;31",
    "warning": "1;33",
    "hint": "1;36",
    "good": "32",
    "doubtful": "33",
    "bad": "31",
    "dim": "2",
    "strong": "1",
}

# Characters of a line of an error.
LONGEST = 2000


def wants_colour(stream: TextIO) -> bool:
    """Whether colour is asked for, or `stream` is a terminal whose user didn't decline it.

    NO_COLOR (https://no-color.org) wins over FORCE_COLOR and CLICOLOR_FORCE, which win over
    CLICOLOR=0 (https://bixense.com/clicolors), TERM and what the stream is.
    """
    environ = os.environ
    if environ.get("NO_COLOR"):
        return False
    if any(environ.get(name, "0") not in {"", "0"} for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
        return True
    plain = environ.get("CLICOLOR") == "0" or environ.get("TERM", "dumb") == "dumb"
    return not plain and stream.isatty()


def paint(text: str, style: str, stream: TextIO) -> str:
    """`text` in one of STYLES, or as it is where `stream` doesn't want colour."""
    return f"\033[{STYLES[style]}m{text}\033[0m" if wants_colour(stream) else text


def printable(text: str) -> str:
    """`text` with control, bidirectional and undecodable characters written as escapes.

    A profile's author decides what stands in an error, and the terminal must not obey it.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _bounded(text: str) -> str:
    """`text` without its middle where it is long: a command line or a path may have any length."""
    if len(text) <= LONGEST:
        return text
    half = LONGEST // 2
    return f"{text[:half]} [{len(text) - LONGEST} characters] {text[-half:]}"


def report(lines: Iterable[str]) -> None:
    """Print an error's lines on standard error; a line that starts with `hint: ` is advice."""
    for line in lines:
        if line.startswith("hint: "):
            label, text = paint("hint:", "hint", sys.stderr), line.removeprefix("hint: ")
        else:
            label, text = paint("sbx: error:", "error", sys.stderr), line
        first, *more = _bounded(text).split("\n")
        print(label, printable(first), file=sys.stderr)
        for rest in more:
            print(f"  {printable(rest)}", file=sys.stderr)


def report_problems(problems: Iterable["Problem"]) -> None:
    """Print problems of the user's files, each with its line and a mark below it."""
    for problem in problems:
        report([problem.text()])
        if problem.source and problem.line and problem.column:
            from sandbox.cli.excerpt import marked

            line, mark = marked(problem)
            number = str(problem.line)
            edge, below = (
                paint(f"  {shown} |", "dim", sys.stderr) for shown in (number, " " * len(number))
            )
            print(edge, line.rstrip(), file=sys.stderr)
            blank = mark[: len(mark) - len(mark.lstrip())]
            print(f"{below} {blank}{paint(mark.lstrip(), 'error', sys.stderr)}", file=sys.stderr)
        if problem.hint:
            report([f"hint: {problem.hint}"])


def report_error(error: "SandboxError") -> None:
    """Print an error, with the lines of the user's files that it is about."""
    if error.problems:
        report_problems(error.problems)
    else:
        report(error.lines())


def say(text: str) -> None:
    """Print on standard output what may hold colour of `paint`."""
    print(text)


def warn(message: str) -> None:
    """Print a line on standard error about something that went differently than asked."""
    print(paint("sbx: warning:", "warning", sys.stderr), printable(message), file=sys.stderr)


def report_bug(error: Exception) -> None:
    """Print an error that nobody foresaw, with all that its mending needs."""
    import traceback

    traceback.print_exception(error)
    report(
        [
            f"internal error: {type(error).__name__}: {error}",
            "hint: this is a bug in sbx; please report it with the lines above",
        ]
    )
