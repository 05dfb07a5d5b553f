"""`sbx show`: a profile as it takes effect."""

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from sandbox.cli import output

if TYPE_CHECKING:
    from sandbox.profile import ResolvedProfile


@click.command(short_help="Print a profile as it takes effect.")
@click.argument("file", type=click.Path(), metavar="FILE")
@click.option(
    "--resolved", is_flag=True, help="Each rule in effect, with the file and line it comes from."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(file: str, *, resolved: bool, as_json: bool) -> None:
    """Print a profile with all that it extends merged in and its variables replaced.

    By itself that is one TOML file that means the same. FILE is a path or a shipped profile's name.
    """
    from sandbox.profile import load
    from sandbox.profile.text import to_toml

    loaded = load(file, cwd=os.getcwd(), environ=os.environ)
    if resolved:
        click.echo(_rules_json(loaded) if as_json else _rules(loaded), nl=as_json)
    elif as_json:
        click.echo(_json(loaded.profile))
    else:
        click.echo(to_toml(loaded.profile), nl=False)


def _rules_json(loaded: "ResolvedProfile") -> str:
    """A list with the keys key, value, file, line, column; a default has null for the last three."""
    from sandbox.profile.text import rules

    return _json(
        [
            {
                "key": rule.key,
                "value": rule.value,
                "file": rule.origin and output.printable(rule.origin.file),
                "line": rule.origin and rule.origin.line,
                "column": rule.origin and rule.origin.column,
            }
            for rule in rules(loaded)
        ]
    )


def _json(content: Any) -> str:
    import msgspec

    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode()


def _rules(loaded: "ResolvedProfile") -> str:
    from sandbox.profile.text import inline, rules

    rows = [(rule.key, inline(rule.value), rule.origin) for rule in rules(loaded)]
    keys = max(len(key) for key, _, _ in rows)
    values = min(max(len(value) for _, value, _ in rows), 60)
    text = ""
    for key, value, origin in rows:
        place = str(origin) if origin else output.paint("default", "dim", sys.stdout)
        shown = output.printable(value)
        text += f"{output.printable(key):<{keys}}  {shown:<{values}}  {output.printable(place) if origin else place}\n"
    return text
