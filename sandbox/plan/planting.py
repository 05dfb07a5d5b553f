"""Whether the payload could leave a plan in the cache that a later launch of the caller's runs.

The cache is its owner's, who may put anything there; a profile that grants it to the payload makes
the payload that owner.
"""

import os
from collections.abc import Iterator, Mapping

from sandbox._paths import cache_dir
from sandbox.errors import Problem
from sandbox.profile.model import Profile
from sandbox.profile.resolved import KeyPath, ResolvedProfile


def planting(
    resolved: ResolvedProfile, environ: Mapping[str, str], uid: int
) -> tuple[Problem, ...]:
    """A problem for each statement that grants writing to the cache of this caller's."""
    directory = cache_dir(environ, uid)
    profile = resolved.profile
    if directory is None or not _is_owner(profile, uid):
        return ()
    directory = os.path.realpath(directory)
    guards = [*profile.filesystem.deny, *profile.filesystem.mask, *profile.filesystem.protect]
    if any(_is_within(directory, os.path.realpath(guard)) for guard in guards):
        return ()
    return tuple(
        resolved.problem(
            key,
            f"the payload may write to '{directory}', where sbx keeps compiled plans: it could leave "
            "one there that a later launch runs",
            f'protect it: filesystem.protect = ["{directory}"]',
        )
        for key, source, target in _writable(profile)
        if _is_within(source, directory)
        or (_is_within(directory, source) and not _is_covered(profile, directory, source, target))
    )


def _is_owner(profile: Profile, uid: int) -> bool:
    """Whether the payload has the caller's id on the host, or mounts that make it look so."""
    if uid != 0 or not profile.namespaces.user:
        return True
    return profile.identity.map in {"host", "root", "self"} or any(m.idmap for m in profile.mounts)


def _writable(profile: Profile) -> Iterator[tuple[KeyPath, str, str]]:
    """The host's directories that may be written to and where they are, with the statements that say so."""
    if profile.rootfs.type == "host" and profile.rootfs.overlay == "none":
        for index, path in enumerate(profile.filesystem.write):
            yield ("filesystem", "write", index), os.path.realpath(path), os.path.realpath(path)
    for index, mount in enumerate(profile.mounts):
        if mount.type == "bind" and mount.writable and mount.source:
            target = os.path.realpath(mount.target)
            yield ("mounts", index), os.path.realpath(mount.source), target


def _is_covered(profile: Profile, directory: str, source: str, target: str) -> bool:
    """Whether a more specific statement puts something else where the directory would be seen."""
    seen = os.path.normpath(os.path.join(target, os.path.relpath(directory, source)))
    return any(_is_within(seen, path) and len(path) > len(target) for path in _others(profile))


def _others(profile: Profile) -> Iterator[str]:
    """Where something else is than a directory of the host's that may be written to."""
    yield from map(os.path.realpath, (*profile.filesystem.read, *profile.filesystem.execute))
    for entry in profile.filesystem.tmpfs:
        yield os.path.realpath(entry if isinstance(entry, str) else entry.path)
    for mount in profile.mounts:
        if mount.type != "bind" or not mount.writable:
            yield os.path.realpath(mount.target)


def _is_within(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")
