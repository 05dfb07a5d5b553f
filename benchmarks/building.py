"""The programs that the benchmarks run: their own, which they compile, and the installed launcher."""

import glob
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from typing import Final

from benchmarks.common import HERE, BenchmarkError
from tests.vm import image, wheel

_TREE: Final = os.path.dirname(HERE)
BUILD: Final = os.path.join(_TREE, "build", "benchmarks")


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
    """The launcher: the one named, the one beside this Python, or the one on the PATH.

    In a developer's environment, whose sbx reads the tree and looks at each of its files before a
    launch, a copy that is installed as users do.
    """
    beside = os.path.join(os.path.dirname(sys.executable), "sbx")
    found = wanted or (beside if os.access(beside, os.X_OK) else shutil.which("sbx"))
    if not found:
        raise BenchmarkError("no sbx is installed: pip install . or name one with --sbx")
    if found == beside and _reads_tree():
        found = _install()
    return os.path.abspath(found)


def _reads_tree() -> bool:
    package = importlib.util.find_spec("sandbox")
    origin = (package and package.origin) or ""
    return origin.startswith(f"{_TREE}{os.sep}sandbox{os.sep}")


def _install() -> str:
    """The launcher of build/benchmarks/installed, which is made anew where the tree has changed."""
    place = os.path.join(BUILD, "installed")
    python, mark = os.path.join(place, "bin", "python"), os.path.join(place, "wheel")
    try:
        made = wheel.provide(image.cache_directory())
        if not os.path.exists(mark) or os.readlink(mark) != made:
            shutil.rmtree(place, ignore_errors=True)
            _run([sys.executable, "-m", "venv", "--without-pip", place])
            pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
            flags = ["--quiet", "--no-deps", "--no-index", "--root-user-action=ignore"]
            _run([*pip, "install", *flags, made])
            # What sbx needs comes from this environment.
            (site,) = glob.glob(os.path.join(glob.escape(place), "lib", "*", "site-packages"))
            with open(os.path.join(site, "dependencies.pth"), "w", encoding="utf-8") as file:
                file.write(f"{sysconfig.get_path('purelib')}\n")
            os.symlink(made, mark)
    except subprocess.CalledProcessError as error:
        raise BenchmarkError(f"sbx can't be installed into {place}: {error}") from error
    return os.path.join(place, "bin", "sbx")


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
