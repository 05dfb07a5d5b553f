"""What this kernel and this user can do, read once and kept as plain data.

`Host` is data only, so that a plan can be compiled for a made-up one. `probe`
fills one in. Everything it does is cheap and leaves no trace: files are read
and calls are made that change nothing. What can only be learnt by making
namespaces and mounts is tried by `sbx doctor`.
"""

import os
import pwd
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from sandbox import _cgroups, units
from sandbox._calls import answers
from sandbox._cgroups import Cgroups
from sandbox._mountinfo import cgroup_points, covered_proc, unbindable
from sandbox._paths import working_directory
from sandbox.capabilities import CAPABILITY_NAMES, OF_A_NAMESPACE, capability_mask, capability_names

IdRange = tuple[int, int]

NAMESPACES: Final = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time")

# linux/proc_ns.h PROC_USER_INIT_INO: the inode of the first user namespace.
_FIRST_USER_NAMESPACE: Final = 0xEFFFFFFD

# What rootfs.generate can name.
GENERATED: Final = (
    "passwd",
    "group",
    "hosts",
    "hostname",
    "resolv.conf",
    "machine-id",
    "nsswitch.conf",
)
_UNLIMITED: Final = 2**31 - 1
_HELPER_DIRECTORIES: Final = ("/usr/bin", "/usr/sbin", "/usr/local/bin", "/run/wrappers/bin")
_STAMPS: Final = ("/", "/etc/passwd", "/etc/subuid", "/etc/subgid", "/etc/resolv.conf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One machine as one user sees it."""

    machine: str
    """`uname -m`."""
    release: str
    """`uname -r`."""
    release_tuple: tuple[int, int, int]

    uid: int
    gid: int
    groups: tuple[int, ...]
    user_name: str
    """Empty when the password database doesn't know the uid."""
    home: str
    cwd: str | None
    """None when the working directory was removed or can't be reached."""

    capabilities: frozenset[str]
    """The effective set, by names such as CAP_SYS_ADMIN."""
    last_capability: int
    setgroups: bool = True
    """False in a user namespace where setgroups(2) was denied for good (user_namespaces(7))."""
    no_new_privs: bool
    seccomp_filtered: bool
    """The caller runs under a system call filter already."""
    first_user_namespace: bool
    """The caller's ids and capabilities are the machine's own."""
    mapped: bool = True
    """The caller's user and group id exist in its user namespace."""

    namespaces: frozenset[str]
    """Kinds that the kernel has, by their names in /proc/self/ns."""
    namespace_limits: Mapping[str, int]
    """/proc/sys/user/max_*_namespaces for each kind; 0 forbids the kind."""
    unprivileged_userns_clone: bool
    """False where Debian's older sysctl forbids user namespaces to unprivileged users."""
    apparmor_restricts_userns: bool
    """Ubuntu's restriction is on; a program with its own AppArmor profile may be exempt."""

    landlock_abi: int
    """0 without Landlock."""
    seccomp_actions: frozenset[str]
    openat2: bool
    clone3: bool
    open_tree: bool
    mount_setattr: bool
    pidfd_open: bool
    overlay: bool
    """The overlay file system is built in or is a module that can be loaded."""

    cgroups: Cgroups = field(default_factory=Cgroups)
    memory: int = 0
    """Bytes of memory that the kernel manages."""
    cpus: frozenset[int] = frozenset({0})
    """The processors that are online."""
    memory_nodes: frozenset[int] = frozenset({0})
    """The memory nodes that are online."""

    subuids: tuple[IdRange, ...]
    """(first, count) of each range in /etc/subuid that names the caller."""
    subgids: tuple[IdRange, ...]
    newuidmap: str | None
    newgidmap: str | None

    covered_proc: tuple[str, ...] = ()
    """What is mounted over parts of /proc, if that makes the kernel refuse a new one."""
    unbindable: tuple[str, ...] = ()
    """Mounts that a recursive bind leaves out."""

    cgroup_points: tuple[str, ...] = ("/sys/fs/cgroup",)
    """Directories through which control groups can be reached."""

    root_links: Mapping[str, str]
    """Symbolic links in /, as path to target: {"/bin": "usr/bin"}."""
    root_directories: tuple[str, ...]
    """Directories in /, sorted: ("/boot", "/dev", ...)."""
    resolv_conf: str | None
    """What /etc/resolv.conf is in the end; None when it doesn't exist."""
    etc_links: Mapping[str, str | None] = field(default_factory=dict)
    """Of the files in /etc that sbx can generate those that are links, and what they are in the
    end; None for one that doesn't exist."""

    stamps: tuple[str, ...]
    """Paths whose change makes this data out of date, whether they exist or not."""

    @property
    def capability_mask(self) -> int:
        """The effective set as the kernel counts it, with OF_A_NAMESPACE where it is no more."""
        mask = capability_mask(self.capabilities)
        return mask if self.first_user_namespace else mask | OF_A_NAMESPACE

    @property
    def device_nodes(self) -> bool:
        """The caller may make device nodes on a file system of its own."""
        return self.privileged and "CAP_MKNOD" in self.capabilities

    @property
    def privileged(self) -> bool:
        """May administer the machine, not only a namespace of its own."""
        return self.first_user_namespace and "CAP_SYS_ADMIN" in self.capabilities

    @property
    def user_namespaces(self) -> bool:
        """A user namespace is not ruled out. AppArmor or a filter may still refuse it."""
        return (
            "user" in self.namespaces
            and self.namespace_limits["user"] > 0
            and (self.unprivileged_userns_clone or "CAP_SYS_ADMIN" in self.capabilities)
        )

    @property
    def idmapped_mounts(self) -> bool:
        """Mounts of the machine's file systems can be id-mapped by the caller (Linux 5.12)."""
        return self.mount_setattr and self.privileged and self.release_tuple >= (5, 12, 0)

    @property
    def overlay_in_userns(self) -> bool:
        """An overlay can be mounted inside a user namespace (Linux 5.11)."""
        return self.overlay and self.release_tuple >= (5, 11, 0)


def probe() -> Host:
    """Read this host. Takes about a millisecond."""
    system = os.uname()
    uid, gid = os.getuid(), os.getgid()
    name, home = _account(uid)
    status = _status()
    calls = answers(system.machine)
    mounts = (_read("/proc/self/mountinfo") or "").splitlines()
    links, directories = _root()
    # A process that has changed its user may not list them (PR_SET_DUMPABLE), only look for each.
    kinds = frozenset(kind for kind in NAMESPACES if os.path.lexists(f"/proc/self/ns/{kind}"))
    return Host(
        machine=system.machine,
        release=system.release,
        release_tuple=parse_release(system.release),
        uid=uid,
        gid=gid,
        groups=tuple(sorted(os.getgroups())),
        user_name=name,
        home=home,
        cwd=working_directory() or None,
        capabilities=capability_names(int(status["CapEff"], 16)),
        last_capability=_number("/proc/sys/kernel/cap_last_cap", len(CAPABILITY_NAMES) - 1),
        setgroups=(_read("/proc/self/setgroups") or "allow").strip() != "deny",
        no_new_privs=status.get("NoNewPrivs") == "1",
        seccomp_filtered=status.get("Seccomp") == "2",
        first_user_namespace=_in_first_user_namespace() if "user" in kinds else True,
        mapped=_is_mapped("uid", uid) and _is_mapped("gid", gid),
        namespaces=kinds,
        namespace_limits={
            kind: _number(f"/proc/sys/user/max_{kind}_namespaces", _UNLIMITED)
            for kind in NAMESPACES
        },
        unprivileged_userns_clone=_number("/proc/sys/kernel/unprivileged_userns_clone", 1) != 0,
        apparmor_restricts_userns=_number(
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns", 0
        )
        != 0,
        landlock_abi=calls.landlock_abi,
        seccomp_actions=calls.seccomp_actions,
        openat2=calls.openat2,
        clone3=calls.clone3,
        open_tree=calls.open_tree,
        mount_setattr=calls.mount_setattr,
        pidfd_open=calls.pidfd_open,
        overlay=_has_overlay(system.release),
        cgroups=_cgroups.read(),
        memory=_memory(),
        cpus=_numbers("/sys/devices/system/cpu/online"),
        memory_nodes=_numbers("/sys/devices/system/node/online"),
        subuids=tuple(_id_ranges("/etc/subuid", name, uid)),
        subgids=tuple(_id_ranges("/etc/subgid", name, uid)),
        newuidmap=_helper("newuidmap"),
        newgidmap=_helper("newgidmap"),
        covered_proc=covered_proc(mounts),
        unbindable=unbindable(mounts),
        cgroup_points=cgroup_points(mounts),
        root_links=links,
        root_directories=directories,
        resolv_conf=_resolved("resolv.conf"),
        etc_links={
            name: real
            for name in GENERATED
            if (real := _resolved(name)) is None or os.path.islink(f"/etc/{name}")
        },
        stamps=_STAMPS,
    )


def parse_release(release: str) -> tuple[int, int, int]:
    """The three numbers of a kernel release: "6.1.0-26-amd64" is (6, 1, 0)."""
    numbers = []
    for part in release.split("-", 1)[0].split(".")[:3]:
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        numbers.append(int(digits or 0))
    major, minor, patch = [*numbers, 0, 0, 0][:3]
    return major, minor, patch


def parse_id_ranges(lines: Iterable[str], name: str, uid: int) -> Iterator[IdRange]:
    """The (first, count) ranges of subuid(5) lines that name the user or the uid."""
    owners = {str(uid), name} - {""}
    for line in lines:
        fields = line.strip().split(":")
        if len(fields) == 3 and fields[0] in owners and fields[1].isdigit() and fields[2].isdigit():
            first, count = int(fields[1]), int(fields[2])
            if count > 0:
                yield first, count


def _is_mapped(kind: str, number: int) -> bool:
    """Whether an id is one of this user namespace; those of others look like 65534."""
    text = _read(f"/proc/self/{kind}_map")
    if text is None:
        return True
    ranges = (map(int, line.split()) for line in text.splitlines())
    return any(first <= number < first + count for first, _, count in ranges)


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return None


def _number(path: str, missing: int) -> int:
    text = _read(path)
    return missing if text is None else int(text)


def _in_first_user_namespace() -> bool:
    try:
        return os.stat("/proc/self/ns/user").st_ino == _FIRST_USER_NAMESPACE
    except PermissionError:  # as above; its map is that of no other one in common use
        return (_read("/proc/self/uid_map") or "").split() == ["0", "0", "4294967295"]


def _entries(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _status() -> dict[str, str]:
    """The fields of /proc/self/status, by name."""
    with open("/proc/self/status", encoding="utf-8", errors="replace") as file:
        fields = (line.partition(":") for line in file)
        return {key: value.strip() for key, _, value in fields}


def _account(uid: int) -> tuple[str, str]:
    """Name and home of the user. HOME decides when it is an absolute path."""
    try:
        entry = pwd.getpwuid(uid)
        name, home = entry.pw_name, entry.pw_dir
    except KeyError:
        name, home = "", "/"
    wanted = os.environ.get("HOME", "")
    return name, wanted if wanted.startswith("/") else home


def _id_ranges(path: str, name: str, uid: int) -> Iterator[IdRange]:
    return parse_id_ranges((_read(path) or "").splitlines(), name, uid)


def _helper(name: str) -> str | None:
    for directory in _HELPER_DIRECTORIES:
        path = f"{directory}/{name}"
        if os.access(path, os.X_OK):
            return path
    return None


def _root() -> tuple[dict[str, str], tuple[str, ...]]:
    links: dict[str, str] = {}
    directories: list[str] = []
    with os.scandir("/") as entries:
        for entry in entries:
            if entry.is_symlink():
                links[entry.path] = os.readlink(entry.path)
            elif entry.is_dir():
                directories.append(entry.path)
    return dict(sorted(links.items())), tuple(sorted(directories))


def _resolved(name: str) -> str | None:
    try:
        return os.path.realpath(f"/etc/{name}", strict=True)
    except OSError:
        return None


def _memory() -> int:
    lines = (_read("/proc/meminfo") or "").splitlines()
    total = next((line for line in lines if line.startswith("MemTotal:")), "MemTotal: 0 kB")
    return int(total.split()[1]) * 1024


def _numbers(path: str) -> frozenset[int]:
    """A list of the kernel's such as "0-3"; where it has none, it has one of the kind."""
    text = (_read(path) or "").strip()
    return units.number_list(text) if text else frozenset({0})


def _has_overlay(release: str) -> bool:
    listed = (_read("/proc/filesystems") or "").split()
    if "overlay" in listed:
        return True
    return bool(_entries(f"/lib/modules/{release}/kernel/fs/overlayfs"))
