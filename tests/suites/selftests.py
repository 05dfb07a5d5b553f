"""The kernel's own tests of Landlock and seccomp: built from its source, run, and their verdicts read.

They report in TAP, one line for each test, as tools/testing/selftests/kselftest_harness.h writes it.
"""

import os
import re
import select
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Literal

Verdict = Literal["pass", "fail", "skip", "stuck"]
Verdicts = dict[str, Verdict]
"""By "program:fixture.variant.test"."""

PROGRAMS: Final = (
    "base_test",
    "fs_test",
    "net_test",
    "ptrace_test",
    "scoped_abstract_unix_test",
    "scoped_signal_test",
    "scoped_test",
    "seccomp_bpf",
)
_TESTS: Final = "tools/testing/selftests"
_LINE: Final = re.compile(r"^(not )?ok \d+ (\S+)( # SKIP)?", re.MULTILINE)
_QUIET: Final = 8.0
"""Seconds without a word after which a test that waits for what was refused is given up."""
_AT_ONCE: Final = 16


def build(source: str, directory: str) -> None:
    """Compiles PROGRAMS and what they start from a kernel's source. Raises CalledProcessError."""
    headers = os.path.join(directory, "headers")
    os.makedirs(os.path.join(headers, "linux"))
    uapi = os.path.join(source, "include", "uapi", "linux")
    for name in os.listdir(uapi):
        with open(os.path.join(uapi, name), encoding="utf-8") as file:
            text = file.read()
        # As `make headers_install` leaves them for programs.
        text = re.sub(r"#include <linux/compiler.h>\n|\b__user\b", "", text)
        with open(os.path.join(headers, "linux", name), "w", encoding="utf-8") as file:
            file.write(text)
    compiler = [*os.environ.get("CC", "cc").split(), "-O1", "-w", "-isystem", headers]
    for name in PROGRAMS:
        part = "seccomp" if name.startswith("seccomp") else "landlock"
        program = os.path.join(source, _TESTS, part, f"{name}.c")
        target = os.path.join(directory, name)
        subprocess.run([*compiler, "-o", target, program, "-lcap", "-lpthread"], check=True)
    started = os.path.join(source, _TESTS, "landlock", "true.c")
    target = os.path.join(directory, "true")
    subprocess.run([*compiler, "-static", "-o", target, started], check=True)


def run(
    command: Sequence[str], program: str, known: Sequence[str] = (), **how: Any
) -> tuple[Verdicts, str]:
    """The verdicts of a program that `command` starts, and all that it printed.

    A test that hangs is "stuck". What would have come after it is run one by one; `known` are the
    names of all tests, in order.
    """
    text, ended = _read(command, how)
    found = _verdicts(program, text)
    left = [name for name in known if name.startswith(f"{program}:") and name not in found]
    if ended or not left:
        return found, text

    def alone(name: str) -> Verdict:
        single, _ = _read([*command, "-r", name.partition(":")[2]], how)
        return _verdicts(program, single).get(name, "stuck")

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found.update(zip(left, pool.map(alone, left), strict=True))
    return found, text


def _verdicts(program: str, text: str) -> Verdicts:
    found: Verdicts = {}
    for failed, name, skipped in _LINE.findall(text):
        found[f"{program}:{name}"] = "fail" if failed else "skip" if skipped else "pass"
    return found


def _read(command: Sequence[str], how: Mapping[str, Any]) -> tuple[str, bool]:
    """What a command prints, and whether it ended by itself."""
    text = b""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        **how,
    )
    assert process.stdout
    with process:
        while select.select([process.stdout], [], [], _QUIET)[0]:
            chunk = os.read(process.stdout.fileno(), 1 << 16)
            if not chunk:
                return text.decode(errors="replace"), True
            text += chunk
        process.kill()
    return text.decode(errors="replace"), False


def passed(verdicts: Verdicts) -> set[str]:
    return {name for name, verdict in verdicts.items() if verdict == "pass"}
