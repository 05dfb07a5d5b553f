"""Launches of /bin/true per second with two workers at once."""

import argparse
import random
import sys
from typing import Any, Final

from benchmarks import common, places, records
from benchmarks.common import Figure
from benchmarks.peers import peers
from benchmarks.turns import Bench, Subject

WORKERS: Final = 2
NAMES: Final = (
    *("nothing", "floor", "floor, with filter, capabilities and init"),
    *("sbx", "bubblewrap", "minijail0", "nsjail"),
)


def measure(sbx: str | None, rounds: int, milliseconds: int) -> dict[str, Any]:
    with places.scratch_directory() as scratch:
        found = [peer for peer in peers(sbx, scratch) if peer.name in NAMES]
        subjects = [
            Subject(name=peer.name, argv=peer.command(["/bin/true"]), place=peer.place)
            for peer in found
        ]
        with Bench(subjects, scratch) as bench:
            bench.need("bubblewrap", *(["sbx"] if sbx else []))
            samples: dict[str, list[float]] = {name: [] for name in bench.subjects}
            order = list(samples)
            for _ in range(rounds):
                random.shuffle(order)
                for name in order:
                    samples[name].append(bench.rate(name, WORKERS, milliseconds))
    results = {name: common.times(values) for name, values in samples.items()}
    return {
        "benchmark": "rate",
        "unit": "launches per second",
        "workers": WORKERS,
        "facts": records.facts(sbx),
        "rounds": rounds,
        "milliseconds": milliseconds,
        "commands": {subject.name: list(subject.argv) for subject in subjects},
        "absent": bench.absent,
        "results": results,
        "figures": figures(results),
    }


def figures(results: dict[str, common.Times]) -> list[Figure]:
    if "sbx" not in results:
        return []
    return [
        Figure(
            name=f"launches per second, {WORKERS} workers, against bubblewrap",
            value=results["sbx"].median / results["bubblewrap"].median,
            reach=2.2,
            at_least=True,
        )
    ]


def report(content: dict[str, Any]) -> str:
    results: dict[str, common.Times] = content["results"]
    base = results["bubblewrap"].median
    rows = [("", "launches/s", "MAD", "to bwrap")]
    for name, each in sorted(results.items(), key=lambda item: -item[1].median):
        rows.append((name, f"{each.median:.0f}", f"{each.mad:.0f}", f"{each.median / base:.2f}"))
    return records.table(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    records.add_options(parser)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--milliseconds", type=int, default=500)
    options = parser.parse_args()
    return records.finish(
        "rate",
        options,
        lambda sbx: measure(sbx, options.rounds, options.milliseconds),
        report,
    )


if __name__ == "__main__":
    sys.exit(main())
