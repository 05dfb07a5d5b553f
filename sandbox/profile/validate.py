"""One file against the model: every key and every value, and everything that is wrong with them.

What several statements mean together is the matter of `consistency`, once files are merged.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from sandbox.errors import Problem
from sandbox.profile.checks import CHECKS, OF_SEVERAL_TYPES, plain_text
from sandbox.profile.model import Profile, Table
from sandbox.profile.names import suggestion
from sandbox.profile.resolved import KeyPath, key_text
from sandbox.profile.shapes import Field, Shape, choices, expected, fields, takes_numbers
from sandbox.profile.source import MAXIMUM_PROBLEMS, SourceFile
from sandbox.profile.variables import InvalidError, names_in, split

_NOT_YET: Mapping[KeyPath, str] = {
    ("audit",): "an audit log",
    ("image",): "images",
    ("tests",): "tests in a profile",
    ("network", "egress"): "rules for outgoing connections",
    ("network", "publish"): "published ports",
    ("profile", "requires"): "requirements on the host",
}
_NOT_YET_VALUES: Mapping[KeyPath, tuple[str, ...]] = {
    ("rootfs", "type"): ("image",),
    ("network", "mode"): ("private", "isolated", "nat", "bridge", "veth", "pasta", "slirp"),
}
_LONGEST_QUOTED = 64
_ORDERED = frozenset(
    {
        ("process", "command"),
        ("mounts", "lower"),
        ("seccomp", "rules", "args"),
        ("service", "health", "command"),
    }
)
_IN_HEADER = frozenset({"name", "description", "extends", "sealed", "optional"})


class Checked(NamedTuple):
    """A file's statements in canonical form, and which variables each one mentions."""

    data: dict[str, Any]
    uses: dict[KeyPath, set[str]]
    problems: tuple[Problem, ...]


def check_file(source: SourceFile, expand: Callable[[str], str]) -> Checked:
    """Check a parsed file; `expand` puts values into a string and raises InvalidError."""
    walk = _Walk(source, expand)
    data = walk.struct(source.data, Profile, ())
    return Checked(data, walk.uses, tuple(walk.problems))


class _Walk:
    def __init__(self, source: SourceFile, expand: Callable[[str], str]) -> None:
        self.source = source
        self.expand = expand
        self.uses: dict[KeyPath, set[str]] = {}
        self.problems: list[Problem] = []

    def wrong(self, path: KeyPath, reason: str, hint: str = "", *, on_key: bool = False) -> None:
        if len(self.problems) < MAXIMUM_PROBLEMS:
            self.problems.append(self.source.problem(path, reason, hint, on_key=on_key))

    def value(self, value: Any, shape: Shape, path: KeyPath) -> Any:
        if isinstance(value, dict):
            if shape.struct is not None:
                return self.struct(value, shape.struct, path)
            if shape.values is not None:
                return self.dictionary(value, shape, path)
        elif isinstance(value, list) and shape.item is not None:
            return self.members(value, shape.item, path)
        if shape.leaf is None:
            hint = _as_list(value, path) if shape.item is not None else ""
            self.wrong(path, f"expected {expected(shape)}, not {type_words(value)}", hint)
            return value
        return self.leaf(value, shape, path)

    def struct(self, table: dict[str, Any], struct: type[Table], path: KeyPath) -> dict[str, Any]:
        known = fields(struct)
        checked = {}
        for name, value in table.items():
            field = known.get(name)
            if field is None:
                self.unknown(name, known, path)
            else:
                checked[name] = self.value(value, field.shape, (*path, name))
        for name, field in known.items():
            if field.required and name not in table:
                hint = "start the file with: schema = 1" if not path else ""
                self.wrong(path, f"'{name}' is missing", hint)
        return checked

    def unknown(self, name: str, known: dict[str, Field], path: KeyPath) -> None:
        here = (*path, name)
        not_yet = _NOT_YET.get(here)
        if not_yet is not None:
            self.wrong(
                here,
                f"this version of sbx cannot enforce {not_yet}",
                "take it out; sbx doesn't ignore what it cannot enforce",
                on_key=True,
            )
            return
        hint = suggestion(name, tuple(known)) or _elsewhere(name)
        self.wrong(here, "there is no such key", hint, on_key=True)

    def dictionary(self, table: dict[str, Any], shape: Shape, path: KeyPath) -> dict[str, Any]:
        checked = {}
        for name, value in table.items():
            here = (*path, name)
            try:
                CHECKS[shape.keys_kind](name)
            except InvalidError as error:
                self.wrong(here, error.reason, error.hint, on_key=True)
                continue
            if shape.values is not None:
                checked[name] = self.value(value, shape.values, here)
        return checked

    def members(self, items: list[Any], shape: Shape, path: KeyPath) -> list[Any]:
        names = tuple(part for part in path if isinstance(part, str))
        checked = []
        first: dict[str, int] = {}
        for index, item in enumerate(items):
            here = (*path, index)
            before = len(self.problems)
            value = self.value(item, shape, here)
            checked.append(value)
            if names in _ORDERED or len(self.problems) > before:
                continue
            # Every other list of the model is a set: the same member twice is somebody's slip.
            earlier = first.setdefault(member_key(path, value), index)
            if earlier != index:
                stated = key_text((*path, earlier))
                self.wrong(here, f"stated already by {stated}", "take one of them out")
        return checked

    def leaf(self, value: Any, shape: Shape, path: KeyPath) -> Any:
        try:
            if isinstance(value, str):
                value = self.text(value, path)
            is_judged = shape.is_text and isinstance(value, str)
            if not is_judged and shape.kind not in OF_SEVERAL_TYPES:
                value = self.judged(value, shape, path)
            return CHECKS[shape.kind](value) if shape.kind else value
        except InvalidError as error:
            self.wrong(path, error.reason, error.hint)
            return value

    def text(self, value: str, path: KeyPath) -> str:
        if "$" not in value or path[0] == "profile":
            return plain_text(value)
        self.uses[path] = names_in(value)
        if path[0] == "vars":
            # What it stands for depends on all files, and is checked where they are all known.
            split(value)
            return plain_text(value)
        return plain_text(self.expand(value))

    def judged(self, value: Any, shape: Shape, path: KeyPath) -> Any:
        try:
            return msgspec.convert(value, shape.leaf)
        except msgspec.ValidationError:
            raise _refusal(value, shape, path) from None


