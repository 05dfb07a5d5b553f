"""Why a path was refused: the mount tree, Landlock, plain modes, or that it is nowhere.

The kernel gives an errno and not its reason. What it can be follows from the statements, which
mounts and rules are made from, and from what there is at the path inside and outside.
"""

import errno
import os
import stat
from typing import Final

import msgspec

from sandbox.explain.denial import Advice, Layer, Reason, outside
from sandbox.explain.facts import File, Found
from sandbox.explain.grants import caution, covered, grant, protected
from sandbox.explain.limits import bytes_text, file_size_limit, full, too_many_descriptors
from sandbox.explain.modes import refused_by_mode
from sandbox.explain.situation import Situation
from sandbox.explain.uses import Use, Wish
from sandbox.plan.nodes import Kind, Node, Right
from sandbox.plan.tree import USUAL_DEVICES
from sandbox.profile.resolved import KeyPath, key_text

# Libraries read them where they are there, and do without them where they aren't.
_OPTIONAL: Final = frozenset(
    {"locale.alias", "locale-archive", "sitecustomize.py", "usercustomize.py", "ld.so.preload"}
    | {"gai.conf", "host.conf", "selinux", "openssl.cnf"}
)
_COVERS: Final = frozenset({Kind.DENY, Kind.MASK})


def explain_path(s: Situation, error: int, path: str, wish: Wish) -> Reason:
    """The reason for `error` on an absolute path as the payload named it."""
    found = s.look.inside(path, follow=wish.follow)
    if found is None:
        found = Found(path=os.path.normpath(path))
    reason = _reason(s, error, found, wish)
    if reason is not None and os.path.basename(path) in _OPTIONAL:
        return msgspec.structs.replace(reason, probe=True, trivial=True)
    return reason or outside("nothing in the profile stands against it", probe=wish.probe)


def _reason(s: Situation, error: int, found: Found, wish: Wish) -> Reason | None:
    match error:
        case errno.ENOENT | errno.ENOTDIR:
            return _missing(s, found, wish)
        case errno.EACCES:
            return _refused(s, found, wish)
        case errno.EROFS:
            return _read_only(s, found, wish)
        case errno.EBUSY:
            return _busy(s, found, wish)
        case errno.EPERM:
            return _not_permitted(s, found, wish)
        case errno.ENXIO | errno.ENODEV if found.path == "/dev/tty":
            return _no_terminal()
        case errno.EMFILE:
            return too_many_descriptors(s)
        case errno.ENOSPC | errno.EDQUOT:
            return full(s, s.node(found.path)) or outside("the host's file system is full")
        case errno.EFBIG:
            return file_size_limit(s)
    return None


# ---- Missing ----


def _missing(s: Situation, found: Found, wish: Wish) -> Reason | None:
    if found.exists:
        return _there_now(s, found, wish)
    node, source = s.node(found.path), s.source_of(found.path)
    if node is not None and node.kind == Kind.PROC:
        return _in_proc(s, found.path, wish)
    there = s.look.outside(source, follow=wish.follow) if source else Found(path=found.path)
    if not there.exists and not (wish.use == Use.CREATE and there.missing_name_only):
        if there.error:
            return outside(
                f"sbx's caller can't look at it either ({os.strerror(there.error)})",
                probe=wish.probe,
            )
        return outside("it doesn't exist outside of the sandbox either", probe=wish.probe)
    if node is not None and node.kind in _COVERS:
        return covered(s, node, wish, found.path)
    if found.path.startswith("/dev/") and there.file and there.file.is_device:
        return _device(s, found.path, there.file)
    if not s.on_host and (node is None or node.mount is None):
        return outside("the tree that is the root has no such file", probe=wish.probe)
    return _not_granted(s, node, wish, found.path)


