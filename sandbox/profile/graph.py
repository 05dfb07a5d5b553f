"""A profile's file and all that it extends, read and put into order."""

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sandbox.errors import Problem, ProfileError
from sandbox.profile.checks import extended
from sandbox.profile.names import is_path, join, shipped_names, shipped_path, suggestion
from sandbox.profile.resolved import KeyPath
from sandbox.profile.source import SourceFile, open_source, parse_source
from sandbox.profile.variables import InvalidError

MAXIMUM_LEVELS = 16
MAXIMUM_FILES = 64


class Graph(NamedTuple):
    """Every file once, the profile's own first; `below[i]` are all that file `i` builds on."""

    files: tuple[SourceFile, ...]
    below: tuple[frozenset[int], ...]
    problems: tuple[Problem, ...]


def read_graph(name: str, *, cwd: str) -> Graph:
    """Read a profile by path or shipped name. Raises ProfileError if its own file is unreadable.

    What is wrong with the files that it extends is among the problems.
    """
    if is_path(name) and not name.startswith("/") and not cwd:
        reason = f"'{name[:64]}' starts at the working directory, which doesn't exist any more"
        hint = "change to another directory, or name the profile from '/' on"
        raise ProfileError((Problem("", 0, 0, "", reason, hint),))
    path, shown = (join(cwd, name), name) if is_path(name) else _shipped(name, cwd)
    return _whole(_Reading({}), parse_source(open_source(path, shown=shown)))


def source_graph(source: SourceFile, given: Mapping[str, SourceFile]) -> Graph:
    """The same for a profile that a program has made, which may extend others that are `given`."""
    return _whole(_Reading(given), source)


def _whole(reading: "_Reading", source: SourceFile) -> Graph:
    reading.file(source, ())
    below = tuple(reading.below[index] for index in range(len(reading.files)))
    return Graph(tuple(reading.files), below, tuple(reading.problems))


def _shipped(name: str, cwd: str) -> tuple[str, str]:
    names = shipped_names()
    if name not in names:
        near = (f"./{name}", f"{name}.toml")
        files = [path for path in near if name and os.path.isfile(os.path.join(cwd, path))]
        hint = f"to read the file, write '{files[0]}'" if files else _shipped_hint(name)
        reason = f"no shipped profile is named '{name[:64]}'"
        raise ProfileError((Problem("", 0, 0, "", reason, hint),))
    return shipped_path(name), shipped_path(name)


def _shipped_hint(name: str) -> str:
    names = shipped_names()
    return suggestion(name, names) or f"shipped are {', '.join(names)}"


class _Reading:
    def __init__(self, given: Mapping[str, SourceFile]) -> None:
        self._given = given
        self.files: list[SourceFile] = []
        self.below: dict[int, frozenset[int]] = {}
        self.problems: list[Problem] = []
        self._known: dict[tuple[int, int], int] = {}

    def file(self, source: SourceFile, above: tuple[SourceFile, ...]) -> int:
        index = len(self.files)
        self.files.append(source)
        self._known[source.identity] = index
        below: frozenset[int] = frozenset()
        for key, name in _extended(source):
            base = self.base(source, key, name, above)
            if base is not None:
                below |= {base} | self.below[base]
        self.below[index] = below
        return index

    def base(
        self, source: SourceFile, key: KeyPath, name: str, above: tuple[SourceFile, ...]
    ) -> int | None:
        def wrong(reason: str, hint: str = "") -> None:
            self.problems.append(source.problem(key, reason, hint))

        base = self._given.get(name) or self.opened(source, name, wrong)
        if base is None:
            return None
        chain = (*above, source)
        identities = [file.identity for file in chain]
        if base.identity in identities:
            cycle = [*chain[identities.index(base.identity) :], base]
            wrong(f"the profile extends itself: {' -> '.join(file.shown for file in cycle)}")
            return None
        if base.identity in self._known:
            return self._known[base.identity]
        if len(chain) >= MAXIMUM_LEVELS:
            wrong(f"more than {MAXIMUM_LEVELS} levels of profiles that extend each other")
            return None
        if len(self.files) >= MAXIMUM_FILES:
            wrong(f"more than {MAXIMUM_FILES} files in one profile")
            return None
        try:
            return self.file(parse_source(base) if base.is_file else base, chain)
        except ProfileError as error:
            self.problems.extend(error.problems)
            return None

    def opened(
        self, source: SourceFile, name: str, wrong: Callable[[str, str], None]
    ) -> SourceFile | None:
        """The file that a name means, not parsed yet; None where that is a problem."""
        if is_path(name):
            path, shown = join(source.directory, name), join(os.path.dirname(source.shown), name)
        else:
            path = shown = shipped_path(name)
            names = shipped_names()
            if name not in names:
                hint = f"{_shipped_hint(name)}; a file is named by a path with '/' or '.toml'"
                wrong(f"no shipped profile is named '{name[:64]}'", hint)
                return None
        try:
            return open_source(path, shown=shown)
        except ProfileError as error:
            problem = error.problems[0]
            if problem.line:
                self.problems.append(problem)
            else:
                wrong(f"'{shown}' {problem.reason}", problem.hint)
            return None


def _extended(source: SourceFile) -> list[tuple[KeyPath, str]]:
    """The names after `extends` that are well formed; the walk over the file reports the others."""
    about: Any = source.data.get("profile")
    value = about.get("extends") if isinstance(about, dict) else None
    key: KeyPath = ("profile", "extends")
    named: list[tuple[KeyPath, Any]] = [(key, value)]
    if isinstance(value, list):
        named = [((*key, index), name) for index, name in enumerate(value)]
    return [(at, name) for at, name in named if isinstance(name, str) and _is_name(name)]


def _is_name(name: str) -> bool:
    try:
        extended(name)
    except InvalidError:
        return False
    return True
