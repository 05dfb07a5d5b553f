"""A profile with everything that it extends merged in, and where each statement stands."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeAlias

import msgspec

from sandbox.errors import Problem
from sandbox.profile.model import Profile

KeyPath: TypeAlias = tuple[str | int, ...]


class Origin(NamedTuple):
    """A place in a file; line and column count from 1, columns in characters, 0 is unknown.

    `source` is the text of the line, of which `width` characters from `column` on are meant.
    """

    file: str
    line: int
    column: int
    source: str = ""
    width: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Stamp(NamedTuple):
    """What tells whether a file that was read is still the same one."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


class Overrides(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says over the profile; taken literally, without variables in it."""

    command: tuple[str, ...] = ()
    vars: Mapping[str, str] = {}


class ResolvedProfile(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A profile ready to compile, and everything that it was made from.

    All lists that are sets are sorted, all paths canonical, all variables replaced.

    `known_as` is the path of the profile's own file, or what one that a program has made is called.
    `files` are the absolute paths read, such an own one first, `stamps` their states when they
    were read. `environment` holds the variables that were looked up, with None for one that
    wasn't set. `uses_cwd` says whether the profile depends on `cwd`, `looked_at` has the paths that
    ${up:NAME} was looked for at, true for what was found, and `markers` those of them that are
    directories. `caller` has what the caller's variables say about the runtime directory, as it
    stands there and as it really is; nothing depends on them yet. `links` has the symbolic links on the
    way to what the profile names (sandbox/profile/links.py); what depends on one is watched. `locate` gives the place of a
    statement, None for a default; `report` makes a problem of one.
    """

    profile: Profile
    known_as: str
    files: tuple[str, ...]
    stamps: tuple[Stamp, ...]
    environment: Mapping[str, str | None]
    uses_cwd: bool
    looked_at: Mapping[str, bool]
    markers: tuple[str, ...] = ()
    caller: Mapping[str, tuple[str, ...] | None] = {}
    links: Mapping[str, str] = {}
    cwd: str
    locate: Callable[[KeyPath], Origin | None]
    report: Callable[[KeyPath, str, str], Problem]

    def origin(self, path: KeyPath) -> Origin | None:
        """Where the statement at `path` of the merged profile stands, or the nearest above it.

        `path` uses the TOML's names: `("environment", "pass", 0)`. None if no file states it and
        so the default holds. Positions are worked out on the first call.
        """
        for length in range(len(path), 0, -1):
            found = self.locate(path[:length])
            if found is not None:
                return found
        return None

    def problem(self, path: KeyPath, reason: str, hint: str = "") -> Problem:
        """A problem with the statement at `path`, placed where its file states it."""
        return self.report(path, reason, hint)

    def placed(self, problems: Iterable[Problem]) -> tuple[Problem, ...]:
        """Problems with keys of the merged profile, placed where the files state them."""
        return tuple(self.report(key_path(p.key), p.reason, p.hint) for p in problems)


def key_text(path: KeyPath) -> str:
    """A key path as a person writes it: `filesystem.read[2]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        plain = part if is_bare(part) else quoted(part)
        text += f".{plain}" if text else plain
    return text


def is_bare(name: str) -> bool:
    """Whether a TOML key needs no quotes."""
    return bool(name) and name.isascii() and name.replace("-", "a").replace("_", "a").isalnum()


def key_path(text: str) -> KeyPath:
    """What `key_text` wrote, taken apart again. Raises ValueError for anything else."""
    path: list[str | int] = []
    while text:
        if text.startswith("["):
            index, _, text = text[1:].partition("]")
            path.append(int(index))
        elif text.startswith(('"', '."')):
            raise ValueError("a quoted key is only for people")
        else:
            text = text.removeprefix(".")
            end = min((at for at in (text.find("."), text.find("[")) if at >= 0), default=len(text))
            path.append(text[:end])
            text = text[end:]
    return tuple(path)


def quoted(text: str) -> str:
    """A TOML basic string: nothing invisible in it, and short enough for a message."""
    short = text if len(text) <= 80 else text[:77] + "..."
    plain = short.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in plain) + '"'
