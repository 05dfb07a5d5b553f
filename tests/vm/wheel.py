"""The wheel of the tree as it is now, for the emulated machine; kept until the tree changes."""

import fcntl
import glob
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Final

from tests.vm import recipe
from tests.vm.machine import Machine

# What setup.py reads; tests and documents that no wheel holds don't make a new one.
_SOURCES: Final = (
    *("pyproject.toml", "setup.py", "MANIFEST.in", "LICENSE", "README.md"),
    *("csrc", "sandbox", "profiles", "docs/man"),
)
_MADE: Final = ("__pycache__", "*.so", "*.py[cod]")
_KEPT: Final = 3


def provide(cache: str) -> str:
    """The path of the wheel below the cache directory; builds it where the tree has changed.

    Raises subprocess.CalledProcessError with what the compiler said.
    """
    with tempfile.TemporaryDirectory(prefix="sbx-wheel-") as scratch:
        source = os.path.join(scratch, "source")
        _copy(source)
        wheels = os.path.join(cache, "wheels")
        os.makedirs(wheels, exist_ok=True)
        target = os.path.join(wheels, _digest(source))
        with open(os.path.join(wheels, "lock"), "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not os.path.isdir(target):
                made = os.path.join(scratch, "made")
                _build(source, made)
                _forget_others(wheels)
                partial = os.path.join(wheels, "partial")
                shutil.rmtree(partial, ignore_errors=True)
                shutil.copytree(made, partial)
                os.rename(partial, target)
            os.utime(target)
        (wheel,) = glob.glob(os.path.join(glob.escape(target), "*.whl"))
        return wheel


def install(machine: Machine, wheel: str) -> None:
    """Installs it into the machine's environment; `sbx` then is in PATH for all its users.

    pip does so once for each wheel and image, which takes it some ten seconds under emulation.
    What it has made is kept beside the wheel and unpacked from then on.
    """
    made = f"{os.path.dirname(wheel)}/installed-{recipe.key()}.tar"
    if os.path.exists(made):
        with open(made, "rb") as file:
            unpack = ("tar", "-C", recipe.ENVIRONMENT, "-xf", "-")
            done = machine.run(*unpack, stdin=file.read())
        assert done.returncode == 0, done
        return
    path = f"/run/{os.path.basename(wheel)}"
    machine.put(wheel, path)
    machine.succeed("touch", path)  # what is newer has come from it
    pip = (f"{recipe.ENVIRONMENT}/bin/python", "-m", "pip", "--disable-pip-version-check")
    flags = ("--quiet", "--no-deps", "--no-index", "--root-user-action=ignore")
    machine.succeed(*pip, "install", *flags, path, timeout=120)
    # By the time of change: that of modification may be what the wheel says.
    script = 'cd "$1" && find . -cnewer "$2" ! -type d -print0 | tar --null -T - -cf - && rm "$2"'
    with machine.start("sh", "-c", script, "sh", recipe.ENVIRONMENT, path) as running:
        packed = running.wait_bytes()
    assert packed.returncode == 0, packed.stderr
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(wheel), delete=False) as out:
        out.write(packed.stdout)
    os.rename(out.name, made)


def _copy(target: str) -> None:
    """What is read for the digest is what is built: the tree may change meanwhile."""
    for name in _SOURCES:
        source, copy = os.path.join(recipe.TREE, name), os.path.join(target, name)
        if os.path.isdir(source):
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns(*_MADE))
        else:
            os.makedirs(os.path.dirname(copy), exist_ok=True)
            shutil.copy(source, copy)


def _digest(source: str) -> str:
    digest = hashlib.sha256(sys.version.encode())
    for variable in ("CC", "SBX_LIBC"):
        digest.update(os.environ.get(variable, "").encode() + b"\0")
    for path in _files(source):
        digest.update(os.path.relpath(path, source).encode() + b"\0")
        with open(path, "rb") as file:
            digest.update(hashlib.sha256(file.read()).digest())
    return digest.hexdigest()[:16]


def _files(source: str) -> Iterator[str]:
    for where, directories, names in os.walk(source):
        directories.sort()
        yield from (os.path.join(where, name) for name in sorted(names))


def _build(source: str, target: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    flags = ["--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", target]
    subprocess.run([*command, *flags, source], check=True)


def _forget_others(wheels: str) -> None:
    others = [entry.path for entry in os.scandir(wheels) if entry.is_dir()]
    others.sort(key=os.path.getmtime, reverse=True)
    for path in others[_KEPT:]:
        shutil.rmtree(path)
