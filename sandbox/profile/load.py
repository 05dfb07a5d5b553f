"""The way from a name on the command line to a resolved profile."""

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeAlias

import msgspec

from sandbox.errors import Problem, ProfileError
from sandbox.profile.consistency import check_consistency
from sandbox.profile.graph import Graph, read_graph, source_graph
from sandbox.profile.links import links_of
from sandbox.profile.merge import COMMAND_LINE, Merged, Statement, collect, merge
from sandbox.profile.model import Profile
from sandbox.profile.names import suggestion
from sandbox.profile.resolved import KeyPath, Origin, Overrides, ResolvedProfile, key_text
from sandbox.profile.seals import check_seals
from sandbox.profile.source import MAXIMUM_PROBLEMS, SourceFile
from sandbox.profile.validate import Checked, check_file
from sandbox.profile.variables import NO_DIRECTORY, UNSET, Definition, InvalidError, Variables

_Place: TypeAlias = Callable[[KeyPath], Statement | None]
_ON_COMMAND_LINE = "command line"
_ABOUT_RUNTIME = ("SBX_RUNTIME_DIR", "XDG_RUNTIME_DIR")


def load(
    path_or_name: str,
    *,
    cwd: str,
    environ: Mapping[str, str],
    overrides: Overrides = Overrides(),  # noqa: B008  it is frozen
) -> ResolvedProfile:
    """Read a profile and all that it extends, check everything, and merge it.

    `cwd` is absolute, or empty where there is none any more; relative names start there and
    `${cwd}` stands for it. Raises ProfileError with every problem that was found.
    """
    return _resolve(read_graph(path_or_name, cwd=cwd), cwd, environ, overrides)


def load_source(
    source: SourceFile,
    given: Mapping[str, SourceFile],
    *,
    cwd: str,
    environ: Mapping[str, str],
    overrides: Overrides = Overrides(),  # noqa: B008  it is frozen
) -> ResolvedProfile:
    """The same for a profile that a program has made; `given` are others that it may extend."""
    return _resolve(source_graph(source, given), cwd, environ, overrides)


def _resolve(
    graph: Graph, cwd: str, environ: Mapping[str, str], overrides: Overrides
) -> ResolvedProfile:
    variables, problems = _variables(graph, overrides, environ, cwd)
    checked = [
        check_file(file, partial(variables.expand, directory=file.directory))
        for file in graph.files
    ]
    found = (p for file in checked for p in _with_remedies(file, overrides))
    problems = (*graph.problems, *found, *problems)
    _raise_any(problems)
    over: dict[KeyPath, Any] = {("vars", name): text for name, text in overrides.vars.items()}
    if overrides.command:
        over["process", "command"] = list(overrides.command)
    statements = collect([file.data for file in checked], over)
    merged = merge(statements, graph)
    uses = [file.uses for file in checked]
    _raise_any((*merged.problems, *check_seals(statements, graph, uses)))
    resolved = _resolved(graph, merged, variables, cwd)
    _raise_any(check_consistency(resolved))
    return resolved


def _raise_any(problems: tuple[Problem, ...]) -> None:
    if problems:
        files = list(dict.fromkeys(problem.file for problem in problems))
        ordered = sorted(
            dict.fromkeys(problems), key=lambda p: (files.index(p.file), p.line, p.column)
        )
        raise ProfileError(tuple(_unset_once(ordered)))


def _unset_once(problems: list[Problem]) -> Iterator[Problem]:
    """What the caller lacks (a variable, a working directory) is one problem, however often used."""
    told: set[str] = set()
    for problem in problems:
        if not (problem.reason in told and problem.reason.startswith((UNSET, NO_DIRECTORY))):
            yield problem
        told.add(problem.reason)


def _with_remedies(file: Checked, overrides: Overrides) -> Iterator[Problem]:
    """A file's problems; for what should be a path and is the command line's the remedy is there."""
    names = {key_text(path): sorted(names) for path, names in file.uses.items()}
    for problem in file.problems:
        given = [name for name in names.get(problem.key, ()) if name in overrides.vars]
        if given and problem.reason.endswith("isn't an absolute path"):
            absolute = _in_shell(overrides.vars[given[0]])
            yield problem._replace(hint=f'did you mean --set {given[0]}="{absolute}"?')
        else:
            yield problem


def _in_shell(path: str) -> str:
    """A relative path as a shell makes it absolute within double quotes."""
    start, rest = ("$HOME", path[1:]) if path[:1] == "~" else ("$PWD", "/" + path)
    rest = "".join(f"/{part}" for part in rest.split("/") if part not in {"", "."})
    plain = rest.replace("/", "").translate(str.maketrans("", "", ".-_ "))
    return f"{start}{rest}" if not plain or plain.isalnum() else f"{start}/..."


