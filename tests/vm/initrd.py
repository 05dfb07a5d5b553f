"""Writes the archive that a kernel unpacks as its first root (cpio's format "newc")."""

import stat
from collections.abc import Mapping, Sequence
from typing import Final

_TRAILER: Final = "TRAILER!!!"


def archive(files: Mapping[str, bytes], directories: Sequence[str]) -> bytes:
    """Files, all executable, and directories, all of root's; a directory comes before its files."""
    entries = [(name, stat.S_IFDIR | 0o755, b"") for name in directories]
    entries += [(name, stat.S_IFREG | 0o755, content) for name, content in files.items()]
    parts = [_entry(number, *entry) for number, entry in enumerate(entries, 1)]
    return b"".join((*parts, _entry(0, _TRAILER, 0, b"")))


def _entry(number: int, name: str, mode: int, content: bytes) -> bytes:
    """See Documentation/driver-api/early-userspace/buffer-format.rst of the kernel."""
    links = 2 if stat.S_ISDIR(mode) else 1
    fields = (
        *(number, mode, 0, 0, links, 0, len(content)),
        *(0, 0, 0, 0),  # device numbers
        *(len(name) + 1, 0),  # no checksum
    )
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return _padded(head) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
