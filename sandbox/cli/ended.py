"""What the native launcher says of an end that needs words: the numbers in, a line or a report out."""

import os

import click

from sandbox.cli.ending import tell_end
from sandbox.cli.failure import resolved_of
from sandbox.plan import codec
from sandbox.process.ending import read_end


@click.command(hidden=True)
@click.argument("plan_fd", type=int)
@click.argument("end_fd", type=int)
@click.argument("report_fd", type=int)
@click.argument("name")
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def command(plan_fd: int, end_fd: int, report_fd: int, name: str, words: tuple[str, ...]) -> int:
    """Tell how a sandbox ended."""
    plan = codec.decode(os.pread(plan_fd, codec.MAX_SIZE, 0))
    end = read_end(os.pread(end_fd, 4096, 0))
    tell_end(end, plan, resolved_of(plan), name=name, words=words, report=report_fd or -1)
    return end.exit_status
