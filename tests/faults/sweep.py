"""One fault at each system call of a launch, and what becomes of it."""

import dataclasses
import errno
from collections.abc import Iterator

from tests.faults.judge import BROKEN, REFUSED, Ran, Verdict, judge, missing, ran
from tests.faults.launches import Place, name_of
from tests.faults.leftovers import Traces
from tests.faults.numbers import CANNOT_FAIL, NEWER, call_name

SIGKILL = 0
FAULTS = (SIGKILL, errno.EPERM, errno.ENOMEM, errno.ENOSPC, errno.EMFILE, errno.EINTR)
ROLES = ("supervisor", "init", "payload")
EVERYWHERE = "each"
"""The role of a fault that each call of a kind meets, whoever makes it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """The N-th call of a process fails, or the process is killed in its place; or all calls of a kind."""

    role: str
    ordinal: int
    call: int
    error: int

    def __str__(self) -> str:
        if self.role == EVERYWHERE:
            return f"{name_of(self.error)} from each {call_name(self.call)}"
        return f"{name_of(self.error)} at {self.role}'s {self.ordinal}: {call_name(self.call)}"


@dataclasses.dataclass(slots=True)
class Tally:
    """What became of the faults at one process."""

    calls: int = 0
    faults: int = 0
    not_reached: int = 0
    kinds: dict[str, int] = dataclasses.field(default_factory=dict)

    def of(self, kind: str) -> int:
        """How many of the faults came to this."""
        return self.kinds.get(kind, 0)


class Sweep:
    """The launches of one kind: first without a fault, then with one each."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.tallies = {role: Tally() for role in (*ROLES, EVERYWHERE)}
        self.broken: list[str] = []
        self.messages: dict[str, str] = {}
        """Of the launches that were refused, by fault."""
        first = place.run(place.command)
        if not ran(first.stdout).lines:
            raise RuntimeError(f"the launch doesn't work without a fault: {first}")
        self.whole: Ran = ran(first.stdout)
        self.calls = self._record()
        self.traces = Traces(place)

    def _record(self) -> list[tuple[str, int, int]]:
        place = self.place
        done = place.run(
            [place.injector, place.told, str(place.generation), "record", "--", *place.command]
        )
        different = missing(ran(done.stdout), self.whole)
        if different:
            raise RuntimeError(f"a launch that is only watched differs: {different}; {done}")
        calls = []
        with open(place.told, encoding="utf-8") as file:
            for line in file:
                what, *rest = line.split()
                if what == "call":
                    calls.append((rest[0], int(rest[1]), int(rest[2])))
        for role, _, _ in calls:
            self.tallies[role].calls += 1
        return calls

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
        used = sorted({call for _, _, call in self.calls if call_name(call) in NEWER})
        self.tallies[EVERYWHERE].calls = len(used)
        for call in used:
            yield Fault(role=EVERYWHERE, ordinal=0, call=call, error=errno.ENOSYS)

    def sample(self, limit: int) -> Iterator[Fault]:
        """One of each kind of call of each process, with one fault after the other."""
        seen: set[tuple[str, int]] = set()
        found: list[Fault] = []
        for role, ordinal, call in self.calls:
            if (role, call) in seen:
                continue
            seen.add((role, call))
            error = FAULTS[len(found) % len(FAULTS)]
            if call_name(call) in CANNOT_FAIL:
                error = SIGKILL
            found.append(Fault(role=role, ordinal=ordinal, call=call, error=error))
        step = max(1, -(-len(found) // limit))
        yield from found[::step]

    def inject(self, fault: Fault) -> Verdict | None:
        """Launches with the fault, and once more without one; None where the call didn't happen."""
        place, tally = self.place, self.tallies[fault.role]
        at = ("at", fault.role, str(fault.ordinal))
        where = (EVERYWHERE, str(fault.call)) if fault.role == EVERYWHERE else at
        words = [place.injector, place.told, str(place.generation), *where, str(fault.error), "--"]
        done = place.run([*words, *place.command])
        with open(place.told, encoding="utf-8") as file:
            told = file.read()
        tally.faults += 1
        if "hit " not in told:
            tally.not_reached += 1
            return None
        verdict = judge(done, told, self.whole, kill=self._killed(fault))
        if verdict.kind == REFUSED:
            self.messages[str(fault)] = done.stderr
        for wrong in (verdict.why, self._left(), self._next()):
            if wrong:
                verdict = Verdict(kind=BROKEN, why=wrong)
                self.broken.append(f"{fault}: {wrong}")
                break
        tally.kinds[verdict.kind] = tally.kinds.get(verdict.kind, 0) + 1
        return verdict

    def _left(self) -> str:
        return self.traces.collect() if self.traces.left() else ""

    def _next(self) -> str:
        done = self.place.run(self.place.command)
        different = missing(ran(done.stdout), self.whole)
        return f"the next launch: {different} {done.stderr}" if different or done.stderr else ""
