"""The plan decoder under libFuzzer with the address and undefined-behaviour sanitizers."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from sandbox.host import probe
from sandbox.plan import codec
from sandbox.plan.compile import compile as compile_plan
from sandbox.profile.load import load
from sandbox.profile.names import shipped_names

SECONDS = int(os.environ.get("SBX_FUZZ_SECONDS", "5"))


@pytest.fixture(scope="module")
def fuzzer(tree: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The decoder built for fuzzing."""
    clang = shutil.which("clang")
    if clang is None:
        pytest.fail("clang isn't there: './dev setup' installs it", pytrace=False)
    program = tmp_path_factory.mktemp("fuzzer") / "plan_fuzzer"
    built = subprocess.run(
        [
            *(clang, "-std=gnu17", "-O1", "-g", "-D_GNU_SOURCE", f"-I{tree}/csrc"),
            *("-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all", "-o"),
            *(str(program), f"{tree}/tests/fuzz/plan_fuzzer.c", f"{tree}/csrc/plan.c"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode != 0:
        pytest.fail(f"the fuzzer can't be built (libclang-rt-dev?): {built.stderr}", pytrace=False)
    return program


def test_no_bytes_lead_the_decoder_astray(fuzzer: Path, tmp_path: Path) -> None:
    """Whatever the decoder takes can be followed to its end, and what it can't read it refuses."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for name in shipped_names():
        resolved = load(name, cwd="/somewhere", environ={"HOME": "/home/somebody"})
        (corpus / name).write_bytes(codec.encode(compile_plan(resolved, probe())))
    run = subprocess.run(
        [
            *(str(fuzzer), f"-max_total_time={SECONDS}", "-max_len=20000", "-print_final_stats=1"),
            *("-timeout=10", f"-artifact_prefix={tmp_path}/", str(corpus)),
        ],
        capture_output=True,
        text=True,
        timeout=SECONDS + 60,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    assert "stat::number_of_executed_units" in run.stderr
