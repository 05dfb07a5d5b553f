"""`sbx verify`: nothing is found in an untouched sandbox, and every change from outside is."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from tests.kernel.harness import (
    MS_BIND,
    MS_REMOUNT,
    Running,
    Sandbox,
    await_line,
    checked,
    libc,
    mount,
)
from tests.kernel.live import listed, named, names, sbx, until

CLONE_NEWNS = 0x00020000
MNT_DETACH = 2

UNTOUCHED = {
    "nothing": "",
    "the-host": "[filesystem]\nread = ['/']\nwrite = ['{here}']\ndeny = ['/etc/passwd', '/root']",
    "places": """
[filesystem]
execute = ["/usr"]
read = ["/etc"]
deny = ["/etc/passwd"]
tmpfs = ["/data", {{ path = "/small", size = "64K", mode = "0700" }}]
proc = "writable"
[rootfs]
generate = ["passwd", "group", "hosts"]
[rlimits]
nofile = 100
core = 0
[process]
umask = "0027"
""",
    "shared": "[namespaces]\nipc = false\nuts = false\n[network]\nmode = 'host'",
    "bare": "[process]\ninit = false",
    "open": "[seccomp]\nenabled = false\n[landlock]\nenabled = false",
    "capable": "[capabilities]\nkeep = ['CAP_NET_BIND_SERVICE']\nambient = true",
    "root": "[identity]\nmap = 'root'\n[environment]\npass = ['HOME', 'LAN*']",
    "service": "[service]\nlog = 'file'\nstop_signal = 'SIGTERM'",
    "layers": "[[mounts]]\ntype = 'overlay'\ntarget = '/layers'\nlower = ['/usr']\nwritable = true",
}
OF_ROOT = {
    "unmapped": "[namespaces]\nuser = false",
    "layered": "[filesystem]\nread = ['/']\n[rootfs]\noverlay = 'tmpfs'",
    "limited": "[resources]\nmemory_max = '100000000'\npids_max = 20\ncpu_weight = 200",
    "sysadmin": "[identity]\nuser = 0\n[capabilities]\nkeep = ['CAP_SETUID', 'CAP_SYS_CHROOT']",
}


class Verified(NamedTuple):
    """What the verb has said."""

    status: int
    content: dict[str, Any]

    @property
    def findings(self) -> dict[str, dict[str, Any]]:
        """By item."""
        return {each["item"]: each for each in self.content["findings"]}

    @property
    def unseen(self) -> set[str]:
        return {each["item"] for each in self.content["unseen"]}


def verify(sandbox: Sandbox, name: str) -> Verified:
    done = sbx(sandbox, "verify", "--json", name)
    assert done.stderr == "", done
    content = json.loads(done.stdout)
    assert (done.returncode == 0) == content["as_promised"] == (not content["findings"]), done
    return Verified(done.returncode, content)


def first_of(sandbox: Sandbox, name: str = "it") -> int:
    return int(next(each["first"] for each in listed(sandbox) if each["name"] == name))


def children_of(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split()]


@contextlib.contextmanager
def live(sandbox: Sandbox, text: str = "", name: str = "it") -> Iterator[Running]:
    """A sandbox that waits, and that is recorded by now: what it says comes after that."""
    with named(sandbox, name, sandbox.probe, "wait", text=text) as process:
        await_line(process)
        until(lambda: name in names(sandbox), "no record")
        yield process


@contextlib.contextmanager
def all_of(sandbox: Sandbox, texts: dict[str, str]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for name, text in texts.items():
            whole = text.format(here=sandbox.directory)
            stack.enter_context(named(sandbox, name, sandbox.probe, "wait", text=whole))
        until(lambda: set(names(sandbox)) >= texts.keys(), "no record")
        yield


@pytest.fixture
def it(sandbox: Sandbox) -> Iterator[Sandbox]:
    """A live sandbox that is called so."""
    with live(sandbox):
        yield sandbox


@pytest.fixture
def roots(as_root: Sandbox) -> Iterator[Sandbox]:
    with live(as_root):
        yield as_root


# ---- Untouched ----


def test_nothing_is_found_in_sandboxes_as_they_were_started(sandbox: Sandbox) -> None:
    texts = UNTOUCHED | (OF_ROOT if sandbox.is_root else {})
    with all_of(sandbox, texts):
        found = {name: verify(sandbox, name).content["findings"] for name in texts}
    assert not {name: each for name, each in found.items() if each}


def test_nor_in_a_program_beside_the_command(it: Sandbox) -> None:
    words = [it.launcher, "exec", "it", "--", it.probe, "wait"]
    with it.popen(words, stdout=subprocess.PIPE) as beside:
        assert beside.stdout is not None
        assert beside.stdout.readline() == b"ready\n"
        found = verify(it, "it")
        beside.kill()
    assert (found.status, found.content["processes"]) == (0, 3)


def test_a_program_may_make_namespaces_where_its_filter_lets_it(sandbox: Sandbox) -> None:
    text = """
