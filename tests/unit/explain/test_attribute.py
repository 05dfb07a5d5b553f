"""Which layer, key and advice a refusal gets, for made-up profiles, hosts and files."""

import errno
import os
import socket
import stat
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec
import pytest

from sandbox.explain.attribute import explain
from sandbox.explain.denial import Advice, Denial, Layer
from sandbox.explain.facts import File, Found
from sandbox.explain.situation import situation_of
from sandbox.host import Host
from sandbox.plan import syscalls
from sandbox.plan.compile import compile as compile_plan
from sandbox.process.traced import AT_LAUNCH, BY_FILTER, KILLED, SET_ID, SIGNAL, Refusal
from tests.plans import ROOT, USER, resolve

NUMBERS: Final = syscalls.numbers("x86_64")
BASE: Final[dict[str, Any]] = {
    "process": {"command": ["/bin/true"]},
    "seccomp": {"allow": ["@service"]},
}
DIRECTORY: Final = File(mode=stat.S_IFDIR | 0o755, uid=1234, gid=1235, device=1)
PLAIN: Final = File(mode=stat.S_IFREG | 0o644, uid=1234, gid=1235, device=1)
PROGRAM: Final = File(mode=stat.S_IFREG | 0o755, uid=1234, gid=1235, device=1)
DEVICE: Final = File(mode=stat.S_IFCHR | 0o666, uid=0, gid=0, device=2)
DISK: Final = File(mode=stat.S_IFBLK | 0o660, uid=0, gid=6, device=2)
OUTSIDE: Final = {
    **dict.fromkeys(
        ("/", "/data", "/data/sub", "/usr", "/usr/bin", "/dev", "/proc", "/sys", "/run"), DIRECTORY
    ),
    **dict.fromkeys(("/data/file", "/data/sub/file", "/proc/meminfo", "/sys/x"), PLAIN),
    **dict.fromkeys(("/usr/bin/tool", "/usr/bin/interpreter"), PROGRAM),
    "/dev/kvm": DEVICE,
    "/dev/sda": DISK,
    "/run/docker.sock": File(mode=stat.S_IFSOCK | 0o660, uid=0, gid=0),
    "/data/private": File(mode=stat.S_IFREG | 0o600, uid=0, gid=0, device=1),
}


class Eyes:
    """Files that a case names, inside and outside."""

    def __init__(self, inside: Mapping[str, File], there: Mapping[str, File] = OUTSIDE) -> None:
        self._inside = {"/": DIRECTORY, **inside}
        self._outside = there

    @staticmethod
    def _find(files: Mapping[str, File], path: str) -> Found:
        path = os.path.normpath(path)
        above = [("/", files["/"])]
        parts = path.split("/")[1:-1]
        for index in range(len(parts)):
            name = "/" + "/".join(parts[: index + 1])
            if name not in files:
                return Found(path=path, above=tuple(above))
            above.append((name, files[name]))
        return Found(path=path, file=files.get(path), above=tuple(above))

    def inside(self, path: str, *, follow: bool = True) -> Found | None:  # noqa: ARG002
        return self._find(self._inside, path)

    def outside(self, path: str, *, follow: bool = True) -> Found:  # noqa: ARG002
        return self._find(self._outside, path)

    def interpreter(self, path: str) -> str:
        return "/usr/bin/interpreter" if path.endswith("script") else ""

    def free(self, path: str) -> tuple[int, int] | None:  # noqa: ARG002
        return None

    def listens(self, port: int) -> bool:
        return port == 5432

    def has_abstract_socket(self, name: str) -> bool:
        return name == "bus"

    def has_process(self, pid: int) -> bool:
        return pid == 77


class Case(NamedTuple):
    """A refusal and its explanation; `advice` the texts of all that is advised."""

    name: str
    tables: dict[str, Any]
    call: str
    error: int
    layer: Layer
    advice: tuple[str, ...]
    path: str = ""
    second: str = ""
    arguments: tuple[int, ...] = ()
    data: bytes = b""
    flags: int = 0
    inside: Mapping[str, File] = MappingProxyType({})
    host: Host = USER
    note: str = ""


