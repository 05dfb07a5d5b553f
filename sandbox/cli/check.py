"""`sbx check`: everything that is wrong with profiles."""

import operator
import os
import sys
from collections.abc import Iterator

import click

from sandbox.cli import output
from sandbox.errors import EXIT_SANDBOX, Problem, ProfileError

SHOWN_WIDTH = 100


@click.command(short_help="Say everything that is wrong with profiles.")
@click.argument("files", nargs=-1, required=True, type=click.Path(), metavar="FILE...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
def command(files: tuple[str, ...], *, as_json: bool) -> int:
    """Check profiles, each with all that it extends. FILE is a path or a shipped profile's name.

    Exits with 0 if all are well, else with 125.
    """
    found = {file: check(file) for file in files}
    problems = tuple(dict.fromkeys(problem for all_ in found.values() for problem in all_))
    if as_json:
        click.echo(to_json(problems))
    else:
        output.report(line for problem in problems for line in lines(problem))
        for file, none in found.items():
            if not none:
                click.echo(f"{output.printable(file)}: {output.paint('ok', 'good', sys.stdout)}")
    return EXIT_SANDBOX if problems else 0


def check(file: str) -> tuple[Problem, ...]:
    """All problems of one profile."""
    from sandbox.plan import seccomp
    from sandbox.profile import load

    try:
        resolved = load(file, cwd=os.getcwd(), environ=os.environ)
    except ProfileError as error:
        return error.problems
    try:
        found = seccomp.problems(seccomp.policy_from_profile(resolved.profile.seccomp))
    except ProfileError as error:
        found = error.problems
    return resolved.placed(found)


def to_json(problems: tuple[Problem, ...]) -> str:
    """Keys: ok, problems (file, line, column, key, reason, hint)."""
    import msgspec

    fields = ("file", "line", "column", "key", "reason", "hint")
    entries = [
        {
            field: output.printable(value) if isinstance(value, str) else value
            for field, value in zip(fields, operator.attrgetter(*fields)(problem), strict=True)
        }
        for problem in problems
    ]
    content = {"ok": not problems, "problems": entries}
    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode()


def lines(problem: Problem) -> Iterator[str]:
    """A problem for `output.report`: on a terminal with its line and a mark below it."""
    text = problem.text()
    if problem.source and problem.column and sys.stderr.isatty():
        text += "\n" + "\n".join(marked(problem))
    yield text
    if problem.hint:
        yield f"hint: {problem.hint}"


def marked(problem: Problem) -> tuple[str, str]:
    """The line of a problem, and below it a mark under what is meant."""
    start = max(0, problem.column - SHOWN_WIDTH // 2) if len(problem.source) > SHOWN_WIDTH else 0
    shown = problem.source[start : start + SHOWN_WIDTH].replace("\t", " ")
    at = problem.column - 1 - start
    before, meant = shown[:at], shown[at : at + problem.width]
    mark = " " * _cells(before) + "^" * max(_cells(meant), 1)
    return output.printable(shown), mark


def _cells(text: str) -> int:
    """How many columns of a terminal `text` takes."""
    printed = output.printable(text)
    if printed.isascii():
        return len(printed)
    import unicodedata

    wide = sum(unicodedata.east_asian_width(c) in {"W", "F"} for c in printed)
    return len(printed) + wide - sum(unicodedata.combining(c) > 0 for c in printed)
