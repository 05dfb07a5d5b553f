"""A merged profile as text: as one TOML file, and as a list of rules."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from sandbox.profile.merge import COMMANDS
from sandbox.profile.model import Mount, Profile
from sandbox.profile.resolved import KeyPath, Origin, ResolvedProfile, is_bare, key_text
from sandbox.profile.source import is_hidden


class Rule(NamedTuple):
    """One effective statement; a member of a list has the list's key. No origin: the default."""

    key: str
    value: Any
    origin: Origin | None


def rules(resolved: ResolvedProfile) -> Iterator[Rule]:
    """Everything that holds, defaults included, in the order of the model."""
    for path, value in _leaves(_builtins(resolved.profile), ()):
        shown = path[:-1] if isinstance(path[-1], int) else path
        yield Rule(key_text(shown), value, resolved.locate(path))


def _leaves(table: dict[str, Any], above: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    for name, value in table.items():
        path = (*above, name)
        if isinstance(value, dict):
            yield from _leaves(value, path)
        elif isinstance(value, list | tuple) and path not in COMMANDS:
            is_pair = path[0] == "rlimits"
            members = [(path, value)] if is_pair else [((*path, i), v) for i, v in enumerate(value)]
            yield from members
        elif value is not None:
            yield path, value


def to_toml(profile: Profile) -> str:
    """A profile that says by itself what this one says; defaults are left out."""
    stated = _difference(_builtins(profile), _builtins(Profile(schema=1)))
    stated.get("profile", {}).pop("extends", None)
    # Whatever stood for a variable has its value already.
    stated.pop("vars", None)
    lines = ["schema = 1"]
    for name, table in stated.items():
        if isinstance(table, dict) and table:
            lines += ["", f"[{name}]"]
            plain = name == "profile"
            lines += [
                f"{_key(key)} = {string(value, variables=False) if plain and isinstance(value, str) else inline(value)}"
                for key, value in table.items()
                if key != "rules"
            ]
            for entry in table.get("rules", ()):
                lines += ["", f"[[{name}.rules]]", *_entry(entry)]
        elif isinstance(table, list | tuple):
            for entry in table:
                lines += ["", f"[[{name}]]", *_entry(entry)]
    return "\n".join(lines) + "\n"


def _builtins(profile: Profile) -> dict[str, Any]:
    """Plain values, and of each mount only what isn't the default."""
    table: dict[str, Any] = msgspec.to_builtins(profile)
    default = msgspec.to_builtins(Mount(type="bind", target=""))
    table["mounts"] = [
        {"type": mount["type"], **{k: v for k, v in mount.items() if v != default[k]}}
        for mount in table["mounts"]
    ]
    return table


def _difference(table: dict[str, Any], default: dict[str, Any]) -> dict[str, Any]:
    different: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, dict) and isinstance(default.get(name), dict):
            different[name] = _difference(value, default[name])
        elif name not in default or value != default[name]:
            different[name] = value
    return {name: value for name, value in different.items() if value != {}}


def _entry(entry: dict[str, Any]) -> list[str]:
    return [
        f"{_key(key)} = {inline(value)}" for key, value in entry.items() if value not in (None, ())
    ]


def inline(value: Any) -> str:
    """A value as TOML in one line, but for a list with several members."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return string(value)
    if isinstance(value, dict):
        pairs = (f"{_key(k)} = {inline(v)}" for k, v in value.items() if v is not None)
        return f"{{ {', '.join(pairs)} }}" if value else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(inline(member) for member in value)}]"
    return str(value)


def _key(name: str) -> str:
    return name if is_bare(name) else string(name, variables=False)


def string(text: str, *, variables: bool = True) -> str:
    """`text` as a basic string of TOML, in which `$` stands for itself.

    A string of [profile] holds no variables, so that its `$` isn't doubled.
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    if variables:
        escaped = escaped.replace("$", "$$")
    shown = (f"\\U{ord(c):08x}" if is_hidden(c) else c for c in escaped)
    return f'"{"".join(shown)}"'
