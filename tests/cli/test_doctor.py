"""`sbx doctor` on hosts that really lack something: limits, filters and covers are set for real."""

import ctypes
import dataclasses
import errno
import json
import os
import re
import struct
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import pytest

from sandbox.cli import main
from sandbox.doctor import diagnosis, remedies
from sandbox.doctor.child import Outcome
from sandbox.host import Host, probe

NEWNS, NEWUSER = 0x00020000, 0x10000000
NOBODY = 65534

libc = ctypes.CDLL(None, use_errno=True)


class Answer(NamedTuple):
    status: int
    output: str

    @property
    def json(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.output)
        return content

    def check(self, name: str) -> dict[str, Any]:
        return next(check for check in self.json["checks"] if check["name"] == name)


def doctor(setup: Callable[[], None], *arguments: str) -> Answer:
    """Run the verb in a child of this process, after the setup has changed what it may do."""
    # The child may lose the right to read Python's own files.
    import msgspec.json  # noqa: F401

    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _run(writer, setup, arguments)
    os.close(writer)
    with open(reader, "rb") as pipe:
        output = pipe.read().decode()
    return Answer(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), output)


def _run(writer: int, setup: Callable[[], None], arguments: tuple[str, ...]) -> NoReturn:
    status = 99
    try:
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        with open(1, "w", encoding="utf-8", closefd=False) as sys.stdout:
            setup()
            status = main(["doctor", *arguments])
    except BaseException as error:  # noqa: BLE001 - the parent shows it as the answer
        os.write(2, repr(error).encode())
    finally:
        os._exit(status)


def checked(result: int) -> None:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def unchanged() -> None:
    pass


def own_user_namespace(more: int = 0) -> None:
    uid, gid = os.getuid(), os.getgid()
    checked(libc.unshare(NEWUSER | more))
    write("/proc/self/setgroups", "deny")
    write("/proc/self/uid_map", f"0 {uid} 1")
    write("/proc/self/gid_map", f"0 {gid} 1")


