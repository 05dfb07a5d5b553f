"""`sbx profiles`: what comes with sbx to start from."""

import os
import sys
import textwrap
from typing import TYPE_CHECKING

import click

from sandbox.cli import output
from sandbox.cli.help import Verb

if TYPE_CHECKING:
    from sandbox.draft.bases import Shipped


@click.command(cls=Verb, short_help="List the profiles that come with sbx.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
def command(*, as_json: bool) -> None:
    """List the profiles that come with sbx, with what each is for.

    Wherever a profile is asked for, its name will do: sbx run -p NAME. `sbx show NAME` prints what
    it grants, and a profile of yours starts from it with extends = "NAME".
    """
    from sandbox.draft.bases import shipped

    found = tuple(shipped(os.environ))
    output.say(_json(found) if as_json else _table(found))


def _json(found: "tuple[Shipped, ...]") -> str:
    """Keys: name, description, extends, command."""
    from dataclasses import asdict

    import msgspec

    content = msgspec.json.encode([asdict(profile) for profile in found])
    return msgspec.json.format(content, indent=2).decode()


def _table(found: "tuple[Shipped, ...]") -> str:
    width = max(len(profile.name) for profile in found)
    indent = " " * (width + 2)
    lines = []
    for profile in found:
        text = textwrap.fill(
            profile.description, 98, initial_indent=indent, subsequent_indent=indent
        )
        name = output.paint(f"{profile.name:<{width}}", "strong", sys.stdout)
        lines.append(f"{name}  {text.lstrip()}")
    return "\n".join(lines)
