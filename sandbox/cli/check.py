"""`sbx check`: everything that is wrong with profiles."""

import operator
import os
import sys
from typing import TYPE_CHECKING

import click

from sandbox._paths import launcher_path, working_directory
from sandbox.cli import output
from sandbox.cli.arguments import PROFILE
from sandbox.cli.help import Verb
from sandbox.errors import EXIT_SANDBOX, Problem, ProfileError

if TYPE_CHECKING:
    from sandbox.profile import ResolvedProfile


@click.command(cls=Verb, short_help="Say everything that is wrong with profiles.")
@click.argument("files", nargs=-1, required=True, type=PROFILE, metavar="FILE...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
def command(files: tuple[str, ...], *, as_json: bool) -> int:
    """Check profiles, each with all that it extends. FILE is a path or a shipped profile's name.

    Exits with 0 if all are well, else with 125.
    """
    found = {file: _examined(file) for file in files}
    problems = tuple(dict.fromkeys(problem for all_, _ in found.values() for problem in all_))
    if as_json:
        click.echo(to_json(problems))
    else:
        output.report_problems(problems)
        for file, (none, resolved) in found.items():
            if not none and resolved:
                _warn(resolved)
                output.say(f"{output.printable(file)}: {output.paint('ok', 'good', sys.stdout)}")
    return EXIT_SANDBOX if problems else 0


def _warn(resolved: "ResolvedProfile") -> None:
    """Sound, and dangerous to sbx itself."""
    from sandbox.cli.hazards import warn_of_hazards
    from sandbox.host import probe

    warn_of_hazards(resolved, probe(), os.environ, launcher_path())


def check(file: str) -> tuple[Problem, ...]:
    """All problems of one profile."""
    return _examined(file)[0]


def _examined(file: str) -> tuple[tuple[Problem, ...], "ResolvedProfile | None"]:
    from sandbox.plan import seccomp
    from sandbox.profile import load

    try:
        resolved = load(file, cwd=working_directory(), environ=os.environ)
    except ProfileError as error:
        return error.problems, None
    try:
        found = seccomp.problems(seccomp.policy_from_profile(resolved.profile.seccomp))
    except ProfileError as error:
        found = error.problems
    return resolved.placed(found), resolved


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
