"""`sbx resume`: paused sandboxes go on."""

import click

from sandbox.cli.arguments import LIVE
from sandbox.cli.each import each
from sandbox.cli.help import Verb


@click.command(cls=Verb, short_help="Let paused sandboxes go on.")
@click.argument("names", type=LIVE, nargs=-1, required=True, metavar="NAME...")
def command(names: tuple[str, ...]) -> int:
    """Let each NAME go on where `sbx pause` has stopped it."""
    from sandbox.live.freezer import resume

    return each(names, resume)
