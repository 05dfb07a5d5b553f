"""The programs that the benchmarks run: their own, which they compile, and the installed launcher."""

import os
import shlex
import shutil
import subprocess
import sys
from typing import Final

from benchmarks.common import HERE, BenchmarkError

BUILD: Final = os.path.join(os.path.dirname(HERE), "build", "benchmarks")


def build(name: str) -> str:
    """Compile benchmarks/NAME.c, static and with musl where it is there; the path of the program."""
    source, program = os.path.join(HERE, f"{name}.c"), os.path.join(BUILD, name)
    if os.path.exists(program) and os.path.getmtime(program) > os.path.getmtime(source):
        return program
    os.makedirs(BUILD, exist_ok=True)
    flags = [
        "-D_GNU_SOURCE",
        "-std=gnu17",
        "-O2",
        "-Wall",
        "-Wextra",
        "-static",
        "-fno-pie",
        "-no-pie",
    ]
    command = [*compiler(), *flags, "-o", program, source]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchmarkError(f"{shlex.join(command)}:\n{done.stderr}")
    return program


def compiler() -> list[str]:
    return ["musl-gcc"] if shutil.which("musl-gcc") else shlex.split(os.environ.get("CC", "cc"))


def find_sbx(wanted: str | None = None) -> str:
    """The installed launcher: the one named, the one beside this Python, or the one on the PATH."""
    beside = os.path.join(os.path.dirname(sys.executable), "sbx")
    found = wanted or (beside if os.access(beside, os.X_OK) else shutil.which("sbx"))
    if not found:
        raise BenchmarkError("no sbx is installed: pip install . or name one with --sbx")
    return os.path.abspath(found)
