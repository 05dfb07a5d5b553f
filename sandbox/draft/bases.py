"""The shipped profiles as something to start from: what they grant and which program they fit."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from sandbox.errors import SandboxError
from sandbox.plan import seccomp
from sandbox.profile import ResolvedProfile, load
from sandbox.profile.names import shipped_names, shipped_path
from sandbox.profile.source import open_source, parse_source

Reach: TypeAlias = Literal["none", "loopback", "host"]
"""The network as a person thinks of it: none, sockets among themselves, or the host's."""

DEFAULT = "minimal"
INNER_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A directory that a base mounts at a path of its own, often one that a variable names."""

    path: str
    writable: bool
    variables: tuple[str, ...]
    """Those that hold just this path here, and may hold another where the profile is used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What a profile to start from grants by itself."""

    names: tuple[str, ...]
    """As `extends` has them."""
    description: str
    execute: tuple[str, ...]
    visible: tuple[str, ...]
    """Every path that is there already, those of `execute` among them."""
    places: tuple[Place, ...]
    """Where it mounts directories of the host by itself: no rule may name the same path."""
    generated: tuple[str, ...]
    path: str
    """Where the payload looks for commands."""
    reach: Reach
    terminal: str
    command: tuple[str, ...]
    vars: tuple[tuple[str, str], ...]
    """The variables that it leaves to choose, as their files write them."""
    foreign: bool
    """The root is a tree of its own: what this host has says nothing."""

    def executes(self, path: str) -> bool:
        """Whether the file at `path` can be started without a further grant."""
        return _covered(path, self.execute) and _covered(os.path.realpath(path), self.execute)

    def runs(self, command: tuple[str, ...]) -> bool:
        """Whether the base's own command is what somebody means who names the program alone."""
        names = [os.path.basename(words[0]) for words in (command, self.command) if words]
        return len(command) == 1 and len(names) == 2 and names[0] == names[1]

    def pinned(
        self, reads: tuple[str, ...], writes: tuple[str, ...], given: Mapping[str, str]
    ) -> tuple[tuple[str, ...], tuple[str, ...], dict[str, str]]:
        """What is left to grant, and the variables to set so that the base grants the rest.

        A directory that the base mounts by itself can't be granted once more. A variable that
        names it by the place where sbx was started gets it for good. `given` are variables that
        have another value than the base's already.
        """
        mounted: dict[str, bool] = {}
        variables: dict[str, str] = {}
        for place in self.places:
            values = [given[name] for name in place.variables if name in given]
            path = values[0] if values else place.path
            mounted[path] = place.writable
            if not values and (path in reads or (path in writes and place.writable)):
                variables.update(dict.fromkeys(place.variables, path))
        return (
            tuple(path for path in reads if path not in mounted),
            tuple(path for path in writes if not mounted.get(path)),
            variables,
        )

    def shows(self, path: str) -> bool:
        """Whether `path` can be read without a further grant."""
        return _covered(path, self.visible)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """A shipped profile, as a list shows it."""

    name: str
    description: str
    extends: tuple[str, ...]
    command: tuple[str, ...]


def shipped(environ: Mapping[str, str]) -> Iterator[Shipped]:
    """All shipped profiles, in order of name.

    One whose variables this environment can't fill is listed too, without its command.
    """
    for name in shipped_names():
        # What doesn't depend on the environment is said by the file alone.
        stated = parse_source(open_source(shipped_path(name), shown=name)).data
        about = stated.get("profile", {})
        extends = about.get("extends", ())
        try:
            # Somewhere: what depends on the place isn't what is asked for.
            command = load(
                name, cwd="/srv/here", environ={"HOME": "/home/here", **environ}
            ).profile.process.command
        except SandboxError:
            command = ()
        yield Shipped(
            name=name,
            description=about.get("description", ""),
            extends=(extends,) if isinstance(extends, str) else tuple(extends),
            command=command,
        )


def fitting(command: str, known: tuple[Shipped, ...]) -> str:
    """The shipped profile to start from for a program of this name."""
    word = os.path.basename(command)
    found = [p.name for p in known if p.command and os.path.basename(p.command[0]) == word]
    # A profile that runs sh isn't one for sh unless it is called so: `interactive` isn't.
    named = [name for name in found if _is_named_after(name, word)]
    return min(named, key=len, default=DEFAULT)


def _is_named_after(profile: str, word: str) -> bool:
    """`git` for git, `redis` for redis-server, `sqlite` for sqlite3; not `node-service` for node."""
    longer = profile.removeprefix(word)
    return (
        profile in {word, word.rstrip("0123456789")}
        or word.startswith(f"{profile}-")
        or (longer != profile and longer.isalpha())
    )


def take(names: tuple[str, ...], loaded: ResolvedProfile, environ: Mapping[str, str]) -> Base:
    """What the profile grants that `names` extend, given as it is loaded."""
    profile = loaded.profile
    files = profile.filesystem
    mounted = [mount for mount in profile.mounts if not mount.optional or _there(mount.source)]
    execute = (*files.execute, *(mount.target for mount in mounted if mount.execute))
    passes_path = "PATH" in profile.environment.pass_ and "PATH" in environ
    return Base(
        names=names,
        description=profile.profile.description,
        execute=execute,
        visible=(*execute, *files.read, *files.write, *(mount.target for mount in mounted)),
        places=tuple(
            Place(
                path=mount.target,
                writable=mount.writable,
                variables=tuple(n for n, value in profile.vars.items() if value == mount.target),
            )
            for mount in mounted
        ),
        generated=tuple(profile.rootfs.generate),
        path=profile.environment.set.get("PATH")
        or (environ["PATH"] if passes_path else INNER_PATH),
        reach=_reach(loaded),
        terminal=profile.process.terminal,
        command=profile.process.command,
        vars=tuple(_variables(loaded).items()),
        foreign=profile.rootfs.type == "directory",
    )


def _variables(loaded: ResolvedProfile) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in reversed(loaded.files):
        found |= parse_source(open_source(path, shown=path)).data.get("vars", {})
    return found


def _there(source: str | None) -> bool:
    return source is not None and os.path.exists(source)


def _reach(loaded: ResolvedProfile) -> Reach:
    if loaded.profile.network.mode == "host":
        return "host"
    return "loopback" if _may_make_sockets(loaded) else "none"


def _may_make_sockets(loaded: ResolvedProfile) -> bool:
    """Whether the filter lets a program make the sockets that ordinary programs use."""
    table = loaded.profile.seccomp
    if not table.enabled:
        return True
    policy = seccomp.policy_from_profile(table)
    for verdict in seccomp.explain(policy, os.uname().machine):
        if verdict.call == "socket":
            return "allow" in {verdict.action, *(case[1] for case in verdict.conditions)}
    return False


def _covered(path: str, grants: tuple[str, ...]) -> bool:
    return any(path == grant or path.startswith(grant.rstrip("/") + "/") for grant in grants)