READ: Final = {"filesystem": {"read": ["/data"]}}
SHOWN: Final = {
    name: OUTSIDE[name] for name in ("/data", "/data/file", "/data/sub", "/data/sub/file")
}
WRITING: Final = (0, 0, 1)
INTERNET: Final = {"network": {"mode": "host"}}


def at(address: str, port: int) -> bytes:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    middle = bytes(4) if family == socket.AF_INET6 else b""
    packed = socket.inet_pton(family, address)
    return int(family).to_bytes(2, "little") + port.to_bytes(2, "big") + middle + packed


def unix(name: str) -> bytes:
    return int(socket.AF_UNIX).to_bytes(2, "little") + os.fsencode(name)


CASES: Final = (
    # --- what isn't there ---
    Case("absent", {}, "openat", errno.ENOENT, Layer.MOUNT, ('filesystem.read = ["/data/file"]',), "/data/file"),
    Case("absent to execute", {}, "execve", errno.ENOENT, Layer.MOUNT, ('filesystem.execute = ["/usr/bin/tool"]',), "/usr/bin/tool"),
    Case("absent to create", {}, "mkdir", errno.ENOENT, Layer.MOUNT, ('filesystem.write = ["/data"]',), "/data/new"),
    Case("absent to write", {}, "openat", errno.ENOENT, Layer.MOUNT, ('filesystem.write = ["/data/file"]',), "/data/file", arguments=WRITING),
    Case("absent everywhere", {}, "openat", errno.ENOENT, Layer.OUTSIDE, (), "/nowhere/x"),
    Case("absent, nothing to create it in", {}, "mkdir", errno.ENOENT, Layer.OUTSIDE, (), "/nowhere/x/y"),
    Case("an engine's socket", {}, "openat", errno.ENOENT, Layer.MOUNT, ('filesystem.read = ["/run/docker.sock"]',), "/run/docker.sock", note="root of the host"),
    Case("a device", {}, "openat", errno.ENOENT, Layer.MOUNT, ('devices.allow = ["/dev/kvm"]',), "/dev/kvm"),
    Case("a disk", {}, "openat", errno.ENOENT, Layer.MOUNT, (), "/dev/sda", note="whole disk"),
    Case("no /dev", {"devices": {"dev": "none"}}, "openat", errno.ENOENT, Layer.OUTSIDE, (), "/dev/null"),
    Case("a path that no profile can name", {}, "openat", errno.ENOENT, Layer.OUTSIDE, (), "/data/\udcff"),
    Case("another process's directory", {}, "openat", errno.ENOENT, Layer.NAMESPACE, ("namespaces.pid = false",), "/proc/77/stat"),
    Case("nobody's directory", {}, "openat", errno.ENOENT, Layer.OUTSIDE, (), "/proc/78/stat"),
    Case("processes only", {"filesystem": {"proc": "pid"}}, "openat", errno.ENOENT, Layer.MOUNT, ('filesystem.proc = "read-only"',), "/proc/meminfo"),
    Case("in a bind mount", {"mounts": [{"type": "bind", "source": "/data", "target": "/app"}]}, "openat", errno.ENOENT, Layer.OUTSIDE, (), "/app/nothing"),
    Case("masked", {"filesystem": {"read": ["/data"], "mask": ["/data/sub"]}}, "openat", errno.ENOENT, Layer.MOUNT, ('filesystem.read = ["/data/sub/file"]',), "/data/sub/file", inside={"/data": DIRECTORY, "/data/sub": DIRECTORY}),
    Case("hidden by a tmpfs", {"filesystem": {"tmpfs": ["/data"]}}, "openat", errno.ENOENT, Layer.MOUNT, ('filesystem.read = ["/data/file"]',), "/data/file", inside={"/data": DIRECTORY}),
    Case("an interpreter", {"filesystem": {"execute": ["/data"]}}, "execve", errno.ENOENT, Layer.MOUNT, ('filesystem.execute = ["/usr/bin/interpreter"]',), "/data/script", inside={"/data": DIRECTORY, "/data/script": PROGRAM}),
    Case("made in the meantime", READ, "openat", errno.ENOENT, Layer.OUTSIDE, (), "/data/file", inside=SHOWN),
    # --- read-only ---
    Case("read-only", READ, "openat", errno.EROFS, Layer.MOUNT, ('filesystem.write = ["/data/file"]',), "/data/file", arguments=WRITING, inside=SHOWN),
    Case("read-only to remove", READ, "unlink", errno.EROFS, Layer.MOUNT, ('filesystem.write = ["/data"]',), "/data/file", inside=SHOWN),
    Case("read-only root", {}, "mkdir", errno.EROFS, Layer.MOUNT, ('filesystem.tmpfs = ["/new"]',), "/new"),
    Case("read-only mount", {"mounts": [{"type": "bind", "source": "/data", "target": "/app"}]}, "mkdir", errno.EROFS, Layer.MOUNT, ('writable = true in the [[mounts]] of "/app"',), "/app/new", inside={"/app": DIRECTORY}),
    Case("the host's own read-only", {"filesystem": {"write": ["/data"]}}, "mkdir", errno.EROFS, Layer.OUTSIDE, (), "/data/new", inside=SHOWN),
    Case("/proc", {}, "openat", errno.EROFS, Layer.MOUNT, ('filesystem.proc = "writable"',), "/proc/self/comm", arguments=WRITING),
    Case("a sysctl", {}, "openat", errno.EROFS, Layer.MOUNT, (), "/proc/sys/kernel/x", arguments=WRITING, note="whatever filesystem.proc says"),
    Case("a generated file", {"rootfs": {"generate": ["hosts"]}}, "openat", errno.EROFS, Layer.MOUNT, (), "/etc/hosts", arguments=WRITING, note="rootfs.generate"),
    Case("a node in /dev", {}, "mkdir", errno.EROFS, Layer.MOUNT, (), "/dev/x", note="devices.allow"),
    # --- refused ---
    Case("denied", {"filesystem": {"read": ["/data"], "deny": ["/data/file"]}}, "openat", errno.EACCES, Layer.MOUNT, ('take "/data/file" out of filesystem.deny',), "/data/file", inside=SHOWN),
    Case("not executable", READ, "execve", errno.EACCES, Layer.MOUNT, ('filesystem.execute = ["/data/tool"]',), "/data/tool", inside={**SHOWN, "/data/tool": PROGRAM}),
    Case("no execute bit", {"filesystem": {"execute": ["/data"]}}, "execve", errno.EACCES, Layer.MODE, (), "/data/file", inside=SHOWN, note="chmod +x"),
    Case("a mapping of code", READ, "mmap", errno.EPERM, Layer.MOUNT, ('filesystem.execute = ["/data/tool"]',), "/data/tool", inside={**SHOWN, "/data/tool": PROGRAM}),
    Case("execution from memory", {"filesystem": {"tmpfs": [{"path": "/tmp", "size": "4M"}]}}, "execve", errno.EACCES, Layer.MOUNT, ('filesystem.tmpfs = [{ path = "/tmp", size = "4M", execute = true }]',), "/tmp/tool", inside={"/tmp": DIRECTORY, "/tmp/tool": PROGRAM}),
    Case("another's file", READ, "openat", errno.EACCES, Layer.MODE, (), "/data/private", inside={**SHOWN, "/data/private": OUTSIDE["/data/private"]}, note="outside of the sandbox it is refused too"),
    Case("root's file", READ, "openat", errno.EACCES, Layer.MODE, ('mounts = [{ type = "bind", source = "/data/private", target = "/data/private", idmap = true }]',), "/data/private", inside={**SHOWN, "/data/private": OUTSIDE["/data/private"]}, host=ROOT),
    Case("a directory of another's", READ, "openat", errno.EACCES, Layer.MODE, (), "/data/sub/file", inside={"/data": DIRECTORY, "/data/sub": File(mode=stat.S_IFDIR | 0o700, uid=9, gid=9), "/data/sub/file": PLAIN}, note="refused too"),
    Case("a device without leave", READ, "openat", errno.EACCES, Layer.MOUNT, ('devices.allow = ["/data/node"]',), "/data/node", inside={**SHOWN, "/data/node": DEVICE}),
    Case("another's attributes", {"filesystem": {"write": ["/data"]}}, "chmod", errno.EPERM, Layer.MODE, (), "/data/private", inside={**SHOWN, "/data/private": OUTSIDE["/data/private"]}, note="refused too"),
    # --- moves ---
    Case("two mounts", {"filesystem": {"write": ["/data/sub", "/data/other"]}}, "rename", errno.EXDEV, Layer.MOUNT, ('filesystem.write = ["/data"]',), "/data/sub/file", "/data/other/file", inside={**SHOWN, "/data/other": DIRECTORY}),
    Case("one mount, other rules", {"filesystem": {"write": ["/data"]}}, "rename", errno.EXDEV, Layer.LANDLOCK, (), "/data/file", "/data/sub/new", inside=SHOWN),
    Case("a mount point", {"filesystem": {"write": ["/data"], "read": ["/data/file"]}}, "unlink", errno.EBUSY, Layer.MOUNT, ('filesystem.write = ["/data"]',), "/data/file", inside=SHOWN),
    Case("busy for another reason", {"filesystem": {"write": ["/data"]}}, "unlink", errno.EBUSY, Layer.OUTSIDE, (), "/data/file", inside=SHOWN),
    Case("protected", {"filesystem": {"write": ["/data"], "protect": ["/data/file"]}}, "openat", errno.EROFS, Layer.MOUNT, ('take "/data/file" out of filesystem.protect',), "/data/file", arguments=WRITING, inside=SHOWN),
    # --- limits ---
    Case("descriptors", {"rlimits": {"nofile": 64}}, "openat", errno.EMFILE, Layer.LIMIT, ("rlimits.nofile = 256",), "/data/file"),
    Case("inherited descriptors", {}, "socket", errno.EMFILE, Layer.LIMIT, ("rlimits.nofile = 4096",), note="inherited"),
    Case("a full tmpfs", {"filesystem": {"tmpfs": [{"path": "/tmp", "size": "4M"}]}}, "openat", errno.ENOSPC, Layer.LIMIT, ('filesystem.tmpfs = [{ path = "/tmp", size = "8M" }]',), "/tmp/x", inside={"/tmp": DIRECTORY}),
    Case("a full /dev/shm", {}, "openat", errno.ENOSPC, Layer.LIMIT, ('devices.shm_size = "128M"',), "/dev/shm/x"),
    Case("a full disk", {"filesystem": {"write": ["/data"]}}, "openat", errno.ENOSPC, Layer.OUTSIDE, (), "/data/x", inside=SHOWN),
    Case("processes", {"rlimits": {"nproc": 10}}, "clone", errno.EAGAIN, Layer.LIMIT, ("rlimits.nproc = 20",)),
    Case("the caller's processes", {}, "clone", errno.EAGAIN, Layer.OUTSIDE, ()),
    Case("address space", {"rlimits": {"as": "1G"}}, "mmap", errno.ENOMEM, Layer.LIMIT, ('rlimits.as = "unlimited"',)),
    Case("a limit to raise", {"rlimits": {"core": 0}}, "prlimit64", errno.EPERM, Layer.LIMIT, ('rlimits.core = "unlimited"',), arguments=(0, 4, 1)),
    Case("locked memory", {}, "mlock", errno.ENOMEM, Layer.LIMIT, ('rlimits.memlock = "unlimited"',), note="inherited"),
    Case("priority", {}, "setpriority", errno.EACCES, Layer.LIMIT, ('rlimits.nice = "unlimited"',), note="inherited"),
    Case("processor time", {"rlimits": {"cpu": 5}}, "", 24, Layer.LIMIT, ("rlimits.cpu = 50",), flags=SIGNAL),
    Case("file size", {"rlimits": {"fsize": "1M"}}, "", 25, Layer.LIMIT, ('rlimits.fsize = "2M"',), flags=SIGNAL),
    # --- the filter ---
    Case("sockets", {"seccomp": {"allow": ["@program"]}}, "socket", errno.EPERM, Layer.SECCOMP, ('seccomp.allow = ["@network"]',), arguments=(2, 1, 0), flags=BY_FILTER),
    Case("a rare family", {}, "socket", errno.EPERM, Layer.SECCOMP, ('seccomp.allow = ["socket"]',), arguments=(40, 1, 0), note="@sockets", flags=BY_FILTER),
    Case("connections", {"seccomp": {"allow": ["@program"]}}, "connect", errno.EPERM, Layer.SECCOMP, ('seccomp.allow = ["@network"]',), flags=BY_FILTER),
    Case("keys", {}, "keyctl", errno.EPERM, Layer.SECCOMP, ('seccomp.allow = ["keyctl"]',), flags=BY_FILTER),
    Case("a mount", {}, "mount", errno.EPERM, Layer.SECCOMP, ('seccomp.allow = ["mount"]', 'capabilities.keep = ["CAP_SYS_ADMIN"]', "capabilities.ambient = true"), flags=BY_FILTER),
    Case("the clock", {}, "settimeofday", errno.EPERM, Layer.SECCOMP, (), note="whole machine", flags=BY_FILTER),
    Case("a module", {}, "finit_module", errno.EPERM, Layer.SECCOMP, (), note="into the kernel", flags=BY_FILTER),
    Case("a namespace", {}, "clone", errno.EPERM, Layer.SECCOMP, ('seccomp.allow = ["unshare"]',), arguments=(0x10000000,), note="reach", flags=BY_FILTER),
    Case("clone3", {}, "clone3", errno.ENOSYS, Layer.OUTSIDE, (), flags=BY_FILTER),
    Case("a denied group", {"seccomp": {"allow": ["@service"], "deny": ["@ipc"]}}, "shmget", errno.EPERM, Layer.SECCOMP, ('take "@ipc" out of seccomp.deny',), flags=BY_FILTER),
    Case("a rule", {"seccomp": {"allow": ["@service"], "rules": [{"call": "mkdir", "action": "deny"}]}}, "mkdir", errno.EPERM, Layer.SECCOMP, (), note="that rule", flags=BY_FILTER),
    Case("a deadly rule", {"seccomp": {"allow": ["@service"], "rules": [{"call": "mkdir", "action": "kill"}]}}, "mkdir", 0, Layer.SECCOMP, (), flags=BY_FILTER | KILLED, note="that rule"),
    Case("another architecture", {}, "mkdir", 0, Layer.SECCOMP, (), flags=BY_FILTER | KILLED, note="64-bit"),
    Case("a set-user-id bit of the file's", {}, "chmod", errno.EPERM, Layer.SECCOMP, ('seccomp.allow = ["chmod"]',), "/data/file", arguments=(0, 0o4755), flags=BY_FILTER),
    # --- privileges ---
    Case("a capability", {"seccomp": {"allow": ["@service", "chroot"]}}, "chroot", errno.EPERM, Layer.CAPABILITY, ('capabilities.keep = ["CAP_SYS_CHROOT"]', "capabilities.ambient = true"), "/"),
    Case("the host name", {"seccomp": {"allow": ["@service", "sethostname"]}}, "sethostname", errno.EPERM, Layer.CAPABILITY, ('namespaces.hostname = "NAME"',)),
    Case("the clock, allowed", {"seccomp": {"allow": ["@service", "@clock"]}}, "clock_settime", errno.EPERM, Layer.CAPABILITY, (), note="whole machine"),
    Case("an id that isn't mapped", {}, "setuid", errno.EINVAL, Layer.NAMESPACE, ('identity.map = "range"', 'capabilities.keep = ["CAP_SETUID"]', "capabilities.ambient = true"), arguments=(5,)),
    Case("an id beyond the range", {}, "setuid", errno.EINVAL, Layer.NAMESPACE, ("identity.range_size = 70001", 'capabilities.keep = ["CAP_SETUID"]', "capabilities.ambient = true"), arguments=(70000,), host=ROOT),
    Case("another owner", {"filesystem": {"write": ["/data"]}}, "chown", errno.EPERM, Layer.CAPABILITY, ('capabilities.keep = ["CAP_CHOWN"]', "capabilities.ambient = true"), "/data/file", arguments=(0, 5, 5), inside=SHOWN),
    Case("a raw socket", {}, "socket", errno.EPERM, Layer.CAPABILITY, ('capabilities.keep = ["CAP_NET_RAW"]', "capabilities.ambient = true"), arguments=(2, 3, 1)),
    Case("set-user-id", {}, "execve", 0, Layer.CAPABILITY, (), "/usr/bin/tool", flags=SET_ID, note="no key"),
    Case("tracing", {"seccomp": {"allow": ["@service", "ptrace"]}}, "ptrace", errno.EPERM, Layer.TRACING, (), note="without --explain"),
    # --- namespaces and addresses ---
    Case("another machine", {}, "connect", errno.ENETUNREACH, Layer.NAMESPACE, ('network.mode = "host"',), data=at("192.0.2.1", 80)),
    Case("another machine, IPv6", {}, "connect", errno.EADDRNOTAVAIL, Layer.NAMESPACE, ('network.mode = "host"',), data=at("2001:db8::1", 80)),
    Case("a name server", {}, "sendto", errno.ENETUNREACH, Layer.NAMESPACE, ('network.mode = "host"',), data=at("192.0.2.53", 53)),
    Case("a local service", {}, "connect", errno.ECONNREFUSED, Layer.NAMESPACE, ('network.mode = "host"',), data=at("127.0.0.1", 5432)),
    Case("no name server", {}, "connect", 0, Layer.NAMESPACE, ('network.mode = "host"',), data=at("127.0.0.1", 53)),
    Case("no such service", {}, "connect", errno.ECONNREFUSED, Layer.OUTSIDE, (), data=at("127.0.0.1", 5433)),
    Case("unreachable in the host's network", INTERNET, "connect", errno.ENETUNREACH, Layer.OUTSIDE, (), data=at("192.0.2.1", 80)),
    Case("a low port", {}, "bind", errno.EACCES, Layer.CAPABILITY, ('capabilities.keep = ["CAP_NET_BIND_SERVICE"]', "capabilities.ambient = true"), data=at("0.0.0.0", 80)),
    Case("a low port of the host's", INTERNET, "bind", errno.EACCES, Layer.CAPABILITY, (), data=at("0.0.0.0", 80), note="ip_unprivileged_port_start"),
    Case("an abstract socket", {}, "connect", errno.ECONNREFUSED, Layer.NAMESPACE, ('network.mode = "host"', 'landlock.scopes = ["signal"]'), data=unix("\0bus")),
    Case("no such abstract socket", {}, "connect", errno.ECONNREFUSED, Layer.OUTSIDE, (), data=unix("\0none")),
    Case("a scope", INTERNET, "connect", errno.EPERM, Layer.LANDLOCK, ('landlock.scopes = ["signal"]',), data=unix("\0bus")),
    Case("a socket file", {}, "connect", errno.ENOENT, Layer.MOUNT, ('filesystem.read = ["/run/docker.sock"]',), data=unix("/run/docker.sock\0"), note="root of the host"),
    Case("nobody at a socket file", {}, "connect", errno.ECONNREFUSED, Layer.OUTSIDE, (), data=unix("/data/file")),
    Case("a process", {}, "kill", errno.ESRCH, Layer.NAMESPACE, ("namespaces.pid = false", 'filesystem.proc = "none"'), arguments=(77, 9)),
    Case("no process", {}, "kill", errno.ESRCH, Layer.OUTSIDE, (), arguments=(78, 9)),
    Case("shared memory", {}, "shmget", errno.ENOENT, Layer.NAMESPACE, ("namespaces.ipc = false",)),
    Case("no terminal", {}, "openat", errno.ENXIO, Layer.NAMESPACE, ('process.terminal = "auto"',), "/dev/tty"),
)  # fmt: skip