def unprivileged() -> None:
    """Root becomes nobody; anyone else is unprivileged as they are."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        pr_set_dumpable = 4
        checked(libc.prctl(pr_set_dumpable, 1, 0, 0, 0))


def without(kind: str) -> Callable[[], None]:
    def setup() -> None:
        own_user_namespace()
        write(f"/proc/sys/user/max_{kind}_namespaces", "0")

    return setup


def covered_proc() -> None:
    own_user_namespace(NEWNS)
    checked(libc.mount(b"none", b"/proc/sys", b"tmpfs", ctypes.c_ulong(0), None))


def filtered(number: int, answer: int) -> Callable[[], None]:
    """A filter with one rule: this call gets this SECCOMP_RET value."""

    def setup() -> None:
        rules = ((0x20, 0, 0, 0), (0x15, 0, 1, number), (6, 0, 0, answer), (6, 0, 0, 0x7FFF0000))
        program = b"".join(struct.pack("=HBBI", *rule) for rule in rules)
        code = ctypes.create_string_buffer(program, len(program))
        header = ctypes.create_string_buffer(struct.pack("@HP", len(rules), ctypes.addressof(code)))
        checked(libc.prctl(38, 1, 0, 0, 0))
        checked(libc.prctl(22, 2, header, 0, 0))

    return setup


x86_64_only = pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="needs the call numbers of x86_64"
)
UNSHARE, LANDLOCK_CREATE_RULESET, PTRACE = 272, 444, 101


def test_a_capable_host_gets_a_table_and_0() -> None:
    answer = doctor(unchanged)
    assert answer.status == 0, answer.output
    assert "The default profile can be enforced." in answer.output
    assert "\x1b" not in answer.output


def test_json_names_every_check_once_with_its_state() -> None:
    answer = doctor(unchanged, "--json")
    names = [check["name"] for check in answer.json["checks"]]
    assert len(names) == len(set(names)) > 20
    assert {check["state"] for check in answer.json["checks"]} <= {"ok", "missing", "broken"}
    assert answer.json["ok"] is (answer.status == 0)
    assert answer.json["host"]["release"] == os.uname().release


def test_an_unprivileged_user_is_told_about_subordinate_ranges() -> None:
    answer = doctor(unprivileged, "--json")
    assert answer.check("user namespace")["state"] == "ok"
    ids = answer.check("range of ids")
    assert ids["state"] == "missing"
    assert not ids["required"]
    assert re.fullmatch(
        r"sudo usermod --add-subuids (\d+)-\d+ --add-subgids \1-\d+ \S+", ids["commands"][0]
    )


def test_no_user_namespaces_left_is_1_with_the_sysctl() -> None:
    answer = doctor(without("user"), "--json")
    assert answer.status == 1
    check = answer.check("user namespace")
    assert check["state"] == "missing"
    assert "ENOSPC" in check["detail"]
    assert "user.max_user_namespaces is 0" in check["detail"]
    assert check["commands"][0] == "sysctl -w user.max_user_namespaces=15000"


def test_the_sysctl_that_doctor_names_mends_it() -> None:
    def mended() -> None:
        own_user_namespace()
        write("/proc/sys/user/max_user_namespaces", "0")
        write("/proc/sys/user/max_user_namespaces", "15000")

    assert doctor(mended, "--json").check("user namespace")["state"] == "ok"


@pytest.mark.parametrize("kind", ("net", "pid", "ipc", "uts", "cgroup", "time", "mnt"))
def test_a_kind_of_namespace_that_is_limited_to_none(kind: str) -> None:
    answer = doctor(without(kind), "--json")
    assert answer.status == 1
    check = answer.check(f"{kind} namespace")
    assert check["state"] == "missing"
    assert f"user.max_{kind}_namespaces is 0" in check["detail"]


def test_a_covered_proc_is_recognized() -> None:
    answer = doctor(covered_proc, "--json")
    assert answer.status == 1
    check = answer.check("new proc")
    assert check["state"] == "broken"
    assert "covered" in check["detail"]
    assert answer.check("tmpfs")["state"] == "ok"


@x86_64_only
def test_a_filter_that_refuses_namespaces_is_named() -> None:
    answer = doctor(filtered(UNSHARE, 0x00050000 | errno.EPERM), "--json")
    assert answer.status == 1
    assert "filter" in answer.check("user namespace")["detail"]
    assert "seccomp=unconfined" in answer.check("user namespace")["commands"][0]


@x86_64_only
def test_a_filter_that_kills_is_named() -> None:
    answer = doctor(filtered(UNSHARE, 0x80000000), "--json")
    assert answer.status == 1
    assert "ended by SIGSYS" in answer.check("user namespace")["detail"]


@x86_64_only
def test_a_host_without_landlock_is_1() -> None:
    answer = doctor(filtered(LANDLOCK_CREATE_RULESET, 0x00050000 | errno.ENOSYS), "--json")
    assert answer.status == 1
    assert answer.check("landlock")["state"] == "missing"


@x86_64_only
def test_a_host_that_forbids_tracing_is_told_so() -> None:
    assert doctor(unchanged, "--json").check("tracing")["state"] == "ok"
    answer = doctor(filtered(PTRACE, 0x00050000 | errno.EPERM), "--json")
    check = answer.check("tracing")
    assert (check["state"], check["required"]) == ("broken", False)
    assert check["detail"].startswith("ptrace(seize): Operation not permitted (EPERM); the filter")


def test_a_cache_that_cannot_be_is_told_of(tmp_path: os.PathLike[str]) -> None:
    def nowhere() -> None:
        unprivileged()
        os.environ["XDG_CACHE_HOME"] = "/dev/null"

    check = doctor(nowhere, "--json").check("plan cache")
    assert (check["state"], check["required"]) == ("broken", False)
    assert "/dev/null/sbx" in check["detail"]


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to chroot")
def test_a_chroot_is_named(tmp_path: os.PathLike[str]) -> None:
    def jailed() -> None:
        checked(libc.unshare(NEWNS))
        checked(libc.mount(None, b"/", None, ctypes.c_ulong(16384 | 1 << 18), None))
        target = os.fsencode(tmp_path)
        checked(libc.mount(b"/", target, None, ctypes.c_ulong(4096 | 16384), None))
        os.chroot(tmp_path)

    answer = doctor(jailed, "--json")
    assert answer.status == 1
    check = answer.check("user namespace")
    assert check["state"] == "broken"
    assert "chroot" in check["detail"]


def test_the_human_table_names_the_remedy() -> None:
    answer = doctor(without("user"))
    assert answer.status == 1
    assert "To mend user namespace:" in answer.output
    assert "    sysctl -w user.max_user_namespaces=15000" in answer.output
    assert "cannot be enforced on this host as it is" in answer.output


def test_nothing_is_left_behind() -> None:
    def places() -> list[str]:
        with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
            return [*os.listdir("/"), *os.listdir("/proc/self/fd"), *sorted(mounts)]

    before = places()
    diagnosis.diagnose(probe())
    assert places() == before


# What this machine can't be made to show is decided by made-up hosts.


def refused(**changes: Any) -> tuple[Host, Outcome]:
    outcome = Outcome(step="unshare(user)", errno=errno.EPERM)
    plain = dataclasses.replace(probe(), capabilities=frozenset(), uid=1000, seccomp_filtered=False)
    return dataclasses.replace(plain, **changes), outcome


def test_apparmors_restriction_gets_a_profile_and_the_sysctl() -> None:
    host, outcome = refused(apparmor_restricts_userns=True)
    remedy = remedies.user_namespace(host, outcome)
    assert "AppArmor" in remedy.reason
    assert any(
        command.endswith("doctor --apparmor-profile | sudo tee /etc/apparmor.d/sbx")
        for command in remedy.commands
    )
    assert "sudo apparmor_parser -r /etc/apparmor.d/sbx" in remedy.commands
    assert "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0" in remedy.commands


def test_debians_sysctl_is_named() -> None:
    host, outcome = refused(unprivileged_userns_clone=False)
    remedy = remedies.user_namespace(host, outcome)
    assert remedy.commands[0] == "sudo sysctl -w kernel.unprivileged_userns_clone=1"


def test_an_old_kernel_gets_the_version_that_it_needs() -> None:
    host, _ = refused(release="5.10.0-28-amd64", release_tuple=(5, 10, 0))
    assert "came with Linux 5.12" in remedies.kernel_lacks(host, "mount_setattr").reason


def test_a_new_range_lies_behind_all_others() -> None:
    assert remedies.free_range([]) == 100000
    assert remedies.free_range(["a:100000:65536", "b:300000:1000", "c:1:5"]) == 301000
