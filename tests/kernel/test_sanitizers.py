"""The C core with the address and undefined-behaviour sanitizers, launching real sandboxes."""

import glob
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from sandbox.host import probe
from sandbox.plan import codec
from sandbox.plan.compile import compile as compile_plan
from sandbox.profile.load import load
from sandbox.profile.names import shipped_names, shipped_path
from sandbox.profile.resolved import Overrides, ResolvedProfile
from tests.kernel.harness import NOT_ROOT

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


def run(
    launcher: Path, profile: str, command: list[str], work: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """One launch of a plan that is handed over, as Python does it.

    `work` has a home, and a directory to start in with one for results in it, where that is asked
    for.
    """
    place, home = (work / "place", work / "home") if work else (Path("/"), Path("/root"))
    with open(shipped_path(profile), "rb") as file:
        stated = tomllib.load(file).get("vars", {})
    overrides = Overrides(vars={"directory": str(place)} if "directory" in stated else {})
    resolved = load(profile, cwd=str(place), environ={"HOME": str(home)}, overrides=overrides)
    return run_resolved(launcher, resolved, "--timing", command)


def run_resolved(
    launcher: Path, resolved: ResolvedProfile, option: str, command: list[str]
) -> subprocess.CompletedProcess[str]:
    data = codec.encode(compile_plan(resolved, probe()))
    fd = os.memfd_create("plan")
    try:
        os.write(fd, data)
        return subprocess.run(
            [str(launcher), "run", "--plan-fd", str(fd), option, "--", *command],
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
def test_launches_are_clean_under_the_sanitizers(
    launcher: Path, profile: str, tmp_path: Path
) -> None:
    """Every shipped profile launches without a word from the sanitizers."""
    (tmp_path / "home").mkdir()
    (tmp_path / "place/output").mkdir(parents=True)
    done = run(launcher, profile, ["/bin/sh", "-c", "echo inside; exit 3"], tmp_path)
    assert (done.returncode, done.stdout) == (3, "inside\n"), done.stderr
    assert "Sanitizer" not in done.stderr


SERVED = """
import os, sys
from sandbox import Pool, Sandbox, SetupError
from sandbox.process import server
server.launcher = lambda: sys.argv[1]
box = Sandbox("minimal")
ended = [box.run(["sh", "-c", "exit 3"], descriptors={n: 0 for n in range(3, 20)}).exit_code]
ended.append(len(box.run(["echo", "x" * 100_000]).stdout))
with Pool(box, size=3) as pool:
    ended += [pool.run(["true"], cwd="/usr").exit_code for _ in range(10)]
try:
    box.run(["nope"])
except SetupError as error:
    ended.append(error.exit_code)
first = server.current()
box.run(["true"])
print(ended, server.current() is first)
"""


def test_the_server_of_the_library_is_clean_under_the_sanitizers(launcher: Path) -> None:
    """A fault would end it, and another one would be there at the end."""
    done = subprocess.run(
        [sys.executable, "-c", SERVED, str(launcher)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout == f"{[3, 100_001, *[0] * 10, 127]} True\n"


@pytest.mark.parametrize("what", FAILURES)
def test_failures_are_clean_under_the_sanitizers(launcher: Path, what: str) -> None:
    """A launch that fails, or a payload that is killed, ends as without the sanitizers."""
    command, status = FAILURES[what]
    done = run(launcher, "minimal", command)
    assert done.returncode == status, done.stderr
    assert "Sanitizer" not in done.stderr


LIMITED = """
schema = 1
[profile]
extends = "minimal"
[resources]
memory_max = "32M"
pids_max = 10
cpu_max = "50%"
"""
SERVED_WITH_LIMITS = """
import sys
from sandbox import Pool, Profile, Sandbox
from sandbox.process import server
server.launcher = lambda: sys.argv[1]
profile = Profile.from_toml(sys.argv[2])
hog = ["python3", "-I", "-S", "-c", "x = bytearray(100 << 20)"]
ended = [Sandbox(profile).run(hog).cause.value, Sandbox(profile).run(["true"]).cause.value]
with Pool(profile, size=2) as pool:
    ended += [pool.run(words).cause.value for words in (["true"], hog, ["true"])]
first = server.current()
Sandbox(profile).run(["true"])
print(*ended, server.current() is first)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason=NOT_ROOT)
def test_limits_are_clean_under_the_sanitizers(launcher: Path, tmp_path: Path) -> None:
    """Made, hit, measured and removed."""
    profile = tmp_path / "limited.toml"
    profile.write_text(LIMITED, encoding="utf-8")
    resolved = load(str(profile), cwd="/", environ={"HOME": "/root"})
    for words, status in (
        (["true"], 0),
        (["/no/such"], 127),
        (["python3", "-I", "-S", "-c", "x = bytearray(100 << 20)"], 137),
    ):
        done = run_resolved(launcher, resolved, f"--report={tmp_path}/end", words)
        assert done.returncode == status, done.stderr
        assert "Sanitizer" not in done.stderr
    done = subprocess.run(
        [sys.executable, "-c", SERVED_WITH_LIMITS, str(launcher), LIMITED],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("memory exited exited memory exited True\n", "")


@pytest.mark.parametrize("seed", ("1", "2", "3"))
def test_the_tracers_table_is_sound(tree: str, tmp_path: Path, seed: str) -> None:
    """Counted, forgotten and halved at random, it says the same as a plain list."""
    program = tmp_path / "table"
    subprocess.run(
        [
            *("cc", "-std=gnu17", "-O1", "-g", "-D_GNU_SOURCE", f"-I{tree}/csrc"),
            *("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-o", str(program)),
            *(f"{tree}/tests/kernel/table_check.c", f"{tree}/csrc/trace_table.c"),
        ],
        check=True,
    )
    done = subprocess.run([str(program), seed], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done
