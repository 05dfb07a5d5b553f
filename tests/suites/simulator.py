"""libseccomp's filter simulator, tools/scmp_bpf_sim.c, built from its source.

It knows the instructions that libseccomp itself writes. A filter of sbx also has "jump if any of
these bits is set" (BPF_JSET), so there are two builds: the source as it is, and one with that
instruction added.
"""

import errno
import os
import re
import subprocess
from collections.abc import Sequence
from typing import Final, NamedTuple

from tests.bpf import AARCH64, ALLOW, ARM, ERRNO, I386, KILL_PROCESS, LOG, X86_64

_HERE: Final = os.path.dirname(os.path.abspath(__file__))
_BEFORE: Final = "\t\tcase BPF_RET+BPF_K:\n"
_JSET: Final = (
    "\t\tcase BPF_JMP+BPF_JSET+BPF_K:\n\t\t\tip += (state.acc & k) ? jt : jf;\n\t\t\tbreak;\n"
)
_ARCHES: Final = {X86_64: "x86_64", I386: "x86", AARCH64: "aarch64", ARM: "arm"}
_ACTIONS: Final = {"ALLOW": ALLOW, "LOG": LOG, "KILL_PROCESS": KILL_PROCESS}


class Call(NamedTuple):
    """A system call as a filter sees it."""

    arch: int
    number: int
    args: tuple[int, ...] = ()


class SimulatorError(Exception):
    """The simulator didn't answer: an instruction that it doesn't know, or a program that ends nowhere."""


class Simulator:
    """One build of it, made in `directory` from libseccomp's source at `source`."""

    def __init__(self, source: str, directory: str, *, jset: bool) -> None:
        tools = os.path.join(source, "tools")
        with open(os.path.join(tools, "scmp_bpf_sim.c"), encoding="utf-8") as file:
            text = file.read()
        if jset:
            assert text.count(_BEFORE) == 1
            assert "BPF_JSET" not in text
            text = text.replace(_BEFORE, _JSET + _BEFORE)
        changed = os.path.join(directory, "simulator.c")
        with open(changed, "w", encoding="utf-8") as file:
            file.write(text)
        self._path = os.path.join(directory, "simulator")
        self._filter = os.path.join(directory, "filter")
        compiler = [*os.environ.get("CC", "cc").split(), "-O2", "-w"]
        part = os.path.join(directory, "simulator.o")
        subprocess.run(
            [*compiler, "-Dmain=simulator_main", f"-I{tools}", "-c", "-o", part, changed],
            check=True,
        )
        sources = (os.path.join(_HERE, "simulate.c"), os.path.join(tools, "util.c"))
        subprocess.run([*compiler, f"-I{tools}", "-o", self._path, *sources, part], check=True)

    def run(self, program: bytes, calls: Sequence[Call]) -> list[int]:
        """The action for each call, as the kernel's number. Raises SimulatorError."""
        with open(self._filter, "wb") as file:
            file.write(program)
        done = subprocess.run(
            [self._path, "-f", self._filter, "-v"],
            input="".join(map(_words, calls)),
            capture_output=True,
            text=True,
            check=False,
        )
        answers = done.stdout.split()
        if done.returncode or len(answers) != len(calls):
            failed = calls[len(answers)] if len(answers) < len(calls) else None
            raise SimulatorError(f"{failed}: {done.stderr.strip()}")
        return [_action(answer) for answer in answers]


def _words(call: Call) -> str:
    """The options for one call; the number as the C library's strtol takes it into an int."""
    args = "".join(f" -{index} {value:#x}" for index, value in enumerate(call.args))
    return f"-a {_ARCHES[call.arch]} -s {call.number & 0xFFFFFFFF:#x}{args}\n"


def _action(answer: str) -> int:
    if found := re.fullmatch(r"ERRNO\((\d+)\)", answer):
        assert int(found[1]) in errno.errorcode
        return ERRNO | int(found[1])
    return _ACTIONS[answer]
