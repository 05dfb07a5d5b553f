"""The end of a run, told: a line for people where it isn't plain, `--report FILE` for programs."""

import os
import sys
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from sandbox.cli.output import paint, printable
from sandbox.errors import SandboxError
from sandbox.plan.ops import Execute
from sandbox.plan.record import Plan
from sandbox.process.end_document import end_document, failure_document
from sandbox.process.ending import QUIET, End, account
from sandbox.process.failure import profile_path
from sandbox.profile.resolved import ResolvedProfile

_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOCTTY


def open_report(path: str) -> int:
    """The file of --report, before anything runs. Raises SandboxError."""
    try:
        return os.open(path, _FLAGS, 0o666)
    except OSError as error:
        raise SandboxError(f"--report: {path}: {error.strerror}") from None


def tell_end(
    end: End,
    plan: Plan,
    resolved: ResolvedProfile | None,
    *,
    name: str,
    words: Sequence[str],
    report: int = -1,
    quiet: bool = False,
) -> None:
    """Says how a sandbox ended; `report` is the file of --report, or -1; `quiet`: only there."""
    if report < 0 and (quiet or not end.is_told):
        return
    found = account(end, plan, resolved)
    if end.is_told and not quiet:
        label = paint("sbx:", "warning", sys.stderr)
        if end.cause not in QUIET:
            print(label, printable(f"{name}: {found.reason}"), file=sys.stderr)
        if end.left:
            text = f"{name}: its control group is left: {os.strerror(end.left)}"
            print(label, printable(text), file=sys.stderr)
    if report >= 0:
        content = end_document(
            end, found, name=name, profile=profile_path(plan), command=command_of(plan, words)
        )
        write_report(report, content)


def tell_failure(
    error: SandboxError, plan: Plan | None, *, name: str, words: Sequence[str], report: int
) -> None:
    """Writes a run that has failed into the file of --report."""
    if report >= 0:
        profile = profile_path(plan) if plan else ""
        command = command_of(plan, words) if plan else words
        write_report(report, failure_document(error, name=name, profile=profile, command=command))


def command_of(plan: Plan, words: Sequence[str]) -> Sequence[str]:
    """What ran: the command line's words, or the profile's."""
    return words or next((op.argv for op in plan.ops if isinstance(op, Execute)), ())


def write_report(report: int, content: dict[str, Any]) -> None:
    """Writes the JSON object. Raises SandboxError where the file can't take it."""
    text = msgspec.json.format(msgspec.json.encode(_sound(content)), indent=2)
    try:
        with open(report, "wb", closefd=True) as file:
            file.write(text + b"\n")
    except OSError as error:
        raise SandboxError(f"--report: {error.strerror}") from None


def _sound(value: Any) -> Any:
    """Words of a command line may be no text: what isn't becomes an escape."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {key: _sound(entry) for key, entry in value.items()}
    return [_sound(entry) for entry in value] if isinstance(value, list) else value
