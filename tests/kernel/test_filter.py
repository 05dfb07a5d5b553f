"""Compiled filters, loaded into this machine's kernel: exact errors, and nothing else changed."""

import ctypes
import errno
import fcntl
import os
import platform
import pty
import shutil
import signal
import socket
import struct
import subprocess
import termios
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Literal

import pytest

from sandbox.plan.seccomp import Arg, Rule, SeccompPolicy, compile_filter, compile_libseccomp
from sandbox.plan.syscalls import numbers
from tests.bpf import ALLOW, ERRNO, KILL_PROCESS, LOG
from tests.oracle import NATIVE, argument_vectors, edge_numbers, expected

MACHINE = platform.machine()
CALLS = numbers(MACHINE)
HERE = os.path.dirname(os.path.abspath(__file__))
X86_64_ONLY = pytest.mark.skipif(MACHINE != "x86_64", reason="calls that only x86_64 has")
ODD = errno.EBADE
"""An errno that nothing in the kernel's own way returns for the calls here."""
SERVICE = SeccompPolicy(allow=("@service",), default_errno=ODD)
HIGH = 1 << 32
AF_ALG, AF_VSOCK, AF_PACKET = 38, 40, 17

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def syscall(number: int | str, *args: int) -> int:
    """The call's errno, or 0; descriptors that it returns stay open until the process ends."""
    found = CALLS[number] if isinstance(number, str) else number
    longs = [ctypes.c_long(arg if arg < 1 << 63 else arg - (1 << 64)) for arg in args]
    ctypes.set_errno(0)
    return ctypes.get_errno() if libc.syscall(ctypes.c_long(found), *longs) == -1 else 0


class Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def load(code: bytes, flags: int = 0) -> None:
    program = Program(len(code) // 8, code)
    if libc.prctl(38, 1, 0, 0, 0) or libc.syscall(
        CALLS["seccomp"], 1, flags, ctypes.byref(program)
    ):
        raise OSError(ctypes.get_errno(), "seccomp")


def in_child(policy: SeccompPolicy | None, body: Callable[[], Iterable[int]]) -> list[int]:
    """What `body` returns in a process of its own, under the policy's filter if there is one."""
    status, values = watch(policy, body)
    assert status == 0, f"the child ended with {status}"
    return values


def watch(policy: SeccompPolicy | None, body: Callable[[], Iterable[int]]) -> tuple[int, list[int]]:
    """The child's exit status (minus the signal that ended it) and what it found."""
    code = None if policy is None else compile_filter(policy, MACHINE)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if code is not None:
                load(code)
            found = list(body())
            os.write(write, struct.pack(f"{len(found)}i", *found))
            os._exit(0)
        finally:
            os._exit(99)
    os.close(write)
    with os.fdopen(read, "rb") as results:
        raw = results.read()
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), list(struct.unpack(f"{len(raw) // 4}i", raw))


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program that makes many calls under one filter."""
    built = str(tmp_path_factory.mktemp("probe") / "filter_probe")
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler is not None, "the tests need a C compiler, as the build does"
    source = os.path.join(HERE, "filter_probe.c")
    flags = ["-std=gnu17", "-Wall", "-Wextra", "-Werror", "-O1"]
    subprocess.run([compiler, *flags, "-o", built, source], check=True)
    return built


UNASKED = {CALLS["exit_group"], CALLS.get("uretprobe"), CALLS.get("uprobe")}
"""The first ends the probe. The kernel lets the other two past every filter, and ends a process that
makes them anywhere but in the trampoline that a probe of the host's put there."""
MARKS = {ALLOW: 3001, LOG: 3002, KILL_PROCESS: 3003}


def harmless(code: bytes) -> bytes:
    """The filter with an errno in place of allow, log and kill, so that no call does anything.

    What is in front lets exit_group through, by which the process ends.
    """
    head = [(0x20, 0, 0, 0), (0x15, 0, 1, CALLS["exit_group"]), (0x06, 0, 0, ALLOW)]
    rest = [
        (opcode, yes, no, ERRNO | MARKS[k] if opcode == 0x06 and k in MARKS else k)
        for opcode, yes, no, k in struct.iter_unpack("<HBBI", code)
    ]
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in head + rest)


POLICIES = {
    "nothing": SeccompPolicy(),
    "service": SeccompPolicy(allow=("@service",)),
    "all but debugging": SeccompPolicy(allow=("@all",), deny=("@debug",), default_errno=13),
    "rules": SeccompPolicy(
        allow=("@service", "@namespaces"),
        rules=(
            Rule(call="prctl", action="kill", args=(Arg(0, "eq", (35,), width=32),)),
            Rule(call="fcntl", action="log", args=(Arg(1, "ge", (1024,), width=32),)),
            Rule(call="kill", action="deny", errno=3, args=(Arg(0, "lt", (-1,)),)),
            Rule(call="madvise", action="deny", args=(Arg(0, "gt", (5 << 32,)),)),
            Rule(call="socket", action="allow", args=(Arg(0, "eq", (40,), width=32),)),
        ),
    ),
}


