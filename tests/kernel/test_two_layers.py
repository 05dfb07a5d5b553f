"""Each boundary is kept twice: with one layer taken away the other one still holds."""

import os
import socket
import subprocess
from collections.abc import Callable

import msgspec
import pytest

from sandbox.plan.kernel import Attr
from sandbox.plan.ops import (
    AllowPath,
    BindMount,
    CreateLandlockRuleset,
    InstallFilter,
    RestrictSelf,
)
from sandbox.plan.record import Op, Plan
from tests.kernel.harness import Sandbox, edited, outcomes, without
from tests.kernel.pieces import own_for_payload

LANDLOCK_OFF = "[landlock]\nenabled = false\n"


def open_mounts(op: Op) -> Op:
    """Every bind writable and executable: what the mount tree denies is open."""
    if not isinstance(op, BindMount):
        return op
    return msgspec.structs.replace(op, attributes=op.attributes & ~(Attr.RDONLY | Attr.NOEXEC))


def unlandlocked(plan: Plan) -> Plan:
    return without(plan, CreateLandlockRuleset, AllowPath, RestrictSelf)


@pytest.fixture
def data(sandbox: Sandbox) -> str:
    """A directory of the payload's with a file, a program and two subdirectories."""
    data = sandbox.mkdir("data")
    parts = [sandbox.mkdir(f"data/{name}") for name in ("one", "two")]
    parts += [sandbox.write("data/one/file", "x"), sandbox.write("data/two/file", "y")]
    with open(sandbox.probe, "rb") as source, open(f"{data}/program", "wb") as copy:
        copy.write(source.read())
    os.chmod(f"{data}/program", 0o755)
    own_for_payload(sandbox, data, f"{data}/program", *parts)
    return data


def changes(data: str) -> list[tuple[object, ...]]:
    """Everything that would change the directory."""
    return [
        ("open", f"{data}/one/file", "w"),
        ("open", f"{data}/one/file", "rw"),
        ("open", f"{data}/one/file", "wt"),
        ("truncate", f"{data}/one/file", 0),
        ("open", f"{data}/one/new", "wc"),
        ("mkdir", f"{data}/one/new"),
        ("symlink", "target", f"{data}/one/new"),
        ("mknod", f"{data}/one/new", "010644", 0, 0),
        ("unlink", f"{data}/one/file"),
        ("rename", f"{data}/one/file", f"{data}/one/other"),
        ("link", f"{data}/one/file", f"{data}/one/other"),
    ]


def test_what_both_layers_refuse_the_mounts_refuse_first(sandbox: Sandbox, data: str) -> None:
    text = f"[filesystem]\nread = ['{data}']\n"
    assert set(outcomes(sandbox.attempts(text, *changes(data)))) == {"EROFS"}


def test_the_mounts_hold_without_landlock(sandbox: Sandbox, data: str) -> None:
    text = LANDLOCK_OFF + f"[filesystem]\nread = ['{data}']\n"
    found = sandbox.attempts(text, *changes(data), ("exec", f"{data}/program", "exit", "0"))
    assert outcomes(found) == ["EROFS"] * len(changes(data)) + ["EACCES"]


def test_landlock_holds_without_the_mounts(sandbox: Sandbox, data: str) -> None:
    plan = edited(sandbox.plan(f"[filesystem]\nread = ['{data}']\n"), open_mounts)
    found = sandbox.attempts_under(plan, *changes(data), ("exec", f"{data}/program", "exit", "0"))
    assert outcomes(found) == ["EACCES"] * (len(changes(data)) + 1)


def test_with_both_layers_away_all_of_it_works(sandbox: Sandbox, data: str) -> None:
    """The positive control; each attempt has a directory of its own."""
    for number in range(len(changes(data))):
        directory = sandbox.mkdir(f"{number}/one")
        own_for_payload(sandbox, directory, sandbox.write(f"{number}/one/file", "x"))
    above = sandbox.plan(f"[filesystem]\nread = ['{sandbox.directory}']\n")
    plan = unlandlocked(edited(above, open_mounts))
    tries = [changes(sandbox.path(str(n)))[n] for n in range(len(changes(data)))]
    run = ("exec", f"{data}/program", "exit", "0")
    assert outcomes(sandbox.attempts_under(plan, *tries, run)) == ["ok"] * (len(tries) + 1)


