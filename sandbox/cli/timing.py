"""`sbx run --timing`: where a launch spent its time. The launcher ends in here."""

import os
from collections.abc import Iterator
from typing import Final, NamedTuple

import click

from sandbox.cli.output import printable
from sandbox.plan import codec
from sandbox.plan.record import Plan
from sandbox.process.launch import Mark, marks_of

SUPERVISOR: Final = 0
MOMENTS: Final = {
    0: "the plan is read and checked",
    1: "sources are opened, memory is ready",
    2: "clone3: the namespaces are made",
    3: "the id maps are written",
    6: "the program has ended, everything is reaped",
}
STAGES: Final = {1: "source", 4: "sandbox", 5: "payload"}


class Row(NamedTuple):
    """A step that ended `at_us` after the start and took `took_us`."""

    at_us: float
    took_us: float
    where: str
    what: str


def rows(plan: Plan, marks: tuple[Mark, ...]) -> Iterator[Row]:
    """One row for each mark, the supervisor's and the sandbox's in the order of time."""
    ordered = sorted(marks, key=lambda mark: mark.ns)
    last = {"supervisor": ordered[0].ns}
    for mark in ordered:
        if mark.stage == SUPERVISOR:
            where, what = "supervisor", MOMENTS[mark.op]
        else:
            where, what = STAGES[mark.stage], plan.ops[mark.op].describe()
        before = last.get(where, max(last.values()))
        last[where] = mark.ns
        yield Row((mark.ns - ordered[0].ns) / 1000, (mark.ns - before) / 1000, where, what)


@click.command(hidden=True)
@click.argument("plan_fd", type=int)
@click.argument("timing_fd", type=int)
@click.argument("status", type=int)
def command(plan_fd: int, timing_fd: int, status: int) -> int:
    """Print the stages of a launch on standard error and end as the payload did."""
    plan = codec.decode(os.pread(plan_fd, codec.MAX_SIZE, 0))
    click.echo(f"{'at us':>9} {'took us':>9}  where       what", err=True)
    for row in rows(plan, marks_of(os.pread(timing_fd, 1 << 20, 0))):
        line = f"{row.at_us:9.1f} {row.took_us:9.1f}  {row.where:<10}  {row.what}"
        click.echo(printable(line), err=True)
    return status
