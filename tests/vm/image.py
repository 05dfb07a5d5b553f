"""Makes the emulated machine's image, boots it once, saves that state, and keeps both.

What is kept in one directory of the cache, named by the recipe's key: vmlinuz, initrd, disk and
state, with their sizes in `files`, which is written last. It is made beside that and renamed when
it is whole, by one process at a time.
"""

import contextlib
import fcntl
import glob
import lzma
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Final

from tests.vm import recipe
from tests.vm.initrd import archive
from tests.vm.machine import Machine

SYSTEM_CACHE: Final = "/var/cache/sbx-tests"
_SBIN: Final = "/usr/local/sbin:/usr/sbin:/sbin"

# Images of other recipes that are kept, and for how long an unused one is none the less, seconds.
_KEPT: Final = 2
_KEPT_FOR: Final = 86_400

Say = Callable[[str], None]


class UnavailableError(Exception):
    """This machine can't have the image; the message is why, and what to do."""


class BuildError(Exception):
    """Making the image has failed; the message has what was printed."""


def cache_directory() -> str:
    """Where this user keeps images and wheels."""
    base = os.environ.get("XDG_CACHE_HOME")
    if base and os.path.isabs(base):
        return os.path.join(base, "sbx-tests")
    if os.geteuid() == 0:
        return SYSTEM_CACHE
    return os.path.expanduser("~/.cache/sbx-tests")


def provide(say: Say) -> str:
    """The directory of the image; makes it, in about a minute, where there is none yet.

    Raises UnavailableError or BuildError.
    """
    _check_tools((recipe.QEMU, "qemu-system-x86"), ("setpriv", "util-linux"))
    key = recipe.key()
    found = _find(key)
    if found:
        return found
    _check_builder()
    cache = cache_directory()
    os.makedirs(cache, exist_ok=True)
    with _locked(os.path.join(cache, "lock")):
        found = _find(key)
        if found:
            return found
        for stale in glob.glob(os.path.join(cache, "partial-*")):
            shutil.rmtree(stale)
        target = os.path.join(cache, f"machine-{key}")
        say(f"making the emulated machine's image in {target}; it takes about a minute")
        with tempfile.TemporaryDirectory(prefix="partial-", dir=cache) as partial:
            os.chmod(partial, 0o755)
            _build(partial)
            if os.path.lexists(target):  # not whole
                shutil.rmtree(target)
            os.rename(partial, target)
            os.mkdir(partial)  # for the context to remove
        _forget_others(cache, target)
        return target


def _find(key: str) -> str | None:
    """A whole image, of this user's or of root's."""
    for cache in (cache_directory(), SYSTEM_CACHE):
        path = os.path.join(cache, f"machine-{key}")
        if _is_whole(path):
            with contextlib.suppress(PermissionError):
                os.utime(path)  # see _forget_others
            return path
    return None


def _is_whole(path: str) -> bool:
    try:
        with open(os.path.join(path, "files"), encoding="ascii") as file:
            lines = [line.split() for line in file]
        return bool(lines) and all(
            os.path.getsize(os.path.join(path, name)) == int(size) for name, size in lines
        )
    except FileNotFoundError:
        return False


def _forget_others(cache: str, kept: str) -> None:
    others = [path for path in glob.glob(os.path.join(cache, "machine-*")) if path != kept]
    others.sort(key=os.path.getmtime, reverse=True)
    for path in others[_KEPT:]:
        if os.path.getmtime(path) < time.time() - _KEPT_FOR:
            shutil.rmtree(path)


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    with open(path, "w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _check_tools(*tools: tuple[str, str]) -> None:
    path = f"{os.environ.get('PATH', os.defpath)}:{_SBIN}"
    for command, package in tools:
        if shutil.which(command, path=path) is None:
            raise UnavailableError(f"{command} isn't installed (Debian's package {package})")


def _check_builder() -> None:
    if platform.machine() != "x86_64":
        raise UnavailableError(
            f"the emulated machine is an x86_64, and can't be made on {platform.machine()}"
        )
    _check_tools(("mmdebstrap", "mmdebstrap"), ("mke2fs", "e2fsprogs"))
    if os.geteuid() != 0:
        raise UnavailableError(
            "only root can make the emulated machine's image; after 'sudo ./dev vm true' all can use it"
        )


def _build(where: str) -> None:
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
    extended = "root_owner=0:0,lazy_itable_init=0"
    disk = f"{where}/disk"
    _succeed(
        "mke2fs",
        "-q",
        "-F",
        "-t",
        "ext4",
        "-O",
        "verity",
        "-E",
        extended,
        "-d",
        root,
        disk,
        recipe.DISK,
    )
    shutil.rmtree(root)
    with Machine(where, kept=True) as machine:
        machine.run("systemctl", "is-system-running", "--wait", timeout=120)
        machine.succeed("sync")
        machine.qemu.save(f"{where}/state")
    names = ("vmlinuz", "initrd", "disk", "state")
    with open(f"{where}/files", "w", encoding="ascii") as file:
        file.writelines(f"{name} {os.path.getsize(f'{where}/{name}')}\n" for name in names)


def _bootstrap(root: str) -> None:
    mirrors = _mirrors()
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
        *mirrors,
    )


def _mirrors() -> list[str]:
    """Lines for apt, of where this machine's own apt has Debian from, or of SBX_VM_MIRROR."""
    own = os.environ.get("SBX_VM_MIRROR")
    if own:
        found = [own]
    else:
        _check_tools(("apt-get", "apt"))
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
