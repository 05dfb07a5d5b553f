"""Privileges: none, and no way to gain any."""

import os
import shutil

import pytest

from tests.kernel.harness import (
    MS_BIND,
    MS_NOEXEC,
    MS_REMOUNT,
    Sandbox,
    answers,
    join,
    outcomes,
)
from tests.kernel.pieces import bind

NET_BIND_SERVICE, CHOWN = 10, 0
NOROOT, NO_SETUID_FIXUP, KEEP_CAPS_LOCKED, NO_AMBIENT = 0x3, 0xC, 0x20, 0xC0
LOW_PORTS = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
UNFILTERED = "[seccomp]\nenabled = false\n"


@pytest.mark.parametrize("kind", ("auto", "root", "self"))
@pytest.mark.parametrize("text", ("", UNFILTERED))
def test_all_five_capability_sets_are_empty(sandbox: Sandbox, kind: str, text: str) -> None:
    inside = sandbox.dump(text + f"[identity]\nmap = '{kind}'")
    assert set(inside.capabilities.values()) == {0}


def test_root_without_a_user_namespace_keeps_no_capability(as_root: Sandbox) -> None:
    inside = as_root.dump("[namespaces]\nuser = false\n[identity]\nuser = 'root'")
    assert (inside.uid, set(inside.capabilities.values())) == (0, {0})
    assert as_root.dump_outside().capabilities["CapEff"] != 0


def test_securebits_are_locked(sandbox: Sandbox) -> None:
    assert sandbox.dump("").securebits == NOROOT | NO_SETUID_FIXUP | KEEP_CAPS_LOCKED | NO_AMBIENT
    tries = [("securebits", "0"), ("capset", CHOWN), ("ambient", CHOWN)]
    assert outcomes(sandbox.attempts(UNFILTERED, *tries)) == ["EPERM"] * 3


@pytest.mark.parametrize("init", ("true", "false"))
def test_every_thread_has_no_new_privs_and_the_filter(sandbox: Sandbox, init: str) -> None:
    found = sandbox.attempt(f"[process]\ninit = {init}", "threads")
    assert found.value == "12 12 12 12"


def test_the_filter_can_be_left_out_and_no_new_privs_cannot(sandbox: Sandbox) -> None:
    assert sandbox.attempt(UNFILTERED, "threads").value == "10 10 10 10"


def test_a_set_user_id_program_gains_nothing(staged: Sandbox) -> None:
    """Neither in the sandbox nor by a mount that would honour the bit."""
    directory = staged.mkdir("data")
    program = staged.path("data/probe")
    shutil.copy(staged.probe, program)
    os.chown(program, 0, 0)
    os.chmod(program, 0o6755)
    text = bind(directory, "/in", "execute = true")
    inside = staged.run(text, "/in/probe", "read", "/proc/self/status").stdout
    uid = staged.dump("").uid
    assert f"Uid:\\u0009{uid}\\u0009{uid}\\u0009{uid}\\u0009{uid}" in inside
    if not staged.is_root:
        outside = staged.program([program, "read", "/proc/self/status"]).stdout
        assert f"Uid:\\u0009{uid}\\u00090\\u00090\\u00090" in outside


def test_a_kept_capability_is_the_only_one(sandbox: Sandbox) -> None:
    text = "[capabilities]\nkeep = ['CAP_NET_BIND_SERVICE']\nambient = true"
    assert set(sandbox.dump(text).capabilities.values()) == {1 << NET_BIND_SERVICE}


def test_a_kept_capability_works_and_a_missing_one_is_missed(sandbox: Sandbox) -> None:
    low = ("bind", "127.0.0.1", 80)
    assert sandbox.attempt("", *low).outcome == "EACCES"
    kept = "[capabilities]\nkeep = ['CAP_NET_BIND_SERVICE']\nambient = true"
    assert sandbox.attempt(kept, *low).outcome == "ok"


def test_capabilities_that_exec_would_lose_are_an_error(sandbox: Sandbox) -> None:
    message = sandbox.refusal("[capabilities]\nkeep = ['CAP_NET_BIND_SERVICE']")
    assert "capabilities.keep" in message
    assert "loses them when the program is started" in message


def test_user_0_inside_keeps_what_the_profile_keeps(sandbox: Sandbox) -> None:
    text = "[identity]\nmap = 'root'\n[capabilities]\nkeep = ['CAP_NET_BIND_SERVICE']"
    found = sandbox.dump(text).capabilities
    assert found["CapEff"] == found["CapPrm"] == found["CapBnd"] == 1 << NET_BIND_SERVICE
    assert found["CapInh"] == found["CapAmb"] == 0
    assert sandbox.attempt(text, "bind", "127.0.0.1", 80).outcome == "ok"


def test_mounting_takes_more_than_the_payload_has(sandbox: Sandbox) -> None:
    tries = [
        ("mount", "tmpfs", "/dev/shm", "tmpfs", 0),
        ("mount", "/proc", "/dev/shm", "", 4096),
        ("mount", "none", "/", "", 32),
        ("umount", "/proc"),
        ("chroot", "/dev/shm"),
        ("pivot", "/", "/"),
        ("sethostname", "other"),
    ]
    assert set(outcomes(sandbox.attempts("", *tries))) == {"EPERM"}
    assert set(outcomes(sandbox.attempts(UNFILTERED, *tries))) == {"EPERM"}


def test_root_of_a_nested_user_namespace_cannot_undo_the_mounts(sandbox: Sandbox) -> None:
    """With the filter, Landlock and the read-only /proc out of the way as well."""
    text = "[filesystem]\nexecute = ['/']\nproc = 'writable'\n[landlock]\nenabled = false\n"
    tries = [
        ("mount", "none", "/", "", MS_REMOUNT | MS_BIND),
        ("mount", "none", "/dev/pts", "", MS_REMOUNT | MS_BIND | MS_NOEXEC),
        ("umount", "/proc/keys"),
        ("umount", "/proc/sys"),
        ("mount", "tmpfs", "/dev/shm", "tmpfs", 0),
    ]
    nested = ("/usr/bin/unshare", "--user", "--map-root-user", "--mount")
    done = sandbox.run(UNFILTERED + text, *nested, sandbox.probe, *join(tries))
    assert outcomes(answers(done.stdout)) == ["EPERM", "EPERM", "EINVAL", "EINVAL", "ok"], done
