"""What the native launcher says when a launch fails: the numbers in, an error with its place out."""

import os

import click

from sandbox._paths import working_directory
from sandbox.errors import Problem, SandboxError, SetupError
from sandbox.plan import codec
from sandbox.plan.record import FileStamp, Plan, SetStamp
from sandbox.process.failure import DETAIL_ENDED, setup_error
from sandbox.process.launch import Failure
from sandbox.profile.resolved import KeyPath, Origin, Overrides, ResolvedProfile, key_text


def explain(
    plan: Plan, failure: Failure, command: str | None, resolved: ResolvedProfile | None
) -> SetupError:
    """The error for a failed launch, with the profile's line that asked for what failed.

    `resolved` is the profile that the plan was made from, None if it isn't sound any more.
    """
    known = failure.detail != DETAIL_ENDED and failure.op < len(plan.origins)
    key = plan.origins[failure.op] if known else ()
    place = _place(plan, key, resolved) if key else None
    parts = [str(place) if place else "", key_text(key)]
    variables = resolved.profile.vars if resolved else {}
    origin = ": ".join(filter(None, parts))
    error = setup_error(plan, failure, command=command, origin=origin, variables=variables)
    # A command of the command line isn't in the profile's line.
    if place and (command is None or key[:2] != ("process", "command")):
        problem = Problem(place.file, place.line, place.column, key_text(key), error.message)
        error.problems = (
            problem._replace(hint=error.hint, source=place.source, width=place.width),
        )
    return error


def _place(plan: Plan, key: KeyPath, resolved: ResolvedProfile | None) -> Origin | None:
    if resolved:
        return resolved.origin(key)
    profile = _profile(plan)
    return Origin(profile, 0, 0) if profile else None


def _profile(plan: Plan) -> str:
    return next((s.path for s in plan.stamps if isinstance(s, FileStamp)), "")


@click.command(hidden=True)
@click.argument("plan_fd", type=int)
@click.argument("stage", type=int)
@click.argument("op", type=int)
@click.argument("error", type=int)
@click.argument("detail", type=int)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def command(
    plan_fd: int, stage: int, op: int, error: int, detail: int, words: tuple[str, ...]
) -> int:
    """Explain a failed launch."""
    plan = codec.decode(os.pread(plan_fd, codec.MAX_SIZE, 0))
    failure = Failure(stage, op, error, detail)
    raise explain(plan, failure, words[0] if words else None, _resolved(plan))


def _resolved(plan: Plan) -> ResolvedProfile | None:
    """The profile that the plan was made from, as it is now."""
    from sandbox.profile.load import load

    sets = {stamp.name: stamp.value for stamp in plan.stamps if isinstance(stamp, SetStamp)}
    try:
        return load(
            _profile(plan),
            cwd=working_directory(),
            environ=dict(os.environ),
            overrides=Overrides(vars=sets),
        )
    except (SandboxError, OSError):
        return None
