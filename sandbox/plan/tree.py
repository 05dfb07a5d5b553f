"""The payload's root as statements about paths: which one holds where, and what rights it gives.

The most specific statement holds; of several about one path the strictest kind does. Mounts and
Landlock rules are both derived from the tree that `build` returns.
"""

from typing import Final

import msgspec

from sandbox import units
from sandbox.plan import runtime
from sandbox.plan.identity import Identity, accounts
from sandbox.plan.inputs import Inputs
from sandbox.plan.naming import Names
from sandbox.plan.nodes import Kind, Node, Right, Tree, depth, nearest_above
from sandbox.plan.protections import protections
from sandbox.plan.service import NOTIFY_PATH
from sandbox.profile.files import Mount
from sandbox.profile.resolved import KeyPath
from sandbox.profile.service import SECRETS_DIRECTORY

# Names that distributions link into /usr, or leave out. A profile may list all of them.
USUAL_LINKS: Final = ("/bin", "/lib", "/lib32", "/lib64", "/libx32", "/sbin")

_RIGHTS: Final = (
    ("read", Right.READ),
    ("write", Right.READ | Right.WRITE),
    ("execute", Right.READ | Right.EXECUTE),
)
_NODES: Final = ("full", "null", "random", "tty", "urandom", "zero")
USUAL_DEVICES: Final = frozenset({"/dev/ptmx", *(f"/dev/{name}" for name in _NODES)})
"""What a private /dev has."""
_DEV_LINKS: Final = {
    "/dev/fd": "/proc/self/fd",
    "/dev/ptmx": "pts/ptmx",
    "/dev/stderr": "/proc/self/fd/2",
    "/dev/stdin": "/proc/self/fd/0",
    "/dev/stdout": "/proc/self/fd/1",
}
_RESOLV_CONF: Final = "/etc/resolv.conf"


def build(inputs: Inputs, identity: Identity) -> Tree:
    """The tree that the profile asks for on this host."""
    return _Builder(inputs, identity).tree()


