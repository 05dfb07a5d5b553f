"""The symbolic links on the way to what a profile names on the host."""

import os
from collections.abc import Iterable, Mapping

from sandbox.profile.model import Profile

_STEPS_MAX = 256


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
    for path in paths:
        here, rest = base, parts(path)
        for _ in range(_STEPS_MAX):
            if not rest:
                break
            part = rest.pop(0)
            if part == "..":
                here = above(here, base)
                continue
            here = f"{here}/{part}"
            try:
                target = found.get(here) or os.readlink(here)
            except OSError:
                continue
            found[here] = target
            here = base if target.startswith("/") else above(here, base)
            rest = parts(target) + rest


def real_path(path: str, links: Mapping[str, str], base: str = "") -> tuple[str, tuple[str, ...]]:
    """Where a path leads by these links, and those of them that are on the way."""
    here, rest = base, parts(path)
    passed: list[str] = []
    for _ in range(_STEPS_MAX):
        if not rest:
            break
        part = rest.pop(0)
        if part == "..":
            here = above(here, base)
            continue
        here = f"{here}/{part}"
        if here in links:
            passed.append(here)
            target = links[here]
            here = base if target.startswith("/") else above(here, base)
            rest = parts(target) + rest
    return here or "/", tuple(passed)


def parts(path: str) -> list[str]:
    """The names that a path goes through; `..` is one."""
    return [part for part in path.split("/") if part not in {"", "."}]


def above(path: str, base: str) -> str:
    """The directory above, without a slash at the end and not above `base`."""
    return base if path == base else path.rpartition("/")[0]