def _not_granted(s: Situation, node: Node | None, wish: Wish, path: str) -> Reason:
    advice = grant(s, wish, path)
    if node is None:
        text = "it exists outside, and no statement of the profile shows it"
        return Reason(
            layer=Layer.MOUNT, text=text, advice=advice, note=caution(path), probe=wish.probe
        )
    if node.kind in {Kind.TMPFS, Kind.DEV, Kind.FILE} or (
        node.mount and node.mount.type == "tmpfs"
    ):
        what = "/dev" if node.kind == Kind.DEV else "memory"
        text = f"it exists outside, but {node.path} inside is the sandbox's own {what}"
        return Reason(
            layer=Layer.MOUNT, text=text, key=node.origin, advice=advice, probe=wish.probe
        )
    text = (
        f"it exists outside, but not in what {node.path} shows (made or mounted after the launch)"
    )
    return Reason(layer=Layer.MOUNT, text=text, key=node.origin, probe=wish.probe)


def _there_now(s: Situation, found: Found, wish: Wish) -> Reason | None:
    """It is there: for execve its interpreter isn't; else it wasn't there yet."""
    if wish.use != Use.EXECUTE:
        return outside("it was made later", probe=wish.probe)
    interpreter = s.look.interpreter(found.path)
    inner = s.look.inside(interpreter) if interpreter else None
    if not interpreter or (inner and inner.exists):
        return outside("it was made later", probe=wish.probe)
    missing = inner.path if inner else interpreter
    if not s.look.outside(missing).exists:
        return outside(f"its interpreter {interpreter} doesn't exist outside either")
    return Reason(
        layer=Layer.MOUNT,
        text=f"its interpreter {interpreter} exists outside, and no statement shows it",
        key=_origin_of(s.node(missing)),
        advice=grant(s, Wish(use=Use.EXECUTE), missing),
    )


def _in_proc(s: Situation, path: str, wish: Wish) -> Reason:
    key = ("filesystem", "proc")
    first = path.split("/")[2] if path.count("/") > 1 else ""
    if first.isdigit():
        if s.profile.namespaces.pid and s.look.has_process(int(first)):
            text = "a process of this number exists outside, but the sandbox has its own processes"
            advice = Advice(("namespaces", "pid"), False)
            note = 'an own /proc needs the namespace: filesystem.proc = "none" goes with it'
            return Reason(
                layer=Layer.NAMESPACE,
                text=text,
                key=("namespaces", "pid"),
                advice=(advice,),
                note=note,
            )
        return outside("there is no such process", probe=wish.probe)
    if not s.look.outside(path).exists:
        return outside("it doesn't exist outside of the sandbox either", probe=wish.probe)
    if s.profile.filesystem.proc == "pid":
        text = "/proc has the directories of processes only"
        return Reason(layer=Layer.MOUNT, text=text, key=key, advice=(Advice(key, "read-only"),))
    return outside("this /proc is one of the sandbox's namespaces and lacks it", probe=wish.probe)


def _device(s: Situation, path: str, file: File) -> Reason:
    key: KeyPath = ("devices", "dev")
    text = "it is a device of the host's, and /dev is the sandbox's own"
    if s.profile.devices.dev == "none" and path in USUAL_DEVICES:
        advice = Advice(key, "private")
        return Reason(layer=Layer.MOUNT, text="there is no /dev", key=key, advice=(advice,))
    if not file.is_character_device:
        note = "only character devices can be allowed; a block device is the whole disk"
        return Reason(layer=Layer.MOUNT, text=text, key=key, note=note)
    advice = Advice(("devices", "allow"), path, add=True)
    return Reason(layer=Layer.MOUNT, text=text, key=key, advice=(advice,))


# ---- Refused ----


def _refused(s: Situation, found: Found, wish: Wish) -> Reason | None:
    node = s.node(found.path)
    if node is not None and node.kind in _COVERS:
        return covered(s, node, wish, found.path)
    file = found.file
    if node is not None and node.kind == Kind.PROC:
        return _refused_in_proc(found.path, node, wish)
    if node is not None and _is_made_by_sbx(node) and wish.use.right == Right.WRITE:
        return _made_by_sbx(node)
    if file and file.is_device and not (node and node.kind == Kind.NODE):
        return _device(s, found.path, file)
    if wish.use == Use.EXECUTE and (reason := _not_executable(s, found, node)):
        return reason
    if reason := refused_by_mode(s, found, wish):
        return reason
    return _refused_by_landlock(s, found, node, wish)


