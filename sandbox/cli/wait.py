"""`sbx wait`: until live sandboxes have ended."""

import os
from typing import TYPE_CHECKING, Final

import click

from sandbox.cli import output
from sandbox.cli.arguments import DURATION, LIVE
from sandbox.cli.help import Verb
from sandbox.cli.table import plain_json
from sandbox.errors import EXIT_SANDBOX, EXIT_SIGNAL_BASE, SandboxError

if TYPE_CHECKING:
    from sandbox.live.ending import Ended

EXIT_TIMEOUT: Final = 124
"""As of timeout(1)."""
_UNLIMITED: Final = 2**64 - 1


@click.command(cls=Verb, short_help="Wait until live sandboxes have ended.")
@click.argument("names", type=LIVE, nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--timeout",
    "-t",
    type=DURATION,
    metavar="TIME",
    help="No longer than this, such as 30 or 5min.",
)
@click.option("--json", "as_json", is_flag=True, help="Print how each ended, as JSON.")
def command(names: tuple[str, ...], *, timeout: int | None, as_json: bool) -> int:
    """Wait until each NAME has ended.

    Of a single one the exit status is that of its command; of several it is 0 if all of theirs
    were, else 1. 124 when the time is over, 125 if it isn't known how one ended.
    """
    from sandbox.live import control
    from sandbox.live.ending import Waiting
    from sandbox.live.records import chosen, runtime

    found, errors = chosen(runtime(), names)
    ends: list[Ended] = []
    with Waiting() as waiting:
        for live in found:
            try:
                waiting.add(live, control.request(live, control.WAIT))
            except SandboxError as error:
                errors.append(error)
        seconds = timeout / 1e6 if timeout is not None and timeout != _UNLIMITED else None
        for ended in waiting if seconds is None else waiting.for_at_most(seconds):
            ends.append(ended)
            if ended.error is not None:
                errors.append(ended.error)
        left = waiting.left()
    if as_json:
        print(plain_json([_fields(ended) for ended in ends if ended.end is not None]))
    for each in errors:
        output.report_error(each)
    if errors:
        return EXIT_SANDBOX
    if left:
        output.report([f"still running: {', '.join(live.name for live in left)}"])
        return EXIT_TIMEOUT
    codes = [_code(ended) for ended in ends]
    return codes[0] if len(codes) == 1 else int(any(codes))


def _code(ended: "Ended") -> int:
    if ended.end is None or ended.end.failure is not None:
        return EXIT_SANDBOX
    status = ended.end.status
    if os.WIFSIGNALED(status):
        return EXIT_SIGNAL_BASE + os.WTERMSIG(status)
    return os.waitstatus_to_exitcode(status)


def _fields(ended: "Ended") -> dict[str, object]:
    """Keys: name, exit_status (as sbx run has it), signal (a number or null), failed."""
    status = ended.end.status if ended.end else 0
    return {
        "name": ended.live.name,
        "exit_status": _code(ended),
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
        "failed": ended.end is None or ended.end.failure is not None,
    }
