"""/dev: the usual harmless nodes, terminals of the sandbox's own, and nothing else."""

import os
import pty
from typing import Any, Final

import pytest

from tests.kernel.harness import Sandbox, checked, libc, mount, outcomes

PR_CAPBSET_DROP: Final = 24
CAP_MKNOD: Final = 27
NODES = {
    "full": "1:7",
    "null": "1:3",
    "random": "1:8",
    "tty": "5:0",
    "urandom": "1:9",
    "zero": "1:5",
}
LINKS = {
    "fd": "/proc/self/fd",
    "ptmx": "pts/ptmx",
    "stderr": "/proc/self/fd/2",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
}
WHOLE_HOST = "[filesystem]\nread = ['/']\n"
S_IFCHR, S_IFBLK, S_IFIFO = "020666", "060666", "010666"


@pytest.mark.parametrize("root", ("", WHOLE_HOST))
def test_dev_holds_these_entries_and_no_others(sandbox: Sandbox, root: str) -> None:
    listed = sandbox.attempt(root, "list", "/dev").value.split()
    assert listed == sorted([*NODES, *LINKS, "pts", "shm"])
    states = sandbox.attempts(root, *(("stat", f"/dev/{name}") for name in NODES))
    assert {name: a.value.split()[3] for name, a in zip(NODES, states, strict=True)} == NODES
    links = sandbox.attempts(root, *(("readlink", f"/dev/{name}") for name in LINKS))
    assert {name: a.value for name, a in zip(LINKS, links, strict=True)} == LINKS


def test_the_nodes_do_what_they_are_for(sandbox: Sandbox) -> None:
    tries = [
        ("write", "/dev/null", "x"),
        ("read", "/dev/null"),
        ("write", "/dev/full", "x"),
        ("open", "/dev/urandom", "r"),
        ("open", "/dev/zero", "rw"),
        ("open", "/dev/tty", "rw"),
    ]
    found = outcomes(sandbox.attempts("", *tries))
    assert found == ["ok", "ok", "ENOSPC", "ok", "ok", "ENXIO"]


def test_the_nodes_are_open_to_everyone_whatever_the_callers_mask_is(sandbox: Sandbox) -> None:
    tries = [("stat", f"/dev/{name}") for name in NODES]
    states = sandbox.attempts("", *tries, before=lambda: os.umask(0o077) and None)
    assert {answer.value.split()[2] for answer in states} == {"20666"}


def test_root_that_may_make_no_nodes_gets_the_hosts_with_every_plan(as_root: Sandbox) -> None:
    """As in a unit with PrivateDevices=yes; full root's plan, kept before, is not taken."""

    def without_mknod() -> None:
        checked(libc.prctl(PR_CAPBSET_DROP, CAP_MKNOD, 0, 0, 0))

    def mounted(**how: Any) -> bool:
        return any(m.point == "/dev/null" for m in as_root.dump("", **how).mounts)

    assert not mounted()
    assert mounted(before=without_mknod)
    assert not mounted()


def test_the_nodes_cannot_be_changed(sandbox: Sandbox) -> None:
    tries = [
        ("chmod", "/dev/null", "0777"),
        ("chown", "/dev/null", sandbox.dump("").uid, -1 & 0xFFFFFFFF),
        ("unlink", "/dev/null"),
        ("symlink", "/etc/passwd", "/dev/log"),
        ("rename", "/dev/ptmx", "/dev/other"),
    ]
    for root in ("", WHOLE_HOST):
        assert set(outcomes(sandbox.attempts(root, *tries))) <= {"EROFS", "EBUSY"}


def test_device_nodes_cannot_be_made(sandbox: Sandbox) -> None:
    """Not with the capability, nor without the filter: the kernel asks its first user namespace."""
    text = "[filesystem]\ntmpfs = ['/tmp']\n"
    tries = [("mknod", "/tmp/c", S_IFCHR, 1, 3), ("mknod", "/tmp/b", S_IFBLK, 7, 0)]
    assert outcomes(sandbox.attempts(text, *tries)) == ["EPERM"] * 2
    unfiltered = text + "[seccomp]\nenabled = false\n"
    assert outcomes(sandbox.attempts(unfiltered, *tries)) == ["EACCES"] * 2
    bare = unfiltered + "[landlock]\nenabled = false\n"
    assert outcomes(sandbox.attempts(bare, *tries)) == ["EPERM"] * 2
    capable = bare + "[capabilities]\nkeep = ['CAP_MKNOD']\nambient = true\n"
    assert outcomes(sandbox.attempts(capable, *tries)) == ["EPERM"] * 2
    assert sandbox.attempt(text, "mknod", "/tmp/fifo", S_IFIFO, 0, 0).outcome == "ok"


def test_pseudo_terminals_are_the_sandboxs_own(sandbox: Sandbox) -> None:
    master, slave = pty.openpty()
    try:
        assert sandbox.attempt("", "list", "/dev/pts").value == "ptmx"
        assert sandbox.attempt("", "open", "/dev/ptmx", "rw").outcome == "ok"
        assert os.path.basename(os.ttyname(slave)) in os.listdir("/dev/pts")
    finally:
        os.close(master)
        os.close(slave)


def test_without_dev_there_is_none(sandbox: Sandbox) -> None:
    assert sandbox.attempt("[devices]\ndev = 'none'", "list", "/dev").outcome == "ENOENT"


def test_a_device_of_the_hosts_appears_when_it_is_allowed(sandbox: Sandbox) -> None:
    text = "[devices]\nallow = ['/dev/kmsg']"
    host = os.stat("/dev/kmsg")
    shown = sandbox.attempt(text, "stat", "/dev/kmsg").value.split()[3]
    assert shown == f"{os.major(host.st_rdev)}:{os.minor(host.st_rdev)}"
    assert sandbox.attempt("", "stat", "/dev/kmsg").outcome == "ENOENT"


def test_what_is_no_character_device_is_refused_as_one(sandbox: Sandbox) -> None:
    message = sandbox.refusal("[devices]\nallow = ['/dev/shm']")
    assert ".toml:5: devices.allow[0]: '/dev/shm' is not the character device" in message


def test_a_link_is_not_taken_for_a_device(staged: Sandbox) -> None:
    link = staged.path("link")
    os.symlink("/dev/kmsg", link)

    def stage() -> None:
        mount("tmpfs", "/dev/shm", "tmpfs")
        os.symlink("/dev/kmsg", "/dev/shm/link")

    message = staged.refusal("[devices]\nallow = ['/dev/shm/link']", stage=stage)
    assert "devices.allow[0]" in message


def test_a_device_node_within_a_bind_is_of_no_use(staged: Sandbox) -> None:
    data = staged.mkdir("data")

    def stage() -> None:
        mount("tmpfs", data, "tmpfs", data="mode=755")
        os.mknod(f"{data}/zero", 0o020666, os.makedev(1, 5))
        os.chmod(f"{data}/zero", 0o666)

    text = f"[filesystem]\nwrite = ['{data}']"
    node = ("open", f"{data}/zero", "r")
    assert staged.attempt(text, *node, stage=stage).outcome == "EACCES"
    assert staged.outside(node, stage=stage)[0].outcome == "ok"
