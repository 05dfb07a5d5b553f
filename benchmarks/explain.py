"""What `sbx run --explain` adds to a build of many small C files, beside what `strace -f` adds.

Four commands take turns: make, make under strace -f (its output thrown away), make in a sandbox,
and the same followed. The figure is what --explain adds to the sandbox over what strace adds to
make alone, each as a median of the rounds' differences.
"""

import argparse
import os
import random
import shutil
import statistics
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from benchmarks import common, places, records
from benchmarks.common import BenchmarkError, Figure
from benchmarks.places import PLAIN, Spawner
from benchmarks.turns import Bench, Subject

FILES: Final = 80
REACH: Final = 1 / 3
HEADERS: Final = ("stdio", "stdlib", "string", "errno", "fcntl", "unistd", "sys/stat", "signal")

MAKE, STRACE, SBX, EXPLAIN = "make", "strace -f", "sbx", "sbx --explain"
PROFILE: Final = """\
schema = 1
[profile]
name = "benchmark"
extends = "minimal"
[process]
cwd = "{directory}"
[filesystem]
write = ["{directory}"]
"""
MAKEFILE: Final = """\
OBJECTS = $(patsubst %.c,%.o,$(wildcard *.c))
program: $(OBJECTS)
\tcc -o $@ $^
%.o: %.c
\tcc -c -o $@ $<
"""


def write_project(directory: str) -> None:
    """Sources that cost the compiler little and the file system much."""
    os.mkdir(directory)
    os.chmod(directory, 0o777)
    includes = "".join(f"#include <{name}.h>\n" for name in HEADERS)
    for number in range(FILES):
        with open(os.path.join(directory, f"f{number}.c"), "w", encoding="ascii") as file:
            file.write(f"{includes}int f{number}(int a) {{ return a + {number}; }}\n")
    with open(os.path.join(directory, "main.c"), "w", encoding="ascii") as file:
        file.write("int main(void) { return 0; }\n")
    with open(os.path.join(directory, "Makefile"), "w", encoding="ascii") as file:
        file.write(MAKEFILE)


def clean(directory: str, _spawner: Spawner) -> None:
    for name in os.listdir(directory):
        if name.endswith(".o") or name == "program":
            os.unlink(os.path.join(directory, name))


def subjects(sbx: str, directory: str, profile: str, jobs: int) -> list[Subject]:
    make = [_found("make"), "-s", f"-j{jobs}", "-C", directory]
    run = [sbx, "run", "--profile", profile]
    commands = {
        MAKE: make,
        STRACE: [_found("strace"), "-f", "-o", "/dev/null", *make],
        SBX: [*run, "--", *make],
        EXPLAIN: [*run, "--explain-to", "/dev/null", "--", *make],
    }
    before = partial(clean, directory)
    return [
        Subject(name=f"{name}, -j{jobs}", argv=argv, place=PLAIN, before=before)
        for name, argv in commands.items()
    ]


def _found(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise BenchmarkError(f"{program} is not installed")
    return path


def interleave(bench: Bench, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each subject by rounds, every round in another order."""
    samples: dict[str, list[float]] = {name: [] for name in bench.subjects}
    dice = random.Random()
    for _ in range(rounds):
        order = list(bench.subjects)
        dice.shuffle(order)
        for name in order:
            samples[name].append(bench.run(name))
    return samples


def added(samples: dict[str, list[float]], what: str, to: str) -> float:
    """The median of what a subject takes longer than another in the same round."""
    pairs = zip(samples[what], samples[to], strict=True)
    return statistics.median(one - other for one, other in pairs)


def measure(sbx: str | None, rounds: int, jobs: Sequence[int]) -> dict[str, Any]:
    if sbx is None:
        raise BenchmarkError("nothing to measure without sbx")
    with places.scratch_directory() as scratch:
        directory, profile = os.path.join(scratch, "project"), os.path.join(scratch, "build.toml")
        write_project(directory)
        with open(profile, "w", encoding="utf-8") as file:
            file.write(PROFILE.format(directory=directory))
        chosen = [each for number in jobs for each in subjects(sbx, directory, profile, number)]
        with Bench(chosen, scratch) as bench:
            bench.need()
            samples = interleave(bench, rounds)
    return {
        "benchmark": "explain",
        "unit": "ms",
        "facts": records.facts(sbx),
        "rounds": rounds,
        "files": FILES,
        "commands": {each.name: " ".join(each.argv) for each in chosen},
        "results": {name: common.times(values) for name, values in samples.items()},
        "figures": [figure(samples, number) for number in jobs],
    }


def figure(samples: dict[str, list[float]], jobs: int) -> Figure:
    explained = added(samples, f"{EXPLAIN}, -j{jobs}", f"{SBX}, -j{jobs}")
    strace = added(samples, f"{STRACE}, -j{jobs}", f"{MAKE}, -j{jobs}")
    return Figure(
        name=f"make -j{jobs} of {FILES} C files: what --explain adds, against strace -f",
        value=round(explained / strace, 3),
        reach=REACH,
    )


def report(content: dict[str, Any]) -> str:
    rows = [("", "ms", "MAD")]
    for name, each in content["results"].items():
        rows.append((name, f"{each.median:.0f}", f"{each.mad:.0f}"))
    return records.table(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    records.add_options(parser)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--jobs", type=int, nargs="*", default=[1, os.cpu_count() or 1], metavar="N"
    )
    options = parser.parse_args()
    jobs = list(dict.fromkeys(options.jobs))
    return records.finish(
        "explain", options, lambda sbx: measure(sbx, options.rounds, jobs), report
    )


if __name__ == "__main__":
    sys.exit(main())
