"""Machines whose root, /etc, /proc or mounts are laid out otherwise."""

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kernel.harness import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    MS_SHARED,
    Sandbox,
    answers,
    checked,
    join,
    libc,
    mount,
)
from tests.kernel.hosts.staging import (
    MNT_DETACH,
    fill,
    forget_initial_root,
    initial_root,
    root_in_memory,
)

MS_UNBINDABLE, MS_SLAVE = 1 << 17, 1 << 19
WHOLE = "[filesystem]\nread = ['/']\n"


@pytest.fixture
def place(shared_dir: str) -> str:
    """A cache that no other test has filled."""
    return shared_dir


def runs(sandbox: Sandbox, text: str = "", **how: Any) -> subprocess.CompletedProcess[str]:
    """A cold launch and a warm one, both of which have to work without a word."""
    for _ in range(2):
        done = sandbox.run(text, sandbox.probe, "exit", "7", **how)
        assert (done.returncode, done.stderr) == (7, ""), done
    return done


# ---- The root ----


@pytest.mark.parametrize("merged", (True, False), ids=("merged", "unmerged"))
def test_a_system_in_memory_with_and_without_a_merged_usr(staged: Sandbox, *, merged: bool) -> None:
    """All of it on a tmpfs; /bin is a link into /usr or a directory of its own."""

    def stage() -> None:
        root_in_memory(staged, merged=merged)

    done = staged.shipped("minimal", "stat", "-c", "%F %n", "/bin", "/usr/bin", stage=stage)
    kind = "symbolic link" if merged and os.path.islink("/bin") else "directory"
    assert done.stdout == f"{kind} /bin\ndirectory /usr/bin\n", done
    runs(staged, WHOLE, stage=stage)


def test_a_project_in_memory(staged: Sandbox) -> None:
    project = staged.mkdir("project")

    def stage() -> None:
        mount("tmpfs", project, "tmpfs", flags=MS_NOEXEC | MS_NOSUID | MS_NODEV, data="mode=1777")

    text = f"[filesystem]\nwrite = ['{project}']"
    assert staged.attempt(text, "mkdir", f"{project}/new", stage=stage).outcome == "ok"
    runs(staged, text, stage=stage)


def test_a_file_system_that_honours_no_programs_keeps_its_own_flag(staged: Sandbox) -> None:
    """filesystem.execute grants nothing that the host's mount refuses; the message says where to look."""
    project = staged.mkdir("project")

    def stage() -> None:
        mount("tmpfs", project, "tmpfs", flags=MS_NOEXEC, data="mode=1777")
        with open(f"{project}/script", "w", encoding="ascii") as file:
            file.write("#!/bin/sh\n")
        os.chmod(f"{project}/script", 0o755)

    text = f"[filesystem]\nexecute = ['{project}']"
    done = staged.run(text, f"{project}/script", stage=stage)
    assert done.returncode == 126
    assert "may not be executed" in done.stderr
    assert "noexec" in done.stderr


def test_a_chroot_is_refused_by_name(staged: Sandbox) -> None:
    """The kernel lets nobody make a user namespace in one."""
    root = staged.mkdir("system")

    def stage() -> None:
        fill(root, staged, merged=True)
        os.chroot(root)

    message = staged.refusal("", stage=stage)
    assert "the kernel allows no user namespace in a chroot" in message
    assert "hint: enter that root by pivot_root(2) instead" in message


@pytest.fixture
def on_initial_root(staged: Sandbox) -> Iterator[Sandbox]:
    yield staged
    forget_initial_root(staged)


def test_on_an_initial_root_the_whole_of_it_can_be_granted(on_initial_root: Sandbox) -> None:
    """pivot_root(2) doesn't leave an initramfs: what needs no other root works, all else says so."""
    sandbox = on_initial_root

    def stage() -> None:
        initial_root(sandbox)

    for _ in range(2):
        message = sandbox.refusal("", stage=stage)
        assert "the initial root file system (an initramfs)" in message
        assert 'filesystem.read = ["/"]' in message
    runs(sandbox, WHOLE, stage=stage)


