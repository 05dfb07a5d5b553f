"""Looking at paths: links stay below the root, and nothing is opened."""

import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.explain.facts import interpreter_of, walk


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    for name in ("usr/bin", "etc", "var"):
        os.makedirs(tmp_path / "root" / name)
    (tmp_path / "outside").write_text("x")
    (tmp_path / "root" / "outside").write_text("inside")
    (tmp_path / "root" / "usr/bin/tool").write_text("x")
    links = {
        "bin": "usr/bin",
        "etc/absolute": "/usr/bin/tool",
        "etc/upward": "../../../../outside",
        "etc/loop": "loop",
        "etc/dangling": "/usr/nothing",
    }
    for name, target in links.items():
        os.symlink(target, tmp_path / "root" / name)
    fd = os.open(tmp_path / "root", os.O_PATH)
    yield fd
    os.close(fd)


@pytest.mark.parametrize(
    ("path", "real"),
    (
        ("/bin/tool", "/usr/bin/tool"),
        ("/etc/absolute", "/usr/bin/tool"),
        ("/etc/upward", "/outside"),
        ("/usr/./bin//../bin/tool", "/usr/bin/tool"),
        ("/../../usr", "/usr"),
        ("/", "/"),
        ("", "/"),
    ),
)
def test_a_path_is_followed_below_the_root(root: int, path: str, real: str) -> None:
    found = walk(root, path)
    assert (found.path, found.exists) == (real, True)
    assert [name for name, _ in found.above][:1] in (["/"], [])


def test_the_last_link_is_followed_only_where_that_is_wanted(root: int) -> None:
    assert walk(root, "/etc/absolute", follow=False).path == "/etc/absolute"
    assert walk(root, "/bin/tool", follow=False).path == "/usr/bin/tool"


@pytest.mark.parametrize(
    ("path", "real", "name_only"),
    (
        ("/bin/nothing", "/usr/bin/nothing", True),
        ("/etc/dangling", "/usr/nothing", True),
        ("/no/such/file", "/no/such/file", False),
        ("/usr/bin/tool/x", "/usr/bin/tool/x", False),
    ),
)
def test_what_is_missing_keeps_its_name(root: int, path: str, real: str, name_only: bool) -> None:
    found = walk(root, path)
    assert (found.path, found.exists, found.error) == (real, False, 0)
    assert found.missing_name_only is name_only


def test_a_loop_of_links_ends(root: int) -> None:
    assert walk(root, "/etc/loop").error == errno.ELOOP


def test_a_path_of_many_names_ends(root: int) -> None:
    assert not walk(root, "/x" * 4000).exists


def elf(*, wide: bool, interpreter: bytes) -> bytes:
    """As much of a program as tells its loader."""
    size = 64 if wide else 52
    head = bytearray(size)
    head[:6] = b"\x7fELF" + bytes([2 if wide else 1, 1])
    if wide:
        head[32:40], head[54:56], head[56:58] = struct.pack("<Q", size), b"\x38\0", b"\x01\0"
        entry = struct.pack("<IIQQQQQQ", 3, 4, size + 56, 0, 0, len(interpreter), 0, 1)
    else:
        head[28:32], head[42:44], head[44:46] = struct.pack("<I", size), b"\x20\0", b"\x01\0"
        entry = struct.pack("<IIIIIIII", 3, size + 32, 0, 0, len(interpreter), 0, 4, 1)
    return bytes(head) + entry + interpreter + b"\0"


@pytest.mark.parametrize(
    ("head", "interpreter"),
    (
        (b"#!/bin/sh -e\nrest", "/bin/sh"),
        (b"#! /usr/bin/env python3\n", "/usr/bin/env"),
        (b"#!\n", ""),
        (b"", ""),
        (b"plain text", ""),
        (elf(wide=True, interpreter=b"/lib64/ld.so"), "/lib64/ld.so"),
        (elf(wide=False, interpreter=b"/lib/ld.so"), "/lib/ld.so"),
        (elf(wide=True, interpreter=b"/lib64/ld.so")[:70], ""),
        (b"\x7fELF" + b"\xff" * 200, ""),
    ),
)
def test_the_interpreter_of_scripts_and_programs(head: bytes, interpreter: str) -> None:
    assert interpreter_of(head) == interpreter