[filesystem]
execute = ["/usr"]
read = ["/"]
[seccomp]
allow = ["@service", "unshare"]
"""
    words = ("unshare", "--user", "--mount", "--propagation", "unchanged", "sleep", "30")
    with named(sandbox, "it", *words, text=text) as process:
        until(lambda: names(sandbox) == ["it"] or process.poll() is not None, "no record")
        assert process.poll() is None, process.communicate()
        first = first_of(sandbox)
        until(lambda: _command_has_left(first), "no namespace was made")
        found = verify(sandbox, "it")
    assert found.content["findings"] == []


def _command_has_left(first: int) -> bool:
    found = {os.stat(f"/proc/{pid}/ns/user").st_ino for pid in (first, *children_of(first))}
    return len(found) > 1


def test_root_sees_all_of_it_but_what_the_kernel_tells_nobody(roots: Sandbox) -> None:
    found = verify(roots, "it")
    assert found.unseen <= {"strangers"}
    told = {each["item"]: each["promised"] for each in found.content["untold"]}
    assert told.keys() == {"Landlock", "securebits", "signal of the parent's death"}
    assert "Landlock denies" in told["Landlock"]


def test_what_a_user_cannot_see_is_said_and_not_taken_as_passed(as_user: Sandbox) -> None:
    """The first process can't be traced, so the kernel hides it from its own user."""
    with live(as_user):
        found = verify(as_user, "it")
        text = sbx(as_user, "verify", "it").stdout
    assert {"namespace mnt", "descriptors", "places", "strangers"} <= found.unseen
    hidden = {each["thread"].split()[0] for each in found.content["unseen"]}
    assert hidden == {"init", "sandbox"}
    assert "all that was seen is as promised" in text


# ---- Drift ----


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


def unmount(path: str) -> None:
    checked(libc.umount2(os.fsencode(path), MNT_DETACH))


@pytest.fixture
def needs_root(sandbox: Sandbox) -> Sandbox:
    if os.geteuid() != 0:
        pytest.skip("the tests don't run as root")
    return sandbox


def test_a_mount_that_was_added_is_found(needs_root: Sandbox, it: Sandbox) -> None:
    within(first_of(it), CLONE_NEWNS, lambda: mount("none", "/dev/shm", "tmpfs"))
    found = verify(it, "it").findings["mount /dev/shm"]
    assert found["thread"].startswith("init ")
    assert found["promised"] == "no mount"
    assert found["found"].startswith("rw: tmpfs ")


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


def test_a_mount_that_became_writable_is_found(needs_root: Sandbox, it: Sandbox) -> None:
    within(
        first_of(it),
        CLONE_NEWNS,
        lambda: mount("none", it.probe, flags=MS_BIND | MS_REMOUNT),
    )
    found = verify(it, "it").findings[f"mount {it.probe}"]
    assert found["promised"].startswith("ro,nosuid,nodev (")
    assert found["found"].startswith("rw: ")


def test_a_cover_that_was_taken_away_is_found(needs_root: Sandbox, it: Sandbox) -> None:
    within(first_of(it), CLONE_NEWNS, lambda: unmount("/proc/keys"))
    found = verify(it, "it").findings["mount /proc/keys"]
    assert found["found"] == "nothing is mounted there"
    assert "is covered by something empty" in found["promised"]


def test_a_mount_that_others_propagate_to_is_found(needs_root: Sandbox, it: Sandbox) -> None:
    shared = 1 << 20
    within(first_of(it), CLONE_NEWNS, lambda: mount("none", "/dev/shm", flags=shared))
    found = verify(it, "it").findings["mount /dev/shm"]
    assert (found["promised"], found["found"][:7]) == ("private", "shared:")


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
    with live(as_root, OF_ROOT["limited"]):
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
    with live(as_root, OF_ROOT["limited"]):
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
    with live(as_root, OF_ROOT["limited"]):
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


# ---- The verb ----


def test_findings_are_a_table_and_the_status_is_1(needs_root: Sandbox, it: Sandbox) -> None:
    _write(f"/proc/{first_of(it)}/oom_score_adj", "7")
    done = sbx(it, "verify", "it")
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["TID", "THREAD", "ITEM", "PROMISED", "FOUND"]
    assert lines[1].split()[1:] == ["init", "sbx", "oom_score_adj", "0", "7"]
    assert lines[-1].endswith("1 thing not as promised")


def test_a_name_that_nothing_has_is_an_error(sandbox: Sandbox) -> None:
    done = sbx(sandbox, "verify", "none")
    assert done.returncode == 125
    assert "there is no live sandbox 'none'" in done.stderr
