"""The mounts that a plan promises, one for each op that makes one."""

from collections.abc import Iterator
from enum import Enum
from typing import Final, NamedTuple

from sandbox.plan import ops
from sandbox.plan.kernel import Attr
from sandbox.plan.proc import SEALED
from sandbox.plan.record import Op, Plan

_OWN: Final = Attr.NOSUID | Attr.NODEV | Attr.NOEXEC


class Source(Enum):
    """What is mounted."""

    NEW = "a file system of the sandbox's own"
    HOST = "a part of the host's tree"
    INSIDE = "a part of the sandbox's own tree"
    COVER = "a file or directory that sbx has made, which has no name any more"
    SOCKET = "the socket for notifications"


class Need(Enum):
    """When the mount is there."""

    ALWAYS = "always"
    IF_SOURCE = "if its source was there at the start"
    IF_THERE = "if what it covers is there"
    MAYBE = "by what the tree below it held at the start"


class MountPromise(NamedTuple):
    """One mount."""

    words: str
    """What the plan says of it."""
    path: str
    """Its mount point, as the plan writes it: links in it are followed, but for a last one."""
    source: Source
    kind: str = ""
    """The file system's, where it is new."""
    origin: str = ""
    """The path that is mounted, on the host or inside."""
    attributes: int = 0
    """Attributes (of Attr) that it has in any case."""
    drops: int = 0
    """Attributes that what it is a part of may have, and it doesn't."""
    recursive: bool = False
    """What is mounted below its source is here as well."""
    need: Need = Need.ALWAYS
    maps_owner: bool = False
    follow: bool = True
    option: str = ""
    """An option that the file system has."""


def mounts_of(plan: Plan) -> tuple[MountPromise, ...]:
    """In the order in which they are made."""
    found: list[MountPromise] = []
    tree, proc = "/", ""
    for op in plan.ops:
        if isinstance(op, ops.MountRootTree):
            tree = op.source
        elif isinstance(op, ops.CreateProc):
            proc = "subset=pid" if op.options else ""
        elif isinstance(op, ops.SetMountAttributes):
            _add_attributes(found, op)
        made = _promise(op, tree, proc)
        if isinstance(op, ops.WriteFile):
            made = _file(op, found)
        if made is not None:
            found.append(made)
    return tuple(found)


def _add_attributes(found: list[MountPromise], op: ops.SetMountAttributes) -> None:
    for index in reversed(range(len(found))):
        if found[index].path == op.path:
            attributes = found[index].attributes | op.attributes
            found[index] = found[index]._replace(attributes=attributes)
            return


def _file(op: ops.WriteFile, found: list[MountPromise]) -> MountPromise | None:
    """A file on a file system of the sandbox's own is no mount; over any other one lies."""
    below = max(_above(found, op.path), key=lambda each: len(each.path), default=None)
    if below is not None and below.source == Source.NEW and below.kind != "overlay":
        return None
    need = Need.MAYBE if below is None or below.kind == "overlay" else Need.ALWAYS
    return MountPromise(op.describe(), op.path, Source.COVER, attributes=SEALED, need=need)


def _above(found: list[MountPromise], path: str) -> Iterator[MountPromise]:
    return (m for m in found if f"{path}/".startswith(f"{m.path.rstrip('/')}/"))


def _promise(op: Op, tree: str, proc: str) -> MountPromise | None:
    words = op.describe()
    match op:
        case ops.MountRoot():
            return MountPromise(words, "/", Source.NEW, "tmpfs", attributes=_OWN)
        case ops.MountRootTree(source=source, attributes=attributes):
            return _host(words, "/", source, attributes, recursive=True)
        case ops.RestrictRoot(attributes=attributes):
            return _host(words, "/", "/", attributes, recursive=True)
        case ops.MountOverlay(target=target, attributes=attributes):
            return MountPromise(words, target, Source.NEW, "overlay", attributes=attributes)
        case ops.MountDev(target=target):
            attributes = Attr.NOSUID | Attr.NOEXEC
            return MountPromise(words, target, Source.NEW, "tmpfs", attributes=attributes)
        case ops.MountTmpfs(target=target, attributes=attributes):
            return MountPromise(words, target, Source.NEW, "tmpfs", attributes=attributes)
        case ops.MountDevpts(target=target):
            attributes = Attr.NOSUID | Attr.NOEXEC
            return MountPromise(words, target, Source.NEW, "devpts", attributes=attributes)
        case ops.MountSecrets(target=target):
            return MountPromise(words, target, Source.NEW, "ramfs", attributes=_OWN)
        case ops.AttachProc(target=target, attributes=attributes):
            return MountPromise(
                words, target, Source.NEW, "proc", attributes=attributes | _OWN, option=proc
            )
        case ops.OpenNotify(path=path):
            return MountPromise(words, path, Source.SOCKET, attributes=SEALED, need=Need.IF_SOURCE)
        case ops.BindDevice(source=source, target=target):
            attributes = Attr.RDONLY | Attr.NOSUID | Attr.NOEXEC
            return _host(words, target, source, attributes, recursive=False)
        case ops.BindMount():
            return _bind(op, words, tree)
        case ops.MaskPath():
            return _cover(op, words)
        case _:
            return None


def _host(words: str, path: str, source: str, attributes: int, *, recursive: bool) -> MountPromise:
    return MountPromise(
        words, path, Source.HOST, origin=source, attributes=attributes, recursive=recursive
    )


def _bind(op: ops.BindMount, words: str, tree: str) -> MountPromise:
    inside = bool(op.flags & ops.Bind.FROM_ROOT)
    origin = op.source
    if op.flags & ops.Bind.FROM_ROOTFS:
        origin = f"{tree.rstrip('/')}{origin}"
    drops = (Attr.RDONLY | Attr.NOEXEC) & ~op.attributes if inside else 0
    return MountPromise(
        words,
        op.target,
        Source.INSIDE if inside else Source.HOST,
        origin=origin,
        attributes=op.attributes,
        drops=drops,
        recursive=bool(op.flags & ops.Bind.RECURSIVE),
        need=Need.IF_SOURCE if op.flags & ops.Bind.OPTIONAL else Need.ALWAYS,
        maps_owner=bool(op.flags & ops.Bind.IDMAP_OWNER),
    )


def _cover(op: ops.MaskPath, words: str) -> MountPromise:
    if op.how not in {ops.Mask.READ_ONLY, ops.Mask.PIN}:
        return MountPromise(words, op.path, Source.COVER, attributes=SEALED, need=Need.IF_THERE)
    return MountPromise(
        words,
        op.path,
        Source.INSIDE,
        origin=op.path,
        attributes=Attr.RDONLY if op.how == ops.Mask.READ_ONLY else 0,
        recursive=True,
        need=Need.IF_THERE,
        follow=False,
    )
