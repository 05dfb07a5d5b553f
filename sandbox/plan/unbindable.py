"""Mounts that the kernel leaves out of a bind mount, so that what they cover would be seen."""

from collections.abc import Iterator
from typing import NamedTuple

from sandbox.plan.inputs import Inputs
from sandbox.plan.nodes import Kind, Tree
from sandbox.profile.resolved import KeyPath


class _Bind(NamedTuple):
    source: str
    target: str
    origin: KeyPath


def check(inputs: Inputs, tree: Tree, *, root: str | None) -> None:
    """Raises UnsupportedError where an unbindable mount lies below what is shown, and isn't covered.

    `root` is the tree that is mounted as the root, None where nothing is.
    """
    if not inputs.host.unbindable:
        return
    for bind in _binds(inputs, tree, root):
        for point in inputs.host.unbindable:
            if point == bind.source or point.startswith(bind.source.rstrip("/") + "/"):
                _check(inputs, tree, bind, point)


def _binds(inputs: Inputs, tree: Tree, root: str | None) -> Iterator[_Bind]:
    if root is not None:
        yield _Bind(root, "/", ("filesystem",))
    above = (inputs.profile.rootfs.path or "") if inputs.profile.rootfs.type == "directory" else ""
    for node in tree.nodes:
        if node.kind == Kind.HOST:
            yield _Bind(above + node.path, node.path, node.origin)
        elif node.mount and node.mount.type == "bind" and node.mount.recursive:
            yield _Bind(node.mount.source or node.path, node.path, node.origin)


def _check(inputs: Inputs, tree: Tree, bind: _Bind, point: str) -> None:
    inside = bind.target.rstrip("/") + point[len(bind.source.rstrip("/")) :]
    nearest = tree.above(f"{inside}/x")
    if nearest is None or nearest.path == bind.target or nearest.kind in {Kind.HOST, Kind.SHOWN}:
        inputs.lacks(
            bind.origin,
            f"what is mounted at '{point}' is unbindable: the kernel would leave it out, and show "
            "what it covers",
            f"make it bindable (mount --make-private '{point}'), or list '{inside}' in "
            "filesystem.deny",
        )
