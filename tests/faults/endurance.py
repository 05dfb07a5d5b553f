"""Thousands of launches in a row: nothing may grow.

Each course is one way to start programs: the launcher with a plan that is kept, a service with
limits, `sbx exec` into one live sandbox, the library's Sandbox and Pool. What is on the host is
compared with what was there before the first launch, what the processes hold that live through all
of it with what they held after the first tenth.
"""

import contextlib
import glob
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks import common, records
from sandbox import Pool, Profile, Sandbox
from sandbox.process import server
from tests.faults.launches import LAUNCHES, Place, ready
from tests.faults.leftovers import Traces

ROUNDS = 10_000
ENDED = 7  # the witness's status, which nothing else has
# A page or two come and go; a leak of 16 bytes a round would be more than this after 10,000.
MEMORY_KIB = 128
# Of the interpreter, whose own allocator keeps what it had at the worst moment.
PYTHON_MEMORY_KIB = 1024
GONE_SECONDS = 10
FULL_PART = 10  # launches with limits are a tenth: each makes and removes a control group

Step = Callable[[], int]
Figures = dict[str, int]


class Course(NamedTuple):
    """`step` starts one program and gives its status; `holders` are the processes that stay.

    The figure of a holder's anonymous memory may grow by `allowed` KiB. `settle` waits for what is
    still going on.
    """

    step: Step
    holders: Mapping[str, int]
    allowed: Mapping[str, int]
    settle: Callable[[], None] = lambda: None

    def measured(self) -> dict[str, Figures]:
        """What each holder holds now."""
        self.settle()
        return {name: _held(pid) for name, pid in self.holders.items()}

    def grown(self, was: Mapping[str, Figures], now: Mapping[str, Figures]) -> list[str]:
        """Which figures are more than they were and may be, in words."""
        found = []
        for holder, figures in was.items():
            for what, figure in figures.items():
                more = self.allowed[holder] if what == "memory KiB" else 0
                if now[holder][what] > figure + more:
                    found.append(f"{what} of {holder}: {figure}, then {now[holder][what]}")
        return found

    def measured_after(self, was: Mapping[str, Figures]) -> dict[str, Figures]:
        """What each holds now, or has gone back to soon: the last round's end may be on its way."""
        deadline = time.monotonic() + GONE_SECONDS
        while self.grown(was, now := self.measured()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return now


def _held(pid: int) -> Figures:
    """Descriptors, threads and KiB of memory of its own that a process has."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        fields = dict(line.split(":", 1) for line in file if ":" in line)
    return {
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": int(fields["Threads"]),
        "memory KiB": int(fields["RssAnon"].split()[0]),
    }


def _on_host(place: Place) -> Figures:
    """What launches of this place could leave, as numbers."""
    with open("/proc/self/mounts", encoding="utf-8") as file:
        mounts = len(file.readlines())
    return {
        "mounts": mounts,
        "cgroups": len(glob.glob(f"/sys/fs/cgroup/**/{place.unique}*", recursive=True)),
        "runtime entries": len(set(os.listdir(place.path("run"))) - {".events"}),
        "cache files": len(os.listdir(place.cache)),
        "cache bytes": sum(entry.stat().st_size for entry in os.scandir(place.cache)),
        "temporary files": len(os.listdir(place.path("tmp"))),
        "processes": sum(1 for _ in _processes(place)),
    }


def _processes(place: Place) -> Iterator[int]:
    """All but this one whose environment names the place's runtime directory."""
    mark = f"SBX_RUNTIME_DIR={place.path('run')}".encode()
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/environ", "rb") as file:
                if mark in file.read().split(b"\0"):
                    yield int(entry)


def _slab() -> int:
    """KiB that the kernel's own objects take: of the whole host, so that it is told, not judged."""
    with open("/proc/meminfo", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Slab:"))


def _command(place: Place, words: Sequence[str]) -> Step:
    def step() -> int:
        return subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=place.environment,
            cwd=place.directory,
            check=False,
        ).returncode

    return step


@contextlib.contextmanager
def _launches(place: Place) -> Iterator[Course]:
    yield Course(_command(place, place.command), {}, {})


@contextlib.contextmanager
def _joins(place: Place) -> Iterator[Course]:
    name = f"{place.unique}-live"
    words = [place.launcher, "run", "-p", place.profile, "--name", name, "--", "sleep", "infinity"]
    environment = place.environment
    with subprocess.Popen(words, env=environment, cwd=place.directory) as live:
        try:
            record = place.path(f"run/{name}/record")
            while not os.path.exists(record):
                assert live.poll() is None, "the sandbox that is to be joined has ended"
                time.sleep(0.01)
            with open(record, encoding="utf-8") as file:
                fields = dict(line.split("=", 1) for line in file.read().split("\0") if line)
            holders = {"supervisor": live.pid, "init": int(fields["first"])}
            step = _command(place, [place.launcher, "exec", name, place.witness])
            yield Course(step, holders, dict.fromkeys(holders, MEMORY_KIB))
        finally:
            subprocess.run([place.launcher, "stop", name], env=environment, check=False)


def _of_library(launch: Callable[[], int | None]) -> Course:
    def step() -> int:
        return launch() or 0

    first = step()
    assert first == ENDED, first
    serving = server.current()
    assert serving is not None, "the library has no server"
    holders = {"this process": os.getpid(), "server": serving.pid}
    return Course(step, holders, {"this process": PYTHON_MEMORY_KIB, "server": MEMORY_KIB})


@contextlib.contextmanager
def _library(place: Place) -> Iterator[Course]:
    box = Sandbox(Profile.load(place.profile))
    yield _of_library(lambda: box.run([place.witness]).exit_code)


@contextlib.contextmanager
def _pool(place: Place) -> Iterator[Course]:
    with Pool(Profile.load(place.profile), size=2) as pool:

        def settle() -> None:
            end = time.monotonic() + 30
            while pool.ready < pool.size:
                assert time.monotonic() < end, "the pool doesn't fill up"
                time.sleep(0.01)

        course = _of_library(lambda: pool.run([place.witness]).exit_code)
        yield course._replace(settle=settle)


COURSES = {
    "launch": ("warm", _launches),
    "service": ("full", _launches),
    "exec": ("warm", _joins),
    "library": ("warm", _library),
    "pool": ("warm", _pool),
}


def run(name: str, rounds: int) -> dict[str, Any]:
    """One course; `broken` lists what has grown. In a process of its own, whose mounts it changes."""
    kind, course_of = COURSES[name]
    rounds = max(1, rounds // FULL_PART) if kind == "full" else rounds
    with ready(next(launch for launch in LAUNCHES if launch.name == kind)) as place:
        os.environ.clear()
        os.environ.update(place.environment)
        os.chdir(place.directory)
        _expect(_command(place, place.command)())  # the first one puts the plan into the cache
        traces, before, slab = Traces(place), _on_host(place), _slab()
        begun = time.monotonic()
        with course_of(place) as course:
            warm = rounds // 10
            for _ in range(warm):
                _expect(course.step())
            held = course.measured()
            for _ in range(rounds - warm):
                _expect(course.step())
            kept = course.measured_after(held)
        seconds = time.monotonic() - begun
        server._at_exit()
        after = _on_host(place)
        broken = [f"left: {line}" for line in sorted(traces.left())]
        os.chdir("/")
    broken += [
        f"{what}: {was}, then {after[what]}" for what, was in before.items() if after[what] > was
    ]
    broken += course.grown(held, kept)
    return {
        "rounds": rounds,
        "seconds": round(seconds, 1),
        "host": {what: [was, after[what]] for what, was in before.items()},
        "slab of the whole host, KiB": [slab, _slab()],
        **{
            holder: {what: [was, kept[holder][what]] for what, was in figures.items()}
            for holder, figures in held.items()
        },
        "broken": broken,
    }


def run_all(rounds: int | None) -> int:
    """Every course, with a table of each: how much was broken. A run of the whole length is kept."""
    found = {}
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as apart:
        for name in COURSES:
            found[name] = told = apart.apply(run, (name, rounds or ROUNDS))
            sys.stdout.write("\n".join(_table(name, told)) + "\n")
            sys.stdout.flush()
    if rounds is None:
        sbx = os.path.join(os.path.dirname(sys.executable), "sbx")
        content = {"benchmark": "endurance", "facts": records.facts(sbx), "results": found}
        records.save("endurance", content, common.RESULTS)
    return sum(len(told["broken"]) for told in found.values())


def _table(name: str, told: dict[str, Any]) -> Iterator[str]:
    yield f"{name:<20}{told['rounds']:>10} rounds{told['seconds']:>10} s"
    for holder, figures in told.items():
        for what, (before, after) in figures.items() if isinstance(figures, dict) else ():
            yield f"  {holder + ': ' + what:<34}{before:>10}{after:>10}"
    yield from (f"  BROKEN {line}" for line in told["broken"])


def _expect(status: int) -> None:
    assert status == ENDED, f"a launch ended with {status}"
