"""Faults that a sweep has found to be met wrongly once, or that no sweep makes: each with what has to come of it."""

import errno
import os
from functools import partial
from typing import NamedTuple

import pytest

from tests.faults.judge import REFUSED, STOPPED, WHOLE
from tests.faults.launches import LAUNCHES, Launch, ready
from tests.faults.numbers import call_name
from tests.faults.sweep import SIGKILL, Fault, Sweep
from tests.faults.workers import apart
from tests.kernel.harness import NOT_ROOT

LAST, ALL = -1, None
EITHER = f"{REFUSED} or {STOPPED}"
"""As the program is quicker or the fault."""
EARLY = "killed before it could say that the program runs"


class Single(NamedTuple):
    """At the first call of this name, or the last, or all of them."""

    role: str
    call: str
    error: int
    kind: str
    words: str = ""
    which: int | None = 0

    def among(self, sweep: Sweep) -> Fault:
        """The fault in this launch."""
        met = [
            (role, ordinal, number)
            for role, ordinal, number in sweep.calls
            if call_name(number) == self.call and role == self.role
        ]
        _, ordinal, number = met[self.which or 0]
        ordinal = 0 if self.which is None else ordinal
        return Fault(role=self.role, ordinal=ordinal, call=number, error=self.error)


SINGLES = {
    "warm": (
        Single("supervisor", "fstat", errno.EPERM, REFUSED, "standard input can't be used"),
        Single("supervisor", "recvmsg", errno.ENOMEM, STOPPED, "can't be watched", ALL),
        Single("init", "rt_sigaction", errno.EPERM, REFUSED, "new namespaces"),
        Single("init", "move_mount", errno.ENOSPC, REFUSED, "a limit is reached (fs.mount-max"),
        Single("init", "write", errno.ENOMEM, WHOLE, "", LAST - 1),  # that it has been started
        # The program has told all that it has, and doesn't end by itself.
        Single("init", "write", SIGKILL, EITHER, EARLY, LAST - 1),
        Single("payload", "rt_sigprocmask", errno.EPERM, REFUSED, "process.init"),
        Single("payload", "sched_setaffinity", errno.EPERM, REFUSED, "process.init"),
    ),
    "warm-user": (
        # Its supervisor writes into a pipe that nobody reads any more.
        Single("init", "close", SIGKILL, REFUSED, EARLY),
    ),
    "no-init": (Single("init", "execve", SIGKILL, REFUSED, EARLY),),
    "full": (
        Single("supervisor", "mkdirat", errno.ENOSPC, REFUSED, "can't be recorded"),
        Single("supervisor", "mkdirat", errno.ENOSPC, REFUSED, "resources.", LAST),
        # What can't be removed is tried again for no longer than a second, and `sbx gc` finds it.
        Single("supervisor", "unlinkat", errno.EBUSY, WHOLE, which=ALL),
        # The payload has its own limit already, and has told all or not.
        Single("init", "prlimit64", errno.EPERM, EITHER, "rlimits.nofile", LAST),
    ),
    "outliving": (
        Single("supervisor", "signalfd4", errno.EMFILE, EITHER, "can't be watched"),
        Single("supervisor", "epoll_pwait", errno.EPERM, EITHER, "can't be watched"),
        Single("supervisor", "waitid", errno.EPERM, EITHER, "can't be watched"),
    ),
}


OUTLIVING = Launch(name="outliving", user=None, full=True, outlives=True)


def met(launch: str) -> list[tuple[str, str, str]]:
    """Of each single fault the kind of its verdict, what was wrong, and what sbx said."""
    chosen = next(each for each in (*LAUNCHES, OUTLIVING) if each.name == launch)
    found = []
    with ready(chosen) as place:
        sweep = Sweep(place)
        for single in SINGLES[launch]:
            verdict, said = sweep.inject(single.among(sweep))
            found.append((verdict.kind, verdict.why, said) if verdict else ("not met", "", said))
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason=NOT_ROOT)
@pytest.mark.parametrize("launch", SINGLES)
def test_what_a_single_fault_comes_to(launch: str) -> None:
    for single, (kind, why, said) in zip(
        SINGLES[launch], apart(partial(met, launch))(), strict=True
    ):
        assert kind in single.kind, (single, why, said)
        assert single.words in said, (single, said)
