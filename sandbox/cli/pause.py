"""`sbx pause`: all processes of live sandboxes stand still."""

import click

from sandbox.cli.arguments import LIVE
from sandbox.cli.each import each
from sandbox.cli.help import Verb


@click.command(cls=Verb, short_help="Let all processes of live sandboxes stand still.")
@click.argument("names", type=LIVE, nargs=-1, required=True, metavar="NAME...")
def command(names: tuple[str, ...]) -> int:
    """Freeze every process of each NAME, until `sbx resume`.

    They get no processor time and can't tell that they stood still. A paused sandbox can be stopped
    and killed. One without a cgroup of its own can be paused by root only.
    """
    from sandbox.live.freezer import pause

    return each(names, pause)
