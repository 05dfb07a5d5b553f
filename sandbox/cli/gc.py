"""`sbx gc`: what supervisors that were killed have left."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from sandbox.cli import output
from sandbox.cli.arguments import DURATION
from sandbox.cli.help import Verb
from sandbox.cli.table import plain_json
from sandbox.errors import EXIT_SANDBOX

if TYPE_CHECKING:
    from sandbox.live.leftovers import Leftover


_MONTH: Final = "30d"
_NEVER: Final = 2**64 - 1


@click.command(cls=Verb, short_help="Remove what killed supervisors have left, and old logs.")
@click.option("--dry-run", "-n", is_flag=True, help="Only say what would be removed.")
@click.option(
    "--logs",
    type=DURATION,
    default=_MONTH,
    metavar="TIME",
    help="Remove logs of sandboxes that have gone, if nothing was written to them for so long; "
    f"infinity keeps them. Default: {_MONTH}.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(*, dry_run: bool, logs: int, as_json: bool) -> int:
    """Remove your records and the control groups of sandboxes whose supervisor was killed.

    Old logs of sandboxes that have gone too. Safe beside live sandboxes and launches; what still has
    processes stays. How a service ended that outlived its supervisor is told here, and by sbx events.
    Exits with 125 if something couldn't be removed.
    """
    from sandbox.live.leftovers import collect
    from sandbox.live.records import others, runtime
    from sandbox.process.logs import directory as log_directory

    foreign = others(0) if os.geteuid() == 0 else ()
    place = "" if logs == _NEVER else log_directory(os.environ, os.geteuid())
    found = list(collect(runtime(), foreign, dry=dry_run, logs=place, age=logs / 1e6))
    if as_json:
        print(plain_json([_fields(each, dry=dry_run) for each in found]))
    else:
        _tell(found, dry=dry_run)
    return EXIT_SANDBOX if any(each.failed for each in found) else 0


def _fields(each: "Leftover", *, dry: bool) -> dict[str, object]:
    """Keys: kind (record, cgroup or log), path, removed, reason (why it stays, or null), code, signal.

    The last two tell how a service ended of which nobody was told; null where there is nothing to.
    """
    status = each.status
    by_signal = status is not None and os.WIFSIGNALED(status)
    return {
        "kind": each.kind,
        "path": each.path,
        "removed": not dry and not each.reason,
        "reason": each.reason or None,
        "code": None if status is None or by_signal else os.WEXITSTATUS(status),
        "signal": os.WTERMSIG(status) if status is not None and by_signal else None,
    }


def _tell(found: "Sequence[Leftover]", *, dry: bool) -> None:
    for each in found:
        path = output.printable(each.path)
        if each.reason:
            output.warn(f"{each.kind} {each.path} stays: {each.reason}")
        else:
            print(f"{'would remove' if dry else 'removed'} {each.kind} {path}{_end(each)}")


def _end(each: "Leftover") -> str:
    if each.status is None:
        return ""
    from sandbox.process.ending import status_words

    return f", which ended while it had no supervisor: {status_words(each.status)}"
