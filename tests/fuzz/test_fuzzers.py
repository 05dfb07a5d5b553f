"""What reads hostile bytes in C, under libFuzzer with the address and undefined-behaviour sanitizers.

Each target is NAME_fuzzer.c beside this file. A run starts from the seeds here and from what earlier
runs have kept in build/fuzz/NAME; SBX_FUZZ_SECONDS is how long each takes.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from sandbox.host import probe
from sandbox.plan import codec
from sandbox.plan.compile import compile as compile_plan
from sandbox.profile.load import load
from sandbox.profile.names import shipped_names

SECONDS = int(os.environ.get("SBX_FUZZ_SECONDS", "3"))


def _plans() -> list[bytes]:
    plans = []
    for name in shipped_names():
        resolved = load(name, cwd="/somewhere", environ={"HOME": "/home/somebody"})
        plans.append(codec.encode(compile_plan(resolved, probe())))
    return plans


def _calls() -> list[bytes]:
    """struct serve_call with the directory, the words and the variables behind it."""
    strings = b"/tmp\0/bin/echo\0hello\0PATH=/bin\0X=\0"
    head = [0x53425843, len(strings), 2, 2, 0, 0]
    return [b"".join(number.to_bytes(4, "little") for number in head) + strings]


def _words() -> list[bytes]:
    return [
        b"\0".join(line.encode() for line in words.split(" ")) + b"\0"
        for words in (
            "run -p app.toml --name=web --report end.json -- sh -c true",
            "run --profile app --set a.b=1 --set c=[] --timing",
            "run --plan-fd 7 --ready-fd 8 --name x command",
            "exec -e A=b --env=C=d --cwd /tmp web -- id -u",
            "exec web ls",
        )
    ]


def _messages() -> list[bytes]:
    return [
        b"\0READY=1\nSTATUS=all is well \xc3\xa4\nWATCHDOG=1",
        b"\1FDSTORE=1\nFDNAME=listener\nFDPOLL=0",
        b"\1FDSTOREREMOVE=1\nFDNAME=listener",
        b"\1BARRIER=1",
        b"\0RELOADING=1\nMONOTONIC_USEC=12345\nEXTEND_TIMEOUT_USEC=1000000\nERRNO=2\nBUSERROR=org.x.Y",
        b"\0STOPPING=1\nWATCHDOG=trigger\nMAINPID=1\nNOTIFYACCESS=all",
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One fuzzer: the sources beside its own, where it starts, and the longest input in bytes."""

    sources: tuple[str, ...] = ()
    all_but: tuple[str, ...] = ()
    seeds: Callable[[], list[bytes]]
    longest: int
    words: str = ""


TARGETS = {
    "plan": Target(sources=("plan.c",), seeds=_plans, longest=20000),
    "call": Target(seeds=_calls, longest=4096),
    "words": Target(
        all_but=("launcher.c", "join.c"),
        seeds=_words,
        longest=2048,
        words="run exec -p -e -- --profile --set --name --report --plan-fd --ready-fd --timing --cwd",
    ),
    "notify": Target(
        sources=("loop.c", "foreign.c"),
        seeds=_messages,
        longest=4097,
        words="READY=1 STATUS= FDSTORE=1 FDNAME= FDSTOREREMOVE=1 BARRIER=1 WATCHDOG=1 ERRNO= BUSERROR=",
    ),
}


def _sources(tree: Path, target: Target) -> list[str]:
    if not target.all_but:
        return [str(tree / "csrc" / name) for name in target.sources]
    return [
        str(path)
        for path in sorted((tree / "csrc").glob("*.c"))
        if path.name not in target.all_but and not path.name.startswith("trace")
    ]


def _build(tree: Path, name: str, program: Path) -> None:
    clang = shutil.which("clang")
    if clang is None:
        pytest.fail("clang isn't there: './dev setup' installs it", pytrace=False)
    built = subprocess.run(
        [
            *(clang, "-std=gnu17", "-O1", "-g", "-D_GNU_SOURCE", f"-I{tree}/csrc"),
            *('-DSBX_VERSION="0"', "-fsanitize=fuzzer,address,undefined"),
            *("-fno-sanitize-recover=all", "-o", str(program)),
            *(f"{tree}/tests/fuzz/{name}_fuzzer.c", *_sources(tree, TARGETS[name])),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode != 0:
        pytest.fail(f"the fuzzer can't be built (libclang-rt-dev?): {built.stderr}", pytrace=False)


@pytest.mark.parametrize("name", TARGETS)
def test_no_bytes_lead_it_astray(
    name: str, tree: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the target takes can be followed to its end, and what it can't read it refuses."""
    target, program = TARGETS[name], tmp_path / "fuzzer"
    kept, seeds = Path(tree) / "build" / "fuzz" / name, tmp_path / "seeds"
    _build(Path(tree), name, program)
    kept.mkdir(parents=True, exist_ok=True)
    seeds.mkdir()
    for number, seed in enumerate(target.seeds()):
        (seeds / str(number)).write_bytes(seed)
    dictionary = tmp_path / "words"
    dictionary.write_text("".join(f'"{word}"\n' for word in target.words.split()))
    run = subprocess.run(
        [
            *(str(program), f"-max_total_time={SECONDS}", f"-max_len={target.longest}"),
            *("-print_final_stats=1", "-timeout=10", f"-artifact_prefix={tmp_path}/"),
            *((f"-dict={dictionary}",) if target.words else ()),
            *(str(kept), str(seeds)),
        ],
        capture_output=True,
        text=True,
        timeout=SECONDS + 120,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    executed = re.search(r"stat::number_of_executed_units: (\d+)", run.stderr)
    covered = re.findall(r"cov: (\d+)", run.stderr)
    assert executed
    assert covered
    with capsys.disabled():
        sys.stdout.write(f"\n{name}: {SECONDS} s, {executed[1]} runs, {covered[-1]} edges covered ")
