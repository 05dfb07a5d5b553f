"""Statements about paths of the payload's root, and the tree that those which hold make up."""

from collections.abc import Iterator, Mapping
from enum import IntEnum, IntFlag
from typing import Final

import msgspec

from sandbox.profile.files import Mount
from sandbox.profile.resolved import KeyPath


class Right(IntFlag):
    """What a statement lets the payload do beneath a path."""

    READ = 1
    WRITE = 2
    EXECUTE = 4


class Kind(IntEnum):
    """What a statement puts at its path. Of several at one path the highest number holds."""

    HOST = 0  # what filesystem.read, write and execute name
    SHOWN = 1  # the same, but a mount above shows it with these very rights already
    LINK = 2
    PROTECTED = 3
    TMPFS = 4
    PROC = 5
    DEV = 6
    NODE = 7
    PTS = 8
    FILE = 9
    MOUNT = 10
    NOTIFY = 11
    SECRETS = 12
    MASK = 13
    DENY = 14


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One statement about a path."""

    path: str
    kind: Kind
    origin: KeyPath
    rights: Right = Right(0)
    mount: Mount | None = None
    content: bytes = b""
    """Of a FILE."""
    target: str = ""
    """Of a LINK what it points to, of a NODE the host's device."""
    size: int = 0
    mode: int = 0
    optional: bool = False


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    """The statements that hold, parents first. `root` is the root's own rights if it is a tree."""

    nodes: tuple[Node, ...]
    root: Right | None
    provided: tuple[str, ...] = ()
    """Directories of the host's that have to be there to be covered."""

    def is_mounted(self, path: str) -> bool:
        """Whether a statement about this very path brings a mount of its own."""
        return any(node.path == path and node.kind not in _NO_MOUNTS for node in self.nodes)

    def below(self, path: str) -> Iterator[Node]:
        """What lies beneath `path`."""
        prefix = path.rstrip("/") + "/"
        return (node for node in self.nodes if node.path.startswith(prefix))

    def above(self, path: str) -> Node | None:
        """The nearest statement above `path`; None where that is the root."""
        return nearest_above({node.path: node for node in self.nodes}, path)


_NO_MOUNTS: Final = frozenset({Kind.SHOWN, Kind.LINK})


def depth(path: str) -> tuple[int, str]:
    """Sorts parents before what lies beneath them."""
    return (0 if path == "/" else path.count("/"), path)


def nearest_above(nodes: Mapping[str, Node], path: str) -> Node | None:
    """The statement of the nearest path above; None where there is none."""
    while path:
        path = path.rpartition("/")[0]
        if path in nodes:
            return nodes[path]
    return None
