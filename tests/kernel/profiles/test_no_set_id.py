"""The base no-set-id: no program that runs with another's rights is left in a directory of the host's."""

import os
from typing import Final

import pytest

from tests.kernel.harness import Sandbox
from tests.kernel.profiles.examples import examples, run_example

# Each way to create a file with a set-user-id or set-group-id bit, and the same without.
CREATE: Final = """\
import ctypes, errno, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def answer(result):
    return "ok" if result >= 0 else errno.errorcode[ctypes.get_errno()]
found = []
for number, mode in enumerate((0o4755, 0o2755, 0o6755, 0o755)):
    name = f"made-{number}".encode()
    for way, call in {
        "openat": lambda: libc.openat(-100, name + b"-openat", os.O_CREAT | os.O_WRONLY, mode),
        "creat": lambda: libc.creat(name + b"-creat", mode),
        "tmpfile": lambda: libc.openat(-100, b".", os.O_TMPFILE | os.O_WRONLY, mode),
        "mknod": lambda: libc.mknod(name + b"-mknod", 0o100000 | mode, 0),
        "mkdir": lambda: libc.mkdir(name + b"-mkdir", mode),
    }.items():
        found.append(answer(call()))
print(*found)
print(answer(libc.openat(-100, b"plain", os.O_RDWR | os.O_CREAT, 0o644)), end=" ")
print(answer(libc.openat(-100, b"plain", os.O_RDWR, 0o4755)), end=" ")
print(answer(libc.syscall(437, -100, b"plain", ctypes.c_char_p(bytes(24)), 24)))
"""


def test_the_example_works(sandbox: Sandbox) -> None:
    (command,) = examples("no-set-id")
    done = run_example(sandbox, command)
    assert (done.returncode, done.stderr) == (0, "")
    assert "usr" in done.stdout.split()


@pytest.mark.parametrize("profile", ("project", "converter", "untrusted-shell", "agent"))
def test_no_set_user_id_file_can_be_left(sandbox: Sandbox, profile: str) -> None:
    place = sandbox.mkdir("work", 0o700)
    result = sandbox.mkdir("work/output", 0o700)
    command = ("/usr/bin/python3", "-c", f"import os; os.chdir({result!r})\n{CREATE}")
    inside = sandbox.shipped(profile, *command, cwd=place)
    assert inside.stderr == ""
    ways, others = inside.stdout.splitlines()
    assert others == "ok ok ENOSYS"
    answers = ways.split()
    for number in range(3):
        *files, directory = answers[5 * number : 5 * number + 5]
        assert (files, directory) == (["EPERM"] * 4, "ok")
    assert answers[15:] == ["ok"] * 5
    names = os.listdir(result)
    assert not any(os.stat(f"{result}/{name}").st_mode & 0o4000 for name in names)
    for name in names:
        (os.rmdir if name.endswith("mkdir") else os.remove)(f"{result}/{name}")
    outside = sandbox.program(command, cwd=place)
    assert set(outside.stdout.splitlines()[0].split()) == {"ok"}
    owners = {os.stat(f"{result}/{name}").st_uid for name in os.listdir(result)}
    assert owners == {sandbox.uid}
