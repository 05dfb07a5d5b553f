"""Several processes that let a launch fail side by side, each in directories and mounts of its own."""

import dataclasses
import os
import pickle
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar, cast

from tests.faults.launches import Launch, ready
from tests.faults.sweep import EVERYWHERE, Call, Fault, Found, Sweep


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which faults of a launch there are to be."""

    sample: int | None = None
    """About so many; None: all."""
    only: str = ""
    """Those whose name has it."""
    verbose: bool = False


Result = TypeVar("Result")


def apart(work: Callable[[], Result]) -> Callable[[], Result]:
    """Begins it in a process of its own, since its mounts are; what is returned waits for its result.

    Raises RuntimeError where it fails: it has told why on standard error.
    """
    result = tempfile.TemporaryFile()  # noqa: SIM115 - closed when it is read
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            pickle.dump(work(), result)
            result.flush()
            status = 0
        except BaseException:  # noqa: BLE001 - the parent has nothing to unwind here
            traceback.print_exc()
        finally:
            os._exit(status)

    def wait() -> Result:
        _, status = os.waitpid(pid, 0)
        with result:
            if status != 0:
                raise RuntimeError("a process that injects faults has failed")
            result.seek(0)
            return cast("Result", pickle.load(result))

    return wait


def sweep(launch: Launch, choice: Choice, jobs: int) -> tuple[Found, float]:
    """All faults of one kind of launch that are chosen, and the seconds they took."""
    begun = time.monotonic()
    calls = apart(partial(_calls, launch))() if jobs > 1 else None
    shares = [partial(_share, launch, choice, calls, job, jobs) for job in range(jobs)]
    waits = [apart(share) for share in shares]
    found, *others = [wait() for wait in waits]
    for other in others:
        found.add(other)
    return found, time.monotonic() - begun


def _calls(launch: Launch) -> list[Call]:
    with ready(launch) as place:
        return Sweep(place).calls


def _chosen(launch: Launch, swept: Sweep, choice: Choice) -> list[Fault]:
    faults = list(swept.every() if choice.sample is None else swept.sample(choice.sample))
    if choice.sample is None or launch.name == "full-user":
        absent = list(swept.absent())
        swept.found.tallies[EVERYWHERE].calls = len(absent)
        faults += absent
    return [fault for fault in faults if choice.only in str(fault)]


def _share(
    launch: Launch, choice: Choice, calls: Sequence[Call] | None, job: int, jobs: int
) -> Found:
    with ready(launch) as place:
        swept = Sweep(place, calls)
        for fault in _chosen(launch, swept, choice)[job::jobs]:
            verdict, said = swept.inject(fault)
            if choice.verbose:
                kind = verdict.kind if verdict else "not met"
                sys.stdout.write(f"{fault}: {kind}: {said}".strip() + "\n")
                sys.stdout.flush()
        return swept.found
