"""The payload's root: whose tree it is, read-only, apart from what is mounted on the host."""

import os

import pytest

from tests.kernel.harness import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    MS_SHARED,
    Sandbox,
    answers,
    await_line,
    checked,
    libc,
    mount,
    outcomes,
)
from tests.kernel.pieces import directory_root, tree_of
from tests.kernel.traces import snapshot

MS_NOATIME = 1024
WHOLE_HOST = "[filesystem]\nread = ['/']\n"
EVERYTHING = """
[filesystem]
execute = ["/"]
write = ["{data}"]
tmpfs = ["/mnt"]
mask = ["/etc/hostname"]
deny = ["/srv"]
[[mounts]]
type = "overlay"
target = "/media"
lower = ["{data}"]
"""


def test_the_hosts_root_is_read_only_down_to_every_submount(staged: Sandbox) -> None:
    directory = staged.mkdir("data/sub/deep", 0o777)

    def stage() -> None:
        mount("tmpfs", staged.path("data/sub"), "tmpfs", data="mode=1777")
        os.mkdir(directory)
        mount("tmpfs", directory, "tmpfs", data="mode=1777")

    tries = [("mkdir", staged.path(name, "new")) for name in ("data/sub", "data/sub/deep")]
    found = staged.attempts(WHOLE_HOST, *tries, ("chmod", "/etc/hostname", "0666"), stage=stage)
    assert outcomes(found) == ["EROFS"] * 3
    assert outcomes(staged.outside(*tries, stage=stage)) == ["ok"] * 2


def test_a_root_of_single_paths_shows_nothing_else(sandbox: Sandbox) -> None:
    listed, etc = sandbox.attempts(
        "[filesystem]\nread = ['/etc/hostname']", ("list", "/"), ("list", "/etc")
    )
    above_probe = sandbox.probe.split("/")[1]
    assert set(listed.value.split()) == {"dev", "etc", "proc", above_probe}
    assert etc.value == "hostname"


def test_the_assembled_root_is_read_only(sandbox: Sandbox) -> None:
    tries = [
        ("mkdir", "/new"),
        ("symlink", "/etc", "/link"),
        ("mkdir", "/dev/new"),
        ("rmdir", "/proc"),
    ]
    assert outcomes(sandbox.attempts("", *tries)) == ["EROFS"] * 4


def test_a_submount_keeps_its_own_flags(staged: Sandbox) -> None:
    sub = staged.mkdir("data/sub")
    flags = MS_RDONLY | MS_NOEXEC | MS_NOSUID | MS_NODEV | MS_NOATIME
    text = f"[filesystem]\nwrite = ['{staged.path('data')}']\nexecute = ['{staged.path('data')}']"

    def stage() -> None:
        os.chmod(staged.path("data"), 0o777)
        mount("tmpfs", sub, "tmpfs", data="mode=1777")
        mount("none", sub, flags=MS_REMOUNT | MS_BIND | flags)

    inside = staged.dump(text, stage=stage)
    assert {"ro", "noexec", "nosuid", "nodev", "noatime"} <= inside.mount_at(sub).flags
    assert not {"ro", "noexec", "noatime"} & inside.mount_at(staged.path("data")).flags
    tries = [("mkdir", f"{sub}/new"), ("mkdir", staged.path("data/new"))]
    assert outcomes(staged.attempts(text, *tries, stage=stage)) == ["EROFS", "ok"]


@pytest.mark.parametrize("text", (WHOLE_HOST, EVERYTHING, "[filesystem]\ntmpfs = ['/data']"))
def test_no_mount_honours_set_user_id_bits_or_devices(sandbox: Sandbox, text: str) -> None:
    mounts = sandbox.dump(text.format(data=sandbox.mkdir("data"))).mounts
    assert [m for m in mounts if "nosuid" not in m.flags] == []
    with_devices = {m.point for m in mounts if "nodev" not in m.flags}
    nodes = ("full", "null", "random", "tty", "urandom", "zero")
    # Root's are made there, in a /dev that takes no more of them; others' are the host's.
    expected = {"/dev"} if sandbox.is_root else {f"/dev/{name}" for name in nodes}
    assert with_devices == expected | {"/dev/pts"}


