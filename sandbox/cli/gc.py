"""`sbx gc`: what supervisors that were killed have left."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from sandbox.cli import output
from sandbox.cli.help import Verb
from sandbox.cli.table import plain_json
from sandbox.errors import EXIT_SANDBOX

if TYPE_CHECKING:
    from sandbox.live.leftovers import Leftover


@click.command(cls=Verb, short_help="Remove what killed supervisors have left.")
@click.option("--dry-run", "-n", is_flag=True, help="Only say what would be removed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(*, dry_run: bool, as_json: bool) -> int:
    """Remove your records and the control groups of sandboxes whose supervisor was killed.

    Only after a crash or a SIGKILL there is anything to do. Safe beside live sandboxes and launches;
    what still has processes stays. Exits with 125 if something couldn't be removed.
    """
    from sandbox.live.leftovers import collect
    from sandbox.live.records import others, runtime

    foreign = others(0) if os.geteuid() == 0 else ()
    found = list(collect(runtime(), foreign, dry=dry_run))
    if as_json:
        print(plain_json([_fields(each, dry=dry_run) for each in found]))
    else:
        _tell(found, dry=dry_run)
    return EXIT_SANDBOX if any(each.failed for each in found) else 0


def _fields(each: "Leftover", *, dry: bool) -> dict[str, object]:
    """Keys: kind (record or cgroup), path, removed, reason (why it stays, or null)."""
    return {
        "kind": each.kind,
        "path": each.path,
        "removed": not dry and not each.reason,
        "reason": each.reason or None,
    }


def _tell(found: "Sequence[Leftover]", *, dry: bool) -> None:
    for each in found:
        path = output.printable(each.path)
        if each.reason:
            output.warn(f"{each.kind} {each.path} stays: {each.reason}")
        else:
            print(f"{'would remove' if dry else 'removed'} {each.kind} {path}")
