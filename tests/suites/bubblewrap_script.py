"""Runs bubblewrap's test script, tests/test-run.sh, with any program in bubblewrap's place.

The script ends at the first point that fails. So that each point counts for itself, a copy is made
while it runs, in which every statement at the outermost level has a shell of its own: what fails
there ends that statement alone.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

_SETTINGS: Final = "set -xeuo pipefail"
_POINT: Final = re.compile(r"^ok \d+ (.*)$", re.MULTILINE)
_RUNS: Final = re.compile(r"^\s*ok(_skip)? ", re.MULTILINE)
_FUNCTION: Final = re.compile(r"\w+ \(\) \{")
_COMMON: Final = re.compile(
    r"\w+ \(\) \{|\s*(?:[A-Z_]+|tempfile|test_count)=(?:\S*|\"[^\"\n]*\"|\"?\$\(.*\)\"?)\n$"
)
"""What later statements need as well: functions and variables."""
_COMPOUND: Final = re.compile(r"\s*(if|for) ")
_SECONDS: Final = 300


class Points(NamedTuple):
    """Names of the points that were reached, those that the script itself skipped, and all output."""

    passed: frozenset[str]
    skipped: frozenset[str]
    output: str


def build_bubblewrap(source: str, directory: str) -> str:
    """Compiles bubblewrap itself, and returns its path: the script's own program is the baseline."""
    with open(os.path.join(directory, "config.h"), "w", encoding="ascii") as file:
        file.write('#define PACKAGE_STRING "bubblewrap"\n')
    names = ("bubblewrap.c", "bind-mount.c", "network.c", "utils.c")
    sources = [os.path.join(source, name) for name in names]
    path = os.path.join(directory, "bwrap")
    compiler = [*os.environ.get("CC", "cc").split(), "-w", "-D_GNU_SOURCE", f"-I{directory}"]
    subprocess.run([*compiler, "-o", path, *sources, "-lcap"], check=True)
    return path


def run_points(source: str, directory: str, bwrap: str, **how: Any) -> Points:
    """The script's points with the program `bwrap`; `directory` is empty, and any user's to read."""
    tests = os.path.join(source, "tests")
    for name in ("libtest.sh", "libtest-core.sh"):
        shutil.copy(os.path.join(tests, name), directory)
    with open(os.path.join(tests, "test-run.sh"), encoding="utf-8") as file:
        text = file.read()
    path = os.path.join(directory, "test-run.sh")
    with open(path, "w", encoding="utf-8") as file:
        file.write(_apart(text))
    environment: Mapping[str, str] = how.pop("env")
    with (
        tempfile.TemporaryFile("w+", errors="replace") as log,
        subprocess.Popen(
            ["bash", path],
            env={**environment, "BWRAP": bwrap, "BWRAP_MUST_WORK": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **how,
        ) as script,
    ):
        try:
            script.wait(_SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                # What a statement that failed has left in the background.
                os.killpg(script.pid, signal.SIGKILL)
        log.seek(0)
        output = log.read()
    names = [name.strip() for name in _POINT.findall(output)]
    skipped = {name for name in names if name.startswith("# SKIP")}
    return Points(frozenset(set(names) - skipped), frozenset(skipped), output)


def _apart(text: str) -> str:
    """The script with each statement that has a point in a shell of its own."""
    head, settings, body = text.partition(_SETTINGS)
    assert settings, "the script begins otherwise than it did"
    library = ". ${srcd}/libtest.sh\n"
    common, sourced, points = body.partition(library)
    assert sourced, "the script begins otherwise than it did"
    # Without -x, as bash writes what it does to the stream of the points.
    return "\n".join([head, "set -uo pipefail", common, sourced, "set +e", *_shells(points)])


def _shells(text: str) -> Iterator[str]:
    """Statements up to each point, in a shell; loops and alternatives are kept around theirs."""
    gathered = ""
    for statement in _statements(text):
        if not _RUNS.search(statement) or _FUNCTION.match(statement):
            if _COMMON.match(statement):
                yield statement
            else:
                gathered += statement
        elif _COMPOUND.match(statement):
            # What comes before it is for all that is in it.
            yield gathered
            gathered = ""
            yield from _compound(statement)
        else:
            yield f"(\nset -e\n{gathered}{statement})"
            gathered = ""
    yield gathered


def _compound(statement: str) -> Iterator[str]:
    """The words of a loop or an alternative as they are, what is between them apart."""
    lines = statement.splitlines(keepends=True)
    indent = lines[0][: len(lines[0]) - len(lines[0].lstrip())]
    border = re.compile(rf"{indent}(if|elif|else|fi|for|done)\b")
    body = ""
    for line in lines:
        if border.match(line):
            yield from _shells(body) if body else ()
            # An alternative may be empty.
            yield line + ("" if line.strip() in ("fi", "done") else ":\n")
            body = ""
        else:
            body += line


def _statements(text: str) -> Iterator[str]:
    """What bash takes for whole, line by line."""
    whole = ""
    for line in text.splitlines(keepends=True):
        if not whole and (not line.strip() or line.lstrip().startswith("#")):
            continue
        whole += line
        if line.endswith("\\\n"):
            continue
        check = subprocess.run(
            ["bash", "-n"], input=whole, capture_output=True, text=True, check=False
        )
        if check.returncode == 0 and not check.stderr:
            yield whole
            whole = ""
    yield whole
