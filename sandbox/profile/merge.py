"""Several files into one profile.

Each file is taken apart into statements. A statement of a file stands over those of the files that
it extends; files that don't extend each other must agree. Members of lists are united. So neither
the order within a file nor the order of `extends` ever matters, and the result is sorted.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from sandbox.errors import Problem
from sandbox.profile.graph import Graph
from sandbox.profile.resolved import KeyPath, key_text
from sandbox.profile.source import SourceFile
from sandbox.profile.validate import member_key

COMMAND_LINE = -1
"""The place of the command line among the files: over all of them."""

Unit: TypeAlias = tuple[KeyPath, str | None]
"""What a statement is about: a key, or one member of the list at a key."""


class Statement(NamedTuple):
    """A value, the file that states it, and its key path there."""

    file: int
    value: Any
    path: KeyPath


Statements: TypeAlias = dict[Unit, list[Statement]]


class Merged(NamedTuple):
    """The merged tables, where each statement is from, and where files disagree."""

    data: dict[str, Any]
    trace: dict[KeyPath, Statement]
    problems: tuple[Problem, ...]


_TMPFS = ("filesystem", "tmpfs")
COMMANDS: Final[frozenset[KeyPath]] = frozenset(
    {("process", "command"), ("service", "health", "command")}
)
"""Lists of a program and its arguments, which are replaced as a whole."""
_OWN = frozenset({("profile", "name"), ("profile", "description"), ("profile", "extends")})


def collect(datas: Sequence[Mapping[str, Any]], over: Mapping[KeyPath, Any]) -> Statements:
    """The statements of all checked files, and `over` them those of the command line."""
    statements: Statements = {}
    for file, data in enumerate(datas):
        for unit, statement in _take_apart(file, data, ()):
            if file == 0 or unit[0] not in _OWN:
                statements.setdefault(unit, []).append(statement)
    for path, value in over.items():
        statements.setdefault((path, None), []).append(Statement(COMMAND_LINE, value, path))
    return statements


def _take_apart(
    file: int, table: Mapping[str, Any], above: KeyPath
) -> Iterator[tuple[Unit, Statement]]:
    for name, value in table.items():
        path = (*above, name)
        if isinstance(value, dict) and not _is_entry(path):
            yield from _take_apart(file, value, path)
        elif value and is_set(path, value):
            for index, item in enumerate(value):
                member = {"path": item} if path == _TMPFS and isinstance(item, str) else item
                unit = (path, member_key(path, member))
                yield unit, Statement(file, member, (*path, index))
        else:
            yield (path, None), Statement(file, value, path)


def is_set(path: KeyPath, value: object) -> bool:
    """Whether the list at `path` is united with others, and not replaced by them."""
    return isinstance(value, list) and path not in COMMANDS and path[0] != "rlimits"


def _is_entry(path: KeyPath) -> bool:
    """Whether the table at `path` is replaced as a whole: its keys mean little without each other."""
    return path[0] == "secrets" and len(path) == 2


def topmost(statements: Sequence[Statement], graph: Graph) -> list[Statement]:
    """The statements that no other one stands over."""
    if len(statements) == 1:
        return list(statements)

    def below(file: int) -> frozenset[int] | range:
        return range(len(graph.files)) if file == COMMAND_LINE else graph.below[file]

    return [s for s in statements if not any(s.file in below(o.file) for o in statements)]


def merge(statements: Statements, graph: Graph) -> Merged:
    """One table of tables out of all statements."""
    data: dict[str, Any] = {}
    trace: dict[KeyPath, Statement] = {}
    problems: list[Problem] = []
    lists: dict[KeyPath, list[tuple[Any, Statement]]] = {}
    # A list that is stated empty still replaces a default; members, put in later, replace it.
    for (path, member), stated in sorted(statements.items(), key=_unit_order):
        winners = topmost(stated, graph)
        first = winners[0]
        others = (statement for statement in winners if statement.value != first.value)
        problems.extend(_disagreement(graph.files, first, other) for other in others)
        if member is None:
            _put(data, path, first.value)
            trace[path] = first
        else:
            lists.setdefault(path, []).append((_order(member, first.value), first))
    for path, members in lists.items():
        members.sort(key=lambda pair: pair[0])
        _put(data, path, [statement.value for _, statement in members])
        for index, (_, statement) in enumerate(members):
            trace[*path, index] = statement
    return Merged(data, trace, tuple(problems))


def _unit_order(item: tuple[Unit, object]) -> tuple[KeyPath, str]:
    (path, member), _ = item
    return path, member or ""


def _order(member: str, value: Any) -> tuple[int, str]:
    return (value, "") if isinstance(value, int) else (0, member)


def _put(data: dict[str, Any], path: KeyPath, value: Any) -> None:
    table: Any = data
    for name in path[:-1]:
        table = table.setdefault(name, {})
    table[path[-1]] = value


def _disagreement(files: tuple[SourceFile, ...], first: Statement, other: Statement) -> Problem:
    there = files[other.file]
    return files[first.file].problem(
        first.path,
        f"{there.origin(other.path)} says otherwise, and neither file extends the other",
        f"set {key_text(first.path)} in a profile that extends both",
    )
