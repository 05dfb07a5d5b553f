"""`sbx stop`: ask live sandboxes to end, and see to it that they do."""

import click

from sandbox.cli import output
from sandbox.cli.arguments import DURATION, LIVE, SIGNAL
from sandbox.cli.help import Verb
from sandbox.errors import EXIT_SANDBOX


@click.command(cls=Verb, short_help="Ask live sandboxes to end, and kill what doesn't.")
@click.argument("names", type=LIVE, nargs=-1, metavar="[NAME...]")
@click.option("--all", "everything", is_flag=True, help="All of yours.")
@click.option("--signal", "-s", type=SIGNAL, help="In place of the profile's, by default SIGTERM.")
@click.option(
    "--timeout",
    "-t",
    type=DURATION,
    metavar="TIME",
    help="How long it has before it is killed, such as 5, 500ms, 2min or infinity.",
)
def command(
    names: tuple[str, ...], *, everything: bool, signal: int | None, timeout: int | None
) -> int:
    """Send the stop signal to the command of each NAME, and wait until the sandbox has ended.

    What hasn't ended when the time is over is killed, with all that is in the sandbox. Exits with 0
    when all have ended, else with 125.
    """
    from sandbox.live.ending import stop
    from sandbox.live.records import chosen, runtime

    found, errors = chosen(runtime(), names, everything=everything)
    milliseconds = None if timeout is None else -(-timeout // 1000)
    for ended in stop(found, number=signal or 0, milliseconds=milliseconds):
        if ended.error is not None:
            errors.append(ended.error)
    for each in errors:
        output.report_error(each)
    return EXIT_SANDBOX if errors else 0
