"""sbx plan: what a launch would do, step by step."""

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from sandbox._paths import working_directory
from sandbox.cli import output
from sandbox.cli.arguments import PROFILE, WORD
from sandbox.cli.help import Verb
from sandbox.cli.output import paint, printable
from sandbox.errors import SandboxError

if TYPE_CHECKING:
    from sandbox.plan.record import Plan
    from sandbox.profile import KeyPath, ResolvedProfile


@click.command(cls=Verb, name="plan")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.option("--compiled", is_flag=True, help="PROFILE is a compiled plan, as in the cache.")
@click.argument("profile", type=PROFILE)
@click.argument("words", nargs=-1, type=WORD, metavar="[-- COMMAND...]")
def command(*, as_json: bool, compiled: bool, profile: str, words: tuple[str, ...]) -> None:
    """Print what a launch of PROFILE would do on this host, in order, and why.

    Nothing is started or changed. A step that stems from the profile shows the line that asks for
    it.
    """
    resolved: ResolvedProfile | None = None
    if compiled:
        plan = _read(profile)
    else:
        from sandbox.host import probe
        from sandbox.plan.compile import compile as compile_plan
        from sandbox.profile import Overrides, load

        overrides = Overrides(command=words)
        resolved = load(profile, cwd=working_directory(), environ=os.environ, overrides=overrides)
        plan = compile_plan(resolved, probe())
    output.say(_json(plan, resolved) if as_json else "\n".join(_table(plan, resolved)))


def _read(path: str) -> "Plan":
    from sandbox.plan import codec

    try:
        with open(path, "rb") as file:
            return codec.decode(file.read(codec.MAX_SIZE + 1))
    except codec.BadPlanError as error:
        raise SandboxError(f"{path}: {error}") from error


def _where(origin: "KeyPath", resolved: "ResolvedProfile | None") -> tuple[str, int]:
    """File and line of the statement; an empty file where it is a default."""
    place = resolved.locate(origin) if resolved and origin else None
    return (place.file, place.line) if place else ("", 0)


def _json(plan: "Plan", resolved: "ResolvedProfile | None") -> str:
    """Keys: ops (op, text, key, file, line, fields), flags, not_enforced, depends_on."""
    import msgspec

    from sandbox.plan.record import PlanFlag
    from sandbox.profile.resolved import key_text

    ops = []
    for op, origin in zip(plan.ops, plan.origins, strict=True):
        file, line = _where(origin, resolved)
        ops.append(
            {
                "op": type(op).__name__,
                "text": op.describe(),
                "key": key_text(origin),
                "file": file or None,
                "line": line or None,
                "fields": op,
            }
        )
    content: dict[str, Any] = {
        "ops": ops,
        "flags": [flag.name for flag in PlanFlag if flag & plan.flags],
        "not_enforced": plan.not_enforced,
        "depends_on": {
            "stamps": [{"stamp": type(stamp).__name__, "fields": stamp} for stamp in plan.stamps],
            "watched": [item._asdict() for item in plan.watched],
        },
    }
    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode()


def _table(plan: "Plan", resolved: "ResolvedProfile | None") -> Iterator[str]:
    from sandbox.plan.ops import CreateNamespaces, StartInit

    for number, (op, origin) in enumerate(zip(plan.ops, plan.origins, strict=True)):
        if isinstance(op, CreateNamespaces):
            yield paint("The sandbox's first process", "strong", sys.stdout)
        why = _why(origin, resolved)
        yield f"{number:4}  {printable(op.describe())}" + (why and f"  {why}")
        if isinstance(op, StartInit):
            yield paint("The payload's process", "strong", sys.stdout)
    if plan.not_enforced:
        yield paint(f"Not enforced here: {', '.join(plan.not_enforced)}", "bad", sys.stdout)


def _why(origin: "KeyPath", resolved: "ResolvedProfile | None") -> str:
    """The statement's place and key; nothing for a default. A compiled plan knows the key alone."""
    from sandbox.profile.resolved import key_text

    file, line = _where(origin, resolved)
    if resolved and not file:
        return ""
    words = [f"{os.path.basename(file)}:{line}" if line else file, key_text(origin)]
    return paint(printable(" ".join(filter(None, words))), "dim", sys.stdout)
