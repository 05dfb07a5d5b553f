"""The runtime directory is in no sandbox: who reaches a supervisor's socket there can ask for anything.

It is covered where a statement of the profile would show it, by whatever way, and refused where one
names it. It is made first, since what isn't there can't be covered, and comes to be there later.
"""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from sandbox.plan.inputs import Inputs
from sandbox.plan.nodes import Kind, Node, nearest_above
from sandbox.profile.links import walk
from sandbox.profile.resolved import KeyPath

VARIABLES: Final = ("SBX_RUNTIME_DIR", "XDG_RUNTIME_DIR")
_OWN, _ABOVE = VARIABLES
# What is there belongs to the system: no variable leads the runtime directory below it.
_SYSTEM: Final = ("/bin", "/boot", "/etc", "/lib", "/lib32", "/lib64", "/opt", "/sbin", "/usr")


class Cover(NamedTuple):
    """A path in the sandbox that would show what lies at `place` on the host."""

    path: str
    place: str


def covers(
    inputs: Inputs, nodes: Mapping[str, Node], *, root: bool
) -> Iterator[tuple[Cover, KeyPath]]:
    """Where the runtime directory would be seen; `root` says whether the root is a tree.

    Reports statements that name it, or something in it, to the inputs.
    """
    shown = list(_shown(inputs, nodes, root=root))
    if all(_is_system(source) for source, _, _ in shown):
        return
    for name in VARIABLES if inputs.host.uid else (_OWN,):
        inputs.depends_on(name)
    for place in _places(inputs):
        for source, target, origin in shown:
            if _is_within(source, place):
                inputs.conflict(
                    origin,
                    f"'{source}' belongs to sbx's runtime directory, which no sandbox may see: who "
                    "reaches the sockets there can run programs in other sandboxes",
                    "leave it out",
                )
            elif _is_within(place, source):
                path = target.rstrip("/") + place[len(source.rstrip("/")) :]
                above = nearest_above(nodes, path)
                if path not in nodes and (above.path if above else "/") == target:
                    yield Cover(path, place), origin


def _shown(
    inputs: Inputs, nodes: Mapping[str, Node], *, root: bool
) -> Iterator[tuple[str, str, KeyPath]]:
    """What of the host appears where: source, target, and the statement that says so."""
    rootfs = inputs.profile.rootfs
    base = (rootfs.path or "").rstrip("/") if rootfs.type == "directory" else ""
    if root:
        yield _known(inputs, base, "") if base else "/", "/", ("filesystem",)
    for node in nodes.values():
        if node.kind == Kind.HOST:
            yield _known(inputs, node.path, base), node.path, node.origin
        elif node.mount is not None and node.kind == Kind.MOUNT:
            for source in (node.mount.source, *node.mount.lower):
                if source:
                    yield _known(inputs, source, ""), node.path, node.origin


def _places(inputs: Inputs) -> list[str]:
    """Every runtime directory that this caller's sandboxes may have (process/runtime.py)."""
    uid = inputs.host.uid
    found = ["/run/sbx"] if uid == 0 else [f"/run/user/{uid}/sbx", f"/tmp/sbx-{uid}"]  # noqa: S108
    own, above = (inputs.resolved.caller.get(name) for name in VARIABLES)
    if own is not None:
        found += own
    if above is not None and uid != 0:
        found += (f"{path.rstrip('/')}/sbx" for path in above)
    return list(dict.fromkeys(_plain(path) for path in found if path.startswith("/")))


def _known(inputs: Inputs, path: str, base: str) -> str:
    """The path of the host's that a source leads to: a link of its owner's may be another name for it."""
    real, _, links = walk(path, base, inputs.resolved.links.get)
    if not _is_system(path) or not _is_system(real):
        inputs.watch(*links, follow=False, any_state=True)
    return _plain(real)


def _plain(path: str) -> str:
    """The name that everybody uses for what distributions link."""
    path = path.rstrip("/") or "/"
    return path.removeprefix("/var") if _is_within(path, "/var/run") else path


def _is_system(path: str) -> bool:
    return any(_is_within(path, above) for above in _SYSTEM)


def _is_within(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")
