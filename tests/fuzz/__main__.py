"""`python -m tests.fuzz`: every fuzzer for SBX_FUZZ_SECONDS, by default 300; then the laws.

As many run beside each other as there are processors. A table tells what each has reached; status 1
where one has crashed. What a crash came from lies in build/fuzz. A run goes on from what the ones
before it have found, so benchmarks/results/fuzz.json adds up the time and the executions of those
that last a minute at least. The laws are the property tests, with 20,000 examples each.
"""

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

from benchmarks import common, records
from tests.fuzz import running
from tests.fuzz.targets import TARGETS

LAWS = "laws"
SUMS = ("seconds", "cpu_seconds", "runs")
LEAST_SECONDS = 60
HEAD = ("", "seconds", "CPU", "runs", "edges", "features", "corpus", "bytes", "crash")


def _laws() -> dict[str, object]:
    """Every property test, with many examples; how many there were."""
    begun = time.monotonic()
    words = [sys.executable, "-m", "pytest", "-q", "-m", "hypothesis"]
    words += ["--hypothesis-profile=long", "--hypothesis-show-statistics"]
    run = subprocess.run(words, cwd=running.TREE, capture_output=True, text=True, check=False)
    counts = re.findall(r"(\d+) passing", run.stdout)
    if run.returncode != 0:
        print(run.stdout[-8000:])
    return {
        "seconds": round(time.monotonic() - begun),
        "properties": len(re.findall(r"^.*::.*:$", run.stdout, re.MULTILINE)),
        "examples": sum(map(int, counts)),
        "failed": run.returncode != 0,
    }


def _keep(names: list[str]) -> int:
    for name in names:
        print(f"{name}: {running.keep(name)} inputs")
    return 0


def _run(names: list[str], seconds: int, jobs: int, *, laws: bool) -> int:
    with ThreadPoolExecutor(jobs) as pool:
        found = dict(
            zip(names, pool.map(lambda name: running.fuzz(name, seconds), names), strict=True)
        )
    rows: list[tuple[str, ...]] = [HEAD]
    for name, one in found.items():
        figures = (one.seconds, one.cpu_seconds, one.runs, one.edges, one.features)
        row = (*figures, one.corpus, one.corpus_bytes, "CRASH" if one.crash else "none")
        rows.append((name, *map(str, row)))
    print(records.table(rows))
    for name, one in found.items():
        if one.crash:
            print(f"\n{name}:\n{one.crash}")
    failed = any(one.crash for one in found.values())
    told = _laws() if laws else None
    if told:
        print(f"{LAWS}: {told['examples']} examples of {told['properties']} in {told['seconds']} s")
        failed |= bool(told["failed"])
    if seconds >= LEAST_SECONDS:
        _record(found, told)
    return int(failed)


def _record(found: Mapping[str, running.Outcome], laws: dict[str, object] | None) -> None:
    """Adds the runs to those that are kept; what they have reached takes the place of what was."""
    with open(os.path.join(common.RESULTS, "fuzz.json"), encoding="utf-8") as file:
        content = json.load(file)
    content["facts"] = {
        **records.facts(os.path.join(os.path.dirname(sys.executable), "sbx")),
        "compiler": _first_line(running.COMPILER, "--version"),
    }
    for name, outcome in found.items():
        one, before = asdict(outcome), content["results"].get(name, {})
        sums = {what: round(one[what] + before.get(what, 0), 1) for what in SUMS}
        content["results"][name] = {**one, **sums}
    if laws:
        content[LAWS] = laws
    records.save("fuzz", content, common.RESULTS)


def _first_line(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()[0]


def main() -> int:
    """Run what is named, or all."""
    parser = argparse.ArgumentParser(prog="./dev fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join([*TARGETS, LAWS]))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N")
    parser.add_argument(
        "--keep",
        action="store_true",
        help="don't run: put the least of build/fuzz that reaches as much into tests/fuzz/corpus",
    )
    args = parser.parse_args()
    unknown = set(args.names) - {*TARGETS, LAWS}
    if unknown:
        parser.error(f"there is no fuzzer {', '.join(sorted(unknown))}")
    names = [name for name in TARGETS if not args.names or name in args.names]
    in_python = [name for name in names if TARGETS[name].python]
    if in_python and importlib.util.find_spec("atheris") is None:
        in_c = " ".join(name for name in TARGETS if not TARGETS[name].python)
        parser.error(
            f"Atheris isn't there, which is for {' and '.join(in_python)}\n"
            f"hint: pip install atheris; the others run by './dev fuzz {in_c}'"
        )
    try:
        if args.keep:
            return _keep(names)
        seconds = int(os.environ.get("SBX_FUZZ_SECONDS", "300"))
        return _run(names, seconds, args.jobs, laws=not args.names or LAWS in args.names)
    except running.FuzzError as error:
        parser.error(str(error))


if __name__ == "__main__":
    sys.exit(main())
