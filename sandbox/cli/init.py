"""`sbx init`: a first profile for a program, from answers or from options."""

import os
import shlex
import stat
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, cast

import click

from sandbox._paths import working_directory
from sandbox.cli import output
from sandbox.cli.arguments import PROFILE, VARIABLE, WORD
from sandbox.cli.help import Verb
from sandbox.errors import EXIT_SANDBOX, SandboxError
from sandbox.profile.names import is_path

if TYPE_CHECKING:
    from sandbox.draft.bases import Base, Reach
    from sandbox.draft.program import Program
    from sandbox.profile import ResolvedProfile

PRINTED: Final = "-"
DEFAULT_BASE: Final = "minimal"
REACHES: Final = ("none", "loopback", "host")
# Distributions differ in them (sbx.toml(5)).
MAY_BE_MISSING: Final = {"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"}
TERMINALS: Final = ("never", "auto", "always")
_INTERPRETERS: Final = frozenset({"bash", "node", "perl", "php", "python", "ruby", "sh"})


@click.command(
    cls=Verb,
    short_help="Write a first profile for a program.",
    context_settings={"allow_interspersed_args": False},
)
@click.option(
    "--output",
    "-o",
    "target",
    type=click.Path(),
    metavar="FILE",
    help="Where to write the profile; '-' prints it. By default a file in this directory that is "
    "called like the program.",
)
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@click.option(
    "--extends",
    "-e",
    multiple=True,
    type=PROFILE,
    metavar="PROFILE",
    help="The profile to start from. By default the shipped one that is made for the program, "
    "else 'minimal'.",
)
@click.option(
    "--read",
    "-r",
    multiple=True,
    type=click.Path(),
    metavar="PATH",
    help="What it may read. By default the files that the command names.",
)
@click.option(
    "--write",
    "-w",
    multiple=True,
    type=click.Path(),
    metavar="PATH",
    help="What it may change as well.",
)
@click.option(
    "--execute",
    "-x",
    multiple=True,
    type=click.Path(),
    metavar="PATH",
    help="Where programs and libraries are that it may run, beside its own.",
)
@click.option(
    "--deny",
    "-d",
    multiple=True,
    type=click.Path(),
    metavar="PATH",
    help="What it can't open, though a path above it is granted.",
)
@click.option(
    "--network",
    type=click.Choice(REACHES),
    help="none; loopback: sockets within the sandbox; host: everything that this machine reaches.",
)
@click.option(
    "--pass",
    "pass_",
    multiple=True,
    type=VARIABLE,
    metavar="NAME",
    help="A variable that it gets from the caller; 'LC_*' takes all that start so.",
)
@click.option(
    "--terminal",
    type=click.Choice(TERMINALS),
    help="Whether it gets a terminal of its own.",
)
@click.option(
    "--set",
    "variables",
    multiple=True,
    metavar="NAME=VALUE",
    help="Give a variable of the base's [vars] another value.",
)
@click.option("--yes", "-y", is_flag=True, help="Take the defaults for everything that isn't said.")
@click.argument("words", nargs=-1, type=WORD, metavar="[--] [COMMAND...]")
def command(
    *,
    target: str | None,
    force: bool,
    extends: tuple[str, ...],
    read: tuple[str, ...],
    write: tuple[str, ...],
    execute: tuple[str, ...],
    deny: tuple[str, ...],
    network: str | None,
    pass_: tuple[str, ...],
    terminal: str | None,
    variables: tuple[str, ...],
    yes: bool,
    words: tuple[str, ...],
) -> int:
    """Write a commented profile that runs COMMAND.

    sbx looks at the program: an interpreter, a virtual environment or a directory of its own that
    it needs is granted. On a terminal it asks for everything that isn't said; elsewhere, and with
    --yes, what isn't said has its default. What is written has been checked as by `sbx check`.
    """
    from sandbox.cli import questions
    from sandbox.draft.compose import Answers, Place, compose

    if not working_directory():
        raise SandboxError(
            "the working directory doesn't exist any more", hint="change to another directory"
        )
    asking = not yes and sys.stdin.isatty() and sys.stderr.isatty()
    if target and not force:
        _refuse_existing(target)
    if not words:
        if not asking:
            raise SandboxError(
                "there is no command to write a profile for",
                hint="name one: sbx init -- COMMAND; on a terminal 'sbx init' asks for everything",
            )
        words = questions.ask_command(lambda given: _program(given, _base((DEFAULT_BASE,))))
    names = extends or _proposed(words, asking=asking)
    base = _base(names)
    program = _program(words, base)

    named = _named_files(words, base, program)
    reads, writes, denied = _paths(read) or named, _paths(write), _paths(deny)
    if asking:
        reads = reads if read else _paths(questions.ask_paths(questions.READ, _short(named)))
        writes = writes or _paths(questions.ask_paths(questions.WRITE))
        if (reads or writes) and not denied:
            denied = _paths(questions.ask_paths(questions.DENY))
        network = network or questions.ask_choice(questions.NETWORK, REACHES, base.reach)
        pass_ = pass_ or questions.ask_names(questions.PASS)
        terminal = terminal or questions.ask_choice(questions.TERMINAL, TERMINALS, base.terminal)
        target = target or questions.ask_file(_file_name(words))
    target = target or _file_name(words)
    if not force:
        _refuse_existing(target)

    own = tuple(path for path, _ in program.execute)
    given = dict(map(_variable, variables))
    granted = (*reads, *writes, *_paths(execute), *own)
    left_reads, left_writes, pinned = base.pinned(reads, writes, given)
    answers = Answers(
        command=words,
        base=replace(base, names=tuple(_named_from(name, target) for name in names)),
        program=program,
        read=tuple(path for path in left_reads if path not in writes),
        write=left_writes,
        execute=_paths(execute),
        deny=denied,
        vars=tuple({**pinned, **given}.items()),
        reach=cast("Reach", network or base.reach),
        pass_=pass_,
        terminal=terminal or base.terminal,
        cwd=os.getcwd() if any(_is_within(path, os.getcwd()) for path in granted) else "",
    )
    place = Place(
        directory=os.path.dirname(os.path.abspath(target)) if target != PRINTED else "",
        # Root's profiles may be for units of systemd, which have no HOME.
        home=_home() if os.geteuid() else "",
    )
    status = _deliver(compose(answers, place), target, force=force)
    if not status and target != PRINTED:
        _warn_of_the_launch(target, left_writes)
        if not (asking or extends or granted or base.shows(os.getcwd())):
            output.report(
                ["hint: it sees none of your files; --read . or --write . shows this directory"]
            )
    return status