def denial_of(case: Case, there: Mapping[str, File] = OUTSIDE) -> Denial | None:
    resolved = resolve({**BASE, **case.tables})
    situation = situation_of(
        resolved, case.host, compile_plan(resolved, case.host), Eyes(case.inside, there)
    )
    paths = tuple(("/", path) for path in (case.path, case.second) if path)
    refusal = Refusal(
        call=NUMBERS[case.call] if case.call else -1,
        error=case.error,
        flags=case.flags,
        pid=1,
        arguments=(*case.arguments, *(0,) * (6 - len(case.arguments))),
        count=1,
        first=1,
        last=1,
        made_good=0,
        program="app",
        failed=False,
        paths=paths,
        data=case.data,
    )
    return explain(situation, refusal)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_refusal_has_its_layer_and_the_smallest_key(case: Case) -> None:
    denial = denial_of(case)
    assert denial is not None
    assert (denial.layer, tuple(a.text() for a in denial.advice)) == (case.layer, case.advice), (
        denial
    )
    assert case.note in denial.note
    assert denial.layer == Layer.OUTSIDE or denial.advice or denial.note or denial.key


def test_what_the_launch_does_is_nobodys_denial() -> None:
    case = next(case for case in CASES if case.name == "absent")
    assert denial_of(case._replace(flags=AT_LAUNCH)) is None


