"""`sbx check` of a profile with 500 rules, against the start of Python itself."""

import os
import sys
from typing import Any, Final

from benchmarks import common, places, records
from benchmarks.common import BenchmarkError, Figure
from benchmarks.turns import Bench, Subject

PYTHON: Final = "python"
LARGE: Final = "check, 500 rules"
SMALL: Final = "check, service"
SHOW: Final = "show --resolved, 500 rules"


def profile() -> str:
    """500 rules of every kind that a long profile has."""
    listed = {
        "read": [f"/srv/data/{number:03}" for number in range(150)],
        "write": [f"/srv/state/{number:03}" for number in range(100)],
        "execute": [f"/opt/tool-{number:03}/bin" for number in range(50)],
        "deny": [f"/srv/data/{number:03}/private" for number in range(100)],
    }
    lines = ["schema = 1", "[profile]", 'extends = "service"', "[vars]", 'root = "/srv"']
    lines += ["[environment.set]", *(f'NAME_{number} = "value"' for number in range(50))]
    lines += ["[filesystem]"]
    for key, paths in listed.items():
        quoted = (path.replace("/srv", "${root}", 1) for path in paths)
        lines += [f"{key} = [", *(f'  "{path}",' for path in quoted), "]"]
    for number in range(50):
        lines += ["[[mounts]]", 'type = "bind"', f'source = "${{root}}/shared/{number}"']
        lines += [f'target = "/shared/{number}"']
    return "\n".join(lines) + "\n"


def measure(sbx: str | None, rounds: int) -> dict[str, Any]:
    if sbx is None:
        raise BenchmarkError("nothing to measure without sbx")
    python = os.path.realpath(sys.executable)
    with places.scratch_directory() as scratch:
        path = os.path.join(scratch, "large.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(profile())
        subjects = [
            Subject(name=PYTHON, argv=[python, "-I", "-S", "-c", "pass"]),
            Subject(name=SMALL, argv=[sbx, "check", "service"]),
            Subject(name=LARGE, argv=[sbx, "check", path]),
            Subject(name=SHOW, argv=[sbx, "show", "--resolved", path]),
        ]
        with Bench(subjects, scratch) as bench:
            bench.need()
            results = bench.interleave(rounds, slow_ms=float("inf"))
    return {
        "benchmark": "check",
        "unit": "ms",
        "facts": records.facts(sbx),
        "rounds": rounds,
        "commands": {
            PYTHON: "python3 -I -S -c pass",
            SMALL: "sbx check service",
            LARGE: "sbx check large.toml",
            SHOW: "sbx show --resolved large.toml",
        },
        "results": results,
        "figures": figures(results),
    }


def figures(results: dict[str, common.Times]) -> list[Figure]:
    return [
        Figure(
            name="sbx check of 500 rules, above Python's own start",
            value=results[LARGE].median - results[PYTHON].median,
            reach=150,
            unit=" ms",
        )
    ]


def report(content: dict[str, Any]) -> str:
    results: dict[str, common.Times] = content["results"]
    base = results[PYTHON].median
    rows = [("", "ms", "MAD", "above Python")]
    for name, each in results.items():
        rows.append((name, f"{each.median:.1f}", f"{each.mad:.1f}", f"{each.median - base:.1f}"))
    return records.table(rows)


if __name__ == "__main__":
    sys.exit(records.main("check", __doc__, measure, report, rounds=30))