def _variables(
    graph: Graph, overrides: Overrides, environ: Mapping[str, str], cwd: str
) -> tuple[Variables, tuple[Problem, ...]]:
    """The variables in force, and what is wrong with them once all files are known."""
    tables = [_definitions(file) for file in graph.files]
    known = sorted({name for table in tables for name in table})
    over: dict[KeyPath, Any] = {
        ("vars", name): Definition(text, None) for name, text in overrides.vars.items()
    }
    merged = merge(collect([{"vars": table} for table in tables], over), graph)
    definitions: dict[str, Definition] = merged.data.get("vars", {})
    variables = Variables(definitions, environ=environ, cwd=cwd)
    problems = list(merged.problems)
    for name in definitions:
        if len(problems) >= MAXIMUM_PROBLEMS:
            break
        statement = merged.trace["vars", name]
        if statement.file == COMMAND_LINE:
            if name not in known:
                problems.append(_not_a_variable(name, known))
            continue
        file = graph.files[statement.file]
        try:
            variables.expand(f"${{{name}}}", file.directory)
        except InvalidError as error:
            problems.append(file.problem(statement.path, error.reason, error.hint))
    return variables, tuple(problems)


def _not_a_variable(name: str, known: list[str]) -> Problem:
    reason = f"the profile has no variable '{name[:64]}'"
    hint = suggestion(name, known)
    if not hint and known:
        hint = f"it has {', '.join(sorted(known))}"
    return Problem(_ON_COMMAND_LINE, 0, 0, f"vars.{name[:64]}", reason, hint)


def _definitions(file: SourceFile) -> dict[str, Definition]:
    """The well-formed variables of a file; the walk over it reports the others."""
    table = file.data.get("vars")
    items = table.items() if isinstance(table, dict) else ()
    return {name: Definition(text, file.directory) for name, text in items if isinstance(text, str)}


def _resolved(graph: Graph, merged: Merged, variables: Variables, cwd: str) -> ResolvedProfile:
    main = graph.files[0]
    data = merged.data
    about = data.setdefault("profile", {})
    name = os.path.basename(main.path) if main.is_file else main.shown
    file_name = os.fsencode(name).decode(errors="replace")
    about.setdefault("name", file_name.removesuffix(".toml"))
    for name in data.get("vars", {}):
        data["vars"][name] = variables.expand(f"${{{name}}}", main.directory)
    place = partial(_place, merged)
    profile = msgspec.convert(data, Profile)
    return ResolvedProfile(
        profile=profile,
        known_as=main.path if main.is_file else main.shown,
        files=tuple(file.path for file in graph.files if file.is_file),
        stamps=tuple(file.stamp for file in graph.files if file.is_file),
        environment=variables.environment,
        uses_cwd=variables.uses_cwd,
        looked_at=variables.looked_at,
        markers=variables.markers,
        caller={name: _paths_of(variables.of_caller(name)) for name in _ABOUT_RUNTIME},
        links=links_of(profile),
        cwd=cwd,
        locate=partial(_locate, graph, place),
        report=partial(_report, graph, place),
    )


def _paths_of(value: str | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    return (value, os.path.realpath(value)) if value.startswith("/") else (value,)


def _place(merged: Merged, path: KeyPath) -> Statement | None:
    """The statement at or around `path`, with the path in its file; None for a default."""
    value: Any = merged.data
    for name in path:
        try:
            value = value[name]
        except (LookupError, TypeError):
            return None
    for length in range(len(path), 0, -1):
        statement = merged.trace.get(path[:length])
        if statement is not None:
            return statement._replace(path=(*statement.path, *path[length:]))
    for inside, statement in merged.trace.items():
        if inside[: len(path)] == path and statement.file != COMMAND_LINE:
            return statement._replace(path=path)
    return None


def _locate(graph: Graph, place: _Place, path: KeyPath) -> Origin | None:
    statement = place(path)
    if statement is None:
        return None
    if statement.file == COMMAND_LINE:
        return Origin(_ON_COMMAND_LINE, 0, 0)
    return graph.files[statement.file].origin(statement.path)


def _report(graph: Graph, place: _Place, path: KeyPath, reason: str, hint: str) -> Problem:
    for length in range(len(path), 0, -1):
        statement = place(path[:length])
        if statement is not None and statement.file != COMMAND_LINE:
            problem = graph.files[statement.file].problem(statement.path, reason, hint)
            return problem._replace(key=key_text((*statement.path, *path[length:])))
        if statement is not None:
            return Problem(_ON_COMMAND_LINE, 0, 0, key_text(path), reason, hint)
    return Problem(graph.files[0].shown, 0, 0, key_text(path), reason, hint)
