"""The symbolic links on the way to what a profile names on the host, and where they lead."""

import os
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from sandbox.profile.model import Profile

_LINKS_MAX = 40
"""As many as the kernel follows (path_resolution(7)); what is behind one more stands as it is."""


class Walked(NamedTuple):
    """Where a path leads."""

    real: str
    """With what the root's tree lies in, where the path is one of that tree."""
    end: str
    """The place behind which nothing was followed; empty where it came by none."""
    links: tuple[str, ...]
    """Those that were on the way."""


def walk(
    path: str, base: str, target_of: Callable[[str], str | None], ends: Collection[str] = ()
) -> Walked:
    """Follows a path link by link; behind one of the `ends` the rest stands as it is.

    `base` is what the root's tree lies in, empty for a path of the host's; `target_of` says what
    a link holds, None for what is none.
    """
    here, rest = base, parts(path)
    links: list[str] = []
    while rest:
        part = rest.pop(0)
        if part == "..":
            here = above(here, base)
            continue
        here = f"{here}/{part}"
        target = target_of(here) if len(links) < _LINKS_MAX else None
        if target is not None:
            links.append(here)
            here = base if target.startswith("/") else above(here, base)
            rest = parts(target) + rest
        elif rest and here in ends:
            return Walked("/".join((here, *rest)), here, tuple(links))
    return Walked(here or "/", "", tuple(links))


def links_of(profile: Profile) -> dict[str, str]:
    """What each link on the way to a path of `[filesystem]` or to a source says, by the link's path."""
    files, rootfs = profile.filesystem, profile.rootfs
    base = rootfs.path if rootfs.type == "directory" and rootfs.path else ""
    found: dict[str, str] = {}
    mounts = profile.mounts
    _look((*files.read, *files.write, *files.execute, *files.protect), base, found)
    _look((*files.deny, *files.mask, *(entry.path for entry in files.tmpfs_entries())), base, found)
    _look((mount.target for mount in mounts), base, found)
    sources = [path for mount in mounts for path in (mount.source, mount.upper, *mount.lower)]
    sources += (secret.file for secret in profile.secrets.values())
    sources += (base, rootfs.overlay)
    _look((path for path in sources if path and path.startswith("/")), "", found)
    return found


def _look(paths: Iterable[str], base: str, found: dict[str, str]) -> None:
    def target_of(path: str) -> str | None:
        try:
            return found.setdefault(path, found.get(path) or os.readlink(path))
        except OSError:
            return None

    for path in paths:
        walk(path, base, target_of)


def parts(path: str) -> list[str]:
    """The names that a path goes through; `..` is one."""
    return [part for part in path.split("/") if part not in {"", "."}]


def above(path: str, base: str) -> str:
    """The directory above, without a slash at the end and not above `base`."""
    return base if path == base else path.rpartition("/")[0]
