"""One fault at each system call of a launch, and what becomes of it."""

import dataclasses
import errno
import re
import subprocess
from collections.abc import Iterator, Sequence

from tests.faults.judge import (
    BROKEN,
    NOT_EXECUTABLE,
    OWN_STATUS,
    REFUSED,
    STOPPED,
    UNTOLD,
    Ran,
    Verdict,
    judge,
    message,
    missing,
    ran,
)
from tests.faults.launches import Place, name_of
from tests.faults.leftovers import Traces
from tests.faults.numbers import CANNOT_FAIL, NEWER, call_name

SIGKILL = 0
FAULTS = (SIGKILL, errno.EPERM, errno.ENOMEM, errno.ENOSPC, errno.EMFILE, errno.EINTR)
ROLES = ("supervisor", "init", "payload")
EVERYWHERE = "each"
"""The role of a fault that each call of a kind meets, whoever makes it."""
TRIES = 6
"""Of a fault that meets no call, or one whose program was ended before it could tell anything."""

_NUMBER = re.compile(r"\d{6,}")
"""One that is another each time."""

Call = tuple[str, int, int]
"""Role, count from 1, number of the system call."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """The N-th call of a process fails, or the process is killed in its place; or all calls of a kind."""

    role: str
    ordinal: int
    """0: all calls of the kind."""
    call: int
    error: int

    def __str__(self) -> str:
        if self.ordinal == 0:
            return f"{name_of(self.error)} from {self.role} {call_name(self.call)}"
        return f"{name_of(self.error)} at {self.role}'s {self.ordinal}: {call_name(self.call)}"


@dataclasses.dataclass(slots=True)
class Tally:
    """What became of the faults at one process."""

    calls: int = 0
    faults: int = 0
    not_met: int = 0
    kinds: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    """By the fault's name, then by the verdict."""

    def of(self, kind: str) -> int:
        """How many of the faults came to this."""
        return sum(found.get(kind, 0) for found in self.kinds.values())

    def count(self, error: int, kind: str) -> None:
        """One more."""
        found = self.kinds.setdefault(name_of(error), {})
        found[kind] = found.get(kind, 0) + 1

    def add(self, other: "Tally") -> None:
        """What another worker has found at the same process."""
        self.faults += other.faults
        self.not_met += other.not_met
        for name, kinds in other.kinds.items():
            mine = self.kinds.setdefault(name, {})
            for kind, count in kinds.items():
                mine[kind] = mine.get(kind, 0) + count


@dataclasses.dataclass(slots=True)
class Found:
    """What became of all the faults of one kind of launch."""

    tallies: dict[str, Tally]
    broken: list[str] = dataclasses.field(default_factory=list)
    messages: dict[str, int] = dataclasses.field(default_factory=dict)
    """sbx's own words, each with how often they came."""

    def add(self, other: "Found") -> None:
        """What another worker has found."""
        for role, tally in other.tallies.items():
            self.tallies[role].add(tally)
        self.broken += other.broken
        for text, count in other.messages.items():
            self.messages[text] = self.messages.get(text, 0) + count


def recorded(place: Place, whole: Ran) -> list[Call]:
    """Every call of a launch without a fault."""
    words = [place.injector, place.told, str(place.generation), "record", "--", *place.command]
    done = place.run(words)
    different = missing(ran(done.stdout), whole)
    if different:
        raise RuntimeError(f"a launch that is only watched differs: {different}; {done}")
    with open(place.told, encoding="utf-8") as file:
        lines = [line.split() for line in file]
    return [(words[1], int(words[2]), int(words[3])) for words in lines if words[0] == "call"]