def _variable(text: str) -> tuple[str, str]:
    """Name and value; a value that is a path here, such as `.`, is meant as that path."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise SandboxError(f"--set: '{text}' is not NAME=VALUE")
    is_here = value in {".", "~"} or value.startswith(("./", "../", "~/"))
    return name, _paths((value,))[0] if is_here else value


def _refuse_existing(target: str) -> None:
    from sandbox.draft import keep

    if target != PRINTED and os.path.lexists(target):
        raise keep.exists(target)


def _proposed(words: tuple[str, ...], *, asking: bool) -> tuple[str, ...]:
    """The profile to start from, where nobody has named one."""
    from sandbox.cli import questions
    from sandbox.draft.bases import fitting, shipped

    known = tuple(shipped(os.environ))
    proposed = fitting(words[0], known)
    return (questions.ask_base(known, proposed) if asking else proposed,)


def _base(names: tuple[str, ...]) -> "Base":
    """What the profiles of these names grant together. Raises ProfileError if one is wrong."""
    from sandbox.draft import bases, keep
    from sandbox.profile import load
    from sandbox.profile.text import string

    def one(name: str) -> "ResolvedProfile":
        return load(name, cwd=os.getcwd(), environ=os.environ)

    loaded = [one(name) for name in names]
    if len(names) > 1:
        inner = ", ".join(string(_named_from(name, PRINTED), variables=False) for name in names)
        with keep.unplaced(f"schema = 1\n[profile]\nextends = [{inner}]\n") as path:
            return bases.take(names, one(path), os.environ)
    return bases.take(names, loaded[0], os.environ)


def _named_from(name: str, target: str) -> str:
    """How the new file names a profile that it extends."""
    if not is_path(name):
        return name
    path = os.path.abspath(name)
    if target == PRINTED:
        return path
    relative = os.path.relpath(path, os.path.dirname(os.path.abspath(target)))
    return relative if is_path(relative) else f"./{relative}"


def _program(words: tuple[str, ...], base: "Base") -> "Program":
    from sandbox.draft.program import Program, inspect

    if base.foreign:  # its programs are those of another tree
        return Program(word=words[0], execute=(), search=())
    return inspect(
        words[0],
        base=base,
        cwd=os.getcwd(),
        home=_home(),
        caller_path=os.environ.get("PATH", ""),
    )


def _named_files(words: Sequence[str], base: "Base", program: "Program") -> tuple[str, ...]:
    """The files and directories that the command's arguments name, but for what is there anyway."""
    found: list[str] = []
    for word in words[1:]:
        path = word.partition("=")[2] if word.startswith("-") else word
        if path and "\0" not in path and os.path.lexists(path):
            found += _paths((path,))
    granted = [grant for grant, _ in program.execute]
    return tuple(
        path
        for path in dict.fromkeys(found)
        if path != "/" and not base.shows(path) and not any(_is_within(path, g) for g in granted)
    )


