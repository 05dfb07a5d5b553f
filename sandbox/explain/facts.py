"""What there is at a path, inside the sandbox and outside: the one place here that looks.

Paths are walked name by name below a descriptor, so that a link of the payload's never leads out of
its root, and nothing is opened. What is found is plain data.
"""

import errno
import os
import stat
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

MAX_LINKS: Final = 40
MAX_NAMES: Final = 512


class File(msgspec.Struct, frozen=True, kw_only=True):
    """One file: its type and permission bits, its owner as numbered outside."""

    mode: int
    uid: int
    gid: int
    device: int = 0

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_character_device(self) -> bool:
        return stat.S_ISCHR(self.mode)

    @property
    def is_device(self) -> bool:
        return stat.S_ISCHR(self.mode) or stat.S_ISBLK(self.mode)


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """Where a path leads.

    `path` has no links in what exists of it. `file` is None where something is missing, `above`
    are the directories on the way, the root first. `error` is what kept us from looking further.
    """

    path: str
    file: File | None = None
    above: tuple[tuple[str, File], ...] = ()
    error: int = 0

    @property
    def exists(self) -> bool:
        return self.file is not None

    @property
    def missing_name_only(self) -> bool:
        """All but the last name is there."""
        return not self.error and self.file is None and len(self.above) == self.path.count("/")


class Look(Protocol):
    """Eyes for the attribution. Tests give it made-up ones."""

    def inside(self, path: str, *, follow: bool = True) -> Found | None:
        """What the payload's root has at the path; None where the root can't be looked at."""

    def outside(self, path: str, *, follow: bool = True) -> Found:
        """What the host has at the path, as sbx's caller sees it."""

    def interpreter(self, path: str) -> str:
        """What a script's first line or a program's header names; empty for neither."""

    def free(self, path: str) -> tuple[int, int] | None:
        """Free bytes and files of the file system at a path inside."""

    def listens(self, port: int) -> bool:
        """Something outside listens on this TCP port, or has this UDP port."""

    def has_abstract_socket(self, name: str) -> bool:
        """There is an abstract socket of this name outside."""

    def has_process(self, pid: int) -> bool:
        """There is a process of this number outside."""


def walk(root: int, path: str, *, follow: bool = True) -> Found:
    """Follows `path` below the directory `root`, which its links don't leave."""
    names = [name for name in path.split("/") if name not in {"", "."}][:MAX_NAMES][::-1]
    done: list[str] = []
    above: list[tuple[str, File]] = [("/", _file(os.stat(root)))]
    links = 0
    while names:
        name = names.pop()
        if name == "..":
            del done[-1:]
            del above[len(done) + 1 :]
            continue
        here = "/".join([*done, name])
        try:
            state = os.stat(here, dir_fd=root, follow_symlinks=False)
            if stat.S_ISLNK(state.st_mode) and (names or follow):
                links += 1
                if links > MAX_LINKS:
                    return _stopped(done, name, names, above, errno.ELOOP)
                target = os.readlink(here, dir_fd=root)
                if target.startswith("/"):
                    done, above = [], above[:1]
                names += [part for part in target.split("/") if part not in {"", "."}][::-1]
                continue
        except OSError as error:
            return _stopped(done, name, names, above, error.errno or errno.EIO)
        done.append(name)
        file = _file(state)
        if not names:
            return Found(path="/" + "/".join(done), file=file, above=tuple(above))
        if not file.is_directory:
            return _stopped(done, names.pop(), names, above, errno.ENOTDIR)
        above.append(("/" + "/".join(done), file))
    return Found(path="/" + "/".join(done), file=above[-1][1], above=tuple(above[:-1]))


def _stopped(
    done: Sequence[str],
    name: str,
    names: Sequence[str],
    above: Sequence[tuple[str, File]],
    error: int,
) -> Found:
    """What isn't there is taken as it is written."""
    rest = os.path.normpath("/" + "/".join([*done, name, *reversed(names)]))
    missing = error in {errno.ENOENT, errno.ENOTDIR}
    return Found(path=rest, above=tuple(above), error=0 if missing else error)


