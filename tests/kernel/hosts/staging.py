"""Roots of another kind than the machine's, made for one test in a mount namespace of its own."""

import contextlib
import os
import sys
from collections.abc import Iterable

from tests.kernel.harness import (
    CLONE_NEWNS,
    MS_BIND,
    MS_PRIVATE,
    MS_REC,
    Sandbox,
    checked,
    libc,
    mount,
)

PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}[os.uname().machine]
# Numbers that every machine shares.
OPEN_TREE, MOVE_MOUNT = 428, 429
AT_FDCWD, AT_RECURSIVE, MNT_DETACH = -100, 0x8000, 2
USUAL = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")


def installation(sandbox: Sandbox) -> list[str]:
    """What sbx needs to be seen besides /usr: its environment, its sources if it is an editable one."""
    here = os.path.dirname(os.path.abspath(__file__))
    source = os.path.dirname(os.path.dirname(os.path.dirname(here)))
    found = [os.path.dirname(os.path.dirname(sandbox.launcher)), source, sys.base_prefix]
    return [path for path in dict.fromkeys(found) if not f"{path}/".startswith("/usr/")]


def seen(sandbox: Sandbox) -> list[str]:
    """The same with the test's own directories."""
    own = [sandbox.directory, sandbox.place, os.path.dirname(sandbox.probe)]
    return [*installation(sandbox), *own]


def fill(root: str, sandbox: Sandbox, *, merged: bool) -> None:
    """Puts a system into an empty directory: this one's programs, the test's files, and little else.

    Not `merged`: /bin, /lib and the like are directories of their own, as before 2012.
    """
    for name in ("usr", "proc", "dev", "etc", "var/cache", "tmp", "root"):
        os.makedirs(f"{root}/{name}", exist_ok=True)
    for name in ("usr", "proc", "dev"):
        mount(f"/{name}", f"{root}/{name}", flags=MS_BIND | MS_REC)
    for name in USUAL:
        if not os.path.isdir(f"/{name}"):
            continue
        if merged and os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), f"{root}/{name}")
        else:
            os.mkdir(f"{root}/{name}")
            mount(f"/{name}", f"{root}/{name}", flags=MS_BIND | MS_REC)
    with open(f"{root}/etc/hostname", "w", encoding="ascii") as file:
        file.write("odd\n")
    show(root, ("/var/cache", *seen(sandbox)))


def show(root: str, paths: Iterable[str]) -> None:
    """Binds directories to the same place below a new root."""
    for path in paths:
        os.makedirs(root + path, exist_ok=True)
        mount(path, root + path, flags=MS_BIND | MS_REC)


def pivot(root: str) -> None:
    """Makes a mount point the root of this mount namespace."""
    os.chdir(root)
    checked(libc.syscall(PIVOT_ROOT, b".", b"."))
    checked(libc.umount2(b".", MNT_DETACH))
    os.chdir("/")


def root_in_memory(sandbox: Sandbox, *, merged: bool = True) -> None:
    """The whole system lies on a tmpfs."""
    root = sandbox.path("system")
    os.makedirs(root, exist_ok=True)
    mount("tmpfs", root, "tmpfs", data="mode=755")
    fill(root, sandbox, merged=merged)
    pivot(root)


def initial_root(sandbox: Sandbox, made: Iterable[str] = ()) -> None:
    """This process's root becomes the one that the kernel started with, which can't be pivoted.

    It lies beneath the machine's root. Directories that are made there stay until they are removed
    there: `forget_initial_root`.
    """
    paths = [f"/{name}" for name in ("usr", "proc", "dev", *USUAL) if os.path.isdir(f"/{name}")]
    paths += ["/var/cache", *seen(sandbox)]
    trees = {path: checked_tree(path) for path in paths} if not made else {}
    namespace = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    checked(libc.umount2(b"/", MNT_DETACH))
    checked(libc.setns(namespace, CLONE_NEWNS))
    for path, tree in trees.items():
        os.makedirs(path, exist_ok=True)
        checked(libc.syscall(MOVE_MOUNT, tree, b"", AT_FDCWD, os.fsencode(path), 4))
    for path in sorted(made, key=len, reverse=True):
        with contextlib.suppress(OSError):
            os.removedirs(path)


def checked_tree(path: str) -> int:
    """A detached copy of what is mounted at and below a path."""
    flags = 1 | os.O_CLOEXEC | AT_RECURSIVE
    return checked(libc.syscall(OPEN_TREE, AT_FDCWD, os.fsencode(path), flags))


def forget_initial_root(sandbox: Sandbox) -> None:
    """Removes the empty directories that `initial_root` made there."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            checked(libc.unshare(CLONE_NEWNS))
            mount("none", "/", flags=MS_REC | MS_PRIVATE)
            made = [f"/{name}" for name in ("usr", "proc", "dev", *USUAL)]
            initial_root(sandbox, [*made, "/var/cache", *seen(sandbox)])
            status = 0
        finally:
            os._exit(status)
    os.waitpid(child, 0)
