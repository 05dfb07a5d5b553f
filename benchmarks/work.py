"""What real work costs in a sandbox, beyond the launch: git, gcc, pip and nginx, each from its shipped profile.

Every task runs unsandboxed, in sbx and in bubblewrap in turn, and so does a command that does
nothing: the difference of the two is the work itself.
"""

import contextlib
import os
import random
import shutil
import subprocess
import sys
import time
import venv
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks import common, places, records
from benchmarks.common import BenchmarkError, Figure, Times
from benchmarks.servers import CLIENTS, Server, nginx
from benchmarks.turns import Bench, Subject

TOOLS: Final = ("nothing", "sbx", "bubblewrap")
REACH: Final = 1.03
FILES: Final = 20_000
LINES: Final = 1_000
MODULES: Final = 300
REQUESTS: Final = 10_000
AN_HOUR_AGO: Final = int(time.time()) - 3600

Wrap = Callable[[Sequence[str]], list[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A command that works in `directory`, and the shipped profile that is made for it."""

    name: str
    profile: str
    directory: str
    argv: Sequence[str]

    def wraps(self, sbx: str | None) -> dict[str, Wrap]:
        """How each tool is asked to run a command in the task's directory."""
        there = [_program("env"), "-C", self.directory]
        found: dict[str, Wrap] = {"nothing": lambda argv: [*there, *argv]}
        if sbx:
            found["sbx"] = lambda argv: [*there, sbx, "run", "--profile", self.profile, "--", *argv]
        if shutil.which("bwrap"):
            found["bubblewrap"] = lambda argv: [*there, *_bubblewrap(self.directory), *argv]
        return found


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise BenchmarkError(f"{name} is not installed")
    return found


def _bubblewrap(directory: str, *, network: bool = False) -> list[str]:
    """The host read-only, the directory writable, and everything unshared but what is asked for."""
    words = "--unshare-all --ro-bind / / --dev /dev --proc /proc --tmpfs /tmp --new-session"
    share = ["--share-net"] if network else []
    bind = ["--bind", directory, directory]
    return [_program("bwrap"), *words.split(), *share, "--die-with-parent", *bind, "--"]


# --- The tasks ------------------------------------------------------------------------------------


def tasks(scratch: str) -> list[Task]:
    return [
        Task(
            name="git status",
            profile="git",
            directory=_repository(os.path.join(scratch, "repository")),
            argv=[_program("git"), "status"],
        ),
        Task(
            name=f"gcc -O2 of {LINES:,} lines",
            profile="gcc",
            directory=_source(os.path.join(scratch, "source")),
            argv=[_program("gcc"), "-O2", "-c", "long.c", "-o", "long.o"],
        ),
        _install(os.path.join(scratch, "install")),
    ]


def _repository(path: str) -> str:
    """A repository of many small files, with a change that isn't committed."""
    for number in range(FILES):
        directory = os.path.join(path, f"{number % 200:03}")
        os.makedirs(directory, exist_ok=True)
        name = os.path.join(directory, f"{number:05}.txt")
        with open(name, "w", encoding="utf-8") as file:
            file.write(f"file {number}\n")
        # Git reads what is as young as its index anew each time.
        os.utime(name, (AN_HOUR_AGO, AN_HOUR_AGO))
    git = [_program("git"), "-C", path, "-c", "user.name=sbx", "-c", "user.email=sbx@localhost"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *words], check=True, env=places.environment(path))
    with open(os.path.join(path, "000", "00000.txt"), "a", encoding="utf-8") as file:
        file.write("changed\n")
    return path


def _source(path: str) -> str:
    """A C file of 1,000 lines with loops, structs and calls of the library."""
    os.makedirs(path)
    head = ["#include <stdio.h>", "#include <stdlib.h>", "#include <string.h>", ""]
    body: list[str] = []
    number = 0
    while len(head) + len(body) < LINES - 12:
        body += [
            f"struct item{number} {{ int key; char name[32]; struct item{number} *next; }};",
            f"int work{number}(int n) {{",
            f"        struct item{number} *first = NULL;",
            "        int sum = 0;",
            "        for (int i = 0; i < n; i++) {",
            f"                struct item{number} *one = malloc(sizeof *one);",
            "                one->key = i * n;",
            '                snprintf(one->name, sizeof one->name, "%d", one->key);',
            "                one->next = first, first = one;",
            "                sum += (int) strlen(one->name) ^ one->key;",
            "        }",
            "        while (first != NULL) {",
            f"                struct item{number} *next = first->next;",
            "                free(first), first = next;",
            "        }",
            "        return sum;",
            "}",
        ]
        number += 1
    while len(head) + len(body) < LINES:
        body.append("")
    with open(os.path.join(path, "long.c"), "w", encoding="utf-8") as file:
        file.write("\n".join([*head, *body]) + "\n")
    return path


def _install(path: str) -> Task:
    """A wheel of 300 modules, into a virtual environment of the project."""
    environment = os.path.join(path, "env")
    venv.create(environment, with_pip=True)
    wheel = os.path.join(path, "many-1.0-py3-none-any.whl")
    with zipfile.ZipFile(wheel, "w") as archive:
        for number in range(MODULES):
            archive.writestr(f"many/module{number}.py", f"VALUE = {number}\n" * 20)
        archive.writestr(
            "many-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: many\nVersion: 1.0\n"
        )
        archive.writestr(
            "many-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: sbx\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr("many-1.0.dist-info/RECORD", "")
    words = ["-m", "pip", "install", "-q", "--no-index", "--no-deps", "--force-reinstall"]
    quiet = ["--disable-pip-version-check", "--root-user-action=ignore"]
    python = os.path.join(environment, "bin", "python3")
    return Task(
        name="pip install of a wheel",
        profile="pip",
        directory=path,
        argv=[python, *words, *quiet, wheel],
    )


# --- Measuring ------------------------------------------------------------------------------------


def measure(sbx: str | None, rounds: int) -> dict[str, Any]:
    with places.scratch_directory() as scratch:
        found = tasks(scratch)
        true = [_program("true")]
        subjects = []
        for task in found:
            for tool, wrap in task.wraps(sbx).items():
                subjects.append(Subject(name=f"{task.name}, {tool}", argv=wrap(task.argv)))
                subjects.append(Subject(name=f"{task.name}, {tool}, launch", argv=wrap(true)))
        with Bench(subjects, scratch) as bench:
            bench.need()
            results = bench.interleave(rounds, slow_ms=float("inf"))
        with _servers(sbx, scratch) as servers:
            results |= _requests(servers, max(3, rounds // 2))
    work = _work([task.name for task in found], results)
    return {
        "benchmark": "work",
        "unit": "ms",
        "facts": records.facts(sbx),
        "rounds": rounds,
        "results": results,
        "work": work,
        "figures": _figures(work),
    }


@contextlib.contextmanager
def _servers(sbx: str | None, scratch: str) -> Iterator[dict[str, Server]]:
    """One nginx for each tool, all up at once and asked in turn."""
    with contextlib.ExitStack() as stack:
        found = {}
        for tool in TOOLS:
            if (tool == "sbx" and not sbx) or (tool == "bubblewrap" and not shutil.which("bwrap")):
                continue
            directory = os.path.join(scratch, f"nginx-{tool}")
            wrap = _in_bubblewrap(directory) if tool == "bubblewrap" else list
            found[tool] = stack.enter_context(
                nginx(directory, wrap, sbx if tool == "sbx" else None)
            )
        yield found


def _in_bubblewrap(directory: str) -> Wrap:
    # Root there can't set its groups, which nginx wants of root.
    bwrap, *options = _bubblewrap(directory, network=True)
    return lambda argv: [bwrap, "--uid", "1000", "--gid", "1000", *options, *argv]


def _requests(servers: dict[str, Server], rounds: int) -> dict[str, Times]:
    samples: dict[str, list[float]] = {}
    dice = random.Random()
    for number in range(rounds + 1):
        order = list(servers)
        dice.shuffle(order)
        for tool in order:
            for name, keep_alive in ((_NGINX, False), (_KEPT_ALIVE, True)):
                elapsed = servers[tool].load(REQUESTS, keep_alive=keep_alive)
                if number:  # the first round warms every server up
                    samples.setdefault(f"{name}, {tool}", []).append(elapsed)
    return {name: common.times(values) for name, values in samples.items()}


_NGINX: Final = f"{REQUESTS:,} requests to nginx"
_KEPT_ALIVE: Final = f"{REQUESTS:,} requests to nginx over {CLIENTS} connections"


def _work(names: Sequence[str], results: dict[str, Times]) -> dict[str, dict[str, float]]:
    """For each task and tool: the work's median without the launch, and that to unsandboxed."""
    found: dict[str, dict[str, float]] = {}
    for name in (*names, _NGINX, _KEPT_ALIVE):
        alone: dict[str, float] = {}
        for tool in TOOLS:
            if f"{name}, {tool}" in results:
                launch = results.get(f"{name}, {tool}, launch")
                alone[tool] = results[f"{name}, {tool}"].median - (launch.median if launch else 0)
        found[name] = {tool: round(value / alone["nothing"], 4) for tool, value in alone.items()}
    return found


def _figures(work: dict[str, dict[str, float]]) -> list[Figure]:
    return [
        Figure(name=f"{name}, beyond the launch, of unsandboxed", value=ratios["sbx"], reach=REACH)
        for name, ratios in work.items()
        if "sbx" in ratios and name != _KEPT_ALIVE
    ]


def report(content: dict[str, Any]) -> str:
    rows = [("", "ms", "MAD", "launch ms", "work to unsandboxed")]
    results: dict[str, Times] = content["results"]
    for name, ratios in content["work"].items():
        for tool, ratio in ratios.items():
            whole, launch = results[f"{name}, {tool}"], results.get(f"{name}, {tool}, launch")
            rows.append(
                (
                    f"{name}, {tool}",
                    f"{whole.median:.1f}",
                    f"{whole.mad:.1f}",
                    f"{launch.median:.1f}" if launch else "",
                    f"{ratio:.3f}",
                )
            )
    return records.table(rows)


if __name__ == "__main__":
    sys.exit(records.main("work", __doc__, measure, report, rounds=30))
