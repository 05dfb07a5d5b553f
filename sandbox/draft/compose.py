"""The answers as a commented profile: TOML that says what was asked for, and how to say more."""

import os
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from sandbox.draft.bases import Base, Reach
from sandbox.draft.program import Program
from sandbox.errors import SandboxError
from sandbox.profile.resolved import is_bare
from sandbox.profile.text import inline, string

_WIDTH = 96


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What the profile is to say. All paths are absolute."""

    command: tuple[str, ...]
    base: Base
    program: Program
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    execute: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    reach: Reach = "none"
    vars: tuple[tuple[str, str], ...] = ()
    """Variables of the base that get another text, taken literally."""
    pass_: tuple[str, ...] = ()
    terminal: str = "never"
    cwd: str = ""
    """Where the program runs; empty for where the base has it run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the profile will lie; it decides how paths are written."""

    directory: str
    """Paths below it start with ${profile_dir}; empty for a profile without a place."""
    home: str
    """Paths below it start with ${home}; empty where they shouldn't."""

    def text(self, path: str) -> str:
        """`path` as a TOML string that means it. Raises SandboxError for one that no profile can."""
        try:
            path.encode()
        except UnicodeEncodeError:
            raise SandboxError(
                f"'{path}' holds bytes that aren't UTF-8, so that no profile can name it",
                hint="name the directory above it, or rename it",
            ) from None
        for variable, directory in (("profile_dir", self.directory), ("home", self.home)):
            inside = path == directory or path.startswith(f"{directory}/")
            if directory.strip("/") and inside:
                return f'"${{{variable}}}{inline(path.removeprefix(directory))[1:]}'
        return inline(path)


def compose(answers: Answers, place: Place) -> str:
    """The text of the profile."""
    sections = (
        _head(),
        _about(answers),
        _vars(answers, place),
        _process(answers, place),
        _environment(answers),
        _filesystem(answers, place),
        _network(answers),
        _calls(answers),
    )
    filled = [lines for section in sections if (lines := list(section))]
    return "\n\n".join("\n".join(lines) for lines in filled) + "\n"


def _head() -> Iterator[str]:
    yield "schema = 1"
    yield ""
    yield "# Written by `sbx init`, and yours to change. With the name of this file for FILE:"
    yield "#   sbx check FILE             what is wrong with it"
    yield "#   sbx show --resolved FILE   what holds, with all that it extends"
    yield "#   sbx plan FILE              what a launch does, step by step"
    yield "# sbx.toml(5) explains every key. What isn't granted isn't there."


def _about(answers: Answers) -> Iterator[str]:
    base = answers.base
    yield "[profile]"
    yield f"description = {inline(f'Runs {os.path.basename(answers.command[0])}.')}"
    yield ""
    if len(base.names) == 1:
        yield from _comment(f"What this profile grants is granted here too. {base.description}")
        yield f"extends = {inline(base.names[0])}"
    else:
        yield from _comment("What these profiles grant is granted here too.")
        yield f"extends = {inline(base.names)}"


def _vars(answers: Answers, place: Place) -> Iterator[str]:
    chosen = dict(answers.vars)
    if not answers.base.vars and not chosen:
        return
    yield "[vars]"
    yield from _comment(
        "What the base leaves to choose. `--set NAME=VALUE` does so for one launch."
    )
    for name, text in answers.base.vars:
        if name not in chosen:
            yield f"# {_key(name)} = {string(text, variables=False)}"
    for name, text in chosen.items():
        value = place.text(text) if text.startswith("/") else inline(text)
        yield f"{_key(name)} = {value}"


def _key(name: str) -> str:
    return name if is_bare(name) else string(name, variables=False)