@pytest.mark.parametrize(
    "kind", (MS_SHARED, MS_PRIVATE, MS_SLAVE), ids=("shared", "private", "slave")
)
def test_propagation_of_the_hosts_mounts_is_no_matter(staged: Sandbox, kind: int) -> None:
    def stage() -> None:
        mount("none", "/", flags=MS_REC | MS_SHARED)
        mount("none", "/", flags=MS_REC | kind)

    for text in ("", WHOLE):
        runs(staged, text, stage=stage)


def test_an_unbindable_mount_is_never_left_out_silently(staged: Sandbox) -> None:
    """What it covers would be seen instead."""
    inner = staged.mkdir("data/inner")
    staged.write("data/inner/covered", "the secret")
    data = staged.path("data")

    def stage() -> None:
        mount("tmpfs", inner, "tmpfs", data="mode=755")
        mount("none", inner, flags=MS_UNBINDABLE)

    for text in (
        f"[filesystem]\nread = ['{data}']",
        f"[filesystem]\nread = ['{inner}']",
        f"[[mounts]]\ntype = 'bind'\nsource = '{data}'\ntarget = '/data'",
    ):
        message = staged.refusal(text, stage=stage)
        assert f"what is mounted at '{inner}' is unbindable" in message
        assert "mount --make-private" in message
    denied = f"[filesystem]\nread = ['{data}']\ndeny = ['{inner}']"
    assert staged.attempt(denied, "read", f"{inner}/covered", stage=stage).outcome == "EACCES"
    runs(staged, WHOLE, stage=stage)
    kept = staged.attempt(WHOLE, "read", f"{inner}/covered", stage=stage)
    assert kept.outcome == "ENOENT"


# ---- /etc ----


def with_etc(sandbox: Sandbox, *, remove: tuple[str, ...] = (), link: str = "") -> None:
    """The host's /etc with names removed, and with /etc/resolv.conf as a link."""
    work = sandbox.mkdir("etc")
    mount("tmpfs", work, "tmpfs")
    for name in ("upper", "work", "run"):
        os.mkdir(f"{work}/{name}")
    mount(
        "overlay",
        "/etc",
        "overlay",
        data=f"lowerdir=/etc,upperdir={work}/upper,workdir={work}/work",
    )
    for name in remove:
        if os.path.lexists(f"/etc/{name}"):
            os.unlink(f"/etc/{name}")
    mount("tmpfs", "/run", "tmpfs", data="mode=755")
    os.mkdir("/run/resolver")
    with open("/run/resolver/resolv.conf", "w", encoding="ascii") as file:
        file.write("nameserver 192.0.2.7\n")
    if link:
        os.unlink("/etc/resolv.conf")
        os.symlink(link, "/etc/resolv.conf")


LINKS = {
    "absolute": ("/run/resolver/resolv.conf", "nameserver 192.0.2.7"),
    "relative": ("../run/resolver/resolv.conf", "nameserver 192.0.2.7"),
    "dangling": ("/run/nowhere/resolv.conf", ""),
    "circle": ("/etc/resolv.conf", ""),
}


@pytest.mark.parametrize(
    ("mode", "shown"),
    (
        ("host", ""),
        ("host", "read = ['/etc']"),
        ("host", "read = ['/']"),
        ("none", "read = ['/etc']"),
    ),
    ids=("host", "host-etc", "host-all", "none-etc"),
)
@pytest.mark.parametrize("kind", LINKS)
def test_resolv_conf_may_be_any_link(staged: Sandbox, kind: str, mode: str, shown: str) -> None:
    """With the host's network its name servers are seen, without it none, and a launch never fails."""
    link, content = LINKS[kind]
    text = (
        "[rootfs]\ngenerate = ['resolv.conf']\n"
        f"[network]\nmode = '{mode}'\n[filesystem]\n{shown}\n[seccomp]\nallow = ['@network']"
    )

    def stage() -> None:
        with_etc(staged, link=link)

    done = staged.attempt(text, "read", "/etc/resolv.conf", stage=stage)
    assert done.value.strip() == (content if mode == "host" else "")
    assert done.outcome in ({"ok"} if content or not shown else {"ENOENT", "ELOOP"})