@pytest.mark.parametrize(
    ("tables", "address"),
    (({}, at("127.0.0.1", 80)), ({}, at("192.0.2.1", 53)), (INTERNET, at("127.0.0.1", 53))),
)
def test_other_connections_that_go_well_are_no_denial(
    tables: dict[str, Any], address: bytes
) -> None:
    case = next(case for case in CASES if case.name == "no name server")
    assert denial_of(case._replace(tables=tables, data=address)) is None


@pytest.mark.parametrize("name", ("locale.alias", "openssl.cnf"))
def test_what_libraries_do_without_is_not_shown(name: str) -> None:
    case = next(case for case in CASES if case.name == "absent")
    there = {**OUTSIDE, f"/data/{name}": PLAIN}
    found = denial_of(case._replace(path=f"/data/{name}"), there)
    assert found is not None
    assert (found.by_sandbox, found.matters) == (True, False)


def test_a_kernel_that_lacks_a_call_is_not_the_sandbox() -> None:
    case = next(case for case in CASES if case.name == "absent")
    assert denial_of(case._replace(error=errno.ENOSYS)) is None


SEALS: Final = {
    "denied": {"profile": {"sealed": ["filesystem.deny"]}},
    "protected": {"profile": {"sealed": ["filesystem"]}},
    "a denied group": {"profile": {"sealed": ["seccomp"]}},
}


