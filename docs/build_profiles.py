# ruff: noqa: INP001 - a script beside the documents that it makes
"""Writes the tables of grants in docs/profiles.md from the shipped profiles themselves.

`PYTHONPATH=. python docs/build_profiles.py` writes them; a test compares.

What a profile adds to those that it builds on is told by where each rule of it stands. The prose
around the tables is written by hand.
"""

import os
import tomllib
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from sandbox.profile.load import load
from sandbox.profile.names import shipped_names, shipped_path
from sandbox.profile.resolved import ResolvedProfile
from sandbox.profile.text import inline, rules

PAGE: Final = os.path.join(os.path.dirname(os.path.abspath(__file__)), "profiles.md")
START, END = "<!-- profiles: made by docs/build_profiles.py -->", "<!-- end of profiles -->"

# Stand-ins that no path of a profile holds, shown as the variables that they are.
_CWD, _HOME = "/current-directory-of-the-caller", "/home-directory-of-the-caller"

# What says nothing about what is granted.
_LEFT_OUT: Final = ("schema", "profile.", "vars.")
_BASES: Final = frozenset(
    {
        "minimal",
        "no-set-id",
        "service",
        "interactive",
        "project",
        "build",
        "desktop-headless",
        "converter",
    }
)


class Shipped(NamedTuple):
    """A shipped profile, as its file states it and as it takes effect."""

    name: str
    stated: dict[str, Any]
    resolved: ResolvedProfile

    @property
    def bases(self) -> tuple[str, ...]:
        extends = self.stated["profile"].get("extends", ())
        return (extends,) if isinstance(extends, str) else tuple(extends)


def shipped() -> list[Shipped]:
    """Every shipped profile, the bases first."""
    names = sorted(shipped_names(), key=lambda name: (name != "minimal", name not in _BASES, name))
    return [_shipped(name) for name in names]


def _shipped(name: str) -> Shipped:
    with open(shipped_path(name), "rb") as file:
        stated = tomllib.load(file)
    return Shipped(name, stated, load(name, cwd=_CWD, environ={"HOME": _HOME}))


def page(text: str) -> str:
    """The document with today's tables in their place."""
    before, _, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{PAGE} has no place for the profiles")
    found = shipped()
    tables = "\n\n".join([_overview(found), *map(_details, found)])
    return f"{before}{START}\n\n{tables}\n\n{END}{after}"


def _overview(found: list[Shipped]) -> str:
    rows = [
        (
            f"[{each.name}](#{each.name})",
            " ".join(f"[{base}](#{base})" for base in each.bases),
            _joined(_writable(each)) or "nothing",
            {"none": "none", "host": "the host's"}[each.resolved.profile.network.mode],
            _joined(each.resolved.profile.seccomp.allow),
            each.resolved.profile.profile.description,
        )
        for each in found
    ]
    head = ("Profile", "Builds on", "Writes, of the host's", "Network", "System calls", "For")
    return _table(head, rows)


def _writable(each: Shipped) -> Iterator[str]:
    profile = each.resolved.profile
    yield from profile.filesystem.write
    for mount in profile.mounts:
        if mount.type == "bind" and mount.writable:
            yield mount.target
        if mount.type == "overlay" and mount.upper:
            yield mount.upper


def _details(each: Shipped) -> str:
    description = each.resolved.profile.profile.description
    parts = [f"## {each.name}", description]
    variables = each.stated.get("vars", {})
    if variables:
        parts.append(_table(("Variable", "By default"), _cells(variables.items())))
    grants = list(_grants(each))
    if grants:
        above = f"What it adds to {_joined(each.bases)}" if each.bases else "What it grants"
        parts += [f"{above}:", _table(("Key", "Values"), grants)]
    return "\n\n".join(parts)


def _grants(each: Shipped) -> Iterator[tuple[str, str]]:
    """The rules that stand in the profile's own file; members of a list in one line."""
    own = each.resolved.files[0]
    values: dict[str, list[str]] = {}
    for rule in rules(each.resolved):
        if rule.origin is None or rule.origin.file != own or rule.key.startswith(_LEFT_OUT):
            continue
        shown = _mount(rule.value) if rule.key == "mounts" else _shown(rule.value)
        values.setdefault(rule.key, []).append(shown)
    for key, texts in values.items():
        yield f"`{key}`", " ".join(f"`{text}`" for text in texts)


def _mount(mount: dict[str, Any]) -> str:
    """A mount in a few words, as `bind /srv/www (writable)`."""
    source, target = mount.get("source") or ":".join(mount.get("lower", ())), mount["target"]
    arrow = f"{source} on {target}" if source and source != target else target
    words = [word for word in ("writable", "execute", "optional", "idmap") if mount.get(word)]
    remarks = f" ({', '.join(words)})" if words else ""
    return _placed(f"{mount['type']} {arrow}{remarks}")


def _shown(value: object) -> str:
    return _placed(value if isinstance(value, str) else inline(value))


def _placed(text: str) -> str:
    return text.replace(_CWD, "${cwd}").replace(_HOME, "${home}")


def _joined(values: Any) -> str:
    return ", ".join(f"`{_placed(value)}`" for value in values)


def _cells(pairs: Any) -> Iterator[tuple[str, ...]]:
    for pair in pairs:
        yield tuple(f"`{text}`" if text else "(empty)" for text in pair)


def _table(head: tuple[str, ...], rows: Any) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines
    )


def main() -> None:
    with open(PAGE, encoding="utf-8") as file:
        new = page(file.read())
    with open(PAGE, "w", encoding="utf-8") as out:
        out.write(new)


if __name__ == "__main__":
    main()
