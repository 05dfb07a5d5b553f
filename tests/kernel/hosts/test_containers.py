"""sbx inside of other sandboxes: bubblewrap, podman, firejail."""

import os
import subprocess
import tempfile

import pytest

from tests.applications import application
from tests.kernel.harness import (
    Sandbox,
    answers,
    join,
    libc,
    mount,
)
from tests.kernel.hosts.staging import MNT_DETACH, USUAL, seen

# What a profile says in a container that covers parts of /proc: the container's own is shown.
IN_CONTAINER = """
profile.optional = ["namespaces.limit"]
[filesystem]
proc = "none"
[[mounts]]
type = "bind"
source = "/proc"
target = "/proc"
"""
COVERED = "the kernel refuses a new /proc here, since parts of this one are covered"


def inner(sandbox: Sandbox, text: str = "") -> list[str]:
    """The words that run the probe in sbx with this profile."""
    tries = (("read", "/proc/self/comm"), ("unshare", "0x10000000"), ("mkdir", "/new"))
    return sandbox.arguments(text, [sandbox.probe, *join(tries)])


def works(done: subprocess.CompletedProcess[str]) -> bool:
    """Whether the sandbox in the container is one."""
    assert done.returncode == 0, done
    return [answer.outcome for answer in answers(done.stdout)] == ["ok", "EPERM", "EROFS"]


# ---- bubblewrap ----


def bubblewrap(sandbox: Sandbox, *options: str, text: str = "") -> subprocess.CompletedProcess[str]:
    command = [application("bwrap"), *options, "--bind", sandbox.place, sandbox.place, "--"]
    return sandbox.program([*command, *inner(sandbox, text)])


def test_in_bubblewrap_with_the_hosts_proc(sandbox: Sandbox) -> None:
    """A read-only one is told as such."""
    assert works(bubblewrap(sandbox, "--dev-bind", "/", "/"))
    options = ("--ro-bind", "/", "/", "--dev-bind", "/dev", "/dev")
    assert works(bubblewrap(sandbox, *options, "--bind", "/proc", "/proc"))
    done = bubblewrap(sandbox, *options)
    assert done.returncode == 125
    assert "/proc is mounted read-only around sbx" in done.stderr


def test_in_bubblewrap_with_namespaces_of_its_own(sandbox: Sandbox) -> None:
    """As root bubblewrap covers parts of its new /proc, which keeps sbx from making another."""
    options = ("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--unshare-all")
    done = bubblewrap(sandbox, *options)
    if not sandbox.is_root:
        assert works(done)
        return
    assert done.returncode == 125
    assert COVERED in done.stderr
    assert "bwrap --bind /proc /proc" in done.stderr
    assert works(bubblewrap(sandbox, *options, text=IN_CONTAINER))
    bound = ("--ro-bind", "/", "/", "--dev", "/dev", "--bind", "/proc", "/proc")
    assert works(bubblewrap(sandbox, *bound))


def test_where_bubblewrap_forbids_user_namespaces_it_is_told(as_user: Sandbox) -> None:
    options = ("--dev-bind", "/", "/", "--unshare-user", "--disable-userns")
    done = bubblewrap(as_user, *options)
    if "Unknown option" in done.stderr:  # before bubblewrap 0.8
        return
    assert done.returncode == 125
    assert "no more namespaces may be made (a limit in /proc/sys/user" in done.stderr


# ---- podman ----


def podman(sandbox: Sandbox, *options: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Runs sbx in a container of podman's whose root holds this machine's programs and the test."""
    engine = application("podman")
    application("crun")  # podman takes another one where it finds it
    with tempfile.TemporaryDirectory(prefix="sbx-image-") as image:
        os.chmod(image, 0o755)
        return in_image(sandbox, engine, image, *options, text=text)


def in_image(
    sandbox: Sandbox, engine: str, root: str, *options: str, text: str
) -> subprocess.CompletedProcess[str]:
    for name in ("usr", "proc", "sys", "dev", "etc", "tmp", "var/cache/sbx", "var/tmp", "run"):
        os.makedirs(f"{root}/{name}", exist_ok=True)
    os.chmod(f"{root}/var/cache/sbx", 0o700)
    volumes = ["/usr", *seen(sandbox)]
    for name in USUAL:
        if os.path.islink(f"/{name}") and not os.path.lexists(f"{root}/{name}"):
            os.symlink(os.readlink(f"/{name}"), f"{root}/{name}")
        elif os.path.isdir(f"/{name}") and not os.path.islink(f"/{name}"):
            volumes.append(f"/{name}")

    def stage() -> None:
        # crun wants the unified hierarchy, and nothing of the engine's is to stay.
        libc.umount2(b"/sys/fs/cgroup", MNT_DETACH)
        mount("none", "/sys/fs/cgroup", "cgroup2")
        for directory in ("/run", "/var/lib/containers"):
            os.makedirs(directory, exist_ok=True)
            mount("tmpfs", directory, "tmpfs", data="mode=755")

    command = [
        *(engine, "--runtime", "crun", "--cgroup-manager=cgroupfs", "--events-backend=none"),
        *("run", "--rm", "--cgroups=disabled", "--network=none"),
        *("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"),
        *(word for path in volumes for word in ("--volume", f"{path}:{path}")),
        *options,
        *("--env", f"HOME={sandbox.home}", "--rootfs", root),
    ]
    return sandbox.program([*command, *inner(sandbox, text)], stage=stage)


UNMASKED = ("--security-opt", "unmask=ALL")
UNFILTERED = ("--security-opt", "seccomp=unconfined")


def test_in_podman_the_covered_proc_is_named(as_root: Sandbox) -> None:
    done = podman(as_root)
    assert done.returncode == 125, done
    assert COVERED in done.stderr
    assert "/proc/keys" in done.stderr
    assert "podman run --security-opt unmask=ALL" in done.stderr


def test_in_podman_its_filter_is_named(as_root: Sandbox) -> None:
    """Which refuses one call or another, by the version of podman."""
    done = podman(as_root, *UNMASKED)
    assert done.returncode == 125, done
    assert (
        "seccomp=unconfined" in done.stderr or "a container's filter is in the way" in done.stderr
    )


@pytest.mark.parametrize("user", ("0:0", "61234:61234"))
def test_in_podman_with_what_it_takes(as_root: Sandbox, user: str) -> None:
    assert works(podman(as_root, *UNMASKED, *UNFILTERED, "--user", user))


def test_in_podman_with_its_own_proc_shown(as_root: Sandbox) -> None:
    assert works(podman(as_root, *UNFILTERED, text=IN_CONTAINER))


def test_in_a_privileged_podman_sbx_is_roots(as_root: Sandbox) -> None:
    """As outside: a range of ids of its own for each profile."""
    assert works(podman(as_root, "--privileged"))


# ---- firejail ----


def firejail(sandbox: Sandbox, *options: str, text: str = "") -> subprocess.CompletedProcess[str]:
    command = [application("firejail"), "--quiet", "--noprofile", "--keep-var-tmp", *options, "--"]
    return sandbox.program([*command, *inner(sandbox, text)])


def test_in_firejail_the_covered_proc_is_named(as_root: Sandbox) -> None:
    done = firejail(as_root)
    assert done.returncode == 125, done
    assert COVERED in done.stderr
    assert works(firejail(as_root, text=IN_CONTAINER))


def test_in_firejail_its_filter_is_named(as_root: Sandbox) -> None:
    done = firejail(as_root, "--seccomp", text=IN_CONTAINER)
    assert done.returncode == 125, done
    assert "filter" in done.stderr