class Sweep:
    """The launches of one kind: first without a fault, then with one each."""

    def __init__(self, place: Place, calls: Sequence[Call] | None = None) -> None:
        """Without `calls` they are recorded."""
        self.place = place
        first = place.run(place.command)
        if not ran(first.stdout).lines:
            raise RuntimeError(f"the launch doesn't work without a fault: {first}")
        self.whole: Ran = ran(first.stdout)
        self.calls = list(recorded(place, self.whole) if calls is None else calls)
        self.found = Found(tallies={role: Tally() for role in (*ROLES, EVERYWHERE)})
        for role, _, _ in self.calls:
            self.found.tallies[role].calls += 1
        self.traces = Traces(place)

    def _killed(self, fault: Fault) -> str:
        """Who is killed, as judge() has it.

        Between the last of sbx's calls and the first of the program there is no difference to be
        told, and the init takes the program with it.
        """
        if fault.error != SIGKILL:
            return ""
        if fault.role == "supervisor":
            return "supervisor"
        forks = [n for role, n, call in self.calls if role == "init" and call_name(call) == "clone"]
        runs = fault.role == "init" and fault.ordinal > max(forks, default=fault.ordinal)
        executes = fault.role == "payload" and call_name(fault.call) == "execve"
        return "program" if runs or executes else "setup"

    def every(self) -> Iterator[Fault]:
        """Each fault at each call."""
        for role, ordinal, call in self.calls:
            for error in FAULTS:
                if error == SIGKILL or call_name(call) not in CANNOT_FAIL:
                    yield Fault(role=role, ordinal=ordinal, call=call, error=error)

    def absent(self) -> Iterator[Fault]:
        """Each interface of newer kernels that the launch uses, as an older kernel answers it."""
        for call in sorted({call for _, _, call in self.calls if call_name(call) in NEWER}):
            yield Fault(role=EVERYWHERE, ordinal=0, call=call, error=errno.ENOSYS)

    def sample(self, limit: int) -> Iterator[Fault]:
        """At one of each kind of call of each process, with one fault after the other."""
        first: dict[tuple[str, int], int] = {}
        for role, ordinal, call in self.calls:
            first.setdefault((role, call), ordinal)
        step = max(1, -(-len(first) // limit))
        for turn, ((role, call), ordinal) in enumerate(list(first.items())[::step]):
            error = FAULTS[turn % len(FAULTS)]
            if call_name(call) in CANNOT_FAIL:
                error = SIGKILL
            yield Fault(role=role, ordinal=ordinal, call=call, error=error)

    def inject(self, fault: Fault) -> tuple[Verdict | None, str]:
        """Launches with the fault, and once more without one; what sbx said.

        None where the call didn't happen, though tried again: how often a process looks for what is
        new isn't the same each time.
        """
        place, tally = self.place, self.found.tallies[fault.role]
        each = ("each", fault.role, str(fault.call))
        where = ("at", fault.role, str(fault.ordinal)) if fault.ordinal else each
        words = [place.injector, place.told, str(place.generation), *where, str(fault.error), "--"]
        tally.faults += 1
        verdict, said = None, ""
        for _ in range(TRIES):
            try:
                done = place.run([*words, *place.command])
            except subprocess.TimeoutExpired:
                verdict = Verdict(kind=BROKEN, why="it hangs")
                break
            with open(place.told, encoding="utf-8") as file:
                told = file.read()
            if "hit " in told:
                verdict, said = self._judged(fault, done, told), done.stderr
            wrong = self._left() or self._next()
            if wrong:
                verdict = Verdict(kind=BROKEN, why=wrong)
            if verdict is not None and verdict.kind != UNTOLD:
                break
        if verdict is None:
            tally.not_met += 1
            return None, said
        if verdict.why:
            verdict = Verdict(kind=BROKEN, why=verdict.why)
            self.found.broken.append(f"{fault}: {verdict.why}")
        if verdict.kind in (REFUSED, STOPPED):
            text = _NUMBER.sub("N", message(said).replace(place.directory, ""))
            self.found.messages[text] = self.found.messages.get(text, 0) + 1
        tally.count(fault.error, verdict.kind)
        return verdict, said

    def _judged(self, fault: Fault, done: subprocess.CompletedProcess[str], told: str) -> Verdict:
        executes = fault.role != "supervisor" and call_name(fault.call) == "execve"
        status = NOT_EXECUTABLE if executes and done.returncode == NOT_EXECUTABLE else OWN_STATUS
        return judge(done, told, self.whole, kill=self._killed(fault), status=status)

    def _left(self) -> str:
        return self.traces.collect() if self.traces.left() else ""

    def _next(self) -> str:
        done = self.place.run(self.place.command)
        different = missing(ran(done.stdout), self.whole)
        return f"the next launch: {different} {done.stderr}" if different or done.stderr else ""