def member_key(path: KeyPath, item: Any) -> str:
    """What makes a member of a list the same as another: a path, a mount's target, or all of it."""
    if isinstance(item, dict):
        if path[-1] == "mounts":
            return str(item.get("target"))
        if path[-1] == "io_max":
            return str(item.get("device"))
        if path[-1] == "tmpfs":
            return str(item.get("path"))
    return _canonical(item)


def _canonical(item: Any) -> str:
    """Text that is the same for the same value: a table has no order."""
    if isinstance(item, dict):
        return repr(sorted((name, _canonical(value)) for name, value in item.items()))
    if isinstance(item, list):
        return repr([_canonical(value) for value in item])
    return str(item)


def _refusal(value: Any, shape: Shape, path: KeyPath) -> InvalidError:
    words = choices(shape.leaf)
    names = tuple(part for part in path if isinstance(part, str))
    if isinstance(value, str) and value in _NOT_YET_VALUES.get(names, ()):
        return InvalidError(
            f"this version of sbx doesn't have '{value}'", f"it has {_listed(words)}"
        )
    if isinstance(value, str) and words:
        return InvalidError(f"'{value[:64]}' isn't {expected(shape)}", suggestion(value, words))
    if isinstance(value, int) and not isinstance(value, bool) and takes_numbers(shape.leaf):
        hint = "another version of sbx may read it" if path == ("schema",) else ""
        return InvalidError(f"{value} isn't {expected(shape)}", hint)
    quoted = isinstance(value, str) and "text" not in expected(shape)
    hint = "leave out the quotes" if quoted else ""
    return InvalidError(f"expected {expected(shape)}, not {type_words(value)}", hint)


def _as_list(value: Any, path: KeyPath) -> str:
    """The list that somebody means who writes one text in its place."""
    import json

    if not isinstance(value, str) or not value or len(value) > _LONGEST_QUOTED:
        return ""
    words = value.split() if path[-1] == "command" else [value]
    return f"did you mean {json.dumps(words, ensure_ascii=False)}?"


def _elsewhere(name: str) -> str:
    tables = fields(Profile)
    if name in tables:
        return f"'{name}' belongs at the top level"
    for table, field in tables.items():
        if field.shape.struct is not None and name in fields(field.shape.struct):
            return f"'{name}' belongs in [{table}]"
    return ""


def _listed(words: tuple[str, ...]) -> str:
    return " and ".join(f"'{word}'" for word in words)


def type_words(value: Any) -> str:
    """What a TOML value is, in words."""
    names = {
        bool: "true or false",
        int: "a number",
        float: "a number with a fraction",
        str: "text",
        list: "a list",
        dict: "a table",
    }
    kind = type(value)
    # What no TOML holds comes from a program.
    return names.get(kind, "a date or time" if kind.__module__ == "datetime" else kind.__name__)
