"""`sbx wait`: until live sandboxes have ended."""

from typing import TYPE_CHECKING, Final

import click

from sandbox.cli import output
from sandbox.cli.arguments import DURATION, LIVE
from sandbox.cli.help import Verb
from sandbox.cli.table import plain_json
from sandbox.errors import EXIT_SANDBOX, SandboxError

if TYPE_CHECKING:
    from sandbox.live.ending import Ended
    from sandbox.live.records import Live
    from sandbox.plan.record import Plan
    from sandbox.process.ending import End

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
    were, else 1. 124 when the time is over, 125 if it isn't known how one ended. One that has ended
    while it had no supervisor is told of until sbx adopt or sbx gc has removed what it left.
    """
    from sandbox.live import control
    from sandbox.live.ending import Ended, Waiting
    from sandbox.live.records import chosen, runtime
    from sandbox.live.untold import find

    place = runtime()
    told = [dead for name in names if (dead := find(place, name)) is not None]
    gone = {live.name for live, _ in told}
    rest = [name for name in names if name not in gone]
    found, errors = chosen(place, rest) if rest else ([], [])
    plans = {live: _plan(live) for live in found} if as_json else {}
    ends = [
        Ended(dead, control.End(status, None, b""), None) for dead, status in dict(told).items()
    ]
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
        print(plain_json([_fields(each, plans.get(each.live)) for each in ends if each.end]))
    for each in errors:
        output.report_error(each)
    if errors:
        return EXIT_SANDBOX
    if left:
        output.report([f"still running: {', '.join(live.name for live in left)}"])
        return EXIT_TIMEOUT
    codes = [_code(ended) for ended in ends]
    return codes[0] if len(codes) == 1 else int(any(codes))


def _plan(live: "Live") -> "Plan | None":
    """Later it can't be read any more; it says which limit was hit."""
    from sandbox.live.inspection import plan_of

    try:
        return plan_of(live)
    except SandboxError:
        return None


def _end(ended: "Ended") -> "End":
    """What the supervisor has told; one of another version tells the status alone."""
    from sandbox.process.ending import plain_end, read_end

    if ended.end is None:
        raise TypeError("it hasn't ended")
    try:
        return read_end(ended.end.record)
    except ValueError:
        return plain_end(ended.end.status)


def _code(ended: "Ended") -> int:
    if ended.end is None or ended.end.failure is not None:
        return EXIT_SANDBOX
    return _end(ended).exit_status


def _fields(ended: "Ended", plan: "Plan | None") -> dict[str, object]:
    """As `sbx run --report` writes it; `reason` is short where the plan couldn't be read."""
    from sandbox.process.end_document import end_document
    from sandbox.process.ending import Account, account, status_words

    end, live = _end(ended), ended.live
    found = account(end, plan, None) if plan else Account(status_words(end.status))
    content = end_document(end, found, name=live.name, profile=live.profile, command=live.argv)
    failed = ended.end is not None and ended.end.failure is not None
    return {**content, "exit_status": EXIT_SANDBOX} if failed else content
