"""What each further read-only bind adds to a launch, from none to 200."""

import os
import sys
from statistics import linear_regression
from typing import Any, Final

from benchmarks import building, common, places, records
from benchmarks.common import Figure
from benchmarks.peers import bubblewrap
from benchmarks.turns import Bench, Subject

TRUE: Final = ("/bin/true",)
COUNTS: Final = (0, 25, 50, 75, 100, 125, 150, 175, 200)
MIDDLE: Final = 100
STRAIGHT: Final = 1.4


def subjects_of(sbx: str | None, scratch: str) -> list[Subject]:
    pairs = []
    for number in range(max(COUNTS)):
        pair = [os.path.join(scratch, side, f"{number:03}") for side in ("source", "target")]
        for path in pair:
            os.makedirs(path)
        pairs.append(pair)
    found = []
    for count in COUNTS:
        some = pairs[:count]
        floor = [word for source, target in some for word in ("-b", source, target)]
        bwrap = [word for source, target in some for word in ("--ro-bind", source, target)]
        found.append(Subject(name=f"floor {count}", argv=[building.build("floor"), *floor, *TRUE]))
        found.append(Subject(name=f"bubblewrap {count}", argv=bubblewrap(TRUE, *bwrap)))
        if sbx:
            profile = _profile(scratch, count, some)
            argv = [sbx, "run", "--profile", profile, "--", *TRUE]
            found.append(Subject(name=f"sbx {count}", argv=argv))
    return found


def _profile(scratch: str, count: int, pairs: list[list[str]]) -> str:
    """The benchmark's profile with a bind for each pair."""
    with open(common.PROFILE, encoding="utf-8") as file:
        text = file.read()
    for source, target in pairs:
        text += f'\n[[mounts]]\ntype = "bind"\nsource = "{source}"\ntarget = "{target}"\n'
    path = os.path.join(scratch, f"binds-{count}.toml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def measure(sbx: str | None, rounds: int) -> dict[str, Any]:
    with (
        places.scratch_directory() as scratch,
        Bench(subjects_of(sbx, scratch), scratch) as bench,
    ):
        bench.need()
        results = bench.interleave(rounds, slow_ms=1000)
    lines = {}
    for tool in ("floor", "sbx", "bubblewrap"):
        points = {n: results[f"{tool} {n}"].median for n in COUNTS if f"{tool} {n}" in results}
        if points:
            lines[tool] = line_of(points)
    return {
        "benchmark": "binds",
        "unit": "ms",
        "facts": records.facts(sbx),
        "rounds": rounds,
        "counts": COUNTS,
        "results": results,
        "lines": lines,
        "figures": figures(lines),
    }


def line_of(points: dict[int, float]) -> dict[str, float]:
    """The slope of all points, and how far the slopes of the two halves are apart, as a factor.

    R squared doesn't tell a line from a parabola here: bubblewrap's 200 binds give 0.97.
    """
    slope, start = linear_regression(list(points), list(points.values()))
    halves = []
    for inside in (range(MIDDLE + 1), range(MIDDLE, max(COUNTS) + 1)):
        half = {count: value for count, value in points.items() if count in inside}
        halves.append(linear_regression(list(half), list(half.values())).slope)
    return {
        "us per bind": round(slope * 1000, 3),
        "start ms": round(start, 4),
        "halves apart": round(max(halves) / min(halves), 4) if min(halves) > 0 else 1e6,
    }


def figures(lines: dict[str, dict[str, float]]) -> list[Figure]:
    if "sbx" not in lines:
        return []
    return [
        Figure(
            name=f"each extra read-only bind, to {max(COUNTS)}",
            value=lines["sbx"]["us per bind"],
            reach=25,
            unit=" us",
        ),
        Figure(
            name=f"a straight line: slopes below and above {MIDDLE} binds, apart by",
            value=lines["sbx"]["halves apart"],
            reach=STRAIGHT,
        ),
    ]


def report(content: dict[str, Any]) -> str:
    counts = [str(count) for count in COUNTS]
    rows = [("ms with binds", *counts, "us each", "halves")]
    for tool, line in content["lines"].items():
        medians = [f"{content['results'][f'{tool} {count}'].median:.2f}" for count in counts]
        rows.append((tool, *medians, f"{line['us per bind']:.1f}", f"{line['halves apart']:.2f}"))
    return records.table(rows)


if __name__ == "__main__":
    sys.exit(records.main("binds", __doc__, measure, report, rounds=40))