def _process(answers: Answers, place: Place) -> Iterator[str]:
    yield "[process]"
    word = answers.program.word
    if answers.base.runs(answers.command) and not word.startswith("/"):
        yield from _comment("What runs is the base's, unless the command line says something else.")
        yield from _array("command", (), example=inline(answers.base.command))
    else:
        yield from _comment("What runs, unless the command line says something else after `--`.")
        first = place.text(word) if word.startswith("/") else inline(word)
        yield from _array("command", (first, *map(_plain, answers.command[1:])))
    yield ""
    if answers.cwd:
        yield from _comment("Where it runs.")
        yield f"cwd = {place.text(answers.cwd)}"
    else:
        yield from _comment("Where it runs; it has to be there inside.")
        yield '# cwd = "/tmp"'
    if answers.terminal != answers.base.terminal:
        yield ""
        yield from _comment("A terminal of its own: never, auto (where sbx has one), or always.")
        yield f"terminal = {inline(answers.terminal)}"


def _environment(answers: Answers) -> Iterator[str]:
    yield "[environment]"
    yield from _comment("Variables that it gets from the caller; all others are cleared.")
    yield from _array("pass", tuple(map(inline, answers.pass_)), example='["LANG", "LC_*"]')
    if answers.program.search:
        path = ":".join([*answers.program.search, answers.base.path])
        yield ""
        yield from _comment("Where the first lines of its scripts find their interpreters.")
        yield f"set = {{ PATH = {inline(path)} }}"


def _filesystem(answers: Answers, place: Place) -> Iterator[str]:
    def paths(*given: str) -> tuple[str, ...]:
        return tuple(map(place.text, dict.fromkeys(given)))

    yield "[filesystem]"
    yield from _comment(
        "May be read. Of all that is said about a path and those above it the most specific wins, "
        "whatever the order."
    )
    yield from _array("read", paths(*answers.read), example='["${profile_dir}"]')
    yield ""
    yield from _comment("May be read, changed, created and removed.")
    yield from _array("write", paths(*answers.write), example='["${profile_dir}/data"]')
    yield ""
    found = dict(answers.program.execute)
    for path, why in found.items():
        yield from _comment(f"{os.path.basename(path) or path}: {why}.")
    yield from _comment("Holds programs and libraries that it may run.")
    yield from _array("execute", paths(*found, *answers.execute), example='["/opt/tool"]')
    yield ""
    yield from _comment("Can't be opened, though a path above it is granted.")
    yield from _array("deny", paths(*answers.deny), example='["${profile_dir}/.git"]')


def _network(answers: Answers) -> Iterator[str]:
    base, reach = answers.base, answers.reach
    yield "[network]"
    yield from _comment(
        "none: a loopback of its own and nothing else. host: everything that this machine reaches."
    )
    mode = "host" if reach == "host" else "none"
    stated = mode != ("host" if base.reach == "host" else "none")
    yield f"{'' if stated else '# '}mode = {inline(mode)}"
    if reach == "host" and "resolv.conf" not in base.generated:
        yield ""
        yield "[rootfs]"
        yield from _comment("The host's name servers.")
        yield 'generate = ["resolv.conf"]'


def _calls(answers: Answers) -> Iterator[str]:
    yield "[seccomp]"
    yield from _comment(
        "Groups of system calls beyond the base's; sbx.toml(5) lists them. @network: sockets."
    )
    lacks = answers.reach != "none" and answers.base.reach == "none"
    yield from _array("allow", ('"@network"',) if lacks else (), example='["@network"]')


def _plain(word: str) -> str:
    try:
        word.encode()
    except UnicodeEncodeError:
        raise SandboxError(
            f"the argument '{word}' holds bytes that aren't UTF-8, so that no profile can name it",
            hint="give it on the command line: sbx run --profile ... -- COMMAND",
        ) from None
    return inline(word)


def _array(key: str, members: tuple[str, ...], *, example: str = "[]") -> Iterator[str]:
    """A list in one line where it fits, else a member to a line; an empty one as an example."""
    line = f"{key} = [{', '.join(members)}]"
    if not members:
        yield f"# {key} = {example}"
    elif len(line) <= _WIDTH:
        yield line
    else:
        yield f"{key} = ["
        yield from (f"    {member}," for member in members)
        yield "]"


def _comment(text: str) -> Iterator[str]:
    shown = "".join(c for c in text if c.isascii() and c.isprintable())
    yield from (f"# {line}" for line in textwrap.wrap(shown, _WIDTH, break_on_hyphens=False))