@pytest.mark.parametrize("name", SEALS)
def test_what_another_file_seals_is_not_advised(name: str) -> None:
    from sandbox.profile.resolved import Origin

    case = next(case for case in CASES if case.name == name)
    resolved = resolve({**BASE, **case.tables, **SEALS[name]})
    resolved = msgspec.structs.replace(resolved, locate=lambda _key: Origin("/etc/base.toml", 7, 1))
    situation = situation_of(resolved, USER, compile_plan(resolved, USER), Eyes(case.inside))
    refusal = Refusal(
        call=NUMBERS[case.call],
        error=case.error,
        flags=case.flags,
        pid=1,
        arguments=(*case.arguments, *(0,) * (6 - len(case.arguments))),
        count=1,
        first=1,
        last=1,
        made_good=0,
        program="",
        failed=False,
        paths=(("", case.path),) if case.path else (),
        data=b"",
    )
    denial = explain(situation, refusal)
    assert denial is not None
    assert denial.advice == ()
    assert "/etc/base.toml:7 seals it" in denial.note


def test_advice_is_toml_that_can_be_copied() -> None:
    import tomllib

    path = 'a "quoted" \\ \x1b path\U0001f600'
    text = Advice(("filesystem", "read"), path, add=True).text()
    assert tomllib.loads(text) == {"filesystem": {"read": [path]}}
