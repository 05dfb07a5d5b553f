"""What stays as it is wherever it could be written to: the profile itself, and control groups."""

from collections.abc import Callable, Iterator, Mapping

from sandbox.plan.inputs import Inputs
from sandbox.plan.nodes import Kind, Node, Right, nearest_above
from sandbox.profile.resolved import KeyPath


def protections(
    inputs: Inputs,
    nodes: Mapping[str, Node],
    real: Callable[[str, KeyPath], str],
    other_names: Callable[[str], list[str]],
) -> Iterator[Node]:
    """The statements that protect; `nodes` are the profile's own, by path.

    `real` resolves what of a path is a symbolic link of the host's; `other_names` has the paths at
    which a place of the host's can be written to.
    """
    shown = _Shown(inputs, nodes, real, other_names)
    # What the payload may write to can hold its own profile, by which the next one is made.
    for file in inputs.resolved.files:
        for path in shown.places(file):
            yield Node(path=path, kind=Kind.PROTECTED, origin=("profile",))
    # By a control group that it can write to it could lift its limits, or leave them.
    for point in inputs.host.cgroup_points:
        for node in shown.written_within(point):
            inputs.conflict(
                node.origin,
                f"'{point}' holds control groups, and what can write there can lift the limits of "
                "any sandbox",
                "list it in filesystem.read",
            )
        for path in shown.places(point):
            yield Node(path=path, kind=Kind.PROTECTED, origin=("resources",))


class _Shown:
    """Where what the host has at a path can be written to in the sandbox."""

    def __init__(
        self,
        inputs: Inputs,
        nodes: Mapping[str, Node],
        real: Callable[[str, KeyPath], str],
        other_names: Callable[[str], list[str]],
    ) -> None:
        self.rootfs = inputs.profile.rootfs
        self.nodes = dict(nodes)
        self.real = real
        self.other_names = other_names

    def places(self, path: str) -> list[str]:
        """The paths inside at which nothing else is stated."""
        binds = [node.mount for node in self.nodes.values() if node.mount and node.mount.writable]
        found = [
            mount.target + path[len(mount.source.rstrip("/")) :]
            for mount in binds
            if mount.source and path.startswith(mount.source.rstrip("/") + "/")
        ]
        inside = self._in_root(path)
        if inside is not None:
            above = nearest_above(self.nodes, inside)
            if above is None or above.kind == Kind.HOST:
                found.append(inside)
        if self.rootfs.overlay == "none":
            found += self.other_names(path)
        return [place for place in dict.fromkeys(found) if place not in self.nodes]

    def written_within(self, path: str) -> list[Node]:
        """The statements that let the payload write to `path` or to what lies below it."""
        return [
            node
            for node in self.nodes.values()
            if node.rights & Right.WRITE and f"{self._source(node)}/".startswith(f"{path}/")
        ]

    def _source(self, node: Node) -> str:
        """The path of the host that a statement shows; empty where it shows none."""
        if node.mount is not None:
            return node.mount.source or ""
        if node.kind != Kind.HOST or self.rootfs.overlay != "none":
            return ""
        return node.path if self.rootfs.type == "host" else self._tree() + node.path

    def _in_root(self, path: str) -> str | None:
        """Where a path of the host is in the root's own tree, None where that can't change it."""
        if self.rootfs.overlay != "none" or not path.startswith("/"):
            return None
        if self.rootfs.type == "host":
            return self.real(path, ("profile",))
        return path[len(self._tree()) :] if path.startswith(f"{self._tree()}/") else None

    def _tree(self) -> str:
        return (self.rootfs.path or "").rstrip("/")
