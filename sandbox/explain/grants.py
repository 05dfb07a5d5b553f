"""Statements about paths: which one would allow something, and which one takes it away."""

import os
from typing import Final

from sandbox.explain.denial import Advice, Layer, Reason
from sandbox.explain.situation import Situation
from sandbox.explain.uses import Use, Wish
from sandbox.plan.nodes import Kind, Node, Right

_ENGINE_SOCKETS: Final = ("docker.sock", "podman.sock", "containerd.sock", "crio.sock")
_LISTS: Final = {Right.READ: "read", Right.WRITE: "write", Right.EXECUTE: "execute"}


def grant(s: Situation, wish: Wish, path: str) -> tuple[Advice, ...]:
    """The smallest statement that gives what is wished at a path of the host's."""
    right, node = wish.use.right, s.node(path)
    if node is not None and node.kind == Kind.MOUNT and isinstance(node.origin[-1], int):
        name = "execute" if right == Right.EXECUTE else "writable"
        return (Advice((*node.origin, name), True, target=node.path),)
    if wish.use in {Use.CREATE, Use.REMOVE}:
        path = _existing(s, os.path.dirname(path))
    if path == "/" or not _writable_as_toml(path):
        return ()
    return (Advice(("filesystem", _LISTS[right]), path, add=True),)


def _existing(s: Situation, path: str) -> str:
    """The nearest directory at or above the path that is there outside."""
    while path != "/" and not s.look.outside(path).exists:
        path = os.path.dirname(path)
    return path


def _writable_as_toml(path: str) -> bool:
    return not any(0xD800 <= ord(char) <= 0xDFFF for char in path)


def caution(path: str) -> str:
    """What to think of before granting the path."""
    if os.path.basename(path) in _ENGINE_SOCKETS:
        return "whoever reaches a container engine's socket is root of the host"
    return ""


def covered(s: Situation, node: Node, wish: Wish, path: str) -> Reason:
    """A statement hides it. A more specific one would show a part of it again, unless it is sealed."""
    for key, value in ((("filesystem", "proc"), "read-only"), (("devices", "dev"), "private")):
        if node.origin == key:
            text = f"there is no {node.path}"
            return Reason(layer=Layer.MOUNT, text=text, key=key, advice=(Advice(key, value),))
    verb = "denied" if node.kind == Kind.DENY else "masked"
    text = f"{node.path} is {verb}"
    if seal := s.seal(node.origin):
        note = f"{seal} seals it, so only that file can show it"
        return Reason(layer=Layer.MOUNT, text=text, key=node.origin, note=note)
    advice = grant(s, wish, path)
    if path == node.path:
        advice = (Advice(node.origin[:2], node.path, remove=True),)
    return Reason(layer=Layer.MOUNT, text=text, key=node.origin, advice=advice)


def protected(s: Situation, node: Node) -> Reason:
    """A statement keeps it as it is."""
    text = f"{node.path} is protected, and so are the directories that lead to it"
    if seal := s.seal(node.origin):
        note = f"{seal} seals it, so only that file can take it back"
        return Reason(layer=Layer.MOUNT, text=text, key=node.origin, note=note)
    advice = (Advice(node.origin[:2], node.path, remove=True),)
    return Reason(layer=Layer.MOUNT, text=text, key=node.origin, advice=advice)
