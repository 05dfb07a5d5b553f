"""What a call costs under sbx's filter, beside no filter, libseccomp's of the same policy, the peers'."""

import argparse
import sys
from typing import Any, Final

from benchmarks import filters, places, records
from benchmarks.common import Figure

CALLS: Final = ("getppid", "read", "fstat", "openat")
REACH_NS: Final = 45.0
NOISE_NS: Final = 3.0


def measure(rounds: int) -> dict[str, Any]:
    with places.scratch_directory() as scratch:
        theirs, absent = filters.of_peers(scratch)
        subjects = filters.own() + theirs
        samples = filters.run("calls", rounds, subjects, scratch)
    taken = filters.times(samples)
    return {
        "benchmark": "syscalls",
        "unit": "ns",
        "facts": filters.facts(),
        "rounds": rounds,
        "absent": absent,
        "instructions": {subject.name: subject.instructions for subject in subjects},
        "results": {
            name: dict(zip(CALLS, columns, strict=True)) for name, columns in taken.items()
        },
        "figures": figures(samples, [subject.name for subject in theirs]),
    }


def figures(samples: filters.Samples, theirs: list[str]) -> list[Figure]:
    """The median difference to no filter, and the least that the one to a peer can be.

    That is the lower end of its 95 % interval: no call needs to be cheaper than under a peer, as the
    kernel answers all of them from the same bitmap.
    """
    found: list[Figure] = []
    for column, call in enumerate(CALLS):
        over = filters.difference(samples, filters.SBX, "no filter", column)
        name = f"{call}: sbx's filter over none"
        found.append(Figure(name=name, value=round(over.median, 1), reach=REACH_NS, unit=" ns"))
        more = [filters.difference(samples, filters.SBX, peer, column).low for peer in theirs]
        if more:
            name = f"{call}: the same over any peer's, at least"
            found.append(Figure(name=name, value=round(max(more), 1), reach=NOISE_NS, unit=" ns"))
    return found


def report(content: dict[str, Any]) -> str:
    rows = [("ns", *CALLS, "instructions")]
    for name, each in content["results"].items():
        cells = [f"{each[call].median:.0f} ± {each[call].mad:.1f}" for call in CALLS]
        rows.append((name, *cells, str(content["instructions"][name])))
    lines = [records.table(rows)]
    lines += records.not_here(content)
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    records.add_options(parser)
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    options.without_sbx = True  # the filter is compiled here; nothing is launched
    return records.finish("syscalls", options, lambda _: measure(options.rounds), report)


if __name__ == "__main__":
    sys.exit(main())
