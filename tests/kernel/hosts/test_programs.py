"""Programs that can't be run: 126 where there is something, 127 where there is nothing, and why."""

import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.kernel.harness import Sandbox
from tests.kernel.traces import left, snapshot

# What a program for i386 is: int 0x80 with the call exit and the status 7.
I386 = bytes.fromhex("b801000000bb07000000cd80")
NO_PROGRAM = "is not a program that this machine can run"
NO_INTERPRETER = "is there, but its interpreter or dynamic loader is not"
MAY_NOT = "may not be executed"
CIRCLE = "lead in a circle"


def written(path: str, content: bytes, mode: int = 0o755) -> None:
    with open(path, "wb") as file:
        file.write(content)
    os.chmod(path, mode)


def foreign(path: str) -> None:
    """This Python for a machine that doesn't exist."""
    with open(os.path.realpath(sys.executable), "rb") as file:
        content = bytearray(file.read(4096))
    struct.pack_into("<H", content, 18, 0xFFF0)  # e_machine
    written(path, bytes(content))


def truncated(path: str) -> None:
    with open("/bin/true", "rb") as file:
        written(path, file.read(40))


def for_i386(path: str) -> None:
    """ELF of 32 bits with one segment."""
    base, head = 0x08048000, 52 + 32
    ident = b"\x7fELF" + bytes((1, 1, 1)) + bytes(9)
    header = struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, base + head, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    size = head + len(I386)
    segment = struct.pack("<IIIIIIII", 1, 0, base, base, size, size, 5, 4096)
    written(path, ident + header + segment + I386)


def in_circles(path: str) -> None:
    """Each the other's interpreter."""
    written(path, f"#!{path}-other\n".encode())
    written(f"{path}-other", f"#!{path}\n".encode())


def listening(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path)
    os.chmod(path, 0o755)


def content(text: bytes, mode: int = 0o755) -> Callable[[str], None]:
    return lambda path: written(path, text, mode)


# How it is made, the status, and what is said.
PROGRAMS: dict[str, tuple[Callable[[str], None], int, str]] = {
    "missing-interpreter": (content(b"#!/no/such/interpreter\n"), 126, NO_INTERPRETER),
    "windows-lines": (content(b"#!/bin/sh\r\nexit 0\r\n"), 126, NO_INTERPRETER),
    "interpreter-is-text": (content(b"#!/etc/hostname\n"), 126, ""),
    "interpreter-is-directory": (content(b"#!/usr\n"), 126, MAY_NOT),
    "interpreter-in-circles": (in_circles, 126, CIRCLE),
    "long-first-line": (content(b"#!/" + b"x/" * 300 + b"sh\n"), 126, NO_PROGRAM),
    "nothing-but-mark": (content(b"#!"), 126, ""),
    "text": (content(b"echo\n"), 126, NO_PROGRAM),
    "empty": (content(b""), 126, NO_PROGRAM),
    "binary": (content(bytes(range(256)) * 64), 126, NO_PROGRAM),
    "foreign": (foreign, 126, NO_PROGRAM),
    "truncated": (truncated, 126, NO_PROGRAM),
    "not-executable": (content(b"#!/bin/sh\n", 0o644), 126, MAY_NOT),
    "directory": (os.mkdir, 126, MAY_NOT),
    "fifo": (lambda path: os.mkfifo(path, 0o755), 126, MAY_NOT),
    "socket": (listening, 126, MAY_NOT),
    "dangling": (lambda path: os.symlink("nowhere", path), 127, "there is no command"),
    "link-in-circles": (lambda path: os.symlink(os.path.basename(path), path), 126, CIRCLE),
    "link-to-host": (lambda path: os.symlink("/root/.profile", path), 127, "there is no command"),
    "missing": (lambda _path: None, 127, "there is no command"),
}


