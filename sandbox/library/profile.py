"""Profiles as a program has them: from files, from text, or built in code."""

import os
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, NamedTuple, Self, TypeAlias

from sandbox._paths import working_directory
from sandbox.profile.load import load, load_source
from sandbox.profile.model import SCHEMA_VERSION
from sandbox.profile.model import Profile as Model
from sandbox.profile.names import is_path, join
from sandbox.profile.resolved import Overrides, ResolvedProfile
from sandbox.profile.source import SourceFile, data_source, text_source
from sandbox.profile.values import Table

Tables: TypeAlias = Table | Mapping[str, Any]
Entries: TypeAlias = Iterable[Table | Mapping[str, Any]]
Name: TypeAlias = "str | os.PathLike[str] | Profile"

_IN_CODE: Final = "profile in code"


class _State(NamedTuple):
    """What a profile is: itself, the name by which others extend it, and what they need for that.

    `given` are the profiles in code that it is made from, `variables` what was given other values.
    """

    resolved: ResolvedProfile
    reference: str
    given: Mapping[str, SourceFile]
    variables: Mapping[str, str]


class _Bases:
    """What the profiles that others extend bring along."""

    def __init__(self) -> None:
        self.given: dict[str, SourceFile] = {}
        self.variables: dict[str, str] = {}

    def add(self, state: _State) -> str:
        self.given.update(state.given)
        self.variables.update(state.variables)
        return state.reference


class Profile:
    """What a program may do: a checked profile, which can't be changed any more.

    The arguments are the tables of sbx.toml(5), as mappings of the same keys or as the structs of
    `sandbox.profile.model` (of which the fields that differ from their defaults count). Lists may
    be any sequence or set, paths any path object; None is as if it were left out. `extends` takes
    names of shipped profiles, paths, and other profiles. `directory` is what `${profile_dir}` and
    relative paths in `extends` mean, the current directory by default.

    Raises ProfileError with everything that is wrong.
    """

    __slots__ = ("_state",)

    _state: _State

    def __init__(
        self,
        *,
        name: str | None = None,
        description: str | None = None,
        extends: "Name | Sequence[Name]" = (),
        sealed: Iterable[str] | None = None,
        optional: Iterable[str] | None = None,
        vars: Mapping[str, str] | None = None,  # noqa: A002 - the table's name
        process: Tables | None = None,
        environment: Tables | None = None,
        identity: Tables | None = None,
        namespaces: Tables | None = None,
        rootfs: Tables | None = None,
        filesystem: Tables | None = None,
        mounts: Entries | None = None,
        landlock: Tables | None = None,
        capabilities: Tables | None = None,
        seccomp: Tables | None = None,
        devices: Tables | None = None,
        network: Tables | None = None,
        rlimits: Tables | None = None,
        resources: Tables | None = None,
        service: Tables | None = None,
        secrets: Tables | None = None,
        directory: str | os.PathLike[str] | None = None,
    ) -> None:
        about = {
            "name": name,
            "description": description,
            "extends": extends or None,
            "sealed": sealed,
            "optional": optional,
        }
        tables = {
            "schema": SCHEMA_VERSION,
            "profile": about,
            "vars": vars,
            "process": process,
            "environment": environment,
            "identity": identity,
            "namespaces": namespaces,
            "rootfs": rootfs,
            "filesystem": filesystem,
            "mounts": mounts,
            "landlock": landlock,
            "capabilities": capabilities,
            "seccomp": seccomp,
            "devices": devices,
            "network": network,
            "rlimits": rlimits,
            "resources": resources,
            "service": service,
            "secrets": secrets,
        }
        self._state = _from_tables(tables, directory, None)

    @classmethod
    def load(
        cls,
        path_or_name: str | os.PathLike[str],
        *,
        vars: Mapping[str, str] | None = None,  # noqa: A002
    ) -> Self:
        """The profile of a file, or the shipped one of that name, as the command line takes them.

        `vars` gives variables of [vars] other values. Raises ProfileError.
        """
        named = os.fspath(path_or_name)
        if not isinstance(path_or_name, str) and not is_path(named):
            named = os.path.join(os.curdir, named)
        return cls._of(_from_file(named, vars))

    @classmethod
    def from_toml(
        cls,
        text: str,
        *,
        vars: Mapping[str, str] | None = None,  # noqa: A002
        directory: str | os.PathLike[str] | None = None,
    ) -> Self:
        """The profile that a text says, with places in it in errors. Raises ProfileError."""
        source = text_source(text, shown="profile text", directory=_absolute(directory))
        return cls._of(_from_source(source, {}, vars))

    @classmethod
    def from_dict(
        cls,
        tables: Mapping[str, Any],
        *,
        vars: Mapping[str, str] | None = None,  # noqa: A002
        directory: str | os.PathLike[str] | None = None,
    ) -> Self:
        """The profile of tables such as tomllib or json read them, `schema` included.

        Raises ProfileError.
        """
        return cls._of(_from_tables(tables, directory, vars))

    def derive(self, **tables: Any) -> "Profile":
        """A profile that extends this one; the arguments are the constructor's."""
        return Profile(extends=self, **tables)

    @property
    def resolved(self) -> ResolvedProfile:
        """The profile with all that it extends, and what it was made from."""
        return self._state.resolved

    @property
    def model(self) -> Model:
        """All tables with every default, as typed structs."""
        return self.resolved.profile

    def __repr__(self) -> str:
        return f"<Profile {self.model.profile.name!r}>"

    @classmethod
    def _of(cls, state: _State) -> Self:
        made = cls.__new__(cls)
        made._state = state  # noqa: SLF001 - the same class's
        return made

    def _added_to(self, bases: _Bases) -> str:
        """The name by which another profile extends this one."""
        return bases.add(self._state)


