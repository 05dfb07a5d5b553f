"""What the emulated machine is made of: Debian's packages, Python's, and qemu's options."""

import glob
import hashlib
import os
import subprocess
import tomllib
from typing import Final

from tests.vm.agent import PORT

HERE: Final = os.path.dirname(os.path.abspath(__file__))
TREE: Final = os.path.dirname(os.path.dirname(HERE))

SUITE: Final = "trixie"
KERNEL: Final = "linux-image-cloud-amd64"
DISK: Final = "3G"
USER: Final = "user"
UID: Final = 1000

# The same programs as in tests/applications.txt where a profile of sbx's is for them.
PACKAGES: Final = (
    # What makes it a machine: systemd, a user's manager and bus, an agent in Python.
    *("systemd", "systemd-sysv", "udev", "dbus", "dbus-user-session", "libpam-systemd"),
    *("kmod", "busybox-static", "python3", "python3-prctl"),
    # What sbx needs or is compared with.
    *("libseccomp2", "libcap2-bin", "uidmap", "bubblewrap", "crun"),
    # Services and what puts load on them.
    *("nginx-light", "postgresql", "postgresql-contrib", "redis-server", "redis-tools", "wrk"),
    *("curl", "ca-certificates"),
    # What tests look with.
    *("procps", "iproute2", "strace", "util-linux", "e2fsprogs"),
)

# Parts of these packages that nothing here uses.
LEFT_OUT: Final = (
    "/usr/share/man/*",
    "/usr/share/doc/*",
    "/usr/share/locale/*",
    "/usr/share/info/*",
    # PostgreSQL's compiler of queries; without it the server plans without one.
    "/usr/lib/*/libLLVM*",
    "/usr/lib/llvm-*",
    "/usr/lib/postgresql/*/lib/bitcode/*",
)

# Tests start services themselves, each in its own way.
NOT_STARTED: Final = ("nginx.service", "postgresql.service", "redis-server.service")

# Work that a machine does for its own good, and that would come between the tests.
MASKED: Final = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer"),
    *("e2scrub_all.timer", "e2scrub_reap.service", "getty@tty1.service"),
    *("serial-getty@ttyS0.service", "ldconfig.service", "systemd-binfmt.service"),
    *("systemd-hwdb-update.service", "systemd-journal-flush.service"),
    *("systemd-logind-varlink.socket", "systemd-pstore.service", "systemd-random-seed.service"),
    *("systemd-timesyncd.service", "systemd-udev-settle.service"),
    *("modprobe@drm.service", "modprobe@configfs.service"),
    *("sys-kernel-debug.mount", "sys-kernel-tracing.mount"),
)

# The drivers of the root disk: all of virtio is in modules.
INITRD_MODULES: Final = ("virtio_pci", "virtio_blk", "ext4")

# Python packages that have no wheel, by their Debian package above.
FROM_DEBIAN: Final = ("python-prctl",)
# What the tests under tests/kernel import.
FOR_TESTS: Final = ("hypothesis", "pyroute2", "pytest")
ENVIRONMENT: Final = "/opt/sbx"
PYTHON: Final = "3.13"

MEMORY: Final = 1024
"""MiB."""
CPUS: Final = 2

QEMU: Final = "qemu-system-x86_64"
_CMDLINE: Final = "console=ttyS0 quiet panic=-1 mitigations=off systemd.show_status=0"

# What the image is made by and of, and what its saved state depends on.
_MADE_FROM: Final = (
    *("recipe.py", "builder.py", "initrd.py", "agent.py", "add-kernel.sh"),
    "guest/**",
)


def hardware(image: str, *, memory: int, cpus: int, kept: bool, agent: str) -> list[str]:
    """qemu's options for the machine with the image in this directory; `agent` is a chardev's name.

    A saved state fits only a machine with just these, and the same qemu. With `kept` the disk's file
    is written to.
    """
    disk = f"file={image}/disk,if=none,id=disk,format=raw,cache=unsafe"
    return [
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max"),
        *("-smp", str(cpus), "-m", str(memory)),
        *("-kernel", f"{image}/vmlinuz", "-initrd", f"{image}/initrd", "-append", _CMDLINE),
        *("-drive", f"{disk},snapshot={'off' if kept else 'on'}"),
        *("-device", "virtio-blk-pci,drive=disk"),
        # Standard output is where the console goes; see qemu.py.
        *(
            "-chardev",
            "file,id=console,path=/proc/self/fd/1,append=on",
            "-serial",
            "chardev:console",
        ),
        *("-device", "virtio-serial-pci"),
        *("-device", f"virtserialport,chardev={agent},name={PORT}"),
    ]


def requirements() -> list[str]:
    """The Python packages that the guest's environment has, but those that come from Debian."""
    with open(os.path.join(TREE, "pyproject.toml"), "rb") as file:
        project = tomllib.load(file)["project"]
    tests = project["optional-dependencies"]["test"]
    wanted = [*project["dependencies"], *(line for line in tests if line.startswith(FOR_TESTS))]
    return sorted(line for line in wanted if not line.startswith(FROM_DEBIAN))


def key() -> str:
    """Tells two images apart: by the recipe, the Python packages asked for, and qemu's version."""
    digest = hashlib.sha256()
    for pattern in _MADE_FROM:
        for path in sorted(glob.glob(os.path.join(HERE, pattern), recursive=True)):
            if os.path.isfile(path):
                digest.update(os.path.relpath(path, HERE).encode() + b"\0")
                with open(path, "rb") as file:
                    digest.update(hashlib.sha256(file.read()).digest())
    version = subprocess.run([QEMU, "--version"], capture_output=True, check=True).stdout
    digest.update(repr((requirements(), version)).encode())
    return digest.hexdigest()[:16]
