"""Which place of the host's a path names, through whichever links its owner has made.

Two statements may name one place. What the payload may write to holds links of its own: those
aren't followed, here or at the launch (sandbox/plan/planted.py).
"""

from collections.abc import Collection
from typing import NamedTuple

from sandbox.plan.inputs import Inputs
from sandbox.profile.links import above, parts
from sandbox.profile.model import Profile

_STEPS_MAX = 256


class Followed(NamedTuple):
    """Where a path leads."""

    real: str
    """With what the root's tree lies in, where the path is one of that tree."""
    place: str
    """The directory that the payload may write to, where the path leads into one."""
    changed: bool
    """There were links on the way."""


def follow(inputs: Inputs, path: str, base: str, places: Collection[str]) -> Followed:
    """Where a path leads; behind one of the `places` nothing is followed: the rest stands as it is.

    `base` is what the root's tree lies in, empty for a path of the host's.
    """
    links = inputs.resolved.links
    here, rest, changed = base, parts(path), False
    for _ in range(_STEPS_MAX):
        if not rest:
            break
        part = rest.pop(0)
        if part == "..":
            here = above(here, base)
            continue
        here = f"{here}/{part}"
        if here in links:
            inputs.watch(here, follow=False, any_state=True)
            target, changed = links[here], True
            here = base if target.startswith("/") else above(here, base)
            rest = parts(target) + rest
        elif rest and here in places:
            return Followed("/".join((here, *rest)), here, changed)
    return Followed(here or "/", "", changed)


class Names:
    """The paths of the root, by the places that they name."""

    def __init__(self, inputs: Inputs) -> None:
        profile = inputs.profile
        self.inputs = inputs
        self.base = base_of(profile)
        files = profile.filesystem
        self.is_tree = bool(self.base) or "/" in {*files.read, *files.write, *files.execute}
        self.places: set[str] = set()
        for base, path in sorted(_writable(profile, self.base), key=lambda found: len(found[1])):
            found = follow(inputs, path, base, self.places)
            if not found.place:
                self.places.add(found.real)

    def place(self, path: str) -> str:
        """Where a path of the root leads on the host; the path as it is where nobody can tell.

        Nothing is followed where the payload may write to nothing of the host's: each link that is
        followed is looked at by every launch.
        """
        if not self.places:
            return self.base + path
        real = follow(self.inputs, path, self.base, self.places).real
        return self.base + path if ".." in parts(real) else real

    def path(self, path: str) -> str:
        """The name by which a path is known that the root's tree shows by several.

        A root that is assembled has each name as it is written, and no links between them.
        """
        return (self.place(path)[len(self.base) :] or "/") if self.is_tree else path


def base_of(profile: Profile) -> str:
    """Where the root's tree lies on the host; empty for the host's own."""
    return ((profile.rootfs.type == "directory" and profile.rootfs.path) or "").rstrip("/")


def _writable(profile: Profile, base: str) -> list[tuple[str, str]]:
    """What the payload may write to on the host, each behind the tree that it is a path of."""
    files = profile.filesystem.write if profile.rootfs.overlay == "none" else ()
    mounts = (mount for mount in profile.mounts if mount.writable and mount.type == "bind")
    found = [(base, path) for path in files]
    found += (("", mount.source) for mount in mounts if mount.source)
    return [each for each in found if each[1] != "/"]