class _Builder:
    def __init__(self, inputs: Inputs, identity: Identity) -> None:
        self.inputs = inputs
        self.profile = inputs.profile
        self.identity = identity
        self.on_host = self.profile.rootfs.type == "host"
        self.names = Names(inputs)
        self.nodes: dict[str, Node] = {}
        self.root: Right | None = None if self.on_host else Right.READ

    def tree(self) -> Tree:
        self._listed()
        self._covers()
        self._tmpfs()
        self._mounts()
        self._proc_and_dev()
        self._generated()
        self._notify()
        if self.profile.secrets:
            path, origin = SECRETS_DIRECTORY, ("secrets",)
            self._put(Node(path=path, kind=Kind.SECRETS, rights=Right.READ, origin=origin))
        for node in protections(self.inputs, self.nodes, self._real, self._other_names):
            self._put(node)
        found = list(runtime.covers(self.inputs, self.nodes, root=self.root is not None))
        for cover, by in found:
            self._put(Node(path=cover.path, kind=Kind.DENY, origin=by))
        provided = tuple(dict.fromkeys(cover.place for cover, _ in found))
        return Tree(nodes=tuple(self._without_repetition()), root=self.root, provided=provided)

    def _put(self, node: Node) -> None:
        other = self.nodes.get(node.path)
        if other is None or (other.kind, other.origin) < (node.kind, node.origin):
            self.nodes[node.path] = node

    def _listed(self) -> None:
        """filesystem.read, write and execute; a path in several has the rights of all."""
        rights: dict[str, Right] = {}
        origins: dict[str, KeyPath] = {}
        denied = {*self.profile.filesystem.deny, *self.profile.filesystem.mask}
        protected = self._protected()
        places = {self.names.place(path) for path in protected}
        for name, right in _RIGHTS:
            for index, written in enumerate(getattr(self.profile.filesystem, name)):
                if self._is_left_out(written):
                    continue
                path = self._real(written, ("filesystem", name, index), links=True)
                is_protected = bool(places) and self.names.place(path) in places
                right_here = right & ~Right.WRITE if is_protected else right
                rights[path] = rights.get(path, Right(0)) | right_here
                origins.setdefault(path, ("filesystem", name, index))
        if "/" in rights and "/" not in denied:
            self.root = rights["/"]
        if self.root is not None and self.profile.rootfs.overlay != "none":
            self.root |= Right.WRITE
        for path, right in rights.items():
            if path != "/":
                self._put(Node(path=path, kind=Kind.HOST, rights=right, origin=origins[path]))
                protected.pop(path, None)
        for path, origin in protected.items():
            for name in (path, *self._other_names(self.names.place(path))):
                self._put(Node(path=name, kind=Kind.PROTECTED, origin=origin))

    def _other_names(self, place: str, right: Right = Right.WRITE) -> list[str]:
        """The paths of the root that lead to a place, where what shows it has this right."""
        found = []
        for node in self.nodes.values():
            if node.kind != Kind.HOST or not node.rights & right:
                continue
            top = self.names.place(node.path)
            if place == top or place.startswith(f"{top}/"):
                found.append(node.path + place[len(top) :])
        return found

    def _protected(self) -> dict[str, KeyPath]:
        found: dict[str, KeyPath] = {}
        for index, written in enumerate(self.profile.filesystem.protect):
            origin: KeyPath = ("filesystem", "protect", index)
            path = self._real(written, origin)
            if path == "/":
                hint = "leave '/' out of filesystem.write"
                self.inputs.conflict(origin, "the root can't be protected as a whole", hint)
            found.setdefault(path, origin)
        return found

    def _is_left_out(self, path: str) -> bool:
        """One of the usual links that this distribution doesn't have: there is nothing to show."""
        host = self.inputs.host
        if not self.on_host or path not in USUAL_LINKS:
            return False
        self.inputs.watch(path, follow=False)
        return path not in host.root_links and path not in host.root_directories

    def _real(self, path: str, origin: KeyPath, *, links: bool = False) -> str:
        """`path` with the symbolic link that its first component is on the host resolved.

        With `links` the link itself becomes part of the tree as well. Where the root is a tree that
        has links, all of them are resolved: a statement is about a place, whatever leads to it.
        """
        return self.names.path(self._without_top_link(path, origin, links=links))

    def _without_top_link(self, path: str, origin: KeyPath, *, links: bool) -> str:
        top = "/" + path[1:].partition("/")[0]
        target = self.inputs.host.root_links.get(top) if self.on_host else None
        if target is None:
            return path
        self.inputs.watch(top, follow=False)
        if links:
            self._put(Node(path=top, kind=Kind.LINK, target=target, origin=origin))
        parts: list[str] = []
        for part in target.split("/"):
            if part == "..":
                del parts[-1:]
            elif part not in {"", "."}:
                parts.append(part)
        return "/" + "/".join(parts) + path[len(top) :] if parts else path[len(top) :] or "/"

    def _covers(self) -> None:
        for name, kind in (("deny", Kind.DENY), ("mask", Kind.MASK)):
            for index, written in enumerate(getattr(self.profile.filesystem, name)):
                origin: KeyPath = ("filesystem", name, index)
                path = self._real(written, origin)
                if path != "/":
                    for known in self._names_to_cover(path):
                        self._put(Node(path=known, kind=kind, origin=origin))
                elif not self.on_host:
                    self.inputs.conflict(origin, "the root's own tree can't be denied as a whole")

    def _names_to_cover(self, path: str) -> list[str]:
        """Every name by which the root shows the place.

        The written one is among them, but where it leads through a link of what is shown: its end
        is another one's then, and two covers can't be at one place.
        """
        found = self._other_names(self.names.place(path), ~Right(0))
        above = nearest_above(self.nodes, path)
        own = [mount.target for mount in self.profile.mounts]
        own += (entry.path for entry in self.profile.filesystem.tmpfs_entries())
        shows = above is not None and above.kind == Kind.HOST
        shows = shows and not any(path.startswith(f"{top.rstrip('/')}/") for top in own)
        return found if found and shows else list(dict.fromkeys((path, *found)))

    def _tmpfs(self) -> None:
        for index, entry in enumerate(self.profile.filesystem.tmpfs_entries()):
            origin: KeyPath = ("filesystem", "tmpfs", index)
            node = Node(
                path=self._real(entry.path, origin),
                kind=Kind.TMPFS,
                rights=Right.READ | Right.WRITE | (Right.EXECUTE if entry.execute else Right(0)),
                size=units.size(entry.size),
                mode=units.octal(entry.mode, maximum=0o7777),
                origin=origin,
            )
            if self._is_not_root(node):
                self._put(node)

    def _mounts(self) -> None:
        for index, mount in enumerate(self.profile.mounts):
            origin: KeyPath = ("mounts", index)
            rights = Right.READ
            if mount.writable or mount.type == "tmpfs":
                rights |= Right.WRITE
            if mount.execute:
                rights |= Right.EXECUTE
            node = Node(
                path=self._real(mount.target, origin),
                kind=Kind.MOUNT,
                rights=rights,
                mount=mount,
                optional=mount.optional,
                origin=origin,
            )
            if self._is_not_root(node):
                self._put(node)

    def _is_not_root(self, node: Node) -> bool:
        if node.path == "/":
            self.inputs.conflict(
                node.origin, "nothing can be mounted over the root", "use [rootfs] to choose it"
            )
        return node.path != "/"

    def _proc_and_dev(self) -> None:
        profile = self.profile
        if profile.filesystem.proc != "none":
            self._put(Node(path="/proc", kind=Kind.PROC, origin=("filesystem", "proc")))
        else:
            self._hide("/proc", ("filesystem", "proc"))
        origin: KeyPath = ("devices", "dev")
        if profile.devices.dev == "private":
            self._put(Node(path="/dev", kind=Kind.DEV, origin=origin))
        else:
            self._hide("/dev", origin)
        if self.nodes.get("/dev") == Node(path="/dev", kind=Kind.DEV, origin=origin):
            for name in _NODES:
                path = f"/dev/{name}"
                self._put(Node(path=path, kind=Kind.NODE, target=path, origin=origin))
            for path, target in _DEV_LINKS.items():
                self._put(Node(path=path, kind=Kind.LINK, target=target, origin=origin))
            self._put(Node(path="/dev/pts", kind=Kind.PTS, origin=origin))
            shm = Node(
                path="/dev/shm",  # noqa: S108 - the sandbox's own
                kind=Kind.TMPFS,
                rights=Right.READ | Right.WRITE,
                size=units.size(profile.devices.shm_size),
                mode=0o1777,
                origin=("devices", "shm_size"),
            )
            self._put(shm)
        for index, path in enumerate(profile.devices.allow):
            allowed: KeyPath = ("devices", "allow", index)
            self._put(Node(path=path, kind=Kind.NODE, target=path, origin=allowed))

    def _notify(self) -> None:
        if self.profile.service.type != "notify":
            return
        origin: KeyPath = ("service", "type")
        self._put(Node(path=NOTIFY_PATH, kind=Kind.NOTIFY, origin=origin))
        dev = self.nodes.get("/dev")
        if dev is None or dev.kind != Kind.DEV:
            self.inputs.conflict(
                origin,
                f"the program's NOTIFY_SOCKET is {NOTIFY_PATH}, and /dev isn't the sandbox's own",
                'set devices.dev = "private"',
            )

    def _hide(self, path: str, origin: KeyPath) -> None:
        """None means not the host's either, unless a statement of its own shows it."""
        if self.on_host and path not in self.nodes:
            self._put(Node(path=path, kind=Kind.MASK, origin=origin))

    def _generated(self) -> None:
        content = accounts(self.inputs, self.identity)
        for index, name in enumerate(self.profile.rootfs.generate):
            origin: KeyPath = ("rootfs", "generate", index)
            if name == "resolv.conf" and self._shows_resolv_conf(origin):
                continue
            real = self._real_file(name)
            if real is not None:
                self._put(Node(path=real, kind=Kind.FILE, content=content[name], origin=origin))

    def _real_file(self, name: str) -> str | None:
        """Where a generated file has to be; None where the host's own /etc has none to cover."""
        path = f"/etc/{name}"
        if not (self.on_host and self._is_hosts(path)):
            return path
        self.inputs.watch(path)
        self.inputs.watch(path, follow=False)
        real = self.inputs.host.etc_links.get(name, path)
        # A link of the host's may lead to what the profile doesn't show.
        return path if real is not None and self._is_hosts(real) else real

    def _shows_resolv_conf(self, origin: KeyPath) -> bool:
        """With the host's network the payload sees the host's name servers, if there are any."""
        if self.profile.network.mode != "host":
            return False
        real = self.inputs.host.resolv_conf
        self.inputs.watch(_RESOLV_CONF, follow=False)
        if real is None:
            self.inputs.watch(_RESOLV_CONF)
            return False
        has_hosts_etc = self._is_hosts(_RESOLV_CONF)
        # Where /etc is the host's, resolv.conf is there as the link that it is on the host.
        target = real if has_hosts_etc and self.on_host else _RESOLV_CONF
        if target == real and self._is_hosts(real):
            return True
        mount = Mount(type="bind", source=real, target=target)
        self._put(Node(path=target, kind=Kind.MOUNT, rights=Right.READ, mount=mount, origin=origin))
        return True

    def _is_hosts(self, path: str) -> bool:
        """Whether the root shows what the host (or the root's tree) has at `path`."""
        node = self.nodes.get(path) or nearest_above(self.nodes, path)
        return self.root is not None if node is None else node.kind == Kind.HOST

    def _without_repetition(self) -> list[Node]:
        """Sorted, and without statements that change nothing where they stand."""
        kept: dict[str, Node] = {}
        for path in sorted(self.nodes, key=depth):
            node = self.nodes[path]
            above = nearest_above(kept, path)
            if node.kind == Kind.LINK and above is None and self.root is not None:
                continue  # the tree has it
            if node.kind in {Kind.DENY, Kind.MASK} and not self._is_visible(above):
                continue
            if node.kind == Kind.PROTECTED:
                rights = (self.root or Right(0)) if above is None else above.rights
                if not rights & Right.WRITE:
                    continue
                node = msgspec.structs.replace(node, rights=rights & ~Right.WRITE)
            if node.kind == Kind.HOST and self._is_shown(node, above):
                node = msgspec.structs.replace(node, kind=Kind.SHOWN)
            kept[path] = node
        return list(kept.values())

    def _is_visible(self, above: Node | None) -> bool:
        """Whether there is anything to cover beneath the nearest statement above."""
        if above is None:
            return self.root is not None
        return above.kind not in {Kind.DENY, Kind.MASK, Kind.TMPFS}

    def _is_shown(self, node: Node, above: Node | None) -> bool:
        if above is None:
            return self.root == node.rights
        return above.kind in {Kind.HOST, Kind.SHOWN} and above.rights == node.rights