def _from_file(name: str, variables: Mapping[str, str] | None) -> _State:
    cwd = working_directory()
    resolved = load(name, cwd=cwd, environ=_environ(), overrides=_overrides(variables))
    return _State(resolved, join(cwd, name) if is_path(name) else name, {}, dict(variables or {}))


def _from_tables(
    tables: Mapping[str, Any],
    directory: str | os.PathLike[str] | None,
    variables: Mapping[str, str] | None,
) -> _State:
    bases = _Bases()
    data = _plain(tables, bases)
    about = data.get("profile")
    shown = _IN_CODE
    if isinstance(about, dict) and isinstance(about.get("name"), str):
        shown = f"{_IN_CODE} '{about['name'][:64]}'"
    source = data_source(data, shown=shown, directory=_absolute(directory))
    return _from_source(source, bases.given, {**bases.variables, **(variables or {})})


def _from_source(
    source: SourceFile, given: Mapping[str, SourceFile], variables: Mapping[str, str] | None
) -> _State:
    resolved = load_source(
        source, given, cwd=working_directory(), environ=_environ(), overrides=_overrides(variables)
    )
    reference = f"in-code-{source.stamp.inode}"
    return _State(resolved, reference, {**given, reference: source}, dict(variables or {}))


def _plain(value: Any, bases: _Bases) -> Any:
    """What TOML would have: tables, lists, text and numbers; the rest stays, and is refused."""
    if isinstance(value, Profile):
        return value._added_to(bases)  # noqa: SLF001 - the same class's
    if isinstance(value, Table):
        return {name: _plain(item, bases) for name, item in _stated(value)}
    if isinstance(value, Mapping):
        items = ((str(name), item) for name, item in value.items() if item is not None)
        return {name: _plain(item, bases) for name, item in items}
    if isinstance(value, AbstractSet):
        return sorted((_plain(item, bases) for item in value), key=str)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | bytearray):
        return [_plain(item, bases) for item in value]
    return value


def _stated(table: Table) -> Iterable[tuple[str, Any]]:
    """The fields of a struct that say something else than their defaults."""
    bare = type(table)
    required = len(bare.__struct_fields__) - len(bare.__struct_defaults__)
    for index, (name, field) in enumerate(
        zip(bare.__struct_encode_fields__, bare.__struct_fields__, strict=True)
    ):
        value = getattr(table, field)
        if index < required or value != _default(bare.__struct_defaults__[index - required]):
            yield name, value


def _default(default: Any) -> Any:
    factory = getattr(default, "factory", None)
    return factory() if factory is not None else default


def _absolute(directory: str | os.PathLike[str] | None) -> str:
    return working_directory() if directory is None else os.path.abspath(os.fspath(directory))


def _environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name}


def _overrides(variables: Mapping[str, str] | None) -> Overrides:
    return Overrides(vars=dict(variables or {}))
