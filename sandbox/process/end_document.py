"""The end of a run as one JSON object; docs/man/sbx.1 describes its fields."""

import os
import signal
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from sandbox.errors import SandboxError
from sandbox.process.ending import Account, Cause, End

SCHEMA: Final = 1


def end_document(
    end: End, account: Account, *, name: str, profile: str, command: Sequence[str]
) -> dict[str, Any]:
    """Of a sandbox whose program was started."""
    signaled = os.WIFSIGNALED(end.status)
    statement = account.statement
    return {
        **_head(end.exit_status, end.cause, account.reason, name, profile, command),
        "exit_code": None if signaled else os.WEXITSTATUS(end.status),
        "signal": _signal_name(os.WTERMSIG(end.status)) if signaled else None,
        "statement": statement._asdict() if statement else None,
        "system_calls": list(account.calls),
        "usage": msgspec.to_builtins(end.usage),
        "error": None,
    }


def failure_document(
    error: SandboxError, *, name: str, profile: str, command: Sequence[str]
) -> dict[str, Any]:
    """Of a run whose program was never started, or that sbx gave up."""
    return {
        **_head(error.exit_code, Cause.FAILED, error.message, name, profile, command),
        "exit_code": None,
        "signal": None,
        "statement": None,
        "system_calls": [],
        "usage": None,
        "error": {"message": error.message, "where": error.origin, "hint": error.hint},
    }


def _head(
    status: int, cause: Cause, reason: str, name: str, profile: str, command: Sequence[str]
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "name": name,
        "profile": profile,
        "command": list(command),
        "exit_status": status,
        "cause": str(cause),
        "reason": reason,
    }


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"
