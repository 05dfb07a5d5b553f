"""What is fuzzed: in C under libFuzzer with sanitizers, in Python under Atheris, by name."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.fuzz import seeds


def _none() -> Iterable[str]:
    return ()


def _options() -> Iterable[str]:
    longer = ("profile", "set", "name", "report", "plan-fd", "ready-fd", "timing", "cwd", "env")
    return ("run", "exec", "-p", "-e", "--", *(f"--{name}" for name in longer))


def _assignments() -> Iterable[str]:
    numbers = ("READY", "FDSTORE", "FDSTOREREMOVE", "BARRIER", "WATCHDOG")
    return (*(f"{name}=1" for name in numbers), "STATUS=", "FDNAME=", "ERRNO=", "BUSERROR=")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a fuzzer starts, the longest input in bytes, and words that inputs are made of.

    One in C is NAME_fuzzer.c with those sources of csrc, or with all but those and the tracer's;
    one in Python is NAME_inputs.py.
    """

    sources: tuple[str, ...] = ()
    all_but: tuple[str, ...] = ()
    python: bool = False
    seeds: Callable[[], list[bytes]]
    longest: int
    words: Callable[[], Iterable[str]] = _none


TARGETS = {
    "plan": Target(sources=("plan.c",), seeds=seeds.plans, longest=20000),
    "call": Target(seeds=seeds.calls, longest=4096),
    "words": Target(
        all_but=("launcher.c", "join.c"), seeds=seeds.command_lines, longest=2048, words=_options
    ),
    "notify": Target(
        sources=("loop.c", "foreign.c"),
        seeds=seeds.notifications,
        longest=4097,
        words=_assignments,
    ),
    "control": Target(seeds=seeds.requests, longest=4000),
    "health": Target(sources=("loop.c", "fields.c", "channel.c"), seeds=seeds.checks, longest=2000),
    "output": Target(seeds=seeds.outputs, longest=50000),
    "record": Target(sources=("fields.c", "plan.c"), seeds=seeds.records, longest=70000),
    "trace": Target(seeds=seeds.tasks, longest=10000),
    "decode": Target(python=True, seeds=seeds.plans, longest=8000),
    "profile": Target(
        python=True, seeds=seeds.profiles, longest=8000, words=seeds.keys_of_profiles
    ),
}
