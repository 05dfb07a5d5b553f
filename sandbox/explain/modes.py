"""Plain permissions: what the payload's ids may do with a file by its owner and mode."""

import stat

from sandbox.explain.denial import Advice, Layer, Reason
from sandbox.explain.facts import File, Found
from sandbox.explain.situation import Situation
from sandbox.explain.uses import Use, Wish
from sandbox.profile.resolved import KeyPath

_NEEDED = {Use.READ: 4, Use.WRITE: 2, Use.CREATE: 2, Use.EXECUTE: 1, Use.CONNECT: 2}


def _bits(s: Situation, file: File) -> int:
    """The permission bits that hold for the payload."""
    groups = {s.identity.outer_gid}
    if not s.identity.keeps_setgroups:
        groups |= set(s.host.groups)
    if file.uid == s.identity.outer_uid:
        return file.mode >> 6 & 7
    return file.mode >> 3 & 7 if file.gid in groups else file.mode & 7


def refused_by_mode(s: Situation, found: Found, wish: Wish) -> Reason | None:
    """The first permission on the way that the payload's ids don't have."""
    if {"CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"} & set(s.profile.capabilities.keep):
        return None
    for path, directory in found.above:
        if not _bits(s, directory) & 1:
            return _mode_reason(s, path, directory, "enter")
    if wish.use in {Use.CREATE, Use.REMOVE} and (wish.use == Use.REMOVE or not found.file):
        if found.above and not _bits(s, found.above[-1][1]) & 2:
            return _mode_reason(s, *found.above[-1], "change")
        return None
    needed = _NEEDED.get(wish.use, 0)
    if found.file and needed & ~_bits(s, found.file):
        return _mode_reason(s, found.path, found.file, wish.use.value)
    return None


def _mode_reason(s: Situation, path: str, file: File, what: str) -> Reason:
    who = f"user {s.identity.outer_uid} and group {s.identity.outer_gid} of the host"
    text = (
        f"{path} belongs to user {file.uid} and group {file.gid} with mode "
        f"{stat.S_IMODE(file.mode):04o}; the payload, which is {who}, may not {what} it"
    )
    if s.identity.outer_uid == s.host.uid:
        return Reason(layer=Layer.MODE, text=text, note="outside of the sandbox it is refused too")
    key: KeyPath = ("identity", "map")
    source = s.source_of(path) or path
    if file.uid == s.host.uid and s.host.idmapped_mounts and source != "/" and s.on_host:
        value = {"type": "bind", "source": source, "target": path, "idmap": True}
        if what not in {"enter", "read", "execute", "connect to"}:
            value["writable"] = True
        if what == "execute":
            value["execute"] = True
        advice = Advice(("mounts",), value, add=True)
        return Reason(layer=Layer.MODE, text=text, key=key, advice=(advice,))
    note = f"outside, as its owner: chmod o+{_letters(what)} {path}"
    return Reason(layer=Layer.MODE, text=text, key=key, note=note)


def _letters(what: str) -> str:
    return {"enter": "x", "read": "r", "execute": "x"}.get(what, "w")