def profile(sandbox: Sandbox) -> str:
    directory = sandbox.mkdir("bin")
    os.chmod(directory, 0o755)
    return f"""
        [environment]
        set = {{ PATH = "{directory}" }}
        [process]
        cwd = "{directory}"
        [filesystem]
        execute = ["{directory}", "/usr", "/bin", "/lib", "/lib64"]
        read = ["/etc/hostname"]
    """


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_cannot_be_run_is_told_and_leaves_nothing(sandbox: Sandbox, name: str) -> None:
    """By its path or by a search in PATH; at once, and in a few lines."""
    make, status, said = PROGRAMS[name]
    text = profile(sandbox)
    path = sandbox.path("bin", name)
    make(path)
    before = snapshot(sandbox.path("bin"))
    command = path if sandbox.is_root else name
    done = sandbox.run(text, command, timeout=10)
    assert done.returncode == status, done
    assert done.stderr.startswith("sbx: error: ")
    assert said in done.stderr, done
    assert f"'{command}'" in done.stderr
    assert "hint: " in done.stderr or not said
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) <= 4
    assert snapshot(sandbox.path("bin")) == before
    assert left(sandbox) == {}


def test_a_script_may_have_a_script_as_its_interpreter(sandbox: Sandbox) -> None:
    """As far as the kernel goes: five levels."""
    text = profile(sandbox)
    written(sandbox.path("bin/level0"), b"#!/bin/sh\nexit 7\n")
    for level in range(1, 7):
        above = sandbox.path(f"bin/level{level - 1}")
        written(sandbox.path(f"bin/level{level}"), f"#!{above}\n".encode())
    assert sandbox.run(text, "level1").returncode == 7
    done = sandbox.run(text, "level6")
    assert done.returncode == 126
    assert CIRCLE in done.stderr


def test_a_program_of_32_bits_never_runs(sandbox: Sandbox) -> None:
    """The kernel doesn't take it, or the filter ends it with its first call."""
    text = profile(sandbox)
    for_i386(sandbox.path("bin/program"))
    outside = (
        subprocess.run([sandbox.path("bin/program")], check=False) if i386_runs(sandbox) else None
    )
    done = sandbox.run(text, "program")
    if outside is not None and outside.returncode == 7:
        assert done.returncode == 128 + 31
    else:
        assert done.returncode == 126
        assert NO_PROGRAM in done.stderr


def i386_runs(sandbox: Sandbox) -> bool:
    try:
        subprocess.run([sandbox.path("bin/program")], check=False)
    except OSError:
        return False
    return True


def test_a_program_that_is_being_written_is_told(sandbox: Sandbox) -> None:
    text = profile(sandbox)
    shutil.copy(sandbox.probe, sandbox.path("bin/program"))
    with open(sandbox.path("bin/program"), "r+b"):
        done = sandbox.run(text, "program", "exit", "7")
        assert done.returncode == 126
        assert "is open for writing somewhere" in done.stderr
    assert sandbox.run(text, "program", "exit", "7").returncode == 7


def test_a_program_that_goes_while_it_runs_ends_as_it_would(sandbox: Sandbox) -> None:
    """And the next launch finds none."""
    text = profile(sandbox)
    shutil.copy(sandbox.probe, sandbox.path("bin/program"))
    with sandbox.start(text, "program", "wait") as running:
        assert running.stdout is not None
        running.stdout.readline()
        os.unlink(sandbox.path("bin/program"))
        running.terminate()
        assert running.wait(10) == 128 + 15
    done = sandbox.run(text, "program", "exit", "7")
    assert done.returncode == 127


def test_a_service_whose_program_the_host_lacks(sandbox: Sandbox) -> None:
    """The profile's own command, with the line that names it."""
    path = sandbox.write(
        "app.toml",
        "schema = 1\nprofile.extends = 'service'\nprocess.command = ['no-such-server']\n",
    )
    for _ in range(2):
        done = sandbox.shipped(path)
        assert done.returncode == 127
        assert f"{path}:3: process.command: there is no command 'no-such-server'" in done.stderr
