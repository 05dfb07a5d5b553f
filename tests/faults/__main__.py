"""`python -m tests.faults`: a fault at every system call of a launch.

Prints a table for each kind of launch, and what broke; status 1 where anything did. Then come the
races, and thousands of launches in a row, whose figures benchmarks/results/endurance.json keeps. A
complete sweep of one kind of launch takes some minutes.
"""

import argparse
import os
import subprocess
import sys

from tests.faults import endurance
from tests.faults.launches import LAUNCHES, TREE
from tests.faults.record import keep, table
from tests.faults.workers import Choice, sweep

RACES = "races"
ENDURANCE = "endurance"


def _races() -> bool:
    """The tests in which names change places while launches go on, with more rounds."""
    words = [sys.executable, "-m", "pytest", "-q", "tests/kernel/test_hostile_trees.py"]
    environment = {**os.environ, "SBX_RACE_ROUNDS": "2000"}
    return subprocess.run(words, cwd=TREE, env=environment, check=False).returncode == 0


def _arguments() -> argparse.Namespace:
    names = [*(launch.name for launch in LAUNCHES), RACES, ENDURANCE]
    parser = argparse.ArgumentParser(prog="./dev faults", description=__doc__)
    parser.add_argument("launches", nargs="*", metavar="LAUNCH", help=", ".join(names))
    parser.add_argument("--sample", type=int, metavar="N", help="about N faults of each launch")
    parser.add_argument(
        "--only", metavar="TEXT", default="", help="those whose name has it: 'init's 12:'"
    )
    parser.add_argument(
        "--rounds", type=int, metavar="N", help=f"of endurance (default: {endurance.ROUNDS})"
    )
    parser.add_argument("--verbose", "-v", action="store_true", help="tell each of them")
    parser.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        default=os.cpu_count(),
        help="so many at a time (default: one for each processor)",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="put what was found into it, launch by launch"
    )
    args = parser.parse_args()
    unknown = set(args.launches) - set(names)
    if unknown:
        parser.error(f"there is no launch {', '.join(sorted(unknown))}")
    if args.json and (args.only or args.sample is not None):
        parser.error("only a complete sweep is kept")
    if args.jobs < 1:
        parser.error("--jobs has to be 1 at least")
    if os.geteuid() != 0:
        parser.error("it mounts, so it has to be root's")
    return args


def main() -> int:
    """One kind of launch after the other."""
    args = _arguments()
    choice = Choice(sample=args.sample, only=args.only, verbose=args.verbose)
    broken = 0
    for launch in LAUNCHES:
        if args.launches and launch.name not in args.launches:
            continue
        found, seconds = sweep(launch, choice, args.jobs)
        print(table(launch.name, found, seconds), flush=True)
        broken += len(found.broken)
        if args.json:
            keep(args.json, launch.name, found, seconds)
    raced = _races() if not args.launches or RACES in args.launches else True
    if not args.launches or ENDURANCE in args.launches:
        broken += endurance.run_all(args.rounds)
    return 0 if raced and not broken else 1


if __name__ == "__main__":
    sys.exit(main())
