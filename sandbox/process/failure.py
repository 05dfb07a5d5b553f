"""What a failed launch means, in words: the executor gives numbers only."""

import errno
import os
from collections.abc import Mapping
from types import MappingProxyType

from sandbox.errors import Problem, SetupError
from sandbox.plan import ops
from sandbox.plan.record import FileStamp, Plan
from sandbox.process.cgroup_words import blamed
from sandbox.process.failure_words import OF_NO_OP, RERUN, words_of
from sandbox.process.launch import STAGE_RECORD, Failure
from sandbox.profile.resolved import KeyPath, Origin, ResolvedProfile, key_text


def setup_error(
    plan: Plan,
    failure: Failure,
    *,
    command: str | None = None,
    origin: str = "",
    variables: Mapping[str, str] = MappingProxyType({}),
) -> SetupError:
    """The error to show for a launch that failed.

    `command` is the program that the caller asked for, None the plan's own; `origin` the
    profile's line behind the op, as in `app.toml:12`; `variables` the profile's, with their values.
    """
    if failure.op >= len(plan.ops):  # a plan that makes no sandbox at all
        return SetupError(f"the plan is empty or unsound: {os.strerror(failure.error)}", hint=RERUN)
    failure = blamed(plan, failure)
    op = plan.ops[failure.op]
    words = words_of(op, failure, command)
    hint = words.hint
    if isinstance(op, ops.BindMount) and failure.error == errno.ENOENT:
        for name, value in variables.items():
            if value == op.source:
                hint = f"create it, or name another: --set {name}=PATH"
    of_no_op = failure.detail in OF_NO_OP or failure.stage == STAGE_RECORD
    return SetupError(
        words.reason,
        hint=hint,
        origin=origin,
        exit_code=words.exit_code,
        operation="" if of_no_op else op.describe(),
        errno=failure.error,
    )


def located_error(
    plan: Plan, failure: Failure, command: str | None, resolved: ResolvedProfile | None
) -> SetupError:
    """The same with the profile's line that asked for what failed.

    `resolved` is the profile that the plan was made from, None if it isn't sound any more.
    """
    failure = blamed(plan, failure)
    of_no_op = failure.detail in OF_NO_OP or failure.stage == STAGE_RECORD
    known = not of_no_op and failure.op < len(plan.origins)
    key = plan.origins[failure.op] if known else ()
    # A command of the command line isn't the profile's, whose line names another.
    stated = key and (command is None or key[:2] != ("process", "command"))
    place = _place(plan, key, resolved) if stated else None
    parts = [str(place) if place else "", key_text(key)]
    variables = resolved.profile.vars if resolved else {}
    origin = ": ".join(filter(None, parts))
    error = setup_error(plan, failure, command=command, origin=origin, variables=variables)
    if place:
        problem = Problem(place.file, place.line, place.column, key_text(key), error.message)
        error.problems = (
            problem._replace(hint=error.hint, source=place.source, width=place.width),
        )
    return error


def _place(plan: Plan, key: KeyPath, resolved: ResolvedProfile | None) -> Origin | None:
    if resolved:
        return resolved.origin(key)
    profile = profile_path(plan)
    return Origin(profile, 0, 0) if profile else None


def profile_path(plan: Plan) -> str:
    """The profile's own file; empty for a plan without one."""
    return next((s.path for s in plan.stamps if isinstance(s, FileStamp)), "")
