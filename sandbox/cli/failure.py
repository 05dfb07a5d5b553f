"""What the native launcher says when a launch fails: the numbers in, an error with its place out."""

import os
from collections.abc import Callable

import click

from sandbox._paths import working_directory
from sandbox.errors import Problem, SandboxError, SetupError
from sandbox.plan import codec
from sandbox.plan.record import FileStamp, Plan
from sandbox.process.failure import DETAIL_ENDED, setup_error
from sandbox.process.launch import Failure
from sandbox.profile.resolved import KeyPath, Origin, key_text


def explain(
    plan: Plan, failure: Failure, command: str | None, locate: Callable[[KeyPath], Origin | None]
) -> SetupError:
    """The error for a failed launch, with the profile's line that asked for what failed."""
    known = failure.detail != DETAIL_ENDED and failure.op < len(plan.origins)
    key = plan.origins[failure.op] if known else ()
    place = locate(key) if key else None
    parts = [str(place) if place else "", key_text(key)]
    error = setup_error(plan, failure, command=command, origin=": ".join(filter(None, parts)))
    # A command of the command line isn't in the profile's line.
    if place and (command is None or key[:2] != ("process", "command")):
        problem = Problem(place.file, place.line, place.column, key_text(key), error.message)
        error.problems = (
            problem._replace(hint=error.hint, source=place.source, width=place.width),
        )
    return error


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
    raise explain(plan, failure, words[0] if words else None, _locator(plan))


def _locator(plan: Plan) -> Callable[[KeyPath], Origin | None]:
    """Finds lines in the profile that the plan was made from, as it is now."""
    from sandbox.profile.load import load

    profile = next((s.path for s in plan.stamps if isinstance(s, FileStamp)), "")
    try:
        return load(profile, cwd=working_directory(), environ=dict(os.environ)).origin
    except (SandboxError, OSError):
        return lambda _key: Origin(profile, 0, 0) if profile else None
