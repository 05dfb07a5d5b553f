"""`sbx kill`: a signal to the commands of live sandboxes."""

import click

from sandbox.cli.arguments import LIVE, SIGNAL
from sandbox.cli.each import each
from sandbox.cli.help import Verb


@click.command(cls=Verb, short_help="Send a signal to live sandboxes, by default SIGKILL.")
@click.argument("names", type=LIVE, nargs=-1, metavar="[NAME...]")
@click.option("--all", "everything", is_flag=True, help="All of yours.")
@click.option("--signal", "-s", type=SIGNAL, default="KILL", help="By default KILL.")
def command(names: tuple[str, ...], *, everything: bool, signal: int) -> int:
    """Send a signal to the command of each NAME. KILL ends everything in the sandbox at once.

    With KILL it waits until nothing is left, and does so without the supervisor if that doesn't
    answer.
    """
    from sandbox.live.ending import kill

    return each(names, lambda live: kill(live, signal), everything=everything)
