"""`sbx verify`: nothing is found in an untouched sandbox, and what can't be seen is said."""

import contextlib
import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.kernel.harness import Sandbox
from tests.kernel.live import named, names, sbx, until
from tests.kernel.verifying import LIMITED, children_of, first_of, live, verify

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
    "limited": LIMITED,
    "sysadmin": "[identity]\nuser = 0\n[capabilities]\nkeep = ['CAP_SETUID', 'CAP_SYS_CHROOT']",
}


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


def test_root_sees_all_of_it_but_what_the_kernel_tells_nobody(as_root: Sandbox) -> None:
    with live(as_root):
        found = verify(as_root, "it")
    assert found.unseen <= {"strangers"}
    told = {each["item"]: each["promised"] for each in found.content["untold"]}
    assert told.keys() == {
        *("Landlock", "securebits", "signal of the parent's death"),
        *("what filters say", "settings of namespaces"),
    }
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


# ---- The verb ----


def test_findings_are_a_table_and_the_status_is_1(it: Sandbox) -> None:
    words = ["prlimit", "--pid", str(first_of(it)), "--nofile=7:8"]
    assert it.program(words).returncode == 0
    done = sbx(it, "verify", "it")
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["TID", "THREAD", "ITEM", "PROMISED", "FOUND"]
    assert lines[1].split()[1:5] == ["init", "sbx", "rlimit", "nofile"]
    assert lines[1].endswith("7 of at most 8")
    assert lines[-1].endswith("1 thing not as promised")


def test_a_name_that_nothing_has_is_an_error(sandbox: Sandbox) -> None:
    done = sbx(sandbox, "verify", "none")
    assert done.returncode == 125
    assert "there is no live sandbox 'none'" in done.stderr
