"""What the native launcher says when a launch fails: the numbers in, an error with its place out."""

import os

import click

from sandbox._paths import working_directory
from sandbox.cli.ending import tell_failure
from sandbox.errors import SandboxError
from sandbox.plan import codec
from sandbox.plan.record import Plan, SetStamp
from sandbox.process.failure import located_error, profile_path
from sandbox.process.launch import Failure
from sandbox.profile.resolved import Overrides, ResolvedProfile


@click.command(hidden=True)
@click.argument("plan_fd", type=int)
@click.argument("stage", type=int)
@click.argument("op", type=int)
@click.argument("error", type=int)
@click.argument("detail", type=int)
@click.argument("report_fd", type=int)
@click.argument("name")
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def command(
    plan_fd: int,
    stage: int,
    op: int,
    error: int,
    detail: int,
    report_fd: int,
    name: str,
    words: tuple[str, ...],
) -> int:
    """Explain a failed launch."""
    plan = codec.decode(os.pread(plan_fd, codec.MAX_SIZE, 0))
    failure = Failure(stage, op, error, detail)
    failed = located_error(plan, failure, words[0] if words else None, resolved_of(plan))
    tell_failure(failed, plan, name=name, words=words, report=report_fd or -1)
    raise failed


def resolved_of(plan: Plan) -> ResolvedProfile | None:
    """The profile that the plan was made from, as it is now."""
    from sandbox.profile.load import load

    sets = {stamp.name: stamp.value for stamp in plan.stamps if isinstance(stamp, SetStamp)}
    try:
        return load(
            profile_path(plan),
            cwd=working_directory(),
            environ=dict(os.environ),
            overrides=Overrides(vars=sets),
        )
    except (SandboxError, OSError):
        return None
