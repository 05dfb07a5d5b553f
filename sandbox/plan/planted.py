"""Names that are the payload's own: links there aren't followed, since a run could have left them.

A payload that may write to a directory can put a link in the place of what the profile mounts from
within it, and the next launch would show it what lies where the link leads (CVE-2024-42472). Which
names these are doesn't depend on how the profile writes them: links that the host's owner has made
are followed here, so that a directory is known by each of its names.
"""

import os
from collections.abc import Iterator
from typing import NamedTuple

from sandbox.plan.inputs import Inputs
from sandbox.plan.naming import base_of, follow
from sandbox.plan.nodes import Kind, Right, Tree
from sandbox.profile.resolved import KeyPath


class Source(NamedTuple):
    """A path of the host's, and how far it is trusted."""

    path: str
    trusted: int
    """So many bytes of the path lie above what the payload may write to; 0 if all of them do."""
    place: str = ""
    """The directory that the payload may write to, where the path leads into one."""


class Planted:
    """Where the payload may write to on the host, and what is named below it."""

    def __init__(self, inputs: Inputs, tree: Tree) -> None:
        profile = inputs.profile
        self.inputs = inputs
        self.base = base_of(profile)
        self.places: set[str] = set()
        to_host = profile.rootfs.overlay == "none"
        for base, path in sorted(_writable(tree, to_host=to_host), key=lambda found: len(found[1])):
            found = follow(inputs, path, self.base if base else "", self.places)
            if not found.end:  # else it is a part of one that is known
                self.places.add(found.real)

    def source(self, path: str, *, of_root: bool = False) -> Source:
        """A source as the plan is to open it.

        `path` is one of the host's, or with `of_root` one of the tree that is the root. A link of
        the host's owner that leads to what the payload may write to is replaced by what it says.
        """
        base = self.base if of_root else ""
        if not self.places:
            return Source(path, 0)
        real, place, links = follow(self.inputs, path, base, self.places)
        if not place:
            return Source(path, 0)
        text = real[len(base) :] if links else path
        return Source(text, max(len(os.fsencode(place)) + 1 - len(os.fsencode(base)), 1), place)

    def refuse(self, path: str, key: KeyPath) -> None:
        """For what no link may be followed to at all, neither here nor in the kernel."""
        place = self.source(path).place
        if place:
            self.inputs.conflict(
                key,
                f"'{path}' lies in '{place}', which the payload may write to: a link that it leaves there "
                "would lead the next launch elsewhere",
                "put it beside that directory, or grant less",
            )


def _writable(tree: Tree, *, to_host: bool) -> Iterator[tuple[bool, str]]:
    """Directories of the host's that the payload may write to, each behind whether the root's tree has it.

    Not the root itself: who may write to it sees it all, and a link there leads to nothing else. Without
    `to_host` what is written to the root goes to an overlay's layer.
    """
    for node in tree.nodes:
        if not node.rights & Right.WRITE:
            continue
        if node.kind == Kind.HOST and to_host:
            of_root, path = True, node.path
        elif node.mount and node.mount.type == "bind":
            of_root, path = False, node.mount.source or node.path
        else:
            continue
        if path.rstrip("/"):
            yield of_root, path.rstrip("/")
