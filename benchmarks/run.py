"""Every benchmark, one after the other, and a table of what was to be reached.

Ends with 1 when a figure isn't reached or a benchmark couldn't run.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from typing import Final

from benchmarks import common, records
from benchmarks.common import Figure

# Each with the rounds of a quick run.
QUICK: Final = {
    "startup": 30,
    "rate": 3,
    "memory": 2,
    "binds": 8,
    "filter_load": 40,
    "syscalls": 8,
    "check": 5,
    "stages": 30,
    "parts": 30,
    "library": 30,
    "work": 5,
    "explain": 2,
    "limits": 30,
    "exec": 40,
    "scale": 5,
    "isolation": 1,
}
# What else makes one of them quick.
FEWER: Final = {"scale": ("--count", "40", "--seconds", "2")}

NAMES: Final = tuple(QUICK)


def run(name: str, options: argparse.Namespace, results: str) -> bool:
    command = [sys.executable, "-m", f"benchmarks.{name}", "--results", results]
    if options.sbx:
        command += ["--sbx", options.sbx]
    if options.quick:
        command += ["--rounds", str(QUICK[name]), *FEWER.get(name, ())]
    print(f"== {name}", flush=True)
    done = subprocess.run(command, cwd=os.path.dirname(common.HERE), check=False)
    print(flush=True)
    return done.returncode == 0


def figures(name: str, results: str) -> list[Figure]:
    with open(os.path.join(results, f"{name}.json"), encoding="utf-8") as file:
        content = json.load(file)
    for figure in content["figures"]:
        del figure["reached"]
    return [Figure(**figure) for figure in content["figures"]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(NAMES), metavar="NAME")
    parser.add_argument("--sbx", help="the launcher (default: this one, installed)")
    parser.add_argument(
        "--quick", action="store_true", help="few rounds; nothing is kept unless --results says so"
    )
    parser.add_argument("--results", help="where the JSON goes (default: benchmarks/results)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        results = options.results or (scratch if options.quick else common.RESULTS)
        done = [name for name in options.names if run(name, options, results)]
        found = [figure for name in done for figure in figures(name, results)]
    print(records.figure_table(found))
    failed = [name for name in options.names if name not in done]
    if failed:
        print(f"could not run: {', '.join(failed)}", file=sys.stderr)
    return 0 if not failed and all(figure.reached for figure in found) else 1


if __name__ == "__main__":
    sys.exit(main())
