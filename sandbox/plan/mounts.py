"""From the tree of statements to the ops that assemble the root."""

from collections.abc import Iterator
from typing import Final

from sandbox import units
from sandbox.plan import unbindable
from sandbox.plan.identity import Identity
from sandbox.plan.inputs import Inputs
from sandbox.plan.kernel import Attr
from sandbox.plan.nodes import Kind, Node, Right, Tree
from sandbox.plan.ops import (
    ANY_DEVICE,
    Bind,
    BindDevice,
    BindMount,
    EnterRoot,
    MakeDevice,
    MakeSymlink,
    Mask,
    MaskPath,
    MountDev,
    MountDevpts,
    MountOverlay,
    MountRoot,
    MountRootTree,
    MountSecrets,
    MountTmpfs,
    OpenNotify,
    PlaceSecret,
    RestrictRoot,
    SecretFrom,
    SetMountAttributes,
    WriteFile,
)
from sandbox.plan.planted import Planted
from sandbox.plan.proc import SEALED
from sandbox.plan.proc import steps as proc_steps
from sandbox.plan.record import Op, Step
from sandbox.profile.files import Mount

ALWAYS: Final = Attr.NOSUID | Attr.NODEV
PAGE: Final = 4096
_COVERS: Final = frozenset({Kind.DENY, Kind.MASK})
DEV_SIZE: Final = 64 << 10

# linux/major.h: (major, minor) of the nodes in every /dev.
_DEVICES: Final = {
    "/dev/null": (1, 3),
    "/dev/zero": (1, 5),
    "/dev/full": (1, 7),
    "/dev/random": (1, 8),
    "/dev/urandom": (1, 9),
    "/dev/tty": (5, 0),
}


def steps(inputs: Inputs, identity: Identity, tree: Tree, *, nested: bool) -> list[Step]:
    """The ops that make the payload's root out of a copy of the host's mount namespace.

    `nested` leaves the payload able to make user namespaces.
    """
    return list(_Assembly(inputs, identity, tree, nested=nested).steps())


