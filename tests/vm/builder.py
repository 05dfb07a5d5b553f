"""Makes the emulated machine's image in a directory: vmlinuz, initrd, disk, and a booted state."""

import glob
import lzma
import os
import platform
import shlex
import shutil
import sys
from typing import Final

from tests.vm import recipe
from tests.vm.host import BuildError, UnavailableError, check_tools, mirrors, succeed
from tests.vm.initrd import archive
from tests.vm.machine import Machine

FILES: Final = ("vmlinuz", "initrd", "disk", "state")


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
    with open(f"{where}/packages", "w", encoding="ascii") as file:
        file.write(succeed("chroot", root, "dpkg-query", "-W"))
    for pattern in ("boot/*", "vmlinuz*", "initrd*", "var/cache/apt/*", "var/lib/apt/lists/*"):
        for path in glob.glob(os.path.join(root, pattern)):
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
    # From the directory, without a loop device; verity is for fs-verity on the root.
    make = ("mke2fs", "-q", "-F", "-t", "ext4", "-O", "verity", "-d", root)
    extended = "root_owner=0:0,lazy_itable_init=0"
    succeed(*make, "-E", extended, f"{where}/disk", recipe.DISK)
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
    succeed(
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


def _furnish(root: str) -> None:
    """Puts the guest's own files in place, and has systemd start just what is wanted."""
    overlay = os.path.join(recipe.HERE, "guest/root")
    shutil.copytree(overlay, root, dirs_exist_ok=True, copy_function=shutil.copyfile)
    agent = f"{root}/usr/local/sbin/machine-agent"
    shutil.copyfile(os.path.join(recipe.HERE, "agent.py"), agent)
    chroot = ("chroot", root)
    succeed(*chroot, "useradd", "-m", "-s", "/bin/bash", "-u", str(recipe.UID), recipe.USER)
    succeed(*chroot, "systemctl", "--quiet", "disable", *recipe.NOT_STARTED)
    succeed(*chroot, "systemctl", "--quiet", "mask", *recipe.MASKED)
    succeed(*chroot, "systemctl", "--quiet", "enable", "machine-agent.service")


def _install_python_packages(root: str) -> None:
    """An environment with all that sbx and the tests import, but for sbx itself; and with pip."""
    succeed(
        *("chroot", root, "python3", "-m", "venv"),
        *("--without-pip", "--system-site-packages", recipe.ENVIRONMENT),
    )
    packages = f"{root}{recipe.ENVIRONMENT}/lib/python{recipe.PYTHON}/site-packages"
    succeed(
        *(sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"),
        *("--target", packages, "--no-compile", "--root-user-action=ignore"),
        *("--only-binary=:all:", "--implementation=cp", f"--python-version={recipe.PYTHON}"),
        *("--platform=manylinux_2_28_x86_64", "--platform=manylinux2014_x86_64"),
        *("pip", *recipe.requirements()),
    )
    succeed(
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
    asked = succeed(
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
