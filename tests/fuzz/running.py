"""Builds a fuzzer, runs it for a time, and reads what it says of itself."""

import base64
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.targets import TARGETS, Target

HERE = Path(__file__).parent
TREE = HERE.parents[1]
KEPT = TREE / "build" / "fuzz"
CORPUS = HERE / "corpus"
COMPILER = "clang"
# Of a committed corpus: an input that is longer is left to build/fuzz.
LONGEST_KEPT = 1500
LARGEST_CORPUS = 16000


class FuzzError(Exception):
    """A fuzzer can't be built or started; its words say why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One run: its length, what it reached, and what it kept. `crash` is empty where all is well."""

    seconds: int
    cpu_seconds: float
    runs: int
    edges: int
    features: int
    corpus: int
    corpus_bytes: int
    crash: str


def corpus(name: str) -> list[bytes]:
    """The inputs that are kept with the sources: one a line, in base64."""
    file = CORPUS / f"{name}.txt"
    lines = file.read_text(encoding="ascii").split() if file.exists() else []
    return [base64.b64decode(line) for line in lines]


def build(name: str, directory: Path) -> list[str]:
    """The words that start the fuzzer. Raises FuzzError."""
    target = TARGETS[name]
    if target.python:
        return [sys.executable, str(HERE / "python_fuzzer.py"), name]
    if shutil.which(COMPILER) is None:
        raise FuzzError("clang isn't there: './dev setup' installs it")
    program = directory / f"{name}-fuzzer"
    built = subprocess.run(
        [
            *(COMPILER, "-std=gnu17", "-O1", "-g", "-D_GNU_SOURCE", f"-I{TREE}/csrc"),
            *('-DSBX_VERSION="0"', "-fsanitize=fuzzer,address,undefined"),
            *("-fno-sanitize-recover=all", "-o", str(program)),
            *(str(HERE / f"{name}_fuzzer.c"), *_sources(target)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode != 0:
        raise FuzzError(f"the fuzzer can't be built (libclang-rt-dev?): {built.stderr}")
    return [str(program)]


def _sources(target: Target) -> list[str]:
    if not target.all_but:
        return [str(TREE / "csrc" / name) for name in target.sources]
    return [
        str(path)
        for path in sorted((TREE / "csrc").glob("*.c"))
        if path.name not in target.all_but and not path.name.startswith("trace")
    ]


def lay_out(name: str, directory: Path) -> list[str]:
    """Writes what the fuzzer starts from; the words that name it, the place to keep things first."""
    target = TARGETS[name]
    kept, seeds, dictionary = KEPT / name, directory / "seeds", directory / "words"
    kept.mkdir(parents=True, exist_ok=True)
    seeds.mkdir()
    for number, seed in enumerate(target.seeds() + corpus(name)):
        (seeds / str(number)).write_bytes(seed)
    words = list(target.words())
    dictionary.write_text("".join(f'"{word}"\n' for word in words), encoding="ascii")
    return [*((f"-dict={dictionary}",) if words else ()), str(kept), str(seeds)]


def fuzz(name: str, seconds: int) -> Outcome:
    """One target for so long. What it crashed on lies in build/fuzz. Raises FuzzError."""
    with tempfile.TemporaryDirectory(prefix="sbx-fuzz-") as path:
        directory = Path(path)
        words = [
            *build(name, directory),
            *(f"-max_total_time={seconds}", f"-max_len={TARGETS[name].longest}"),
            *("-print_final_stats=1", "-timeout=60", "-detect_leaks=1"),
            f"-artifact_prefix={KEPT}/{name}-",
            *lay_out(name, directory),
        ]
        log = directory / "log"
        with open(log, "wb") as said:
            # Reaped by hand, for what this one has used of the processor.
            fuzzer = subprocess.Popen(
                words, env={**os.environ, "PYTHONPATH": str(TREE)}, stdout=said, stderr=said
            )
            _, status, used = os.wait4(fuzzer.pid, 0)
            fuzzer.returncode = os.waitstatus_to_exitcode(status)
        return outcome(
            name,
            log.read_text(encoding="utf-8", errors="replace"),
            seconds=seconds,
            cpu=used.ru_utime + used.ru_stime,
            status=fuzzer.returncode,
        )


def outcome(name: str, said: str, *, seconds: int, cpu: float, status: int) -> Outcome:
    """What libFuzzer's words say of a run. Raises FuzzError where they say nothing."""
    executed = re.search(r"stat::number_of_executed_units: (\d+)", said)
    reached = re.findall(r"cov: (\d+) ft: (\d+)", said)
    if status == 0 and not (executed and reached):
        raise FuzzError(f"{name}: no word of what was run: {said[-2000:]}")
    edges, features = reached[-1] if reached else ("0", "0")
    kept = [file.stat().st_size for file in (KEPT / name).iterdir()]
    return Outcome(
        seconds=seconds,
        cpu_seconds=round(cpu, 1),
        runs=int(executed[1]) if executed else 0,
        edges=int(edges),
        features=int(features),
        corpus=len(kept),
        corpus_bytes=sum(kept),
        crash="" if status == 0 else said[-4000:],
    )


def keep(name: str) -> int:
    """Writes inputs that reach much into the sources, and says how many. Raises FuzzError.

    Of a target in C they are the least that reach what all kept ones do; Atheris can't tell those,
    so that of one in Python they are the shortest.
    """
    target = TARGETS[name]
    with tempfile.TemporaryDirectory(prefix="sbx-fuzz-") as path:
        found = _inputs(KEPT / name) if target.python else _least(name, Path(path))
    found -= set(target.seeds())
    inputs, size = [], 0
    for data in sorted(found, key=lambda data: (len(data), data)):
        size += len(data)
        if len(data) <= LONGEST_KEPT and size <= LARGEST_CORPUS:
            inputs.append(data)
    if not inputs:
        raise FuzzError(f"{name}: nothing is kept yet; run it first")
    CORPUS.mkdir(exist_ok=True)
    lines = "".join(base64.b64encode(data).decode() + "\n" for data in inputs)
    (CORPUS / f"{name}.txt").write_text(lines, encoding="ascii")
    return len(inputs)


def _inputs(directory: Path) -> set[bytes]:
    return {file.read_bytes() for file in directory.iterdir()} if directory.is_dir() else set()


def _least(name: str, directory: Path) -> set[bytes]:
    least = directory / "least"
    least.mkdir()
    words = [*build(name, directory), f"-max_len={TARGETS[name].longest}", "-merge=1"]
    *_, kept, seeds = lay_out(name, directory)
    run = subprocess.run(
        [*words, str(least), kept, seeds],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if run.returncode != 0:
        raise FuzzError(f"{name}: {run.stderr[-2000:]}")
    return _inputs(least)
