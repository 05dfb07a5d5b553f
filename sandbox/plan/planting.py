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
    idmapped = any(mount.idmap for mount in profile.mounts)
    if directory is None or not (idmapped or has_callers_id(profile, uid)):
        return ()
    directory = os.path.realpath(directory)
    return tuple(
        resolved.problem(
            key,
            f"the payload may write to '{directory}', where sbx keeps compiled plans: it could leave "
            "one there that a later launch runs",
            f'protect it: filesystem.protect = ["{directory}"]',
        )
        for key, source, target in _writable(profile)
        if _is_within(source, directory) or _is_open(profile, source, target, directory)
    )


def _is_open(profile: Profile, source: str, target: str, directory: str) -> bool:
    """Whether a writable mount of `source` at `target` shows the cache, and nothing keeps it."""
    if not _is_within(directory, source):
        return False
    inside = target.rstrip("/") + directory[len(source.rstrip("/")) :]
    filesystem = profile.filesystem
    if any(_is_within(inside, os.path.realpath(path)) for path in filesystem.protect):
        return False
    # A mount keeps its own name; the directories above it can be renamed, and made anew.
    covers = [
        *filesystem.deny,
        *filesystem.mask,
        *(entry.path for entry in filesystem.tmpfs_entries()),
        *(mount.target for mount in profile.mounts if not mount.writable or mount.type != "bind"),
    ]
    beneath = (path for path in covers if os.path.dirname(path) == target)
    return not any(_is_within(inside, path) for path in beneath)


def has_callers_id(profile: Profile, uid: int) -> bool:
    """Whether the payload is, or can become, the user `uid` on the host, who starts it."""
    if uid != 0 or not profile.namespaces.user:
        return True
    return profile.identity.map in {"host", "root", "self"}


def _writable(profile: Profile) -> Iterator[tuple[KeyPath, str, str]]:
    """The host's directories that may be written to, where they appear, and who says so."""
    rootfs = profile.rootfs
    for index, path in enumerate(profile.filesystem.write if rootfs.overlay == "none" else ()):
        key: KeyPath = ("filesystem", "write", index)
        if rootfs.type == "host":
            yield key, os.path.realpath(path), os.path.realpath(path)
        else:
            yield key, os.path.realpath(f"{rootfs.path or ''}/{path}"), path
    for index, mount in enumerate(profile.mounts):
        if mount.type == "bind" and mount.writable and mount.source:
            yield ("mounts", index), os.path.realpath(mount.source), mount.target


def _is_within(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")