def _refused_in_proc(path: str, node: Node, wish: Wish) -> Reason:
    if wish.use.right == Right.WRITE:
        return _read_only_proc(path, node)
    text = "it tells of a process that isn't the payload's, or of the kernel"
    note = "no key allows it: sbx's init and other users' processes stay closed"
    return Reason(layer=Layer.NAMESPACE, text=text, key=node.origin, note=note)


def _not_executable(s: Situation, found: Found, node: Node | None) -> Reason | None:
    file = found.file
    if file and stat.S_ISREG(file.mode) and not file.mode & 0o111:
        text = f"its mode {stat.S_IMODE(file.mode):04o} has no execute bit"
        return Reason(layer=Layer.MODE, text=text, note=f"outside: chmod +x {found.path}")
    rights = node.rights if node else s.tree.root or Right(0)
    if rights & Right.EXECUTE:
        return None
    text = f"{node.path if node else '/'} may be read but not executed (noexec, and Landlock)"
    advice: tuple[Advice, ...]
    if node and node.kind == Kind.TMPFS:
        advice = ()
        if node.origin[0] == "filesystem":
            value = {"path": node.path, "size": bytes_text(node.size), "execute": True}
            advice = (Advice(("filesystem", "tmpfs"), value, add=True),)
        return Reason(layer=Layer.MOUNT, text=text, key=node.origin, advice=advice)
    executed = grant(s, Wish(use=Use.EXECUTE), found.path)
    return Reason(layer=Layer.MOUNT, text=text, key=_origin_of(node), advice=executed)


def _refused_by_landlock(
    s: Situation, found: Found, node: Node | None, wish: Wish
) -> Reason | None:
    at = os.path.dirname(found.path) if wish.use in {Use.CREATE, Use.REMOVE} else found.path
    access = wish.access
    if not access or s.landlock_allows(at, access):
        return None
    if found.exists and wish.use == Use.CREATE and s.landlock_allows(found.path, access):
        return None
    text = f"no rule gives the right to {wish.use.value} it"
    if found.file and found.file.is_directory and wish.use == Use.READ:
        return None
    return Reason(
        layer=Layer.LANDLOCK, text=text, key=_origin_of(node), advice=grant(s, wish, found.path)
    )


def _read_only(s: Situation, found: Found, wish: Wish) -> Reason:
    node = s.node(found.path)
    if node is None and s.tree.root is None:
        where = os.path.dirname(found.path) if wish.use in {Use.CREATE, Use.REMOVE} else found.path
        advice = grant(s, wish, found.path)
        if not advice and wish.use == Use.CREATE:
            advice = (Advice(("filesystem", "tmpfs"), found.path, add=True),)
        text = f"{where} is part of the sandbox's own root, which is read-only"
        return Reason(layer=Layer.MOUNT, text=text, advice=advice)
    if node is None:
        text, key = "the root is read-only", ("rootfs", "overlay")
        advice = () if s.on_host else (Advice(key, "tmpfs"),)
        advice = advice or grant(s, wish, found.path)
        return Reason(layer=Layer.MOUNT, text=text, key=_root_key(s), advice=advice)
    if node.kind == Kind.PROC:
        return _read_only_proc(found.path, node)
    if node.kind in {Kind.DEV, Kind.NODE, Kind.PTS}:
        note = "devices.allow adds nodes of the host's; nothing else can be made in /dev"
        return Reason(layer=Layer.MOUNT, text="/dev is read-only", key=node.origin, note=note)
    if node.kind == Kind.PROTECTED:
        return protected(s, node)
    if _is_made_by_sbx(node):
        return _made_by_sbx(node)
    if node.rights & Right.WRITE:
        return outside("the host's file system is mounted read-only")
    if node.kind in _COVERS:
        return covered(s, node, wish, found.path)
    text = f"{node.path} is mounted read-only"
    return Reason(layer=Layer.MOUNT, text=text, key=node.origin, advice=grant(s, wish, found.path))


def _made_by_sbx(node: Node) -> Reason:
    """A generated file, or one whose content the profile holds."""
    note = "take it out of rootfs.generate and grant the host's file, or a directory, instead"
    if node.mount is not None:
        note = "its content stands in the profile"
    text = "the file is made by sbx and read-only"
    return Reason(layer=Layer.MOUNT, text=text, key=node.origin, note=note)


