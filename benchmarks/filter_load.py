"""How long it takes to load a filter: sbx's, libseccomp's of the same policy, and the peers'."""

import argparse
import sys
from typing import Any

from benchmarks import filters, places, records
from benchmarks.common import Figure


def measure(rounds: int) -> dict[str, Any]:
    with places.scratch_directory() as scratch:
        theirs, absent = filters.of_peers(scratch)
        subjects = [subject for subject in filters.own() if subject.programs] + theirs
        taken = filters.times(filters.run("load", rounds, subjects, scratch))
    return {
        "benchmark": "filter_load",
        "unit": "ns",
        "facts": filters.facts(),
        "rounds": rounds,
        "absent": absent,
        "instructions": {subject.name: subject.instructions for subject in subjects},
        "filters": {subject.name: len(subject.programs) for subject in subjects},
        "results": {name: columns[0] for name, columns in taken.items()},
        "figures": [
            Figure(
                name="loading the filter at launch",
                value=taken[filters.SBX][0].median / 1e6,
                reach=0.12,
                unit=" ms",
            )
        ],
    }


def report(content: dict[str, Any]) -> str:
    rows = [("", "µs", "± MAD", "instructions", "filters")]
    for name, time in content["results"].items():
        rows.append(
            (
                name,
                f"{time.median / 1000:.1f}",
                f"{time.mad / 1000:.1f}",
                str(content["instructions"][name]),
                str(content["filters"][name]),
            )
        )
    lines = [records.table(rows)]
    lines += records.not_here(content)
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    records.add_options(parser)
    parser.add_argument("--rounds", type=int, default=400)
    options = parser.parse_args()
    options.without_sbx = True  # the filter is compiled here; nothing is launched
    return records.finish("filter_load", options, lambda _: measure(options.rounds), report)


if __name__ == "__main__":
    sys.exit(main())
