"""Whether what became of a launch with a fault is one of the ways that are right."""

import dataclasses
import os
import re
import signal
import subprocess
from collections import Counter

from tests.kernel.posture import NAMESPACES

WITNESS_STATUS = 7
OWN_STATUS = 125
NOT_EXECUTABLE = 126

REFUSED, WHOLE, STOPPED = "refused", "ran whole", "stopped"
"""It never ran; it ran to its own end; it ran, and sbx ended it and says why."""
KILLED, UNTOLD, BROKEN = "killed", "untold", "broken"
"""Ended by the SIGKILL; ended before it could tell what it ran with, which shows nothing."""

_MESSAGE = re.compile(r"^sbx: error: (?P<text>.+)$", re.MULTILINE)
NEVER_STARTED = "killed before it could start the program"
_WORDLESS = ("Unknown error", "Success", "errno ")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What the witness has told."""

    began: bool
    lines: tuple[str, ...]
    """Empty where it was killed before it could tell them."""
    namespaces: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    kind: str
    why: str = ""
    """What is wrong, where it is broken."""


def ran(output: str) -> Ran:
    """The witness's lines, without what is another number each time."""
    lines = output.splitlines()
    spaces = tuple(line for line in lines if line.startswith("namespace "))
    rest = [re.sub(r"(pipe|socket):\[\d+\]|/proc/\d+/", r"\1", line) for line in lines]
    kept = (line for line in rest if line != "began" and not line.startswith("namespace "))
    return Ran(began="began" in lines, lines=tuple(kept), namespaces=spaces)


def missing(found: Ran, whole: Ran) -> str:
    """What differs from the launch without a fault, and which namespaces are the host's."""
    wanted, got = Counter(whole.lines), Counter(found.lines)
    differs = [f"-{line}" for line in wanted - got] + [f"+{line}" for line in got - wanted]
    for line in found.namespaces:
        _, kind, name = line.split()
        if kind in NAMESPACES and os.readlink(f"/proc/self/ns/{kind}") == name:
            differs.append(f"the host's {kind} namespace")
    if len(found.namespaces) != len(whole.namespaces):
        differs.append("namespaces that can't be told")
    return "; ".join(differs)


def message(stderr: str) -> str:
    """The first line of sbx's own error; empty where there is none, or none in words."""
    found = _MESSAGE.search(stderr)
    if found is None or any(word in found["text"] for word in _WORDLESS):
        return ""
    return found["text"]


def judge(
    done: subprocess.CompletedProcess[str],
    told: str,
    whole: Ran,
    *,
    kill: str,
    status: int = OWN_STATUS,
) -> Verdict:
    """What became of it; what is left behind is judged apart.

    `kill` is who was killed: "supervisor", "program" where it runs and ends by that, "setup" of those
    who were to start it, or "" where a call has failed instead.  `status` is what sbx ends with by
    itself: 125, or 126 where it is the program's own exec that fails.
    """
    found = ran(done.stdout)
    if "left " in told:
        return Verdict(kind=BROKEN, why=f"processes are left: {told}")
    if found.began and not found.lines:
        return Verdict(kind=UNTOLD, why="it was ended before it could tell what it ran with")
    lacks = missing(found, whole) if found.lines else ""
    if lacks:
        return Verdict(kind=BROKEN, why=f"it ran with a difference: {lacks}")
    if _is_killed(done, told, kill):
        return Verdict(kind=KILLED)
    if done.returncode == WITNESS_STATUS:
        ok = bool(found.lines)
        return Verdict(kind=WHOLE if ok else BROKEN, why="" if ok else "its status without it")
    says = message(done.stderr)
    if found.lines and NEVER_STARTED in says:
        return Verdict(kind=BROKEN, why=f"it ran, and sbx says: {says}")
    if done.returncode == status and says:
        return Verdict(kind=STOPPED if found.lines else REFUSED)
    return Verdict(kind=BROKEN, why=f"status {done.returncode} with {done.stderr!r}")


def _is_killed(done: subprocess.CompletedProcess[str], told: str, kill: str) -> bool:
    if kill == "supervisor":
        return f"end {int(signal.SIGKILL)}\n" in told
    return kill == "program" and done.returncode == 128 + signal.SIGKILL