def test_no_mount_is_shared_with_the_host(staged: Sandbox) -> None:
    def stage() -> None:
        mount("none", "/", flags=MS_REC | MS_SHARED)

    for text in (WHOLE_HOST, ""):
        assert {m.propagation for m in staged.dump(text, stage=stage).mounts} == {()}


def in_mounts_of(pid: int, *mounts: tuple[str, str]) -> None:
    """Mounts a tmpfs with a file in it where another process would see it."""
    namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            checked(libc.setns(namespace, 0))
            for target, name in mounts:
                mount("tmpfs", target, "tmpfs")
                os.mkdir(os.path.join(target, name))
            status = 0
        finally:
            os._exit(status)
    os.close(namespace)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("text", (WHOLE_HOST, "[filesystem]\nread = ['{data}']"))
def test_what_is_mounted_on_the_host_later_is_not_seen(staged: Sandbox, text: str) -> None:
    data = staged.mkdir("data/sub")

    def stage() -> None:
        mount("none", "/", flags=MS_REC | MS_SHARED)

    text = text.format(data=staged.path("data"))
    process = staged.start(text, staged.probe, "line", "list", data, stage=stage)
    with process:
        await_line(process)
        in_mounts_of(process.pid, (data, "later"))
        output, _ = process.communicate(b"\n", timeout=10)
    assert answers(output.decode())[0].value == ""


def test_what_is_mounted_before_is_seen(staged: Sandbox) -> None:
    data = staged.mkdir("data/sub")

    def stage() -> None:
        mount("tmpfs", data, "tmpfs")
        os.mkdir(f"{data}/earlier")

    text = f"[filesystem]\nread = ['{staged.path('data')}']"
    assert staged.attempt(text, "list", data, stage=stage).value == "earlier"


def test_a_directory_becomes_the_root(sandbox: Sandbox) -> None:
    tree = tree_of(sandbox, "data")
    tries = [("list", "/"), ("read", "/etc/passwd"), ("mkdir", "/data/new"), ("list", "/..")]
    top, passwd, made, above = sandbox.attempts(directory_root(tree), *tries)
    assert set(top.value.split()) == set(os.listdir(tree))
    assert passwd.outcome == "ENOENT"
    assert made.outcome == "EROFS"
    assert above.value == top.value


def test_a_directory_root_grants_what_filesystem_lists(sandbox: Sandbox) -> None:
    tree = tree_of(sandbox, "data")
    os.chmod(f"{tree}/data", 0o777)
    text = directory_root(tree) + "[filesystem]\nwrite = ['/data']"
    assert sandbox.attempt(text, "mkdir", "/data/new").outcome == "ok"
    assert os.listdir(f"{tree}/data") == ["new"]


def test_parents_that_can_only_be_passed_through_are_no_obstacle(staged: Sandbox) -> None:
    """A directory of mode 0711 that belongs to someone else can't be listed or opened."""
    data = staged.mkdir("outer/inner/data")
    staged.write("outer/inner/data/file", "content")
    for name in ("outer", "outer/inner"):
        os.chown(staged.path(name), 54321, 54321)
        os.chmod(staged.path(name), 0o711)
    for text in (f"[filesystem]\nread = ['{data}']", WHOLE_HOST):
        assert staged.attempt(text, "read", f"{data}/file").value == "content"


@pytest.mark.parametrize("link", ("/run", "../run"))
def test_a_target_below_a_symbolic_link_lands_where_it_leads_in_the_root(
    sandbox: Sandbox, link: str
) -> None:
    tree = tree_of(sandbox, "var", "run/app")
    os.symlink(link, f"{tree}/var/run")
    text = directory_root(tree) + "[filesystem]\ntmpfs = ['/var/run/app']"
    assert (
        outcomes(sandbox.attempts(text, ("mkdir", "/run/app/x"), ("list", "/var/run/app")))
        == ["ok"] * 2
    )
    assert os.listdir(f"{tree}/run/app") == []