def _file(state: os.stat_result) -> File:
    return File(mode=state.st_mode, uid=state.st_uid, gid=state.st_gid, device=state.st_dev)


class Eyes:
    """Looks at this machine, and below a descriptor of the payload's root."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._host = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._ports: frozenset[int] | None = None
        self._names: frozenset[str] | None = None

    def close(self) -> None:
        os.close(self._host)

    def inside(self, path: str, *, follow: bool = True) -> Found | None:
        """What the payload's root has at the path; None where the root can't be looked at."""
        if self._root < 0:
            return None
        return walk(self._root, path, follow=follow)

    def outside(self, path: str, *, follow: bool = True) -> Found:
        """What the host has at the path, as sbx's caller sees it."""
        return walk(self._host, path, follow=follow)

    def interpreter(self, path: str) -> str:
        """What a script's first line or a program's header names; empty for neither."""
        found = self.inside(path)
        if found is None or found.file is None or not stat.S_ISREG(found.file.mode):
            return ""
        try:
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
            file = os.open(found.path.lstrip("/"), flags, dir_fd=self._root)
        except OSError:
            return ""
        try:
            return interpreter_of(os.pread(file, 1 << 16, 0))
        finally:
            os.close(file)

    def free(self, path: str) -> tuple[int, int] | None:
        """Free bytes and files of the file system at a path inside."""
        if self._root < 0:
            return None
        try:
            flags = os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW
            file = os.open(path.lstrip("/") or ".", flags, dir_fd=self._root)
        except OSError:
            return None
        try:
            state = os.statvfs(file)
        except OSError:
            return None
        finally:
            os.close(file)
        return state.f_bavail * state.f_frsize, state.f_favail

    def listens(self, port: int) -> bool:
        """Something outside listens on this TCP port, or has this UDP port."""
        if self._ports is None:
            self._ports = frozenset(_ports())
        return port in self._ports

    def has_abstract_socket(self, name: str) -> bool:
        """There is an abstract socket of this name outside."""
        if self._names is None:
            words = (line.split(" ") for line in _lines("/proc/net/unix")[1:])
            self._names = frozenset(w[-1] for w in words if w[-1].startswith("@"))
        return f"@{name}" in self._names

    def has_process(self, pid: int) -> bool:
        """There is a process of this number outside."""
        return os.path.exists(f"/proc/{pid}/stat")


def interpreter_of(head: bytes) -> str:
    """What a file that starts like this is run by (execve(2), elf(5)); empty where nothing is."""
    if head.startswith(b"#!"):
        words = head[2:].partition(b"\n")[0].split()
        return os.fsdecode(words[0]) if words else ""
    if not head.startswith(b"\x7fELF") or len(head) < 64 or head[5] != 1:
        return ""
    wide = head[4] == 2
    table = int.from_bytes(head[32:40] if wide else head[28:32], "little")
    size, count = (
        int.from_bytes(head[at : at + 2], "little") for at in ((54, 56) if wide else (42, 44))
    )
    for number in range(count):
        entry = head[table + number * size : table + (number + 1) * size]
        if len(entry) == size and int.from_bytes(entry[:4], "little") == 3:  # PT_INTERP
            at = int.from_bytes(entry[8:16] if wide else entry[4:8], "little")
            return os.fsdecode(head[at:].partition(b"\0")[0])
    return ""


def interpreter_at(path: str) -> str:
    """The same of a file of the host's; empty where it can't be read."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        return interpreter_of(os.pread(file, 1 << 16, 0))
    except OSError:
        return ""
    finally:
        os.close(file)


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read().splitlines()
    except OSError:
        return []


def _ports() -> list[int]:
    found = []
    states: Mapping[str, str] = {"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"}
    for name, state in states.items():
        for line in _lines(f"/proc/net/{name}")[1:]:
            words = line.split()
            if len(words) > 3 and words[3] == state:
                found.append(int(words[1].rpartition(":")[2], 16))
    return found
