"""`sbx verify`: whatever is changed from outside is found, and named by thread and item."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from tests.kernel.harness import (
    MS_BIND,
    MS_REMOUNT,
    MS_SHARED,
    Sandbox,
    checked,
    libc,
    mount,
)
from tests.kernel.live import listed, sbx, until
from tests.kernel.verifying import LIMITED, children_of, first_of, live, verify

CLONE_NEWNS = 0x00020000
MNT_DETACH = 2


@pytest.fixture
def it(sandbox: Sandbox) -> Iterator[Sandbox]:
    """A live sandbox that is called so."""
    with live(sandbox):
        yield sandbox


@pytest.fixture
def roots(as_root: Sandbox) -> Iterator[Sandbox]:
    with live(as_root):
        yield as_root


def within(pid: int, kinds: int, *steps: Callable[[], object]) -> None:
    """Does something in namespaces of another process."""
    fd = os.pidfd_open(pid)
    child = os.fork()
    if child == 0:
        try:
            checked(libc.setns(fd, kinds))
            for step in steps:
                step()
            os._exit(0)
        finally:
            os._exit(1)
    os.close(fd)
    assert os.waitpid(child, 0)[1] == 0


@pytest.fixture
def needs_root(sandbox: Sandbox) -> Sandbox:
    if os.geteuid() != 0:
        pytest.skip("the tests don't run as root")
    return sandbox


def test_mounts_that_were_changed_are_found(needs_root: Sandbox, it: Sandbox) -> None:
    """One that was added, one that became writable, a cover that is gone, and one that others see."""
    within(
        first_of(it),
        CLONE_NEWNS,
        lambda: mount("none", "/dev/shm", "tmpfs"),
        lambda: mount("none", it.probe, flags=MS_BIND | MS_REMOUNT),
        lambda: checked(libc.umount2(b"/proc/keys", MNT_DETACH)),
        lambda: mount("none", "/dev/pts", flags=MS_SHARED),
    )
    found = verify(it, "it").findings
    assert found.keys() == {
        f"mount {path}" for path in ("/dev/shm", it.probe, "/proc/keys", "/dev/pts")
    }
    added, opened, bare, shared = (
        found[f"mount {path}"] for path in ("/dev/shm", it.probe, "/proc/keys", "/dev/pts")
    )
    assert added["thread"].startswith("init ")
    assert (added["promised"], added["found"][:10]) == ("no mount", "rw: tmpfs ")
    assert (opened["promised"][:18], opened["found"][:4]) == ("ro,nosuid,nodev (/", "rw: ")
    assert "is covered by something empty" in bare["promised"]
    assert bare["found"] == "nothing is mounted there"
    assert (shared["promised"], shared["found"][:7]) == ("private", "shared:")


def test_a_part_of_the_host_over_its_own_place_is_found(
    needs_root: Sandbox, sandbox: Sandbox
) -> None:
    """It has the very source that the plan names, and is one more than that, and writable."""
    text = f"[filesystem]\nread = ['{sandbox.directory}']"
    here = sandbox.directory
    with live(sandbox, text):
        assert verify(sandbox, "it").status == 0
        within(
            first_of(sandbox),
            CLONE_NEWNS,
            lambda: mount(here, here, flags=MS_BIND),
            lambda: mount("none", here, flags=MS_BIND | MS_REMOUNT),
        )
        found = verify(sandbox, "it").findings[f"mount {here}"]
    assert (found["promised"][:8], found["found"][:3]) == ("no mount", "rw:")


def test_a_process_of_the_hosts_in_its_namespaces_is_found(roots: Sandbox) -> None:
    words = ["nsenter", "-t", str(first_of(roots)), "--pid", "--net", "sleep", "60"]
    with subprocess.Popen(words) as joined:
        try:
            until(lambda: verify(roots, "it").status == 1, "nothing was found")
            content = verify(roots, "it").content
        finally:
            _end_with_children(joined)
    strange = {e["item"] for e in content["findings"] if e["thread"] == "stranger sleep"}
    assert strange >= {
        *("process", "uid", "gid", "CapPrm", "CapEff", "CapBnd", "no_new_privs", "seccomp"),
        *("seccomp_filters", "namespace mnt", "namespace user", "cwd", "root", "exe"),
    }
    assert "namespace net" not in strange
    own = {e["item"] for e in content["findings"] if not e["thread"].startswith("stranger")}
    assert own == set()


def _end_with_children(process: subprocess.Popen[bytes]) -> None:
    for pid in (*children_of(process.pid), process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_a_process_of_the_hosts_in_its_control_group_is_found(as_root: Sandbox) -> None:
    with live(as_root, LIMITED):
        groups = _groups(as_root)
        with subprocess.Popen(["sleep", "60"]) as joined:
            try:
                _write(f"{groups[0]}/cgroup.procs", str(joined.pid))
                found = verify(as_root, "it").content["findings"]
            finally:
                joined.kill()
                joined.wait()
    assert {e["thread"] for e in found} == {"stranger sleep"}
    assert "process" in {e["item"] for e in found}


def test_a_limit_of_its_control_group_that_was_changed_is_found(as_root: Sandbox) -> None:
    with live(as_root, LIMITED):
        group = next(g for g in _groups(as_root) if os.path.exists(f"{g}/pids.max"))
        _write(f"{group}/pids.max", "21")
        found = verify(as_root, "it")
    assert found.content["findings"] == [
        {
            "pid": 0,
            "tid": 0,
            "thread": "sandbox",
            "item": "limit pids.max",
            "promised": "20",
            "found": "21",
        }
    ]


def test_a_process_that_was_moved_to_another_control_group_is_found(as_root: Sandbox) -> None:
    with live(as_root, LIMITED):
        group = next(g for g in _groups(as_root) if os.path.exists(f"{g}/pids.max"))
        first = first_of(as_root)
        _write(f"{os.path.dirname(os.path.dirname(group))}/cgroup.procs", str(first))
        found = verify(as_root, "it").content["findings"]
    assert [e["pid"] for e in found] == [first]
    assert all(e["item"].startswith("cgroup ") for e in found)


def _groups(sandbox: Sandbox) -> list[str]:
    done = sbx(sandbox, "inspect", "--json", "it")
    return list(json.loads(done.stdout)["cgroups"])


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def test_resource_limits_that_were_changed_are_found(it: Sandbox) -> None:
    first = first_of(it)
    limited = it.program(["prlimit", "--pid", str(first), "--nofile=77:88"])
    assert (limited.returncode, limited.stderr) == (0, "")
    found = verify(it, "it")
    assert found.findings.keys() == {"rlimit nofile"}
    assert found.findings["rlimit nofile"]["found"] == "77 of at most 88"


def test_a_command_may_lower_its_limits(sandbox: Sandbox) -> None:
    with live(sandbox, "[rlimits]\nnofile = 100"):
        command = children_of(first_of(sandbox))[0]
        limited = sandbox.program(["prlimit", "--pid", str(command), "--nofile=77:88"])
        assert (limited.returncode, limited.stderr) == (0, "")
        assert verify(sandbox, "it").status == 0


def test_another_score_for_the_killer_of_memory_hogs_is_found(
    needs_root: Sandbox, it: Sandbox
) -> None:
    first = first_of(it)
    _write(f"/proc/{first}/oom_score_adj", "500")
    found = verify(it, "it").content["findings"]
    assert [(e["pid"], e["item"], e["found"]) for e in found] == [(first, "oom_score_adj", "500")]


def test_a_profile_that_has_changed_since_is_found(sandbox: Sandbox) -> None:
    text = sandbox.write("own.toml", f"schema = 1\nprofile.extends = '{sandbox.place}/base.toml'\n")
    words = [sandbox.launcher, "run", "--profile", text, "--name", "it", "--"]
    with sandbox.popen([*words, sandbox.probe, "wait"], stdout=subprocess.DEVNULL) as process:
        until(lambda: any(each["name"] == "it" for each in listed(sandbox)), "no record")
        assert verify(sandbox, "it").status == 0
        with open(text, "a", encoding="utf-8") as file:
            file.write("# another line\n")
        found = verify(sandbox, "it").content["findings"]
        process.kill()
    assert [(e["item"], e["found"]) for e in found] == [("profile", "changed since")]
    assert text in found[0]["promised"]


def test_a_descriptor_of_a_directory_outside_is_found(as_root: Sandbox) -> None:
    """A program that takes one over a socket holds a way past its mounts."""
    with live(as_root):
        first = first_of(as_root)
        outside = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
        words = [
            "nsenter",
            "-t",
            str(first),
            "--pid",
            "--mount",
            "--user",
            "--preserve-credentials",
        ]
        with subprocess.Popen(
            [*words, "-F", as_root.probe, "wait"], pass_fds=(outside,), stdout=subprocess.DEVNULL
        ) as joined:
            try:
                time.sleep(0.3)
                found = verify(as_root, "it").findings
            finally:
                joined.kill()
                os.close(outside)
    assert found[f"descriptor {outside}"]["found"] == "/"
