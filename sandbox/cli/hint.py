"""What a failing payload's user may try: a line for people, and none for scripts.

`csrc/launcher.c` says the same of the launches that it attends by itself.
"""

import os
import signal
import sys
from typing import Final

from sandbox.cli.output import paint
from sandbox.errors import EXIT_SIGNAL_BASE

VARIABLE: Final = "SBX_HINTS"
FAILED: Final = "if the sandbox was in its way, 'sbx run --explain ...' names what was refused"
_LAST_SIGNAL: Final = 31
_FAULTS: Final = frozenset(
    {signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT}
    | {signal.SIGTRAP, signal.SIGXFSZ, signal.SIGXCPU}
)
"""Signals that tell of the program's own fault, as a refused call may make one."""


def hint_for(status: int) -> str:
    """The hint for a wait status; empty where there is nothing to say."""
    code = EXIT_SIGNAL_BASE + os.WTERMSIG(status) if os.WIFSIGNALED(status) else status >> 8
    number = code - EXIT_SIGNAL_BASE
    if code == 0 or (0 < number <= _LAST_SIGNAL and number not in _FAULTS):
        return ""
    return FAILED


def give_hint(status: int) -> None:
    """Says it on standard error, if that is a terminal and SBX_HINTS isn't 0."""
    text = hint_for(status)
    if text and os.environ.get(VARIABLE) != "0" and os.isatty(2):
        print(paint("sbx: hint:", "hint", sys.stderr), text, file=sys.stderr)