class _Assembly:
    def __init__(self, inputs: Inputs, identity: Identity, tree: Tree, *, nested: bool) -> None:
        self.inputs = inputs
        self.profile = inputs.profile
        self.identity = identity
        self.tree = tree
        self.nested = nested
        self.seals: list[Step] = []
        self.pinned: set[str] = set()
        self.planted = Planted(inputs, tree)

    def steps(self) -> Iterator[Step]:
        yield self._root()
        unbindable.check(self.inputs, self.tree, root=None)
        in_proc: list[Node] = []
        covers: list[Node] = []
        proc: Node | None = None
        # /dev comes first: covers and generated files are made on its tmpfs if the root has none.
        for node in sorted(self.tree.nodes, key=lambda node: node.kind != Kind.DEV):
            if node.kind == Kind.PROC:
                proc = node
            elif proc and node.path.startswith("/proc/"):
                in_proc.append(node)
            elif node.kind in _COVERS and not self._is_passage(node):
                covers.append(node)
            else:
                yield from self._node(node)
                yield from self._markers(node)
        # Last, since a link may lead a denied path into what is mounted at a longer one.
        for node in covers:
            yield from self._node(node)
        yield from proc_steps(self.inputs, self.identity, self.tree, proc, nested=self.nested)
        for node in in_proc:
            yield from self._node(node)
        yield Step(EnterRoot())
        yield from self.seals
        if self.tree.root is None:
            yield Step(SetMountAttributes(path="/", attributes=SEALED))

    def _stays_in_place(self) -> bool:
        """Whether the mount namespace's own copy of the host's root serves as it is.

        Not where something has to hang in the old root while the new one is assembled.
        """
        nodes = self.tree.nodes
        return (
            self.tree.root is not None
            and self.profile.rootfs.type == "host"
            and self.profile.rootfs.overlay == "none"
            and any(node.kind == Kind.DEV for node in nodes)
            and not any(node.mount and node.mount.type == "overlay" for node in nodes)
            and not any(self._is_passage(node) for node in nodes)
        )

    def _is_passage(self, node: Node) -> bool:
        """Something that is covered, with more specific statements below it."""
        return node.kind in _COVERS and any(
            below.kind not in _COVERS for below in self.tree.below(node.path)
        )

    def _root(self) -> Step:
        rootfs = self.profile.rootfs
        source = rootfs.path if rootfs.type == "directory" and rootfs.path else "/"
        self.planted.refuse(source, ("rootfs", "path"))
        if rootfs.overlay != "none":
            return Step(self._root_overlay(source), ("rootfs", "overlay"))
        if self.tree.root is None:
            return Step(MountRoot(size=units.size(rootfs.size), inodes=0), ("rootfs",))
        if self._stays_in_place():
            return Step(RestrictRoot(attributes=_attributes(self.tree.root)), ("filesystem",))
        unbindable.check(self.inputs, self.tree, root=source)
        op = MountRootTree(source=source, attributes=_attributes(self.tree.root))
        return Step(op, ("rootfs", "path") if rootfs.type == "directory" else ("filesystem",))

    def _root_overlay(self, source: str) -> MountOverlay:
        rootfs = self.profile.rootfs
        if self.tree.root is None:
            self.inputs.conflict(
                ("rootfs", "overlay"),
                "there is no tree that it could lie over",
                'list "/" in filesystem.read, or set rootfs.type = "directory"',
            )
        self._needs_overlay(("rootfs", "overlay"))
        rights = self.tree.root or Right.READ
        upper, work = self._layer_of(rootfs.overlay, ("rootfs", "overlay"))
        size = units.size(rootfs.overlay_size) if rootfs.overlay == "tmpfs" else 0
        return MountOverlay(
            target="/",
            lower=(source,),
            upper=upper,
            work=work,
            size=size,
            attributes=_attributes(rights),
        )

    def _needs_overlay(self, key: tuple[str | int, ...]) -> None:
        host = self.inputs.host
        if not host.overlay:
            self.inputs.lacks(
                key, "this kernel has no overlay file system", "load it: `modprobe overlay`"
            )
        if self.identity.maps and not host.overlay_in_userns:
            self.inputs.lacks(
                key,
                f"an overlay in a user namespace needs Linux 5.11; this is {host.release}",
                "use a newer kernel",
            )

    def _secrets(self, node: Node) -> Iterator[Step]:
        uid, gid = self.identity.uid, self.identity.gid
        yield Step(MountSecrets(target=node.path, uid=uid, gid=gid), node.origin)
        for name, secret in sorted(self.profile.secrets.items()):
            (kind,) = secret.kinds()
            origin = SecretFrom[kind.upper()]
            source, trusted = getattr(secret, kind), 0
            if secret.file is not None:
                source, trusted, _ = self.planted.source(secret.file)
            op = PlaceSecret(name=name, origin=origin, source=source, trusted=trusted)
            yield Step(op, ("secrets", name))
        self.seals.append(Step(SetMountAttributes(path=node.path, attributes=SEALED), node.origin))

    def _node(self, node: Node) -> Iterator[Step]:
        if node.kind == Kind.SECRETS:
            yield from self._secrets(node)
            return
        for op in self._ops(node):
            yield Step(op, node.origin)

    def _ops(self, node: Node) -> Iterator[Op]:
        path = node.path
        match node.kind:
            case Kind.HOST:
                flags = Bind.RECURSIVE
                source, trusted = path, 0
                if self.profile.rootfs.overlay != "none":
                    flags |= Bind.FROM_ROOT  # what is written goes to the overlay's layer
                else:
                    of_root = self.profile.rootfs.type == "directory"
                    flags |= Bind.FROM_ROOTFS if of_root else Bind(0)
                    source, trusted, _ = self.planted.source(path, of_root=of_root)
                attributes = _attributes(node.rights)
                yield BindMount(
                    source=source, target=path, attributes=attributes, flags=flags, trusted=trusted
                )
            case Kind.DENY | Kind.MASK:
                yield self._cover(node)
            case Kind.PROTECTED:
                yield from self._protect(path)
            case Kind.TMPFS:
                yield self._tmpfs(path, node.size, node.mode, node.rights)
            case Kind.MOUNT if node.mount and node.mount.type == "file":
                yield from self._file(node.path, (node.mount.content or "").encode())
            case Kind.MOUNT if node.mount:
                yield self._mount(node, node.mount)
            case Kind.LINK:
                yield MakeSymlink(path=path, target=node.target)
            case Kind.FILE:
                yield WriteFile(path=path, mode=0o644, content=node.content)
            case Kind.DEV:
                yield from self._dev(path)
            case Kind.NODE:
                yield self._device(node)
            case Kind.NOTIFY:
                from_all = int(self.profile.service.notify_access == "all")
                yield OpenNotify(path=path, from_all=from_all)
            case Kind.PTS:
                yield MountDevpts(target=path)
            case _:  # SHOWN needs nothing, PROC comes at the end
                pass

    def _dev(self, path: str) -> Iterator[Op]:
        attributes = SEALED
        if self.inputs.host.device_nodes:
            attributes &= ~Attr.NODEV
            uid, gid = self.identity.root_outside()
            yield MountDev(target=path, size=DEV_SIZE, uid=uid, gid=gid)
        elif self.tree.root is not None:
            # The tree's own /dev can't take new nodes.
            writable = ALWAYS | Attr.NOEXEC
            yield MountTmpfs(target=path, size=DEV_SIZE, inodes=0, mode=0o755, attributes=writable)
        else:
            return
        self.seals.append(Step(SetMountAttributes(path=path, attributes=attributes)))

    def _device(self, node: Node) -> Op:
        usual = _DEVICES.get(node.target)
        if usual and self.inputs.host.device_nodes and self.profile.devices.dev == "private":
            return MakeDevice(path=node.path, major=usual[0], minor=usual[1])
        major, minor = usual or (ANY_DEVICE, ANY_DEVICE)
        return BindDevice(source=node.target, target=node.path, major=major, minor=minor)

    def _cover(self, node: Node) -> MaskPath:
        if self._is_passage(node):
            seal = SetMountAttributes(path=node.path, attributes=SEALED)
            self.seals.append(Step(seal, node.origin))
            return MaskPath(path=node.path, how=Mask.PASSAGE)
        return MaskPath(path=node.path, how=Mask.DENY if node.kind == Kind.DENY else Mask.EMPTY)

    def _markers(self, node: Node) -> Iterator[Step]:
        """Without what ${up:NAME} was found by, the next launch would grant a directory above it.

        A file may be replaced, as programs do that change it; a directory keeps its name.
        """
        if not node.rights & Right.WRITE or not _is_of_host(node):
            return
        source = node.path if node.mount is None else (node.mount.source or node.path)
        for marker in self.inputs.resolved.markers:
            if not marker.startswith(source.rstrip("/") + "/"):
                continue
            place = node.path.rstrip("/") + marker[len(source.rstrip("/")) :]
            if self.tree.above(place) == node and not self.tree.is_mounted(place):
                for op in self._pins(f"{place}/"):
                    yield Step(op, node.origin)

    def _protect(self, path: str) -> Iterator[Op]:
        yield from self._pins(path)
        yield MaskPath(path=path, how=Mask.READ_ONLY)

    def _pins(self, path: str) -> Iterator[Op]:
        """A renamed directory would take what is protected in it along, and leave the name free."""
        above = path
        way: list[str] = []
        while (above := above.rpartition("/")[0]) and not self.tree.is_mounted(above):
            if above not in self.pinned:
                way.append(above)
        self.pinned.update(way)
        yield from (MaskPath(path=place, how=Mask.PIN) for place in reversed(way))

    def _tmpfs(self, path: str, size: int, mode: int, rights: Right) -> MountTmpfs:
        return MountTmpfs(
            target=path,
            size=size,
            # The kernel's own ratio: a file for each page. Empty files cost memory as well.
            inodes=max(size // PAGE, 64),
            mode=mode,
            attributes=_attributes(rights | Right.WRITE),
            uid=self.identity.uid,
            gid=self.identity.gid,
        )

    def _file(self, path: str, content: bytes) -> Iterator[Op]:
        yield WriteFile(path=path, mode=0o644, content=content)
        above = self.tree.above(path)
        # What is the host's is covered by a mount that can't be written to. What is made here a user's
        # payload owns, as it does everything there; a mount keeps it from being changed.
        if above and above.rights & Right.WRITE and not _is_of_host(above):
            yield BindMount(source=path, target=path, attributes=SEALED, flags=Bind.FROM_ROOT)

    def _mount(self, node: Node, mount: Mount) -> Op:
        if mount.type == "tmpfs":
            size = units.size(mount.size or "64M")
            mode = units.octal(mount.mode or "1777", maximum=0o7777)
            return self._tmpfs(node.path, size, mode, node.rights)
        if mount.type == "overlay":
            return self._overlay(node, mount)
        flags = Bind.RECURSIVE if mount.recursive else Bind(0)
        if mount.optional:
            flags |= Bind.OPTIONAL
        if mount.idmap and self._can_idmap(node):
            flags |= Bind.IDMAP_OWNER
        mapped = bool(flags & Bind.IDMAP_OWNER)
        source, trusted, _ = self.planted.source(mount.source or node.path)
        return BindMount(
            source=source,
            target=node.path,
            attributes=_attributes(node.rights),
            flags=flags,
            uid=self.identity.outer_uid if mapped else 0,
            gid=self.identity.outer_gid if mapped else 0,
            trusted=trusted,
        )

    def _can_idmap(self, node: Node) -> bool:
        if self.inputs.host.idmapped_mounts:
            return True
        if self.identity.outer_uid == self.inputs.host.uid:
            return False  # the caller's files are the payload's as they are
        self.inputs.lacks_optional(
            "mounts.idmap",
            (*node.origin, "idmap"),
            "an id-mapped mount needs Linux 5.12 and root",
            'run sbx as root, or leave the payload the caller\'s own id (identity.map = "self")',
        )
        return False

    def _overlay(self, node: Node, mount: Mount) -> MountOverlay:
        self._needs_overlay(node.origin)
        for index, layer in enumerate(mount.lower):
            self.planted.refuse(layer, (*node.origin, "lower", index))
        upper, work = self._layer_of(mount.upper or "tmpfs", (*node.origin, "upper"))
        return MountOverlay(
            target=node.path,
            lower=mount.lower,
            upper=upper,
            work=work,
            size=0 if mount.upper else units.size(mount.size or "64M"),
            attributes=_attributes(node.rights),
        )

    def _layer_of(self, directory: str, key: tuple[str | int, ...]) -> tuple[str, str]:
        """Where in a directory an overlay keeps what is written, and its work; both must be there."""
        if directory == "tmpfs":
            return "", ""
        top = directory.rstrip("/")
        self.planted.refuse(f"{top}/upper", key)
        return f"{top}/upper", f"{top}/work"


def _is_of_host(node: Node) -> bool:
    return node.kind == Kind.HOST or (node.mount is not None and node.mount.type == "bind")


def _attributes(rights: Right) -> Attr:
    attributes = ALWAYS
    if not rights & Right.WRITE:
        attributes |= Attr.RDONLY
    if not rights & Right.EXECUTE:
        attributes |= Attr.NOEXEC
    return attributes
