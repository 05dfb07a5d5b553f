"""Limits as reasons: of descriptors, of file sizes, of file systems in memory."""

from sandbox import units
from sandbox.explain.denial import Advice, Layer, Reason
from sandbox.explain.situation import Situation
from sandbox.plan.nodes import Kind, Node
from sandbox.profile.resolved import KeyPath


def too_many_descriptors(s: Situation) -> Reason:
    """EMFILE, whichever call."""
    key = ("rlimits", "nofile")
    text = "the process has as many descriptors open as it may"
    note = (
        "" if s.profile.rlimits.nofile is not None else "the limit is inherited from sbx's caller"
    )
    value = s.profile.rlimits.nofile
    soft = value if isinstance(value, int) else 1024
    return Reason(layer=Layer.LIMIT, text=text, key=key, advice=(Advice(key, 4 * soft),), note=note)


def full(s: Situation, node: Node | None) -> Reason | None:
    """A file system in memory that has no room left."""
    text = f"{node.path if node else '/'} is memory of limited size, and full"
    if node is None or node.kind in {Kind.HOST, Kind.SHOWN}:
        if s.profile.rootfs.overlay != "tmpfs":
            return None
        key: KeyPath = ("rootfs", "overlay_size")
        size = Advice(key, _double(s.profile.rootfs.overlay_size))
        return Reason(layer=Layer.LIMIT, text=text, key=key, advice=(size,))
    if node.origin[0] == "mounts" and node.mount and node.mount.type != "bind":
        key = (*node.origin, "size")
        size = Advice(key, _double(node.mount.size or "64M"), target=node.path)
        return Reason(layer=Layer.LIMIT, text=text, key=node.origin, advice=(size,))
    if node.kind != Kind.TMPFS:
        return None
    if node.origin == ("devices", "shm_size"):
        size = Advice(node.origin, _double(s.profile.devices.shm_size))
    else:
        size = Advice(
            ("filesystem", "tmpfs"),
            {"path": node.path, "size": bytes_text(2 * node.size)},
            add=True,
        )
    return Reason(layer=Layer.LIMIT, text=text, key=node.origin, advice=(size,))


def _double(size: str | int) -> str:
    return bytes_text(2 * units.size(size))


def bytes_text(size: int) -> str:
    """A size as a profile has it: 64M."""
    for letter, shift in (("G", 30), ("M", 20), ("K", 10)):
        if not size & ((1 << shift) - 1):
            return f"{size >> shift}{letter}"
    return str(size)


def file_size_limit(s: Situation) -> Reason | None:
    """EFBIG and SIGXFSZ."""
    limit = s.profile.rlimits.fsize
    if limit is None:
        return None
    key = ("rlimits", "fsize")
    text = "a file would become larger than the limit"
    advice = Advice(key, _double(limit) if isinstance(limit, str | int) else "unlimited")
    return Reason(layer=Layer.LIMIT, text=text, key=key, advice=(advice,))