@pytest.mark.parametrize("shown", ("/etc", "/"))
def test_files_that_the_hosts_etc_lacks_stay_missing_where_it_is_shown(
    staged: Sandbox, shown: str
) -> None:
    """A container's image often has no machine-id, and nothing is made on the host."""

    def stage() -> None:
        with_etc(staged, remove=("machine-id", "hostname", "nsswitch.conf"))

    text = f"[rootfs]\ngenerate = ['machine-id', 'hostname', 'group']\n[filesystem]\nread = ['{shown}']"
    paths = [f"/etc/{name}" for name in ("machine-id", "hostname", "group")]
    found = staged.attempts(text, *(("read", path) for path in paths), stage=stage)
    assert [answer.outcome for answer in found] == ["ENOENT", "ENOENT", "ok"]
    assert "sandbox" in found[2].value
    complete = staged.attempts(text, ("read", "/etc/group"))
    assert "sandbox" in complete[0].value


# ---- /proc and /dev ----


def test_a_proc_that_hides_others_processes(staged: Sandbox) -> None:
    runs(staged, stage=lambda: mount("proc", "/proc", "proc", data="hidepid=2"))


def test_without_proc_sbx_says_what_to_mount(staged: Sandbox) -> None:
    message = staged.refusal("", stage=lambda: checked(libc.umount2(b"/proc", MNT_DETACH)) and None)
    assert message == (
        "sbx: error: /proc/self/exe can't be read\nhint: mount /proc: mount -t proc proc /proc\n"
    )


def covered() -> None:
    """As container engines do it."""
    mount("/proc/sys", "/proc/sys", flags=MS_BIND)
    mount("none", "/proc/sys", flags=MS_REMOUNT | MS_BIND | MS_RDONLY)
    mount("tmpfs", "/proc/tty", "tmpfs", flags=MS_RDONLY)


def test_a_covered_proc_keeps_a_new_one_from_being_made(staged: Sandbox) -> None:
    """What covers it is named; without a new one the limit on namespaces has to be optional."""
    message = staged.refusal("", stage=covered)
    assert "the kernel refuses a new /proc here" in message
    assert "/proc/sys, /proc/tty" in message
    none = "[filesystem]\nproc = 'none'\n"
    message = staged.refusal(none, stage=covered)
    assert "the limit on user namespaces is set through a new /proc" in message
    assert "add 'namespaces.limit' to profile.optional" in message
    optional = "profile.optional = ['namespaces.limit']\n"
    bound = "[[mounts]]\ntype = 'bind'\nsource = '/proc'\ntarget = '/proc'\n"
    tries = (("read", "/proc/self/comm"), ("unshare", "0x10000000"))
    for _ in range(2):
        done = staged.run(optional + none + bound, staged.probe, *join(tries), stage=covered)
        assert done.returncode == 0
        comm, user = answers(done.stdout)
        assert (comm.value, user.outcome) == ("probe\n", "EPERM")
        assert "not enforced on this host, and optional: namespaces.limit" in done.stderr


def test_without_the_usual_devices_a_user_is_told(staged: Sandbox) -> None:
    """Root makes its own; a normal user's come from the host."""

    def stage() -> None:
        mount("tmpfs", "/dev", "tmpfs", data="mode=755")
        os.mknod("/dev/null", 0o020666, os.makedev(1, 3))
        os.chmod("/dev/null", 0o666)

    if staged.is_root:
        runs(staged, stage=stage)
        return
    message = staged.refusal("", stage=stage)
    assert "/dev around sbx lacks one of the usual nodes" in message
    runs(staged, "[devices]\ndev = 'none'", stage=stage)
