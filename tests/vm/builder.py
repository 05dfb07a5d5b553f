"""Makes the emulated machine's image in a directory: vmlinuz, initrd, disk, and a booted state."""

import glob
import lzma
import os
import platform
import shlex
import shutil
import subprocess
import sys
from typing import Final

from tests.vm import recipe
from tests.vm.initrd import archive
from tests.vm.machine import Machine

FILES: Final = ("vmlinuz", "initrd", "disk", "state")

_SBIN: Final = "/usr/local/sbin:/usr/sbin:/sbin"


class UnavailableError(Exception):
    """This machine can't have the image; the message is why, and what to do."""


class BuildError(Exception):
    """Making the image has failed; the message has what was printed."""


def check_tools(*tools: tuple[str, str]) -> None:
    """Raises UnavailableError where a command, the first of each pair, is missing."""
    path = f"{os.environ.get('PATH', os.defpath)}:{_SBIN}"
    for command, package in tools:
        if shutil.which(command, path=path) is None:
            raise UnavailableError(f"{command} isn't installed (Debian's package {package})")


def check_builder() -> None:
    """Raises UnavailableError where this user, on this machine, can't make an image."""
    if platform.machine() != "x86_64":
        raise UnavailableError(
            f"the emulated machine is an x86_64, and can't be made on {platform.machine()}"
        )
    check_tools(("mmdebstrap", "mmdebstrap"), ("mke2fs", "e2fsprogs"))
    if os.geteuid() != 0:
        raise UnavailableError(
            "only root can make the emulated machine's image; after 'sudo ./dev vm true' all can use it"
        )


def build(where: str) -> None:
    """Fills an empty directory; raises UnavailableError or BuildError."""
    root = os.path.join(where, "root")
    _bootstrap(root)
    _furnish(root)
    _install_python_packages(root)
    (version,) = os.listdir(os.path.join(root, "lib/modules"))
    shutil.copyfile(os.path.join(root, "boot", f"vmlinuz-{version}"), f"{where}/vmlinuz")
    _make_initrd(root, version, f"{where}/initrd")
    _succeed("chroot", root, "dpkg-query", "-W", output=f"{where}/packages")
    for pattern in ("boot/*", "vmlinuz*", "initrd*", "var/cache/apt/*", "var/lib/apt/lists/*"):
        for path in glob.glob(os.path.join(root, pattern)):
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
    # From the directory, without a loop device; verity is for fs-verity on the root.
    make = ("mke2fs", "-q", "-F", "-t", "ext4", "-O", "verity", "-d", root)
    extended = "root_owner=0:0,lazy_itable_init=0"
    _succeed(*make, "-E", extended, f"{where}/disk", recipe.DISK)
    shutil.rmtree(root)
    with Machine(where, kept=True) as machine:
        state = machine.run("systemctl", "is-system-running", "--wait", timeout=120).stdout
        if state != "running\n":
            failed = machine.run("systemctl", "--failed").stdout
            raise BuildError(f"the emulated machine has booted, but it is {state}{failed}")
        machine.succeed("sync")
        machine.qemu.save(f"{where}/state")


def _bootstrap(root: str) -> None:
    lines = mirrors()
    add_kernel = shlex.join([os.path.join(recipe.HERE, "add-kernel.sh")]) + f' "$1" {recipe.KERNEL}'
    settings = os.path.join(recipe.HERE, "guest/root/etc/postgresql-common/createcluster.conf")
    _succeed(
        "mmdebstrap",
        "--quiet",
        "--mode=root",
        "--variant=minbase",
        "--components=main",
        f"--include={','.join(recipe.PACKAGES)}",
        "--aptopt=Acquire::Languages none",
        "--aptopt=APT::Install-Recommends false",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in recipe.LEFT_OUT),
        f'--essential-hook=install -D -m 644 {shlex.quote(settings)} "$1"/etc/postgresql-common/createcluster.conf',
        f"--customize-hook={add_kernel}",
        recipe.SUITE,
        root,
        *lines,
    )


