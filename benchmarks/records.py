"""What is kept of a measurement and shown of it: the machine, the record, tables, the command line."""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from benchmarks.building import compiler, find_sbx
from benchmarks.common import HERE, RESULTS, BenchmarkError, Figure, Times
from benchmarks.places import OWN_MOUNTS

_VERSIONS: Final = {
    "bwrap": "--version",
    "firejail": "--version",
    "systemd-nspawn": "--version",
    "crun": "--version",
    "runc": "--version",
    "podman": "--version",
    "minijail0": "--version",
    "nsjail": "--version",
}


def facts(sbx: str | None) -> dict[str, Any]:
    """The machine and the versions that the times were taken with."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        lines = dict(line.split(":", 1) for line in file if ":" in line)
    names = {key.strip(): value.strip() for key, value in lines.items()}
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        mounts = len(file.readlines())
    versions = {
        name: _version([name, flag]) for name, flag in _VERSIONS.items() if shutil.which(name)
    }
    if sbx:
        versions["sbx"] = _version([sbx, "--version"])
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpu": names.get("model name", "not named"),
        "hypervisor": "hypervisor" in names.get("flags", "").split(),
        "cpus": os.cpu_count(),
        "root": os.geteuid() == 0,
        "mounts": mounts,
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "compiler": compiler()[0],
        "versions": versions,
    }


def _version(command: list[str]) -> str:
    if os.geteuid() == 0:
        command = [*OWN_MOUNTS, *command]
    elif command[0] == "firejail":
        return "not asked: it leaves mounts behind even then"
    done = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    return (done.stdout.strip().splitlines() or ["not told"])[0]


def save(name: str, content: Mapping[str, Any], directory: str) -> None:
    """Keep a record; paths in it start at the source tree or at the temporary directory."""
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, f"{name}.json")
    text = json.dumps(content, indent=2, default=_plain)
    for here in (os.path.dirname(HERE), tempfile.gettempdir()):
        text = text.replace(f"{here}/", "")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text + "\n")


def _plain(value: object) -> Any:
    if isinstance(value, Figure):
        return {**asdict(value), "reached": value.reached}
    if isinstance(value, Times):
        return asdict(value)
    raise TypeError(type(value).__name__)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their content; the first is text, the others stand at the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def figure_table(figures: Sequence[Figure]) -> str:
    rows = [("figure", "value", "reach", "")]
    for figure in figures:
        sign = "≥" if figure.at_least else "≤"
        value = f"{figure.value:.3g}{figure.unit}"
        reach = f"{sign} {figure.reach:.3g}{figure.unit}"
        rows.append((figure.name, value, reach, "pass" if figure.reached else "FAIL"))
    return table(rows)


def times_table(
    results: Mapping[str, Times],
    *,
    title: str = "",
    against: Mapping[str, str] | None = None,
    more: Mapping[str, Callable[[str], str]] | None = None,
) -> str:
    """Subjects and their milliseconds, the quickest first.

    `against` has columns of ratios, each with the subject that is 1 in it; `more` has further columns, each
    with what tells its cell from a subject's name.
    """
    bases = {head: results[name].median for head, name in (against or {}).items()}
    more = more or {}
    rows = [(title, "median ms", "MAD", "least", *bases, "n", *more)]
    for name, each in sorted(results.items(), key=lambda item: item[1].median):
        cells = [f"{number:.3f}" for number in (each.median, each.mad, each.least)]
        cells += [f"{each.median / base:.2f}" for base in bases.values()]
        cells += [str(each.count), *(tell(name) for tell in more.values())]
        rows.append((name, *cells))
    return table(rows)


def not_here(content: Mapping[str, Any]) -> list[str]:
    """A line for each subject that couldn't be measured: its name and why."""
    return [f"{name}: not here: {why}" for name, why in content["absent"].items()]


# --- The command line -----------------------------------------------------------------------------


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sbx", help="the launcher (default: this one, installed)")
    parser.add_argument("--without-sbx", action="store_true", help="the peers and the floor alone")
    parser.add_argument("--results", default=RESULTS, help="where the JSON goes")


def finish(
    name: str,
    options: argparse.Namespace,
    measure: Callable[[str | None], dict[str, Any]],
    report: Callable[[dict[str, Any]], str],
) -> int:
    """Measure, keep the record and print it; 1 when it couldn't be measured."""
    try:
        content = measure(None if options.without_sbx else find_sbx(options.sbx))
    except BenchmarkError as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        return 1
    save(name, content, options.results)
    print(report(content))
    if content["figures"]:
        print("\n" + figure_table(content["figures"]))
    return 0


def main(
    name: str,
    meaning: str | None,
    measure: Callable[[str | None, int], dict[str, Any]],
    report: Callable[[dict[str, Any]], str],
    *,
    rounds: int,
) -> int:
    """The program of a benchmark that has no options of its own; its exit status.

    `meaning` is what --help says, and `measure` is told the launcher, None without one, and how many rounds.
    """
    parser = argparse.ArgumentParser(description=meaning)
    add_options(parser)
    parser.add_argument("--rounds", type=int, default=rounds)
    options = parser.parse_args()
    return finish(name, options, lambda sbx: measure(sbx, options.rounds), report)
