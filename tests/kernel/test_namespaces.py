"""Namespaces: what the payload has apart from the host, and what stays when it hasn't."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
from collections.abc import Iterator

import pytest

from sandbox.plan.ops import InstallFilter, SetSysctl
from tests.kernel.harness import Sandbox, await_line, libc, outcomes, without
from tests.kernel.posture import namespaces_of

# How each namespace is left out, and what must then give way for the profile to hold together.
SHARED = {
    "cgroup": "[namespaces]\ncgroup = false",
    "ipc": "[namespaces]\nipc = false",
    "net": "[network]\nmode = 'host'",
    "pid": "[namespaces]\npid = false\n[filesystem]\nproc = 'none'",
    "time": "[namespaces]\ntime = false",
    "uts": "[namespaces]\nuts = false",
}
# The payload can tell only by the host's own /proc.
HOSTS_PROC = "\n[[mounts]]\ntype = 'bind'\nsource = '/proc'\ntarget = '/proc'"
IPC_CREAT, IPC_RMID = 0o1000, 0


def children_of(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def test_every_namespace_of_the_payload_is_its_own(sandbox: Sandbox) -> None:
    with sandbox.start("", sandbox.probe, "wait") as process:
        await_line(process)
        (init,) = children_of(process.pid)
        (payload,) = children_of(init)
        inside, outside = namespaces_of(payload), namespaces_of(process.pid)
    assert [kind for kind in inside if inside[kind] == outside[kind]] == []
    assert inside["pid_for_children"] == inside["pid"]
    assert inside["time_for_children"] == inside["time"]


@pytest.mark.parametrize("kind", sorted(SHARED))
def test_a_namespace_that_is_turned_off_is_the_callers_and_no_other_one(
    sandbox: Sandbox, kind: str
) -> None:
    inside = sandbox.dump(SHARED[kind] + (HOSTS_PROC if kind == "pid" else "")).namespaces
    outside = namespaces_of("self")
    assert {name for name in SHARED if inside[name] == outside[name]} == {kind}


def test_root_can_do_without_a_user_namespace(as_root: Sandbox) -> None:
    inside = as_root.dump("[namespaces]\nuser = false")
    assert inside.namespaces["user"] == namespaces_of("self")["user"]
    assert set(inside.capabilities.values()) == {0}


def test_a_user_cannot_do_without_a_user_namespace(as_user: Sandbox) -> None:
    message = as_user.refusal("[namespaces]\nuser = false")
    assert "namespaces.user: a sandbox without a user namespace can only be made by root" in message
    assert "hint: leave the user namespace on, or run sbx as root" in message


def test_the_host_name_is_the_sandboxs_own(sandbox: Sandbox) -> None:
    before = os.uname().nodename
    assert sandbox.dump("[namespaces]\nhostname = 'inner'").hostname == "inner"
    assert os.uname().nodename == before
    assert sandbox.dump("[namespaces]\nuts = false").hostname == before


def test_the_payload_sees_no_process_but_the_sandboxs(sandbox: Sandbox) -> None:
    listed = sandbox.attempt("", "list", "/proc").value.split()
    # init, the probe, and the process of the attempt
    assert sorted(name for name in listed if name.isdigit()) == ["1", "2", "3"]


def test_the_payload_sees_its_cgroup_as_the_top(sandbox: Sandbox) -> None:
    paths = {line.rpartition(":")[2] for line in sandbox.dump("").cgroup.splitlines()}
    assert paths <= {"/"}


@contextlib.contextmanager
def shared_memory() -> Iterator[int]:
    """A System V segment that every user may attach."""
    key = 0x5B000000 | os.getpid()
    segment = libc.shmget(key, ctypes.c_size_t(4096), IPC_CREAT | 0o666)
    assert segment >= 0
    try:
        yield key
    finally:
        libc.shmctl(segment, IPC_RMID, None)


def test_shared_memory_of_the_host_is_not_there(sandbox: Sandbox) -> None:
    with shared_memory() as key:
        assert sandbox.attempt("", "shm", key).outcome == "ENOENT"
        assert sandbox.attempt(SHARED["ipc"], "shm", key).outcome == "ok"


def test_loopback_is_up_and_the_only_interface(sandbox: Sandbox) -> None:
    loopback, interfaces = sandbox.attempts("", ("loopback",), ("interfaces",))
    assert loopback.outcome == "ok"
    assert interfaces.value == "lo"


def test_a_server_on_the_hosts_loopback_is_out_of_reach(sandbox: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert sandbox.attempt("", "tcp", "127.0.0.1", port).outcome == "ECONNREFUSED"
        assert sandbox.attempt(SHARED["net"], "tcp", "127.0.0.1", port).outcome == "ok"


def test_an_address_beyond_the_host_is_unreachable(sandbox: Sandbox) -> None:
    assert sandbox.attempt("", "tcp", "192.0.2.1", 80).outcome == "ENETUNREACH"


@pytest.fixture
def abstract_server() -> Iterator[str]:
    name = f"sbx-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}")
        server.listen()
        yield f"@{name}"


def test_an_abstract_socket_of_the_host_is_out_of_reach(
    sandbox: Sandbox, abstract_server: str
) -> None:
    assert sandbox.attempt("", "unix", abstract_server).outcome == "ECONNREFUSED"


def test_landlock_keeps_abstract_sockets_away_on_the_hosts_network(
    sandbox: Sandbox, abstract_server: str
) -> None:
    assert sandbox.attempt(SHARED["net"], "unix", abstract_server).outcome == "EPERM"
    unscoped = SHARED["net"] + "\n[landlock]\nscopes = ['signal']"
    assert sandbox.attempt(unscoped, "unix", abstract_server).outcome == "ok"


def test_landlock_keeps_signals_inside_among_the_hosts_processes(sandbox: Sandbox) -> None:
    text = "[identity]\nmap = 'self'\n" + SHARED["pid"]
    with sandbox.popen([sandbox.probe, "signals"], stdout=subprocess.PIPE) as target:
        await_line(target)
        assert sandbox.attempt(text, "kill", target.pid, signal.SIGUSR1).outcome == "EPERM"
        unscoped = text + "\n[landlock]\nscopes = ['abstract-unix-socket']"
        assert sandbox.attempt(unscoped, "kill", target.pid, signal.SIGUSR2).outcome == "ok"
        target.terminate()
        output, _ = target.communicate(timeout=10)
    assert output.split() == [b"%d" % signal.SIGUSR2, b"%d" % signal.SIGTERM]


def test_processes_of_the_host_do_not_exist_inside(sandbox: Sandbox) -> None:
    with sandbox.popen([sandbox.probe, "wait"], stdout=subprocess.PIPE) as target:
        await_line(target)
        assert sandbox.attempt("", "kill", target.pid, 0).outcome == "ESRCH"
        assert sandbox.outside(("kill", target.pid, 0))[0].outcome == "ok"
        target.kill()


def test_namespaces_can_neither_be_made_nor_entered(sandbox: Sandbox) -> None:
    tries = [("unshare", flag) for flag in ("0x10000000", "0x20000", "0x40000000", "0x20000000")]
    found = sandbox.attempts(
        "", *tries, ("setns", "/proc/1/ns/mnt"), ("setns", "/proc/self/ns/net")
    )
    assert outcomes(found) == ["EPERM"] * 4 + ["EACCES", "EPERM"]


def test_the_limit_on_user_namespaces_holds_without_the_filter(sandbox: Sandbox) -> None:
    user = ("unshare", "0x10000000")
    assert sandbox.attempt("", *user).outcome == "EPERM"
    unfiltered = without(sandbox.plan(""), InstallFilter)
    assert outcomes(sandbox.attempts_under(unfiltered, user)) == ["ENOSPC"]
    unlimited = without(unfiltered, SetSysctl)
    assert outcomes(sandbox.attempts_under(unlimited, user)) == ["ok"]


def test_a_profile_may_let_user_namespaces_be_made(sandbox: Sandbox) -> None:
    nested = "[seccomp]\nallow = ['@namespaces']"
    assert sandbox.attempt(nested, "unshare", "0x10000000").outcome == "ok"


def test_a_rule_may_let_namespaces_of_one_kind_be_made(sandbox: Sandbox) -> None:
    """CLONE_NEWUSER alone, not with CLONE_NEWNS."""
    args = "args = [{ index = 0, op = 'eq', value = 0x10000000 }]"
    nested = f"[[seccomp.rules]]\ncall = 'unshare'\naction = 'allow'\n{args}"
    tries = [("unshare", flags) for flags in ("0x10000000", "0x10020000", "0x20000")]
    assert outcomes(sandbox.attempts(nested, *tries)) == ["ok", "EPERM", "EPERM"]