def mirrors() -> list[str]:
    """Lines for apt, of where this machine's own apt has Debian from, or of SBX_VM_MIRROR."""
    own = os.environ.get("SBX_VM_MIRROR")
    if own:
        found = [own]
    else:
        check_tools(("apt-get", "apt"))
        listing = ("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages")
        found = sorted({line.rstrip("/") for line in _succeed(*listing).split()})
    lines = []
    for uri in found:
        name = os.path.basename(uri.rstrip("/"))
        if name == "debian-security":
            lines.append(f"deb {uri} {recipe.SUITE}-security main")
        elif name == "debian" or uri == own:
            lines += [f"deb {uri} {recipe.SUITE}{part} main" for part in ("", "-updates")]
    if not any(line.endswith(f" {recipe.SUITE} main") for line in lines):
        raise UnavailableError(
            "apt on this machine knows no mirror of Debian's: set SBX_VM_MIRROR to one,"
            " and install Debian's keys (package debian-archive-keyring)"
        )
    return lines


def _furnish(root: str) -> None:
    """Puts the guest's own files in place, and has systemd start just what is wanted."""
    overlay = os.path.join(recipe.HERE, "guest/root")
    shutil.copytree(overlay, root, dirs_exist_ok=True, copy_function=shutil.copyfile)
    agent = f"{root}/usr/local/sbin/machine-agent"
    shutil.copyfile(os.path.join(recipe.HERE, "agent.py"), agent)
    chroot = ("chroot", root)
    _succeed(*chroot, "useradd", "-m", "-s", "/bin/bash", "-u", str(recipe.UID), recipe.USER)
    _succeed(*chroot, "systemctl", "--quiet", "disable", *recipe.NOT_STARTED)
    _succeed(*chroot, "systemctl", "--quiet", "mask", *recipe.MASKED)
    _succeed(*chroot, "systemctl", "--quiet", "enable", "machine-agent.service")


def _install_python_packages(root: str) -> None:
    """An environment with all that sbx and the tests import, but for sbx itself; and with pip."""
    _succeed(
        *("chroot", root, "python3", "-m", "venv"),
        *("--without-pip", "--system-site-packages", recipe.ENVIRONMENT),
    )
    packages = f"{root}{recipe.ENVIRONMENT}/lib/python{recipe.PYTHON}/site-packages"
    _succeed(
        *(sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"),
        *("--target", packages, "--no-compile", "--root-user-action=ignore"),
        *("--only-binary=:all:", "--implementation=cp", f"--python-version={recipe.PYTHON}"),
        *("--platform=manylinux_2_28_x86_64", "--platform=manylinux2014_x86_64"),
        *("pip", *recipe.requirements()),
    )
    _succeed(
        "chroot",
        root,
        f"{recipe.ENVIRONMENT}/bin/python",
        "-m",
        "compileall",
        "-q",
        packages.removeprefix(root),
    )
    for name in ("sbx", "sbx-python"):
        os.symlink(f"{recipe.ENVIRONMENT}/bin/{name}", f"{root}/usr/local/bin/{name}")


def _make_initrd(root: str, version: str, target: str) -> None:
    """The modules up to the root disk, in the order in which they are needed, and busybox."""
    with open(os.path.join(root, "bin/busybox"), "rb") as file:
        busybox = file.read()
    with open(os.path.join(recipe.HERE, "guest/initrd.sh"), "rb") as file:
        init = file.read()
    files = {"init": init, "bin/busybox": busybox}
    asked = _succeed(
        *("chroot", root, "modprobe", "--set-version", version, "--all", "--show-depends"),
        *recipe.INITRD_MODULES,
    )
    words = [line.split() for line in asked.splitlines()]
    paths = dict.fromkeys(line[1] for line in words if line[0] == "insmod")
    for number, path in enumerate(paths):
        with open(f"{root}{path}", "rb") as file:
            module = file.read()
        name = os.path.basename(path).removesuffix(".xz")
        files[f"modules/{number:02}-{name}"] = (
            lzma.decompress(module) if path.endswith(".xz") else module
        )
    with open(target, "wb") as out:
        out.write(archive(files, ("bin", "dev", "modules", "proc", "root", "sys")))


def _succeed(*command: str, output: str | None = None) -> str:
    """Standard output of a command, also into a file; raises BuildError with all that it said."""
    path = f"{os.environ.get('PATH', os.defpath)}:{_SBIN}"
    env = {**os.environ, "PATH": path, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BuildError(
            f"the emulated machine's image can't be made: {shlex.join(command)} ended with"
            f" {done.returncode}\n{done.stdout}{done.stderr}"
        )
    if output:
        with open(output, "w", encoding="utf-8") as file:
            file.write(done.stdout)
    return done.stdout
