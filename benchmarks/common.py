"""What the benchmarks share: the spawner, places to run in, statistics, and the record of a run."""

import argparse
import contextlib
import json
import os
import platform
import random
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

HERE: Final = os.path.dirname(os.path.abspath(__file__))
BUILD: Final = os.path.join(os.path.dirname(HERE), "build", "benchmarks")
RESULTS: Final = os.path.join(HERE, "results")
PROFILE: Final = os.path.join(HERE, "profiles", "true.toml")

# The least and the most that the environment of a launch holds.
ENVIRONMENT: Final = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C",
}


class BenchmarkError(Exception):
    """A command failed where it had to work, so that its times mean nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Statistics of samples in one unit, milliseconds unless the benchmark says otherwise."""

    median: float
    mad: float
    """Median absolute deviation from the median."""
    low: float
    high: float
    """The ends of the 95 % interval of the median, by bootstrap."""
    least: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure to reach."""

    name: str
    value: float
    reach: float
    at_least: bool = False
    """The value has to be at least the reach, not at most."""
    unit: str = ""

    @property
    def reached(self) -> bool:
        return self.value >= self.reach if self.at_least else self.value <= self.reach


def times(samples: Sequence[float]) -> Times:
    middle = statistics.median(samples)
    dice = random.Random(1)
    medians = sorted(statistics.median(dice.choices(samples, k=len(samples))) for _ in range(400))
    return Times(
        median=round(middle, 4),
        mad=round(statistics.median(abs(sample - middle) for sample in samples), 4),
        low=round(medians[10], 4),
        high=round(medians[-11], 4),
        least=round(min(samples), 4),
        count=len(samples),
    )


# --- Building -------------------------------------------------------------------------------------


def build(name: str) -> str:
    """Compile benchmarks/NAME.c, static and with musl where it is there; the path of the program."""
    source, program = os.path.join(HERE, f"{name}.c"), os.path.join(BUILD, name)
    if os.path.exists(program) and os.path.getmtime(program) > os.path.getmtime(source):
        return program
    os.makedirs(BUILD, exist_ok=True)
    flags = [
        "-D_GNU_SOURCE",
        "-std=gnu17",
        "-O2",
        "-Wall",
        "-Wextra",
        "-static",
        "-fno-pie",
        "-no-pie",
    ]
    command = [*compiler(), *flags, "-o", program, source]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchmarkError(f"{shlex.join(command)}:\n{done.stderr}")
    return program


def compiler() -> list[str]:
    return ["musl-gcc"] if shutil.which("musl-gcc") else shlex.split(os.environ.get("CC", "cc"))


def find_sbx(wanted: str | None = None) -> str:
    """The installed launcher: the one named, the one beside this Python, or the one on the PATH."""
    beside = os.path.join(os.path.dirname(sys.executable), "sbx")
    found = wanted or (beside if os.access(beside, os.X_OK) else shutil.which("sbx"))
    if not found:
        raise BenchmarkError("no sbx is installed: pip install . or name one with --sbx")
    return os.path.abspath(found)


# --- Places to run in -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A mount namespace that commands run in; `setup` is a shell script run in it first.

    The empty one is the machine as it is. A place of its own, and another user's, need root.
    """

    name: str
    setup: str = ""
    user: int | None = None
    """The id of the user who runs the commands, without groups; None: the caller."""

    @property
    def available(self) -> bool:
        return (not self.setup and self.user is None) or os.geteuid() == 0

    def how(self, scratch: str) -> dict[str, Any]:
        """What subprocess is to be told: the environment, and the user."""
        if self.user is None:
            return {"env": environment(scratch)}
        home = os.path.join(scratch, f"user-{self.user}")
        if not os.path.isdir(home):
            os.mkdir(home)
            os.chown(home, self.user, self.user)
        identity = {"user": self.user, "group": self.user, "extra_groups": []}
        return {"env": environment(home), **identity}


PLAIN: Final = Place(name="plain")
OWN_MOUNTS: Final = ("unshare", "--mount", "--propagation", "private")


