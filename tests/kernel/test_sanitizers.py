"""The C core with the address and undefined-behaviour sanitizers, launching real sandboxes."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.host import probe
from sandbox.plan import codec
from sandbox.plan.compile import compile as compile_plan
from sandbox.profile.load import load
from sandbox.profile.names import shipped_names, shipped_path
from sandbox.profile.resolved import Overrides, ResolvedProfile
from tests.kernel.harness import NOT_ROOT
from tests.kernel.sanitized import CALLER, Launcher

FAILURES = {
    "a command that isn't there": (["/no/such"], 127),
    "a file that isn't executable": (["/etc/passwd"], 126),
    "a payload that is killed": (["/bin/sh", "-c", "kill -TERM $$"], 143),
}


# One test of each part that a supervisor has, and of what joins a sandbox.
SAMPLE = (
    "test_every_layer_is_the_payloads",
    "test_nonsense_for_the_init_harms_nobody",
    "test_known_words_are_passed_on",
    "test_output_is_kept_line_by_line_with_its_stream",
    "test_a_warm_launch_hands_it_over_as_well",
    "test_what_the_service_has_stored_comes_back_under_its_own_name",
    "test_several_secrets_are_not_mixed_up",
    "test_its_name_is_taken",
    "test_a_service_is_asked_to_end_by_its_own_signal",
    "test_a_command_that_ends_with_0_makes_it_healthy",
)
TO_STDERR = {
    "ASAN_OPTIONS": "verify_asan_link_order=0:log_path=stderr",
    "UBSAN_OPTIONS": "log_path=stderr",
}
LEAK = """
#include <stdlib.h>
void *volatile kept;
__attribute__((constructor)) static void leak(void) {
        kept = malloc(64);
        kept = NULL;
}
"""


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Launcher:
    return Launcher(tmp_path_factory.mktemp("sanitized"))


@pytest.fixture
def launcher(sanitized: Launcher) -> Iterator[Path]:
    yield sanitized.path
    assert sanitized.said() == ""


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
    return run_resolved(launcher, resolved, command)


def run_resolved(
    launcher: Path,
    resolved: ResolvedProfile,
    command: list[str],
    *options: str,
    more: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    data = codec.encode(compile_plan(resolved, probe()))
    fd = os.memfd_create("plan")
    try:
        os.write(fd, data)
        return subprocess.run(
            [str(launcher), "run", "--plan-fd", str(fd), *options, "--", *command],
            pass_fds=[fd],
            env={**TO_STDERR, "PATH": "/usr/bin:/bin", **(more or {})},
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


def test_a_leak_is_noticed(launcher: Path, tmp_path: Path) -> None:
    """The control: something that leaks, in the same program."""
    source, library = tmp_path / "leak.c", tmp_path / "leak.so"
    source.write_text(LEAK, encoding="ascii")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    resolved = load("minimal", cwd="/", environ={"HOME": "/root"})
    for more, found in (({}, False), ({"LD_PRELOAD": str(library)}, True)):
        done = run_resolved(launcher, resolved, ["/bin/true"], more=more)
        assert ("LeakSanitizer: detected memory leaks" in done.stderr) is found, done.stderr


def test_services_and_what_joins_them_are_clean_under_the_sanitizers(sanitized: Launcher) -> None:
    """By some of their own tests; `python -m tests.kernel.sanitized` runs all of them."""
    chosen = f"{CALLER} and ({' or '.join(SAMPLE)})"
    parts = [f"tests/kernel/{part}" for part in ("test_exec.py", "service")]
    assert (sanitized.test(parts, chosen), sanitized.said()) == (0, "")


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
        env={**os.environ, **TO_STDERR},
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
        done = run_resolved(launcher, resolved, words, f"--report={tmp_path}/end")
        assert done.returncode == status, done.stderr
        assert "Sanitizer" not in done.stderr
    done = subprocess.run(
        [sys.executable, "-c", SERVED_WITH_LIMITS, str(launcher), LIMITED],
        env={**os.environ, **TO_STDERR},
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
