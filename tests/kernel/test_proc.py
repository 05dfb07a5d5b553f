"""/proc: the sandbox's own processes, the machine's settings out of reach."""

import os

import pytest

from tests.kernel.harness import Sandbox, outcomes

# Each would let a payload run a program as the host's root, stop the machine, or steer it.
SWITCHES = (
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/vm/drop_caches",
    "/proc/sys/net/ipv4/ip_forward",
    # Not in every kernel:
    *filter(os.path.exists, ("/proc/sys/kernel/modprobe", "/proc/sysrq-trigger")),
)
MASKED = ("interrupts", "keys", "latency_stats")
MASKED_WHERE_WRITABLE = (*MASKED, "acpi", "scsi")
WHOLE_HOST = "[filesystem]\nread = ['/']\n"


@pytest.mark.parametrize("style", ("read-only", "writable"))
def test_the_machines_switches_cannot_be_turned(sandbox: Sandbox, style: str) -> None:
    """Not even by a payload that is user 0 of the host, which may by the files' modes."""
    host = "[namespaces]\nuser = false\n[identity]\nuser = 'root'\n" if sandbox.is_root else ""
    style = f"[filesystem]\nproc = '{style}'\n"
    for text in {style, host + style}:
        tries = [("open", path, "w") for path in SWITCHES]
        found = outcomes(sandbox.attempts(text, *tries))
        assert set(found) == ({"EROFS"} if text.startswith("[n") else {"EACCES"})


def test_the_switches_are_only_in_reach_through_the_mount(as_root: Sandbox) -> None:
    """The positive control: user 0 of the host with the host's /proc."""
    found = as_root.outside(*(("open", path, "w") for path in SWITCHES))
    assert outcomes(found) == ["ok"] * len(SWITCHES)


def test_a_read_only_proc_takes_nothing_at_all(sandbox: Sandbox) -> None:
    tries = [("open", "/proc/self/oom_score_adj", "w"), ("open", "/proc/self/comm", "w")]
    assert outcomes(sandbox.attempts("", *tries)) == ["EROFS"] * 2
    writable = "[filesystem]\nproc = 'writable'"
    assert outcomes(sandbox.attempts(writable, *tries)) == ["ok"] * 2


@pytest.mark.parametrize("root", ("", WHOLE_HOST))
def test_what_tells_of_other_users_is_empty(sandbox: Sandbox, root: str) -> None:
    writable = "proc = 'writable'\n"
    for names, text in (
        (MASKED, root),
        (MASKED_WHERE_WRITABLE, (root or "[filesystem]\n") + writable),
    ):
        present = [f"/proc/{name}" for name in names if os.path.exists(f"/proc/{name}")]
        verbs = ["list" if os.path.isdir(path) else "read" for path in present]
        tries = list(zip(verbs, present, strict=True))
        assert {(a.outcome, a.value) for a in sandbox.attempts(text, *tries)} == {("ok", "")}
        assert any(a.value for a in sandbox.outside(*tries))


def test_the_kernels_memory_is_covered_from_the_hosts_root(as_root: Sandbox) -> None:
    text = "[namespaces]\nuser = false\n[identity]\nuser = 'root'\n"
    names = [
        name
        for name in ("kcore", "key-users", "kmsg", "timer_list")
        if os.path.exists(f"/proc/{name}")
    ]
    found = as_root.attempts(text, *(("read", f"/proc/{name}") for name in names))
    assert {(a.outcome, a.value) for a in found} == {("ok", "")}


def test_a_mask_lies_read_only_on_its_own_mount(sandbox: Sandbox) -> None:
    mounted = sandbox.dump("").mount_at("/proc/keys")
    assert {"ro", "nosuid", "nodev", "noexec"} <= mounted.flags
    assert mounted.kind == "tmpfs"


def test_process_directories_alone_can_be_had(sandbox: Sandbox) -> None:
    text = "[filesystem]\nproc = 'pid'"
    listed = sandbox.attempt(text, "list", "/proc").value.split()
    assert {name for name in listed if not name.isdigit()} <= {"self", "thread-self"}
    assert sandbox.attempt(text, "read", "/proc/sys/kernel/ostype").outcome == "ENOENT"


def test_without_proc_there_is_none(sandbox: Sandbox) -> None:
    text = "[filesystem]\nproc = 'none'"
    assert sandbox.attempt(text, "list", "/proc").outcome == "ENOENT"


def test_the_init_cannot_be_looked_into(sandbox: Sandbox) -> None:
    """It runs the host's launcher: through these the host's file would be in reach."""
    names = ("exe", "root", "cwd", "fd/0")
    tries: list[tuple[str, ...]] = [("readlink", f"/proc/1/{name}") for name in names]
    tries += [("read", "/proc/1/environ"), ("open", "/proc/1/mem", "r"), ("ptrace", "1")]
    unfiltered = "[seccomp]\nenabled = false"
    found = outcomes(sandbox.attempts(unfiltered, *tries))
    assert set(found) <= {"EACCES", "EPERM"}, found
    own = [("readlink", f"/proc/self/{name}") for name in names]
    assert outcomes(sandbox.attempts("", *own)) == ["ok"] * 4


def test_the_payload_as_root_cannot_look_into_init_either(sandbox: Sandbox) -> None:
    text = "[identity]\nmap = 'root'\n[seccomp]\nenabled = false"
    tries = [("readlink", "/proc/1/exe"), ("read", "/proc/1/environ"), ("ptrace", "1")]
    assert set(outcomes(sandbox.attempts(text, *tries))) <= {"EACCES", "EPERM"}
