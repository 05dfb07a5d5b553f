"""Callers in namespaces of their own: root that is no root, ids that aren't mapped, limits used up."""

import contextlib
import os
import subprocess
from typing import Any

import pytest

from tests.kernel.harness import (
    CLONE_NEWNS,
    CLONE_NEWUSER,
    MS_PRIVATE,
    MS_REC,
    Sandbox,
    Step,
    answers,
    checked,
    join,
    libc,
    mount,
)

CLONE_NEWPID = 0x20000000
PR_SET_DUMPABLE = 4
MEMFD_NOEXEC = "/proc/sys/vm/memfd_noexec"


def user_namespace(*, mapped: bool = True, more: int = 0) -> None:
    """The caller in a user namespace of its own, as its root or as nobody."""
    uid, gid = os.getuid(), os.getgid()
    checked(libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))
    checked(libc.unshare(CLONE_NEWUSER | more))
    maps = (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1"))
    for name, text in maps if mapped else ():
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def limit(kind: str, number: int) -> Step:
    """No more than so many namespaces of a kind, in a user namespace of the caller's own."""

    def before() -> None:
        user_namespace()
        with open(f"/proc/sys/user/max_{kind}_namespaces", "w", encoding="ascii") as file:
            file.write(str(number))

    return before


def launch(sandbox: Sandbox, **how: Any) -> subprocess.CompletedProcess[str]:
    tries = (("read", "/proc/self/uid_map"), ("unshare", hex(CLONE_NEWUSER)), ("mkdir", "/new"))
    return sandbox.run("", sandbox.probe, *join(tries), **how)


def sound(done: subprocess.CompletedProcess[str]) -> bool:
    assert done.returncode == 0, done
    return [answer.outcome for answer in answers(done.stdout)] == ["ok", "EPERM", "EROFS"]


def test_root_of_a_user_namespace_gets_what_a_user_gets(sandbox: Sandbox) -> None:
    """A plan that root of the machine has kept is none for it, though it has the same capabilities."""
    assert sound(launch(sandbox))
    for _ in range(2):
        done = launch(sandbox, before=user_namespace)
        assert sound(done)
        assert answers(done.stdout)[0].value.split() == ["0", "0", "1"]
    outside = launch(sandbox)
    assert sound(outside)
    assert answers(outside.stdout)[0].value.split() != ["0", "0", "1"]


def test_with_mounts_of_its_own_too(sandbox: Sandbox) -> None:
    def before() -> None:
        user_namespace(more=CLONE_NEWNS)
        mount("none", "/", flags=MS_REC | MS_PRIVATE)

    assert sound(launch(sandbox, before=before))


def test_who_has_no_id_can_make_no_sandbox(sandbox: Sandbox) -> None:
    """As `unshare -U` without a map leaves the caller."""
    message = sandbox.refusal("", before=lambda: user_namespace(mapped=False))
    assert "the caller's user or group id isn't mapped in its user namespace" in message
    assert "unshare --map-current-user" in message


@pytest.mark.parametrize("number", (0, 1))
def test_used_up_user_namespaces_are_told(sandbox: Sandbox, number: int) -> None:
    """One is enough, for whom nobody else has taken it."""
    done = launch(sandbox, before=limit("user", number))
    if number:
        assert sound(done)
        taken = launch(sandbox, before=taken_up)
        assert taken.returncode == 125
        assert "no more namespaces may be made (a limit in /proc/sys/user" in taken.stderr
        return
    assert done.returncode == 125
    before, made = "lets the caller make no user namespace", "no more namespaces may be made"
    assert before in done.stderr or made in done.stderr  # a kept plan meets it when it is made
    assert "hint: " in done.stderr


def taken_up() -> None:
    """A limit of one, and somebody else has it."""
    limit("user", 1)()
    ready, wait = os.pipe()
    if os.fork() == 0:
        checked(libc.unshare(CLONE_NEWUSER))
        os.write(wait, b".")
        libc.prctl(1, 9, 0, 0, 0)  # ends with the caller
        os.execv("/bin/sleep", ["sleep", "20"])
    os.read(ready, 1)
    os.close(ready)
    os.close(wait)


def pid_namespace(*, proc: bool) -> None:
    """The caller as the first process of a PID namespace, with a /proc that fits or the old one."""
    checked(libc.unshare(CLONE_NEWPID | CLONE_NEWNS))
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    if proc:
        mount("proc", "/proc", "proc")


def test_as_the_first_process_of_a_pid_namespace(staged: Sandbox) -> None:
    assert sound(launch(staged, stage=lambda: pid_namespace(proc=True)))


def test_a_proc_of_another_pid_namespace_serves_a_user_and_is_told_to_root(staged: Sandbox) -> None:
    """Root's maps are written from outside of the sandbox, by a path in /proc."""
    for _ in range(2):
        done = launch(staged, stage=lambda: pid_namespace(proc=False))
        if not staged.is_root:
            assert sound(done)
            continue
        assert done.returncode == 125
        assert "/proc belongs to another PID namespace than sbx" in done.stderr
        assert "unshare --pid --fork --mount-proc" in done.stderr


def test_where_memory_files_may_not_be_executed(staged: Sandbox) -> None:
    """sbx hands plans on in memory files; vm.memfd_noexec is a PID namespace's own (Linux 6.3)."""

    def stage() -> None:
        pid_namespace(proc=True)
        with (
            contextlib.suppress(FileNotFoundError),
            open(MEMFD_NOEXEC, "w", encoding="ascii") as file,
        ):
            file.write("2")

    for _ in range(2):
        assert sound(launch(staged, stage=stage))
        assert staged.run("", "/nosuch", stage=stage).returncode == 127
