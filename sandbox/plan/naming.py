"""Which place of the host's a path names, through whichever links its owner has made.

Two statements may name one place. What the payload may write to holds links of its own: those
aren't followed, here or at the launch (sandbox/plan/planted.py).
"""

from collections.abc import Collection

from sandbox.plan.inputs import Inputs
from sandbox.profile.links import Walked, parts, walk
from sandbox.profile.model import Profile


def follow(inputs: Inputs, path: str, base: str, places: Collection[str]) -> Walked:
    """Where a path leads; behind one of the `places` nothing is followed.

    `base` is what the root's tree lies in, empty for a path of the host's. A plan is for the links
    as they were found.
    """
    walked = walk(path, base, inputs.resolved.links.get, places)
    inputs.watch(*walked.links, follow=False, any_state=True)
    return walked


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
            if not found.end:
                self.places.add(found.real)
        # Each link that is followed is looked at by every launch. A tree's own are followed in the
        # kernel, so that it takes something writable for them to matter here.
        covers = (*files.deny, *files.mask)
        self._follows = bool(self.places) or (bool(covers) and not self.is_tree)

    def place(self, path: str) -> str:
        """Where a path of the root leads on the host.

        The path as it is where nobody can tell, or where it makes no difference: no name of the
        root's is written to or covered.
        """
        if not self._follows:
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
