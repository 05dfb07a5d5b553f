"""`python -m tests.faults`: a fault at every system call of a launch.

Prints a table for each kind of launch, and what broke; status 1 where anything did. Then come the
races. A complete sweep of one kind of launch takes about ten minutes.
"""

import argparse
import os
import subprocess
import sys
import time
import traceback

from tests.faults.judge import BROKEN, KILLED, REFUSED, WHOLE
from tests.faults.launches import LAUNCHES, TREE, Launch, ready
from tests.faults.sweep import Fault, Sweep

RACES = "races"
COLUMNS = (REFUSED, WHOLE, KILLED, BROKEN)


def _chosen(launch: Launch, sweep: Sweep, args: argparse.Namespace) -> list[Fault]:
    faults = list(sweep.every() if args.sample is None else sweep.sample(args.sample))
    if args.sample is None or launch.name in ("warm", "full-user"):
        faults += sweep.absent()
    if args.only:
        faults = [fault for fault in faults if args.only in str(fault)]
    return faults


def _show(launch: Launch, sweep: Sweep, seconds: float) -> None:
    heads = ("calls", "faults", "not met", *COLUMNS)
    print(f"{launch.name:<20}" + "".join(f"{head:>10}" for head in heads))
    for role, tally in sweep.tallies.items():
        if tally.calls == 0:
            continue
        row = (tally.calls, tally.faults, tally.not_reached, *map(tally.of, COLUMNS))
        print(f"  {role:<18}" + "".join(f"{number:>10}" for number in row))
    print(f"  {seconds:.0f} s")
    for line in sweep.broken:
        print(f"  BROKEN {line}")
    sys.stdout.flush()


def _one(launch: Launch, args: argparse.Namespace) -> int:
    begun = time.monotonic()
    with ready(launch) as place:
        sweep = Sweep(place)
        for fault in _chosen(launch, sweep, args):
            verdict = sweep.inject(fault)
            if args.verbose:
                kind = verdict.kind if verdict else "not met"
                print(f"{fault}: {kind}: {sweep.messages.get(str(fault), '')}".strip())
        _show(launch, sweep, time.monotonic() - begun)
        return len(sweep.broken)


def _apart(launch: Launch, args: argparse.Namespace) -> bool:
    """In a process of its own, since its mounts are; whether it is as it has to be."""
    pid = os.fork()
    if pid == 0:
        status = 2
        try:
            status = 1 if _one(launch, args) else 0
        except BaseException:  # noqa: BLE001 - the parent has nothing to unwind here
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    return status == 0


def _races() -> bool:
    """The tests in which names change places while launches go on, with more rounds."""
    words = [sys.executable, "-m", "pytest", "-q", "tests/kernel/test_hostile_trees.py"]
    environment = {**os.environ, "SBX_RACE_ROUNDS": "2000"}
    return subprocess.run(words, cwd=TREE, env=environment, check=False).returncode == 0


def main() -> int:
    """One process for each kind of launch."""
    names = [*(launch.name for launch in LAUNCHES), RACES]
    parser = argparse.ArgumentParser(prog="./dev faults", description=__doc__)
    parser.add_argument("launches", nargs="*", metavar="LAUNCH", help=", ".join(names))
    parser.add_argument("--sample", type=int, metavar="N", help="about N faults of each launch")
    parser.add_argument("--only", metavar="TEXT", help="those whose name has it: 'init's 12:'")
    parser.add_argument("--verbose", "-v", action="store_true", help="tell each of them")
    args = parser.parse_args()
    unknown = set(args.launches) - set(names)
    if unknown:
        parser.error(f"there is no launch {', '.join(sorted(unknown))}")
    if os.geteuid() != 0:
        parser.error("it mounts, so it has to be root's")
    chosen = [launch for launch in LAUNCHES if not args.launches or launch.name in args.launches]
    results = [_apart(launch, args) for launch in chosen]
    if not args.launches or RACES in args.launches:
        results.append(_races())
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
