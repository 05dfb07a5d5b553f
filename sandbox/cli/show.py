"""`sbx show`: a profile as it takes effect."""

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from sandbox._paths import profiles_dir, working_directory
from sandbox.cli import output
from sandbox.cli.arguments import KEY, PROFILE
from sandbox.cli.help import Verb

if TYPE_CHECKING:
    from sandbox.profile import Origin, ResolvedProfile
    from sandbox.profile.text import Rule


@click.command(cls=Verb, short_help="Print a profile as it takes effect.")
@click.argument("file", type=PROFILE, metavar="FILE")
@click.option(
    "--resolved", is_flag=True, help="Each rule in effect, with the file and line it comes from."
)
@click.option(
    "--key",
    "keys",
    multiple=True,
    type=KEY,
    metavar="KEY",
    help="Only rules of this table or key, such as network.mode; implies --resolved.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(file: str, *, resolved: bool, keys: tuple[str, ...], as_json: bool) -> None:
    """Print a profile with all that it extends merged in and its variables replaced.

    By itself that is one TOML file that means the same. FILE is a path or a shipped profile's name.
    """
    from sandbox.profile import load
    from sandbox.profile.text import to_toml

    loaded = load(file, cwd=working_directory(), environ=os.environ)
    if resolved or keys:
        found = _chosen(loaded, keys)
        if found or as_json:
            output.say(_rules_json(found) if as_json else _rules(found))
        for key in (key for key in keys if not as_json and not _chosen(loaded, (key,))):
            output.report([f"hint: the profile says nothing of {key}, whose default is empty"])
    elif as_json:
        click.echo(_json(loaded.profile))
    else:
        click.echo(to_toml(loaded.profile), nl=False)


def _chosen(loaded: "ResolvedProfile", keys: tuple[str, ...]) -> "list[Rule]":
    from sandbox.profile.text import rules

    wanted = tuple(part for key in keys for part in (f"{key}.", f"{key}["))
    return [
        rule
        for rule in rules(loaded)
        if not keys or rule.key in keys or rule.key.startswith(wanted)
    ]


def _rules_json(found: "list[Rule]") -> str:
    """A list with the keys key, value, file, line, column; a default has null for the last three."""
    return _json(
        [
            {
                "key": rule.key,
                "value": rule.value,
                "file": rule.origin and output.printable(rule.origin.file),
                "line": rule.origin and rule.origin.line,
                "column": rule.origin and rule.origin.column,
            }
            for rule in found
        ]
    )


def _json(content: Any) -> str:
    import msgspec

    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode()


def _place(origin: "Origin") -> str:
    """File and line; a shipped profile by its name alone, wherever it is installed."""
    directory, name = os.path.split(origin.file)
    shown = name if directory == profiles_dir() else origin.file
    return f"{shown}:{origin.line}" if origin.line else shown


def _rules(found: "list[Rule]") -> str:
    from sandbox.profile.text import inline

    rows = [(rule.key, inline(rule.value), rule.origin) for rule in found]
    keys = max((len(key) for key, _, _ in rows), default=0)
    values = min(max((len(value) for _, value, _ in rows), default=0), 60)
    lines = []
    for key, value, origin in rows:
        default = output.paint("default", "dim", sys.stdout)
        place = output.printable(_place(origin)) if origin else default
        shown = output.printable(value)
        lines.append(f"{output.printable(key):<{keys}}  {shown:<{values}}  {place}")
    return "\n".join(lines)