def _is_made_by_sbx(node: Node) -> bool:
    return node.kind == Kind.FILE or bool(node.mount and node.mount.type == "file")


def _root_key(s: Situation) -> KeyPath:
    if not s.on_host:
        return ("rootfs", "path")
    lists = ((name, getattr(s.profile.filesystem, name)) for name in ("read", "execute", "write"))
    for name, paths in lists:
        if "/" in paths:
            return ("filesystem", name, paths.index("/"))
    return ("rootfs",)


def _read_only_proc(path: str, node: Node) -> Reason:
    text = "/proc is read-only"
    if path.startswith(("/proc/sys", "/proc/sysrq", "/proc/bus", "/proc/irq", "/proc/fs")):
        note = "settings of the kernel stay read-only whatever filesystem.proc says"
        return Reason(layer=Layer.MOUNT, text=text, key=node.origin, note=note)
    advice = Advice(("filesystem", "proc"), "writable")
    return Reason(layer=Layer.MOUNT, text=text, key=node.origin, advice=(advice,))


# ---- The rest ----


def _busy(s: Situation, found: Found, wish: Wish) -> Reason | None:
    if wish.use not in {Use.CREATE, Use.REMOVE}:
        return None
    node = s.node(found.path)
    here = [node] if node is not None else []
    kept = [n for n in (*s.tree.below(found.path), *here) if n.kind == Kind.PROTECTED]
    if kept:
        return protected(s, kept[0])
    if node is None or node.path != found.path:
        return None
    text = "it is a mount of its own inside, which can't be replaced or removed"
    advice = grant(s, wish, found.path)
    return Reason(layer=Layer.MOUNT, text=text, key=node.origin, advice=advice)


def _not_permitted(s: Situation, found: Found, wish: Wish) -> Reason | None:
    """EPERM on a path: a mode that isn't one's own to change, or a mapping for execution."""
    node, file = s.node(found.path), found.file
    if wish.use == Use.EXECUTE:
        return _not_executable(s, found, node)
    if wish.use == Use.CHANGE and file and file.uid != s.identity.outer_uid:
        text = f"it belongs to user {file.uid} of the host; only its owner may do that"
        if s.identity.outer_uid == s.host.uid:
            note = "outside of the sandbox it is refused too"
            return Reason(layer=Layer.MODE, text=text, note=note)
        return Reason(layer=Layer.MODE, text=text, key=("identity", "map"))
    return refused_by_mode(s, found, wish)


def _no_terminal() -> Reason:
    key = ("process", "terminal")
    text = "the payload has no controlling terminal"
    advice = (Advice(key, "auto"),)
    return Reason(layer=Layer.NAMESPACE, text=text, key=key, advice=advice, probe=True)


def _origin_of(node: Node | None) -> KeyPath:
    return node.origin if node else ()


def explain_two_paths(s: Situation, first: str, second: str) -> Reason:
    """EXDEV of rename(2) and link(2): the paths are on different mounts, or rules differ."""
    ends = [s.look.inside(os.path.dirname(path) or "/") for path in (first, second)]
    paths = [
        found.path if found else os.path.dirname(p)
        for found, p in zip(ends, (first, second), strict=True)
    ]
    nodes = [s.node(path) for path in paths]
    sources = [s.source_of(path) or path for path in paths]
    outer = [s.look.outside(source).file for source in sources]
    if outer[0] and outer[1] and outer[0].device != outer[1].device and nodes[0] != nodes[1]:
        return outside("the two are on different file systems outside, too")
    names = [node.path if node else "/" for node in nodes]
    if names[0] == names[1]:
        text = "Landlock lets no file move between directories whose rules differ"
        return Reason(layer=Layer.LANDLOCK, text=text, key=_origin_of(nodes[1]))
    text = f"{names[0]} and {names[1]} are different mounts inside"
    common = os.path.commonpath(paths)
    advice = () if common == "/" else (Advice(("filesystem", "write"), common, add=True),)
    note = f"statements of their own for {key_text(_origin_of(nodes[0]))} and {key_text(_origin_of(nodes[1]))} have to go then"
    return Reason(
        layer=Layer.MOUNT,
        text=text,
        key=_origin_of(nodes[1]),
        advice=advice,
        note=note if advice else "",
    )
