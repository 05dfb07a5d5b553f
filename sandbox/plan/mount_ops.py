"""Ops that assemble the payload's root: mounts, and what is written on mounts of our own."""

import os
from enum import IntEnum, IntFlag
from typing import Final

from sandbox.plan.kernel import mount_words, size_words
from sandbox.plan.record import Op


class Bind(IntFlag):
    """How a bind mount is made."""

    RECURSIVE = 1
    OPTIONAL = 2
    IDMAP_OWNER = 4
    FROM_ROOTFS = 8
    FROM_ROOT = 16
    NO_CREATE = 32


class Mask(IntEnum):
    """What covers a path: something empty, something shut, or a passage to mounts below it.

    The last two cover it with itself, read-only or only so that it can't be moved away.
    """

    EMPTY = 0
    DENY = 1
    PASSAGE = 2
    READ_ONLY = 3
    PIN = 4


class MountRoot(Op, frozen=True, kw_only=True):
    """A new tmpfs of `size` bytes on which the root is assembled."""

    KIND = 6
    size: int
    inodes: int

    def describe(self) -> str:
        return f"empty root in memory, at most {size_words(self.size)}"


class MountRootTree(Op, frozen=True, kw_only=True):
    """A recursive clone of the directory `source` becomes the root."""

    KIND = 7
    source: str
    attributes: int

    def describe(self) -> str:
        return f"root is {self.source} of the host: {mount_words(self.attributes)}"


class MakeDirectory(Op, frozen=True, kw_only=True):
    """A directory on the root's tmpfs, with its parents."""

    KIND = 8
    path: str
    mode: int

    def describe(self) -> str:
        return f"directory {self.path} (mode {self.mode:04o})"


class MakeSymlink(Op, frozen=True, kw_only=True):
    """A symbolic link on the root's tmpfs."""

    KIND = 9
    path: str
    target: str

    def describe(self) -> str:
        return f"symbolic link {self.path} to {self.target}"


class WriteFile(Op, frozen=True, kw_only=True):
    """A generated file: made on the root's tmpfs, or mounted read-only over one a bind brought."""

    KIND = 10
    path: str
    mode: int
    content: bytes

    def describe(self) -> str:
        return f"generated file {self.path} ({len(self.content)} bytes, mode {self.mode:04o})"


class BindMount(Op, frozen=True, kw_only=True):
    """`source` appears at `target`; flags are of `Bind`, attributes of `Attr`.

    Links are followed in the first `trusted` bytes of the source, 0 for all of it: names behind
    them lie in what the payload may write to, and are the payload's.
    """

    KIND = 11
    source: str
    target: str
    attributes: int
    flags: int
    uid: int = 0
    gid: int = 0
    trusted: int = 0

    def describe(self) -> str:
        tree = (
            "the root tree"
            if self.flags & Bind.FROM_ROOTFS
            else "the sandbox"
            if self.flags & Bind.FROM_ROOT
            else "the host"
        )
        text = f"{self.target} is {self.source} of {tree}: {mount_words(self.attributes)}"
        if not self.flags & Bind.RECURSIVE:
            text += ", without what is mounted below it"
        if self.flags & Bind.IDMAP_OWNER:
            text += f", its owner shown as the payload (user {self.uid} outside)"
        if self.trusted:
            text += ", no link followed below " + (self._above() or "/")
        return text + (", left out if missing" if self.flags & Bind.OPTIONAL else "")

    def _above(self) -> str:
        return os.fsdecode(os.fsencode(self.source)[: self.trusted]).rstrip("/")


ANY_DEVICE: Final = 2**32 - 1


class BindDevice(Op, frozen=True, kw_only=True):
    """A character device node, its numbers checked on the descriptor that is mounted.

    `ANY_DEVICE` as major accepts any character device.
    """

    KIND = 12
    source: str
    target: str
    major: int
    minor: int

    def describe(self) -> str:
        number = "any" if self.major == ANY_DEVICE else f"{self.major}:{self.minor}"
        return f"device {self.target} is {self.source} of the host (character device, {number})"