def test_a_denied_path_is_not_there_though_its_parent_is(sandbox: Sandbox) -> None:
    data = sandbox.mkdir("data/secret/open")
    sandbox.write("data/secret/key", "k")
    sandbox.write("data/secret/open/file", "shown")
    sandbox.write("data/secret.txt", "s")
    granted = f"[filesystem]\nread = ['{sandbox.path('data')}', '{data}']\n"
    denied = (
        granted + f"deny = ['{sandbox.path('data/secret')}', '{sandbox.path('data/secret.txt')}']"
    )
    tries = [
        ("read", sandbox.path("data/secret/key")),
        ("list", sandbox.path("data/secret")),
        ("read", sandbox.path("data/secret.txt")),
        ("read", f"{data}/file"),
        ("mkdir", sandbox.path("data/secret/new")),
    ]
    assert outcomes(sandbox.attempts(denied, *tries)) == [
        "ENOENT",
        "EACCES",
        "EACCES",
        "ok",
        "EROFS",
    ]
    assert outcomes(sandbox.attempts(granted, *tries[:4])) == ["ok"] * 4


def test_a_masked_path_is_empty(sandbox: Sandbox) -> None:
    directory = sandbox.mkdir("data/dir")
    sandbox.write("data/dir/key", "k")
    file = sandbox.write("data/file", "f")
    granted = f"[filesystem]\nread = ['{sandbox.path('data')}']\n"
    masked = granted + f"mask = ['{directory}', '{file}']"
    tries = [("list", directory), ("read", file), ("read", f"{directory}/key")]
    found = sandbox.attempts(masked, *tries)
    assert [(a.outcome, a.value) for a in found] == [("ok", ""), ("ok", ""), ("ENOENT", "")]
    assert [a.value for a in sandbox.attempts(granted, *tries)] == ["key", "f", "k"]


def test_a_cover_cannot_be_taken_off(sandbox: Sandbox) -> None:
    directory = sandbox.mkdir("data/dir")
    text = f"[filesystem]\nread = ['{sandbox.path('data')}']\ndeny = ['{directory}']\n"
    unfiltered = text + "[seccomp]\nenabled = false"
    tries = [
        ("umount", directory),
        ("chmod", directory, "0777"),
        ("rename", directory, f"{directory}2"),
    ]
    assert outcomes(sandbox.attempts(unfiltered, *tries)) == ["EPERM", "EROFS", "EROFS"]
    assert outcomes(sandbox.attempts(text, *tries)) == ["EPERM", "EROFS", "EROFS"]


def test_nothing_is_created_on_the_host(sandbox: Sandbox) -> None:
    """Whatever is mounted where nothing was: the directories stay as they were, and the mounts."""
    data = sandbox.mkdir("data/sub")
    os.chmod(sandbox.path("data"), 0o777)
    everywhere = f"""
        [rootfs]
        generate = ["passwd", "hostname", "machine-id"]
        [filesystem]
        read = ["{data}"]
        tmpfs = ["/tmp", "/sbx-test-new/deep/er", "/etc/sbx-test-new"]
        deny = ["/sbx-test-denied", "{data}/denied"]
        [[mounts]]
        type = "bind"
        source = "/etc"
        target = "/srv/sbx-test-new/etc"
    """
    places = ("/etc", "/srv", "/mnt", sandbox.path("data"))
    before, names, mounts = snapshot(*places), set(os.listdir("/")), _mounts()
    assert sandbox.attempt(everywhere, "mkdir", "/tmp/new").outcome == "ok"
    into_the_root = f"[filesystem]\nread = ['/']\ntmpfs = ['{data}/new']"
    assert "nothing is made on the host" in sandbox.refusal(into_the_root)
    in_a_bind = f"[filesystem]\nwrite = ['{sandbox.path('data')}']\ntmpfs = ['{data}/new']"
    assert "nothing is made on the host" in sandbox.refusal(in_a_bind)
    assert snapshot(*places) == before
    assert set(os.listdir("/")) == names
    assert _mounts() == mounts


def _mounts() -> list[str]:
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return file.read().splitlines()