class Spawner:
    """benchmarks/spawn.c at work in one place."""

    def __init__(self, place: Place, commands: Sequence[Sequence[str]], scratch: str) -> None:
        self.log = tempfile.TemporaryFile("w+", dir=scratch)  # noqa: SIM115 - closed with the spawner
        listing = os.path.join(scratch, f"commands-{place.name}")
        with open(listing, "w", encoding="utf-8") as file:
            file.writelines("\t".join(command) + "\n" for command in commands)
        argv = [build("spawn"), listing]
        if place.setup:
            script = f"set -e\n{place.setup}\nexec {shlex.join(argv)}"
            argv = [*OWN_MOUNTS, "sh", "-c", script]
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            cwd="/",
            **place.how(scratch),
        )
        assert self.process.stdout is not None
        if self.process.stdout.readline() != "ready\n":
            raise BenchmarkError(f"the place {place.name} can't be made: {self.words()}")

    def ask(self, request: str) -> list[int]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(request + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline().split()
        except BrokenPipeError:
            answer = []
        if not answer:
            raise BenchmarkError(f"the spawner ended: {self.words()}")
        return [int(word) for word in answer]

    def run(self, index: int) -> float:
        """Milliseconds of one launch."""
        nanoseconds, status = self.ask(f"run {index}")
        self._check(status)
        return nanoseconds / 1e6

    def rate(self, index: int, workers: int, milliseconds: int) -> float:
        """Launches per second."""
        launches, nanoseconds, status = self.ask(f"rate {index} {workers} {milliseconds}")
        self._check(status)
        return launches * 1e9 / nanoseconds

    def _check(self, status: int) -> None:
        if status != 0:
            code = os.waitstatus_to_exitcode(status)
            raise BenchmarkError(f"status {code}: {self.words()}")

    def words(self) -> str:
        """The last line that a command wrote to standard error."""
        self.log.seek(0)
        lines = self.log.read().strip().splitlines()
        return lines[-1] if lines else "nothing on standard error"

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()


def environment(scratch: str) -> dict[str, str]:
    """What every launch gets, with a cache and runtime directory of the benchmark's own."""
    places = {"HOME": scratch, "XDG_CACHE_HOME": scratch, "XDG_RUNTIME_DIR": scratch}
    return {**ENVIRONMENT, **places, "SBX_RUNTIME_DIR": os.path.join(scratch, "live")}


@contextlib.contextmanager
def scratch_directory() -> Iterator[str]:
    """A directory that a private /tmp doesn't cover."""
    with tempfile.TemporaryDirectory(prefix="sbx-benchmark-", dir="/var/tmp") as path:
        os.chmod(path, 0o755)
        yield path


# --- Running --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One command to measure."""

    name: str
    argv: Sequence[str]
    place: Place = PLAIN
    before: Callable[["Spawner"], None] | None = None
    """Done before every launch, outside of its time."""


class Bench:
    """The subjects that work here, each in its place."""

    def __init__(self, subjects: Sequence[Subject], scratch: str) -> None:
        self.spawners: dict[str, Spawner] = {}
        self.index: dict[str, int] = {}
        self.subjects: dict[str, Subject] = {}
        self.absent: dict[str, str] = {}
        self.first: dict[str, float] = {}
        for place in {subject.place.name: subject.place for subject in subjects}.values():
            here = [subject for subject in subjects if subject.place.name == place.name]
            if not place.available:
                self.absent |= {subject.name: "needs root" for subject in here}
                continue
            try:
                spawner = Spawner(place, [each.argv for each in here], scratch)
            except BenchmarkError as error:
                self.absent |= {subject.name: str(error) for subject in here}
                continue
            self.spawners[place.name] = spawner
            for index, subject in enumerate(here):
                self._admit(subject, index)

    def _admit(self, subject: Subject, index: int) -> None:
        program = subject.argv[0]
        if not os.access(program, os.X_OK):
            self.absent[subject.name] = f"{program} is not installed"
            return
        self.index[subject.name] = index
        self.subjects[subject.name] = subject
        try:
            self.first[subject.name] = min(self.run(subject.name) for _ in range(3))
        except BenchmarkError as error:
            self.absent[subject.name] = str(error)
            del self.subjects[subject.name]

    def run(self, name: str) -> float:
        subject = self.subjects[name]
        spawner = self.spawners[subject.place.name]
        if subject.before is not None:
            subject.before(spawner)
        return spawner.run(self.index[name])

    def rate(self, name: str, workers: int, milliseconds: int) -> float:
        spawner = self.spawners[self.subjects[name].place.name]
        return spawner.rate(self.index[name], workers, milliseconds)

    def interleave(self, rounds: int, slow_ms: float = 20.0) -> dict[str, Times]:
        """Run every subject once a round, each round in another order.

        A subject slower than `slow_ms` takes part in every fifth round only.
        """
        samples: dict[str, list[float]] = {name: [] for name in self.subjects}
        slow = {name for name in self.subjects if self.first[name] > slow_ms}
        dice = random.Random()
        for number in range(rounds):
            order = [name for name in self.subjects if name not in slow or number % 5 == 0]
            dice.shuffle(order)
            for name in order:
                samples[name].append(self.run(name))
        return {name: times(values) for name, values in samples.items()}

    def pid(self, place: Place) -> int:
        return self.spawners[place.name].process.pid

    def close(self) -> None:
        for spawner in self.spawners.values():
            spawner.close()


# --- The record -----------------------------------------------------------------------------------

_VERSIONS: Final = {
    "bwrap": "--version",
    "firejail": "--version",
    "systemd-nspawn": "--version",
    "crun": "--version",
    "runc": "--version",
    "podman": "--version",
    "minijail0": "--version",
    "nsjail": "--version",
}


def facts(sbx: str | None) -> dict[str, Any]:
    """The machine and the versions that the times were taken with."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        lines = dict(line.split(":", 1) for line in file if ":" in line)
    names = {key.strip(): value.strip() for key, value in lines.items()}
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        mounts = len(file.readlines())
    versions = {
        name: _version([name, flag]) for name, flag in _VERSIONS.items() if shutil.which(name)
    }
    if sbx:
        versions["sbx"] = _version([sbx, "--version"])
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpu": names.get("model name", "not named"),
        "hypervisor": "hypervisor" in names.get("flags", "").split(),
        "cpus": os.cpu_count(),
        "root": os.geteuid() == 0,
        "mounts": mounts,
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "compiler": compiler()[0],
        "versions": versions,
    }


def _version(command: list[str]) -> str:
    if os.geteuid() == 0:
        command = [*OWN_MOUNTS, *command]
    elif command[0] == "firejail":
        return "not asked: it leaves mounts behind even then"
    done = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    return (done.stdout.strip().splitlines() or ["not told"])[0]


def save(name: str, content: Mapping[str, Any], directory: str) -> None:
    """Keep a record; paths in it start at the source tree or at the temporary directory."""
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, f"{name}.json")
    text = json.dumps(content, indent=2, default=_plain)
    for here in (os.path.dirname(HERE), tempfile.gettempdir()):
        text = text.replace(f"{here}/", "")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text + "\n")


def _plain(value: object) -> Any:
    if isinstance(value, Figure):
        return {**asdict(value), "reached": value.reached}
    if isinstance(value, Times):
        return asdict(value)
    raise TypeError(type(value).__name__)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their content; the first is text, the others stand at the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def figure_table(figures: Sequence[Figure]) -> str:
    rows = [("figure", "value", "reach", "")]
    for figure in figures:
        sign = "≥" if figure.at_least else "≤"
        value = f"{figure.value:.3g}{figure.unit}"
        reach = f"{sign} {figure.reach:.3g}{figure.unit}"
        rows.append((figure.name, value, reach, "pass" if figure.reached else "FAIL"))
    return table(rows)


# --- The command line -----------------------------------------------------------------------------


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sbx", help="the launcher (default: the installed one)")
    parser.add_argument("--without-sbx", action="store_true", help="the peers and the floor alone")
    parser.add_argument("--results", default=RESULTS, help="where the JSON goes")


def finish(
    name: str,
    options: argparse.Namespace,
    measure: Callable[[str | None], dict[str, Any]],
    report: Callable[[dict[str, Any]], str],
) -> int:
    """Measure, keep the record and print it; 1 when it couldn't be measured."""
    try:
        content = measure(None if options.without_sbx else find_sbx(options.sbx))
    except BenchmarkError as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        return 1
    save(name, content, options.results)
    print(report(content))
    if content["figures"]:
        print("\n" + figure_table(content["figures"]))
    return 0