class MountDev(Op, frozen=True, kw_only=True):
    """A tmpfs of `size` bytes that can hold device nodes: only the machine's root can make one.

    `uid` and `gid` own its top directory, by their numbers outside.
    """

    KIND = 49
    target: str
    size: int
    uid: int
    gid: int

    def describe(self) -> str:
        return f"{self.target} is for device nodes, at most {size_words(self.size)}"


class MakeDevice(Op, frozen=True, kw_only=True):
    """A character device node on the `MountDev` before it, open to everyone."""

    KIND = 50
    path: str
    major: int
    minor: int

    def describe(self) -> str:
        return f"device {self.path} (character device, {self.major}:{self.minor})"


class MountTmpfs(Op, frozen=True, kw_only=True):
    """An empty tmpfs of at most `size` bytes and `inodes` files (0: the kernel's default).

    `uid` and `gid` own its top directory, by their numbers inside.
    """

    KIND = 13
    target: str
    size: int
    inodes: int
    mode: int
    attributes: int
    uid: int = 0
    gid: int = 0

    def describe(self) -> str:
        files = f" and {self.inodes} files" if self.inodes else ""
        limit = f"at most {size_words(self.size)}{files}, mode {self.mode:04o}"
        return f"{self.target} is empty memory, {limit}: {mount_words(self.attributes)}"


class MountOverlay(Op, frozen=True, kw_only=True):
    """An overlay of `lower` (top first); changes go to `upper`, or a tmpfs of `size` bytes."""

    KIND = 14
    target: str
    lower: tuple[str, ...]
    upper: str
    work: str
    size: int
    attributes: int

    def describe(self) -> str:
        kept = self.upper or f"memory, at most {size_words(self.size)}"
        layers = " over ".join(self.lower)
        return f"{self.target} is {layers}, changes go to {kept}: {mount_words(self.attributes)}"


class CreateProc(Op, frozen=True, kw_only=True):
    """A fresh procfs of the new PID namespace, not yet attached; option 1: subset=pid."""

    KIND = 15
    options: int

    def describe(self) -> str:
        return "prepare a /proc of the sandbox's own" + (
            ", with process directories only" if self.options else ""
        )


class SetSysctl(Op, frozen=True, kw_only=True):
    """A namespaced sysctl is written through the fresh procfs."""

    KIND = 16
    path: str
    value: str

    def describe(self) -> str:
        return f"kernel setting {self.path} = {self.value} for the sandbox"


class AttachProc(Op, frozen=True, kw_only=True):
    """The fresh procfs appears at `target`."""

    KIND = 17
    target: str
    attributes: int

    def describe(self) -> str:
        return f"{self.target} is the sandbox's own processes: {mount_words(self.attributes)}"


class MountDevpts(Op, frozen=True, kw_only=True):
    """A devpts instance of the sandbox's own."""

    KIND = 18
    target: str

    def describe(self) -> str:
        return f"{self.target} holds pseudo-terminals of the sandbox's own"


class MaskPath(Op, frozen=True, kw_only=True):
    """What lies at `path` is covered, by what `Mask` says; nothing is done where it is missing.

    A passage can only be passed through, to mounts below; `SetMountAttributes` seals it later. A
    symbolic link can't be covered with itself: the launch fails.
    """

    KIND = 19
    path: str
    how: int

    def describe(self) -> str:
        words = (
            "is covered by something empty",
            "is covered by something that can't be opened",
            "is covered; only what is mounted below it can be reached",
            "is read-only and stays where it is, if it is there",
            "stays where it is, if it is there",
        )
        return f"{self.path} {words[self.how]}"


class SetMountAttributes(Op, frozen=True, kw_only=True):
    """The mount at `path` gets these attributes as well, submounts not."""

    KIND = 20
    path: str
    attributes: int

    def describe(self) -> str:
        return f"{self.path} becomes {mount_words(self.attributes)}"


class EnterRoot(Op, frozen=True, kw_only=True):
    """pivot_root to the assembled root; the old root is detached."""

    KIND = 21

    def describe(self) -> str:
        return "enter the root; nothing else of the host's tree stays"


class RestrictRoot(Op, frozen=True, kw_only=True):
    """The mount namespace's copy of the host's tree stays the root, with these attributes."""

    KIND = 47
    attributes: int

    def describe(self) -> str:
        return f"root is the host's whole tree: {mount_words(self.attributes)}"
