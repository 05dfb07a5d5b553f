"""A look at the program that is to run: where it really is, and what has to be there with it."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from sandbox.draft.bases import Base
from sandbox.errors import SandboxError

_HEAD = 256
"""Bytes of a script that the kernel looks at (BINPRM_BUF_SIZE of linux/binfmts.h)."""
_DEPTH = 5
"""Interpreters of interpreters that the kernel follows (execve(2))."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """How to name a program in a profile, and what the profile has to grant for it to start."""

    word: str
    """The name that the sandbox's PATH leads to, or an absolute path."""
    execute: tuple[tuple[str, str], ...]
    """Paths that the base doesn't have, each with what it is there for."""
    search: tuple[str, ...]
    """Directories that PATH has to hold besides."""


@dataclass(slots=True)
class _Finder:
    base: Base
    cwd: str
    home: str
    caller_path: str
    grants: dict[str, str] = field(default_factory=dict)
    search: list[str] = field(default_factory=list)

    def program(self, word: str, depth: int = 0) -> str:
        """Grant what the program `word` needs and return how the profile should name it."""
        found, bare = self.find(word)
        here = found
        for here in _hops(found):
            environment = _virtual_environment(here)
            if environment:
                self.grant_environment(environment)
                break
        else:
            if not self.base.executes(here):
                self.grant(_extent(here, self.home), f"where {os.path.basename(found)} is")
        self.interpreter(here, depth)
        if bare and self.base.executes(found):
            return word
        return found if self.base.executes(found) else here

    def find(self, word: str) -> tuple[str, bool]:
        """Where `word` is, and whether the sandbox finds it by its name alone."""
        if "/" in word:
            path = os.path.normpath(os.path.join(self.cwd, word))
            _check(path, word)
            return path, False
        for directories, bare in ((self.base.path, True), (self.caller_path, False)):
            path = _search(word, directories, self.cwd)
            if path:
                return path, bare
        raise SandboxError(
            f"there is no program '{word}' in PATH",
            hint="install it first, or name its file, as in ./program",
        )

    def grant(self, path: str, why: str) -> None:
        if not any(path == other or path.startswith(f"{other}/") for other in self.grants):
            self.grants[path] = why

    def grant_environment(self, directory: str) -> None:
        """A virtual environment, and the Python that it was made with (PEP 405)."""
        self.grant(directory, "the virtual environment")
        python = os.path.join(directory, "bin", "python")
        real = os.path.realpath(python)
        if os.path.exists(real) and not self.base.executes(real) and real != python:
            prefix = os.path.dirname(os.path.dirname(real))
            self.grant(prefix, "the Python that the virtual environment was made with")

    def interpreter(self, path: str, depth: int) -> None:
        """What the first line of a script names, and what that needs in its turn."""
        words = _first_line(path)
        if not words:
            return
        if depth >= _DEPTH:
            raise SandboxError(f"'{path}' has interpreters of interpreters, more than {_DEPTH}")
        name, *arguments = words
        if not os.path.exists(name):
            raise SandboxError(
                f"the interpreter '{name}' of '{path}' isn't there",
                hint="install it, or mend the first line of the script",
            )
        self.program(name, depth + 1)
        if os.path.basename(name) == "env":
            command = next((w for w in arguments if not w.startswith("-") and "=" not in w), "")
            if command:
                self.through_env(command, depth)

    def through_env(self, command: str, depth: int) -> None:
        named = self.program(command, depth + 1)
        if "/" in named:
            directory = os.path.dirname(self.find(command)[0])
            if directory not in self.search:
                self.search.append(directory)


def inspect(word: str, *, base: Base, cwd: str, home: str, caller_path: str) -> Program:
    """What a profile that extends `base` needs so that the program `word` starts.

    `cwd` is where a relative word starts, `home` the caller's home (empty if there is none),
    `caller_path` the caller's PATH. Raises SandboxError where there is no such program, or one
    that can't be started.
    """
    finder = _Finder(base, cwd, home.rstrip("/"), caller_path)
    named = finder.program(word)
    return Program(word=named, execute=tuple(finder.grants.items()), search=tuple(finder.search))


def _search(word: str, directories: str, cwd: str) -> str:
    for directory in directories.split(":"):
        path = os.path.join(cwd, directory, word)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return os.path.normpath(path)
    return ""


def _check(path: str, word: str) -> None:
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise SandboxError(f"'{word}' can't be run: {error.strerror}") from None
    if stat.S_ISDIR(mode):
        raise SandboxError(f"'{word}' is a directory, not a program")
    if not os.access(path, os.X_OK):
        raise SandboxError(
            f"'{word}' isn't executable",
            hint=f"chmod +x it, or name the program that reads it, as in: python3 {word}",
        )


def _hops(path: str) -> Iterator[str]:
    """The path, and where it leads, one symbolic link of a file after the other."""
    for _ in range(40):
        yield path
        if not os.path.islink(path):
            return
        path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))


def _virtual_environment(path: str) -> str:
    """The virtual environment whose program this is; empty if it is none's."""
    directory = os.path.dirname(os.path.dirname(path))
    marked = os.path.isfile(os.path.join(directory, "pyvenv.cfg"))
    return directory if marked and os.path.basename(os.path.dirname(path)) == "bin" else ""


def _extent(path: str, home: str) -> str:
    """What to grant for a program: its directory, or its file alone where that is no one's own.

    A program in `bin` beside a `lib` gets both.
    """
    directory = os.path.dirname(path)
    above = os.path.dirname(directory)
    if os.path.basename(directory) in {"bin", "sbin"} and os.path.isdir(f"{above}/lib"):
        directory = directory if _is_shared(above, home) else above
    return path if _is_shared(directory, home) else directory


def _is_shared(directory: str, home: str) -> bool:
    """Whether more than one program's files lie there: the home, /opt and what is above them."""
    shared_home = bool(home) and (
        directory in {home, f"{home}/.local", f"{home}/.local/bin", f"{home}/bin"}
        or home.startswith(f"{directory.rstrip('/')}/")
    )
    return directory.count("/") <= 1 or shared_home


def _first_line(path: str) -> list[str]:
    """The words behind `#!`; none for what is no script, or may not be read."""
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return []
    if not head.startswith(b"#!"):
        return []
    line = head[2:].split(b"\n", 1)[0]
    return os.fsdecode(line).split()