@pytest.mark.parametrize("take", (unlandlocked, lambda plan: edited(plan, open_mounts)))
def test_a_path_that_is_not_granted_is_out_of_reach_either_way(
    sandbox: Sandbox, data: str, take: Callable[[Plan], Plan]
) -> None:
    plan = take(sandbox.plan(f"[filesystem]\nread = ['{data}/one']\n"))
    tries = [("read", f"{data}/two/file"), ("list", f"{data}/two"), ("read", "/etc/passwd")]
    assert outcomes(sandbox.attempts_under(plan, *tries)) == ["ENOENT"] * 3


def test_landlock_alone_keeps_a_tree_that_is_all_there(sandbox: Sandbox, data: str) -> None:
    """A root that shows everything: only Landlock tells what was granted."""
    plan = edited(sandbox.plan(f"[filesystem]\nread = ['{data}']\n"), open_mounts)

    def less(op: Op) -> Op | None:
        if isinstance(op, AllowPath) and op.path == data:
            return msgspec.structs.replace(op, path=f"{data}/one")
        return op

    tries = [
        ("read", f"{data}/one/file"),
        ("read", f"{data}/two/file"),
        ("open", f"{data}/two/file", "w"),
        ("exec", f"{data}/program", "exit", "0"),
        # What there is may be seen: the directories on the way have to be listed.
        ("list", f"{data}/two"),
    ]
    found = outcomes(sandbox.attempts_under(edited(plan, less), *tries))
    assert found == ["ok", "EACCES", "EACCES", "EACCES", "ok"]


def test_landlock_lets_nothing_be_moved_to_where_more_is_allowed(
    sandbox: Sandbox, data: str
) -> None:
    """Within one mount, which the mount tree doesn't look into: EXDEV, as across file systems."""
    plan = edited(sandbox.plan(f"[filesystem]\nwrite = ['{data}']\n"), open_mounts)

    def narrow(op: Op) -> Op:
        if isinstance(op, AllowPath) and op.path == data:
            return msgspec.structs.replace(op, path=f"{data}/one")
        return op

    tries = [
        ("rename", f"{data}/one/file", f"{data}/two/moved"),
        ("link", f"{data}/one/file", f"{data}/two/moved"),
        ("rename", f"{data}/two/file", f"{data}/one/moved"),
        ("link", f"{data}/two/file", f"{data}/one/moved"),
        ("rename", f"{data}/one/file", f"{data}/one/renamed"),
    ]
    narrowed = outcomes(sandbox.attempts_under(edited(plan, narrow), *tries))
    assert narrowed == ["EACCES", "EACCES", "EACCES", "EXDEV", "ok"]
    os.rename(f"{data}/one/renamed", f"{data}/one/file")
    assert outcomes(sandbox.attempts_under(plan, *tries[:1])) == ["ok"]


def test_no_privilege_is_gained_without_the_filter(sandbox: Sandbox) -> None:
    """Namespaces, mounts and host-wide calls: capabilities refuse what the filter would have."""
    tries = [
        ("unshare", "0x20000"),
        ("mount", "tmpfs", "/dev/shm", "tmpfs", 0),
        ("umount", "/proc"),
        ("chroot", "/dev"),
        ("sethostname", "other"),
        ("setns", "/proc/self/ns/mnt"),
    ]
    assert outcomes(sandbox.attempts("", *tries)) == ["EPERM"] * 6
    plan = without(sandbox.plan(""), InstallFilter)
    assert outcomes(sandbox.attempts_under(plan, *tries)) == ["EPERM"] * 6


def test_the_hosts_processes_stay_out_of_reach_without_the_pid_namespace(
    sandbox: Sandbox,
) -> None:
    text = "[identity]\nmap = 'self'\n[namespaces]\npid = false\n[filesystem]\nproc = 'none'"
    with sandbox.popen([sandbox.probe, "wait"], stdout=subprocess.PIPE) as target:
        tries = [("kill", target.pid, 9), ("ptrace", target.pid)]
        plan = without(sandbox.plan(text), InstallFilter)
        assert outcomes(sandbox.attempts_under(plan, *tries)) == ["EPERM"] * 2
        assert target.poll() is None
        target.kill()


def test_a_socket_file_outside_the_root_is_out_of_reach(sandbox: Sandbox) -> None:
    path = sandbox.path("socket")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        os.chmod(path, 0o777)
        assert sandbox.attempt("", "unix", path).outcome == "ENOENT"
        shown = f"[filesystem]\nread = ['{path}']"
        assert sandbox.attempt(shown, "unix", path).outcome == "ok"
