"""The C core with the address and undefined-behaviour sanitizers, launching real sandboxes."""

import glob
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.host import probe
from sandbox.plan import codec
from sandbox.plan.compile import compile as compile_plan
from sandbox.profile.load import load
from sandbox.profile.names import shipped_names

FAILURES = {
    "a command that isn't there": (["/no/such"], 127),
    "a file that isn't executable": (["/etc/passwd"], 126),
    "a payload that is killed": (["/bin/sh", "-c", "kill -TERM $$"], 143),
}


@pytest.fixture(scope="module")
def launcher(tree: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The launcher with sanitizers, beside the companion script that tells it its Python."""
    directory = tmp_path_factory.mktemp("sanitized")
    program = directory / "sbx"
    subprocess.run(
        [
            *("cc", "-std=gnu17", "-O1", "-g", "-D_GNU_SOURCE", '-DSBX_VERSION="0"'),
            *(f"-I{tree}/csrc", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
            *("-o", str(program), *glob.glob(f"{tree}/csrc/*.c")),
        ],
        check=True,
    )
    companion = shutil.which("sbx-python", path=os.path.dirname(sys.executable))
    assert companion
    shutil.copy(companion, directory / "sbx-python")
    return program


def run(launcher: Path, profile: str, command: list[str]) -> subprocess.CompletedProcess[str]:
    """One launch of a plan that is handed over, as Python does it."""
    resolved = load(profile, cwd="/", environ={})
    data = codec.encode(compile_plan(resolved, probe()))
    fd = os.memfd_create("plan")
    try:
        os.write(fd, data)
        return subprocess.run(
            [str(launcher), "run", "--plan-fd", str(fd), "--timing", "--", *command],
            pass_fds=[fd],
            env={"ASAN_OPTIONS": "detect_leaks=0", "PATH": "/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(fd)


@pytest.mark.parametrize("profile", shipped_names())
def test_launches_are_clean_under_the_sanitizers(launcher: Path, profile: str) -> None:
    """Every shipped profile launches without a word from the sanitizers."""
    done = run(launcher, profile, ["/bin/sh", "-c", "echo inside; exit 3"])
    assert (done.returncode, done.stdout) == (3, "inside\n"), done.stderr
    assert "Sanitizer" not in done.stderr


@pytest.mark.parametrize("what", FAILURES)
def test_failures_are_clean_under_the_sanitizers(launcher: Path, what: str) -> None:
    """A launch that fails, or a payload that is killed, ends as without the sanitizers."""
    command, status = FAILURES[what]
    done = run(launcher, "minimal", command)
    assert done.returncode == status, done.stderr
    assert "Sanitizer" not in done.stderr