@pytest.mark.parametrize("compiler", (compile_filter, compile_libseccomp))
@pytest.mark.parametrize("name", POLICIES)
def test_the_kernel_answers_every_number_and_argument_class_as_the_policy_says(
    probe: str, name: str, compiler: Callable[[SeccompPolicy, str], bytes]
) -> None:
    policy = POLICIES[name]
    calls: list[tuple[int, tuple[int, ...]]] = []
    for number in edge_numbers(MACHINE):
        calls += [(number, (0,) * 6), (number, (2**64 - 1,) * 6)]
    for known, number in CALLS.items():
        calls += [(number, args) for args in argument_vectors(policy, known, 400)]
    calls = [(number, args) for number, args in calls if number not in UNASKED]
    code = harmless(compiler(policy, MACHINE))
    data = struct.pack("<II", len(code) // 8, len(calls)) + code
    data += b"".join(struct.pack("<q6Q", number, *args) for number, args in calls)
    done = subprocess.run([probe], input=data, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    results = struct.unpack(f"<{len(calls)}q", done.stdout)
    for (number, args), result in zip(calls, results, strict=True):
        action = expected(policy, MACHINE, NATIVE[MACHINE], number, args)
        wanted = MARKS[action] if action in MARKS else action & 0xFFFF
        assert -result == wanted, (number, args)


def families(*found: int) -> Callable[[], list[int]]:
    return lambda: [syscall("socket", family, socket.SOCK_STREAM, 0) for family in found]


def test_ordinary_sockets_open() -> None:
    assert in_child(SERVICE, families(1, 2, 10, 2 | HIGH)) == [0, 0, 0, 0]
    netlink = in_child(SERVICE, lambda: [syscall("socket", 16, 3, 0)])
    assert netlink == [0]


def test_refused_families_get_the_filters_error_whatever_the_high_half() -> None:
    """Without the filter the kernel opens them or has another error: it doesn't see high bits."""
    wanted = [
        family | high
        for family in (AF_ALG, AF_VSOCK, AF_PACKET, 9, 31)
        for high in (0, HIGH, 255 * HIGH)
    ]
    assert in_child(SERVICE, families(*wanted)) == [ODD] * len(wanted)
    without = in_child(None, families(*wanted))
    assert ODD not in without
    assert without[::3] == without[1::3] == without[2::3]


def test_comparing_all_64_bits_would_let_a_high_bit_through() -> None:
    """What a filter without sbx's widths does, so that the tests here are known to show something."""
    low = 16
    instructions = [
        (0x20, 0, 0, 0),
        (0x15, 0, 5, CALLS["socket"]),
        (0x20, 0, 0, low),
        (0x15, 0, 3, AF_VSOCK),
        (0x20, 0, 0, low + 4),
        (0x15, 0, 1, 0),
        (0x06, 0, 0, ERRNO | ODD),
        (0x06, 0, 0, ALLOW),
    ]
    code = b"".join(struct.pack("<HBBI", *instruction) for instruction in instructions)

    def body() -> list[int]:
        load(code)
        return families(AF_VSOCK, AF_VSOCK | HIGH)()

    plain, high = in_child(None, body)
    assert plain == ODD
    assert high != ODD


@pytest.mark.parametrize("width", (32, 64))
def test_a_rule_on_an_int_holds_whatever_the_high_half(width: Literal[32, 64]) -> None:
    rule = Rule(call="socket", action="deny", args=(Arg(0, "eq", (AF_VSOCK,), width=width),))
    policy = SeccompPolicy(allow=("@service", "@sockets"), default_errno=ODD, rules=(rule,))
    wanted = [AF_VSOCK | high for high in (0, HIGH, 0xFFFFFFFF * HIGH)]
    assert in_child(policy, families(*wanted)) == [ODD] * 3
    assert ODD not in in_child(policy, families(1, 2, AF_ALG, AF_VSOCK + 1))


def test_netlink_other_than_routes_and_packets_by_their_other_name_are_refused() -> None:
    def body() -> list[int]:
        netlink = [syscall("socket", 16, 3, protocol) for protocol in (9, 12, 15, 16, 16 | HIGH)]
        return [*netlink, syscall("socket", 2, 10, 0x300), syscall("socket", 2, 10 | 0o2000000, 3)]

    assert in_child(SERVICE, body) == [ODD] * 7
    assert ODD not in in_child(None, body)


def test_socket_pairs_are_local() -> None:
    def body() -> list[int]:
        ends = (ctypes.c_int * 2)()
        place = ctypes.addressof(ends)
        return [syscall("socketpair", family, 1, 0, place) for family in (1, 2, 30, 30 | HIGH)]

    assert in_child(SERVICE, body) == [0, ODD, ODD, ODD]
    assert ODD not in in_child(None, body)


def terminal_requests() -> list[int]:
    _, slave = pty.openpty()
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    letter = ctypes.create_string_buffer(b"x")
    place = ctypes.addressof(letter)
    requests = [0x5412, 0x5412 | HIGH, 0x5412 | 0xFFFFFFFF << 32, 0x541C, 0x541C | HIGH, 0x5423]
    size = ctypes.create_string_buffer(8)
    return [
        *(syscall("ioctl", slave, request, place) for request in requests),
        syscall("ioctl", slave, 0x5413, ctypes.addressof(size)),
        syscall("ioctl", slave, 0x5413 | HIGH, ctypes.addressof(size)),
    ]


def test_nothing_can_be_pushed_into_a_terminal_whatever_the_high_half() -> None:
    assert in_child(SERVICE, terminal_requests) == [ODD] * 6 + [0, 0]
    without = in_child(None, terminal_requests)
    assert ODD not in without
    assert without[0] == without[1] == without[2]


def test_a_rule_cannot_open_the_terminal_again() -> None:
    rule = Rule(call="ioctl", action="allow", args=(Arg(1, "eq", (0x5412,), width=32),))
    policy = SeccompPolicy(allow=("@service", "ioctl"), default_errno=ODD, rules=(rule,))
    assert in_child(policy, terminal_requests)[:3] == [ODD] * 3


def test_threads_and_processes_start_under_the_filter() -> None:
    def body() -> list[int]:
        import threading

        done: list[int] = []
        threads = [threading.Thread(target=done.append, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        spawned = os.posix_spawn("/bin/true", ["true"], {})
        return [len(done), os.waitpid(spawned, 0)[1], subprocess.call(["/bin/sh", "-c", "exit 7"])]

    assert in_child(SERVICE, body) == [3, 0, 7]


@pytest.mark.parametrize(
    "command",
    (
        "ls -la / /dev /proc/self",
        "cp -a /etc/ld.so.conf.d copy && tar cf a.tar copy && mkdir b && tar xf a.tar -C b",
        "find /etc -maxdepth 1 -type f | sort | xargs -P 2 -n 9 wc -c > sizes && mv sizes s && rm s",
        "sleep 0.01 & wait; ulimit -a; umask; echo $((6 * 7)) | tr 4 5; kill -0 $$",
        "dd if=/dev/zero of=zero bs=64k count=4 2>&1 && truncate -s 1M zero && sync zero",
        "ln -s x y && ln y z && readlink z && touch -d 2001-01-01 w && chmod 1777 w && mkfifo p",
        "nice -n 5 timeout 5 id && env -i setsid true && date && uname -a && df / && ps",
    ),
)
def test_ordinary_programs_run_as_without_a_filter(tmp_path: Path, command: str) -> None:
    code = compile_filter(SeccompPolicy(allow=("@program",)), MACHINE)
    outcomes = []
    for name, prepare in (("without", None), ("with", partial(load, code))):
        place = tmp_path / name
        place.mkdir()
        done = subprocess.run(
            ["sh", "-ec", command], cwd=place, capture_output=True, preexec_fn=prepare, check=False
        )
        outcomes.append((done.returncode, done.stderr))
    assert outcomes == [(0, b""), (0, b"")]


def new_namespaces() -> list[int]:
    bits = (17, 25, 26, 27, 29, 30)
    flags = [1 << bit | 1 << 28 for bit in bits]
    forks = [fork_error("clone", flag | signal.SIGCHLD) for flag in flags]
    high = [fork_error("clone", flag | signal.SIGCHLD | HIGH) for flag in flags]
    return [*forks, *high, syscall("unshare", 1 << 28 | HIGH), syscall("unshare", 1 << 28)]


def fork_error(call: str, flags: int) -> int:
    """The errno of a clone; a child that does start ends at once."""
    found = libc.syscall(ctypes.c_long(CALLS[call]), ctypes.c_long(flags), 0, 0, 0, 0)
    if found == 0:
        os._exit(0)
    if found > 0:
        os.waitpid(found, 0)
    return ctypes.get_errno() if found < 0 else 0


def test_namespaces_are_refused_in_all_ways() -> None:
    without = in_child(None, new_namespaces)
    assert without[:12] == [0] * 12
    assert without[13] == 0
    assert in_child(SERVICE, new_namespaces) == [ODD] * 14
    setns = in_child(SERVICE, lambda: [syscall("setns", 0, 0), syscall("unshare", 0x400)])
    assert setns == [ODD, 0]


def clone3() -> list[int]:
    """Without a namespace flag even: what a C library tries first."""
    args = struct.pack("<11Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, 0)
    buffer = ctypes.create_string_buffer(args)
    found = libc.syscall(CALLS["clone3"], buffer, len(args))
    if found == 0:
        os._exit(0)
    if found > 0:
        os.waitpid(found, 0)
    return [ctypes.get_errno() if found < 0 else 0]


def test_clone3_does_not_exist_unless_namespaces_are_allowed() -> None:
    assert in_child(None, clone3) == [0]
    assert in_child(SERVICE, clone3) == [errno.ENOSYS]
    allowed = SeccompPolicy(allow=("@service", "@namespaces"), default_errno=ODD)
    assert in_child(allowed, clone3) == [0]
    assert in_child(allowed, lambda: [syscall("unshare", 1 << 28)]) == [0]


def test_known_calls_have_the_policys_error_and_unknown_numbers_do_not_exist() -> None:
    refused = ("ptrace", "mount", "bpf", "keyctl", "io_uring_setup", "perf_event_open", "setns")
    assert in_child(SERVICE, lambda: map(syscall, refused)) == [ODD] * len(refused)
    unknown = (400, 472, 600, 100_000, 0x3FFFFFFF)
    assert in_child(SERVICE, lambda: map(syscall, unknown)) == [errno.ENOSYS] * len(unknown)
    as_usual = SeccompPolicy(allow=("@service",))
    assert in_child(as_usual, lambda: [syscall("ptrace", 0)]) == [errno.EPERM]
    odd_unknown = SeccompPolicy(allow=("@service",), unknown_errno=ODD)
    assert in_child(odd_unknown, lambda: map(syscall, unknown)) == [ODD] * len(unknown)


def test_the_execution_domain_stays(tmp_path: Path) -> None:
    def body() -> list[int]:
        values = (0xFFFFFFFF, 0, 0x0040000, 8, 8 | HIGH)
        return [syscall("personality", value) for value in values]

    assert in_child(SERVICE, body) == [0, 0, ODD, ODD, ODD]
    assert in_child(None, body) == [0] * 5


def test_set_id_bits_cannot_be_added(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.touch()

    def body() -> list[int]:
        def attempt(mode: int) -> int:
            try:
                os.chmod(target, mode)
            except OSError as error:
                return error.errno or 0
            return 0

        node = str(tmp_path / "node").encode()
        place = ctypes.cast(ctypes.c_char_p(node), ctypes.c_void_p).value or 0
        at = syscall("mknodat", (-100) % 2**64, place, 0o104755, 0)
        return [attempt(0o1755), attempt(0o4755), attempt(0o2755), at]

    assert in_child(SERVICE, body) == [0, ODD, ODD, ODD]
    assert in_child(None, body) == [0, 0, 0, 0]


def machine_code(code: bytes) -> Callable[[], list[int]]:
    def body() -> list[int]:
        import mmap

        area = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        area.write(code)
        place = ctypes.addressof(ctypes.c_char.from_buffer(area))
        return [ctypes.CFUNCTYPE(ctypes.c_int)(place)()]

    return body


@X86_64_ONLY
def test_calls_by_the_32_bit_entry_end_the_process() -> None:
    """int 0x80 with getpid (20)."""
    getpid = machine_code(bytes.fromhex("b814000000cd80c3"))
    everything = SeccompPolicy(allow=("@all",))
    assert watch(everything, getpid)[0] == -signal.SIGSYS
    assert watch(None, getpid)[0] == 0


def probe_number(number: int) -> list[int]:
    return [syscall(number, 9)]


@X86_64_ONLY
def test_x32_numbers_end_the_process() -> None:
    everything = SeccompPolicy(allow=("@all",))
    for number in (0x40000000 + 39, 0x40000000 + 520, 0x40000000):
        assert watch(everything, partial(probe_number, number))[0] == -signal.SIGSYS
        assert watch(None, partial(probe_number, number))[0] == 0


def test_kill_ends_the_whole_process_and_log_lets_the_call_through() -> None:
    def in_thread() -> list[int]:
        import threading

        thread = threading.Thread(target=syscall, args=("getppid",))
        thread.start()
        thread.join()
        return [0]

    kill = SeccompPolicy(allow=("@service",), rules=(Rule(call="getppid", action="kill"),))
    assert watch(kill, in_thread)[0] == -signal.SIGSYS
    log = SeccompPolicy(allow=("@service",), rules=(Rule(call="getppid", action="log"),))
    assert in_child(log, lambda: [syscall("getppid")]) == [0]


def test_the_filter_cannot_be_taken_off_and_another_only_narrows_it() -> None:
    def body() -> list[int]:
        before = syscall("ptrace", 0)
        load(compile_filter(SeccompPolicy(allow=("@all",)), MACHINE))
        return [before, syscall("ptrace", 0)]

    assert in_child(SERVICE, body) == [ODD, ODD]
