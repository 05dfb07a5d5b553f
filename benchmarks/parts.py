"""What each part of sbx adds to a launch: the benchmark's profile with one part left out at a time."""

import os
import sys
from typing import Any, Final

from benchmarks import building, common, places, records
from benchmarks.common import BenchmarkError
from benchmarks.turns import Bench, Subject

TRUE: Final = ("/bin/true",)
# Left out: what the profile says then, by table.
PARTS: Final = {
    "the filter": "[seccomp]\nenabled = false",
    "Landlock": "[landlock]\nenabled = false",
    "the init": "[process]\ninit = false",
    "the network namespace": '[network]\nmode = "host"',
    "the time namespace": "[namespaces]\ntime = false",
    "the ipc namespace": "[namespaces]\nipc = false",
    "the private /dev": '[devices]\ndev = "none"',
    "the new /proc": '[filesystem]\nproc = "none"',
}


def measure(sbx: str | None, rounds: int) -> dict[str, Any]:
    if sbx is None:
        raise BenchmarkError("there is nothing to measure without sbx")
    with places.scratch_directory() as scratch:
        subjects = [
            Subject(name="floor", argv=[building.build("floor"), *TRUE]),
            Subject(name="sbx", argv=[sbx, "run", "--profile", common.PROFILE, "--", *TRUE]),
        ]
        for number, (name, text) in enumerate(PARTS.items()):
            path = os.path.join(scratch, f"without-{number}.toml")
            with open(path, "w", encoding="utf-8") as file:
                file.write(_with(text))
            argv = [sbx, "run", "--profile", path, "--", *TRUE]
            subjects.append(Subject(name=f"without {name}", argv=argv))
        with Bench(subjects, scratch) as bench:
            bench.need()
            results = bench.interleave(rounds)
    return {
        "benchmark": "parts",
        "unit": "ms",
        "facts": records.facts(sbx),
        "rounds": rounds,
        "parts": PARTS,
        "results": results,
        "figures": [],
    }


def _with(change: str) -> str:
    """The benchmark's profile with the lines of one table added to that table, or replaced in it."""
    head, _, line = change.partition("\n")
    with open(common.PROFILE, encoding="utf-8") as file:
        text = file.read()
    if line.partition("=")[0] in text and head == "[network]":
        return text.replace('mode = "none"', line)
    return text.replace(head, change) if head in text else f"{text}\n{change}\n"


def report(content: dict[str, Any]) -> str:
    results: dict[str, common.Times] = content["results"]
    whole = results["sbx"]
    rows = [("", "median ms", "MAD", "adds us")]
    for name, each in results.items():
        adds = f"{(whole.median - each.median) * 1000:.0f}" if name != "sbx" else ""
        rows.append((name, f"{each.median:.3f}", f"{each.mad:.3f}", adds))
    return records.table(rows)


if __name__ == "__main__":
    sys.exit(records.main("parts", __doc__, measure, report, rounds=200))
