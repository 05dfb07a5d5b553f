"""What a profile seals, those that build on it may only narrow."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import msgspec

from sandbox.errors import Problem
from sandbox.profile.elsewhere import is_within, shown_elsewhere
from sandbox.profile.graph import Graph
from sandbox.profile.merge import COMMAND_LINE, Statement, Statements, Unit, topmost
from sandbox.profile.model import Profile
from sandbox.profile.narrower import is_narrower
from sandbox.profile.resolved import KeyPath, key_text
from sandbox.profile.variables import names_in

_NARROWING = frozenset(
    {
        ("filesystem", "deny"),
        ("filesystem", "mask"),
        ("filesystem", "protect"),
        ("seccomp", "deny"),
        ("landlock", "scopes"),
        ("profile", "sealed"),
    }
)
"""Lists whose members take something away."""
_HIDING = frozenset({("filesystem", "deny"), ("filesystem", "mask")})
_SHOWING = frozenset(
    {
        ("filesystem", "read"),
        ("filesystem", "write"),
        ("filesystem", "execute"),
        ("filesystem", "tmpfs"),
        ("mounts",),
    }
)
_PROTECTING = ("filesystem", "protect")
_WRITING = frozenset({("filesystem", "write"), ("filesystem", "tmpfs"), ("mounts",)})
_ROOT = frozenset({("rootfs", "path"), ("rootfs", "overlay")})
_ALLOWED_CALLS = frozenset({("seccomp", "allow"), ("seccomp", "rules")})
_SCOPES = ("landlock", "scopes")
_OPTIONAL = ("profile", "optional")


def check_seals(
    statements: Statements, graph: Graph, uses: Sequence[Mapping[KeyPath, set[str]]]
) -> tuple[Problem, ...]:
    """Every statement of another file that widens what a file seals.

    `uses` are, for each file, the variables that its statements mention.
    """
    problems: list[Problem] = []
    for (path, member), stated in statements.items():
        if path == ("profile", "sealed") and member is not None:
            for statement in stated:
                sealed = tuple(member.split("."))
                seal = _Seal(statement.file, sealed, statements, graph)
                problems.extend(seal.problems(uses))
    return tuple(dict.fromkeys(problems))


class _Seal:
    """One sealed key of one file: what holds there, and who else says something about it."""

    def __init__(
        self, file: int, sealed: tuple[str, ...], statements: Statements, graph: Graph
    ) -> None:
        self.file = file
        self.sealed = sealed
        self.statements = statements
        self.graph = graph
        self.inside = graph.below[file] | {file}
        self.hidden = [path for key in _HIDING for path in self.members(key)]
        self.protected = self.members(_PROTECTING)
        self.denied = self.members(("seccomp", "deny"))

    def problems(self, uses: Sequence[Mapping[KeyPath, set[str]]]) -> Iterator[Problem]:
        for unit, stated in self.statements.items():
            for statement in stated:
                if statement.file not in self.inside:
                    yield from self.judged(unit, statement)
        yield from self.scopes_lost()
        yield from self.variables_changed(uses)

    def judged(self, unit: Unit, statement: Statement) -> Iterator[Problem]:
        path, member = unit
        if self.covers(path) and not self.keeps(unit, statement):
            what = "changed" if member is None else "added to"
            what = "raised" if path[0] == "resources" else what
            yield self.problem(statement, f"{self.words()}, so it cannot be {what}")
        elif path == _OPTIONAL and member is not None and self.relates(tuple(member.split("."))):
            yield self.problem(statement, f"{self.words()}, so it cannot become optional")
        elif path in _SHOWING and member is not None:
            yield from self.shown_again(member, statement)
            if path in _WRITING:
                yield from self.made_writable(member, statement)
            yield from self.taken_elsewhere(path, statement)
        elif path in _ROOT:
            yield from self.taken_elsewhere(path, statement)
        elif path in _ALLOWED_CALLS and member is not None and self.denied:
            yield from self.allowed_again(member, statement)

    def covers(self, path: KeyPath) -> bool:
        return path[: len(self.sealed)] == self.sealed

    def relates(self, path: tuple[str, ...]) -> bool:
        shorter = min(len(path), len(self.sealed))
        return path[:shorter] == self.sealed[:shorter]

    def keeps(self, unit: Unit, statement: Statement) -> bool:
        path, member = unit
        if path in _NARROWING:
            return True
        if path == ("seccomp", "rules") and statement.value["action"] in {"deny", "kill"}:
            return True
        before = self.before(unit)
        if path[0] == "resources":
            limits = [earlier.value for earlier in before] or [None]
            return all(is_narrower(path, statement.value, limit) for limit in limits)
        if before:
            return all(statement.value == earlier.value for earlier in before)
        return member is None and statement.value == _default(path)

    def before(self, unit: Unit) -> list[Statement]:
        """What the sealing file and those below it say."""
        stated = [s for s in self.statements.get(unit, ()) if s.file in self.inside]
        return topmost(stated, self.graph) if stated else []

    def members(self, path: KeyPath) -> list[str]:
        """The members of a list that the sealing file and those below it state, if sealed."""
        if not self.covers(path):
            return []
        units = (unit for unit in self.statements if unit[0] == path)
        return [unit[1] for unit in units if unit[1] is not None and self.before(unit)]

    def shown_again(self, path: str, statement: Statement) -> Iterator[Problem]:
        for hidden in self.hidden:
            if is_within(path, hidden):
                yield self.problem(
                    statement, f"{self.words()}, and '{hidden}' stays hidden with all below it"
                )

    def made_writable(self, path: str, statement: Statement) -> Iterator[Problem]:
        """A more specific statement would stand over the protection of what is above."""
        for protected in self.protected:
            if is_within(path, protected):
                yield self.problem(
                    statement,
                    f"{self.words()}, and '{protected}' stays as it is, with all below it",
                )

    def taken_elsewhere(self, path: KeyPath, statement: Statement) -> Iterator[Problem]:
        """At another path the statements about its own don't hold."""
        for shown in shown_elsewhere(path, statement.value):
            for hidden in self.hidden:
                place = shown.place_of(hidden)
                if place and not self.says(_HIDING, place):
                    yield self.problem(
                        statement,
                        f"{self.words()}, and '{hidden}' stays hidden with all below it: it would "
                        f"be seen at '{place}', which filesystem.deny doesn't list",
                    )
            for protected in self.protected if shown.writable else ():
                place = shown.place_of(protected)
                if place and not self.says(_HIDING | {_PROTECTING}, place):
                    yield self.problem(
                        statement,
                        f"{self.words()}, and '{protected}' stays as it is, with all below it: it "
                        f"could be changed at '{place}', which filesystem.protect doesn't list",
                    )

    def says(self, keys: frozenset[KeyPath], place: str) -> bool:
        """Whether one of these lists has the path, or one above it."""
        return any(
            key in keys and member is not None and is_within(place, member)
            for key, member in self.statements
        )

    def allowed_again(self, member: str, statement: Statement) -> Iterator[Problem]:
        """A single call is more specific than a group, so it could undo the denial of a group."""
        is_rule = isinstance(statement.value, dict)
        widens = statement.value["action"] in {"allow", "log"} if is_rule else member[:1] != "@"
        if widens and not self.before((statement.path[:2], member)):
            yield self.problem(
                statement, f"{self.words()}, so no single call can be allowed any more"
            )

    def scopes_lost(self) -> Iterator[Problem]:
        """A list that is stated for the first time replaces the default, and can be shorter."""
        if not self.covers(_SCOPES):
            return
        stated = {m: s for (path, m), s in self.statements.items() if path == _SCOPES}
        if any(self.before((_SCOPES, scope)) for scope in stated):
            return
        for scope in _default(_SCOPES):
            if stated and scope not in stated:
                statement = next(iter(stated.values()))[0]
                yield self.problem(statement, f"{self.words()}, so '{scope}' cannot be left out")

    def variables_changed(self, uses: Sequence[Mapping[KeyPath, set[str]]]) -> Iterator[Problem]:
        for name in sorted(self.variables(uses)):
            unit: Unit = (("vars", name), None)
            if self.covers(("vars", name)):
                continue
            for statement in self.statements.get(unit, ()):
                if statement.file not in self.inside and not self.keeps(unit, statement):
                    yield self.problem(statement, f"{self.words()} and uses this variable")

    def variables(self, uses: Sequence[Mapping[KeyPath, set[str]]]) -> set[str]:
        """The variables that the sealed statements mention, and those that these mention."""
        found: set[str] = set()
        for file in self.inside:
            for path, names in uses[file].items():
                if self.covers(path):
                    found |= names
        new = set(found)
        while new:
            texts = [s.value for name in new for s in self.before((("vars", name), None))]
            new = {name for text in texts for name in names_in(text)} - found
            found |= new
        return found

    def words(self) -> str:
        origin = self.graph.files[self.file].shown
        return f"{origin} seals {key_text(self.sealed)}"

    def problem(self, statement: Statement, reason: str) -> Problem:
        if statement.file == COMMAND_LINE:
            return Problem("command line", 0, 0, key_text(statement.path), reason)
        return self.graph.files[statement.file].problem(statement.path, reason)


@cache
def _defaults() -> dict[str, Any]:
    defaults: dict[str, Any] = msgspec.to_builtins(Profile(schema=1))
    return defaults


def _default(path: KeyPath) -> Any:
    value: Any = _defaults()
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return None
        value = value[name]
    return list(value) if isinstance(value, tuple) else value
