"""`python -m tests.fuzz`: every fuzzer for SBX_FUZZ_SECONDS, by default 300; then the laws.

As many run beside each other as there are processors. A table tells what each has reached, and
benchmarks/results/fuzz.json keeps it; status 1 where one has crashed. What a crash came from lies
in build/fuzz. The laws are the property tests, with 20,000 examples each.
"""

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

from benchmarks import common, records
from tests.fuzz import running
from tests.fuzz.targets import TARGETS

LAWS = "laws"
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
    content: dict[str, object] = {
        "benchmark": "fuzz",
        "facts": {
            **records.facts(os.path.join(os.path.dirname(sys.executable), "sbx")),
            "compiler": _first_line(running.COMPILER, "--version"),
        },
        "results": {name: asdict(one) for name, one in found.items()},
    }
    failed = any(one.crash for one in found.values())
    if laws:
        content[LAWS] = told = _laws()
        print(f"{LAWS}: {told['examples']} examples of {told['properties']} in {told['seconds']} s")
        failed |= bool(told["failed"])
    if set(names) == set(TARGETS) and laws:
        records.save("fuzz", content, common.RESULTS)
    return int(failed)


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