def _paths(given: Sequence[str]) -> tuple[str, ...]:
    """What the caller calls so, as absolute paths without `..`; each once."""
    found = []
    for path in given:
        if not path:
            raise SandboxError("an empty path", hint="the current directory is '.'")
        home = _home()
        if home and (path == "~" or path.startswith("~/")):
            path = home + path[1:]  # noqa: PLW2901 - no shell has replaced it in '--read=~/x'
        full = os.path.join(os.getcwd(), path)
        # Behind a symbolic link `..` leads elsewhere than the text says.
        found.append(os.path.realpath(full) if ".." in full.split("/") else os.path.normpath(full))
    return tuple(dict.fromkeys(path.replace("//", "/") for path in found))


def _short(paths: Sequence[str]) -> tuple[str, ...]:
    """Paths as one would type them here."""
    here = os.getcwd()
    return tuple(os.path.relpath(p, here) if _is_within(p, here) else p for p in paths)


def _is_within(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _home() -> str:
    home = os.environ.get("HOME", "")
    return os.path.normpath(home) if home.startswith("/") and home.strip("/") else ""


def _file_name(words: Sequence[str]) -> str:
    """`sort.toml` for sort, `server.toml` for ./server.py and for python3 server.py."""
    program, script = os.path.basename(words[0]), words[1] if len(words) > 1 else ""
    is_read = program.rstrip("0123456789.") in _INTERPRETERS and os.path.isfile(script)
    name = os.path.basename(script if is_read else words[0])
    stem = os.path.splitext(name)[0] if is_read or "/" in words[0] else name
    return f"{stem or name}.toml"


def _deliver(text: str, target: str, *, force: bool) -> int:
    """Check the profile, put it where it belongs, and say what comes next."""
    from sandbox.cli.check import check
    from sandbox.draft import keep

    if target == PRINTED:
        problems = keep.try_out(text, check=check, shown="the new profile")
        if not problems:
            click.echo(text, nl=False)
    else:
        problems = keep.put(text, target, check=check, replace=force)
    if problems:
        output.report_problems(problems)
        print("Nothing was written.", file=sys.stderr)
        return EXIT_SANDBOX
    if target == PRINTED:
        return 0
    # A word without a slash or an ending is the name of a shipped profile.
    name = shlex.quote(target if is_path(target) else f"./{target}")
    output.say(f"{output.printable(target)}: {output.paint('written', 'good', sys.stdout)}")
    for verb, what in (
        (f"plan {name}", "see what a launch does"),
        (f"run --profile {name}", "run it"),
    ):
        output.say(f"  sbx {output.printable(verb)}  # {what}")
    return 0


def _warn_of_the_launch(target: str, writes: Sequence[str]) -> None:
    """Say now what would keep the profile from working here as it is."""
    from sandbox.host import probe
    from sandbox.plan.compile import compile as compile_plan
    from sandbox.profile import load

    try:
        resolved = load(os.path.abspath(target), cwd=os.getcwd(), environ=os.environ)
        compile_plan(resolved, probe())
    except SandboxError as error:
        output.warn("the profile is sound, but this host can't start it:")
        output.report_error(error)
        return
    for path in _needed(resolved):
        if not os.path.lexists(path):
            output.warn(f"'{path}' isn't there yet; without it the sandbox won't start")
    if os.geteuid() == 0 and resolved.profile.identity.map in {"auto", "range"}:
        for path in writes:
            if os.path.exists(path) and not os.stat(path).st_mode & stat.S_IWOTH:
                output.warn(
                    f"'{path}' may not be writable inside: what root runs has a user id of its "
                    f"own there, which 'sbx plan' names; give it the directory, or: chmod o+w"
                )


def _needed(resolved: "ResolvedProfile") -> tuple[str, ...]:
    """The paths of the host without which a launch fails."""
    files = resolved.profile.filesystem
    listed = {*files.read, *files.write, *files.execute} - MAY_BE_MISSING
    if resolved.profile.rootfs.type != "host":
        listed = set()
    mounts = (m.source for m in resolved.profile.mounts if m.source and not m.optional)
    return tuple(sorted({*listed, *mounts}))
