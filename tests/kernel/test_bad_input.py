"""What a profile, a caller or a host may have wrong: a clear error, and nothing half done."""

import ctypes
import errno
import os
import resource
import struct
from typing import Any

import pytest

from tests.kernel.harness import CLONE_NEWUSER, Sandbox, Step, answers, checked, join, libc
from tests.kernel.traces import left

PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 4, 38, 22
RET_ERRNO, RET_ALLOW = 0x00050000, 0x7FFF0000
# Numbers that every machine shares.
CLONE3, OPENAT2, MOUNT_SETATTR, LANDLOCK = 435, 437, 442, 444
RIGHT_TO_LEFT = "\u202e"


@pytest.fixture
def place(shared_dir: str) -> str:
    """A cache that no other test has filled."""
    return shared_dir


def launch(sandbox: Sandbox, name: str, **how: Any) -> tuple[int, str]:
    """The status and the message of `sbx run` with this profile as the caller names it."""
    words = [sandbox.launcher, "run", "-p", name, "--", sandbox.probe, "exit", "0"]
    done = sandbox.program(words, **how)
    assert done.stdout == ""
    return done.returncode, done.stderr


def kept(sandbox: Sandbox) -> list[str]:
    return os.listdir(sandbox.cache) if os.path.exists(sandbox.cache) else []


# ---- Profiles ----


@pytest.mark.parametrize(
    ("content", "line", "words"),
    (
        ("[filesystem]\nread = 5\n", 2, "filesystem.read"),
        ("[filesystem]\nraed = []\n", 2, "did you mean"),
        ("[filesystem]\nread = ['/a/../b']\n", 2, ".."),
        ("[filesystem]\nread = ['relative']\n", 2, "filesystem.read[0]"),
        ('[process]\ncommand = ["a\\u0000b"]\n', 2, "NUL"),
        ("[profile]\nname = '" + RIGHT_TO_LEFT + "txt'\n", 2, "U+202E"),
        ("[process\n", 1, ""),
        ("[network]\nmode = 'private'\n", 2, "network.mode"),
        ("[resources]\nmemory_max = '1 GB'\n", 2, "resources.memory_max"),
    ),
)
def test_what_is_wrong_in_a_profile_is_told_with_its_line(
    sandbox: Sandbox, content: str, line: int, words: str
) -> None:
    head = "" if content.startswith("[process\n") else "schema = 1\n"
    path = sandbox.write("bad.toml", head + content)
    status, message = launch(sandbox, path)
    assert status == 125
    assert message.startswith(f"sbx: error: {path}:{line + bool(head)}:"), message
    assert words in message
    assert RIGHT_TO_LEFT not in message
    assert kept(sandbox) == []


def test_all_errors_of_a_profile_are_told_at_once(sandbox: Sandbox) -> None:
    path = sandbox.write("bad.toml", "schema = 1\n[filesystem]\nread = 5\nwrite = ['x']\nfoo = 1\n")
    _, message = launch(sandbox, path)
    assert [f"{path}:{line}:" in message for line in (3, 4, 5)] == [True] * 3


def test_a_missing_profile_is_an_error(sandbox: Sandbox) -> None:
    for name in ("./missing.toml", "no-such-name", sandbox.path("missing.toml"), ""):
        status, message = launch(sandbox, name)
        assert (status, message.startswith("sbx: error: ")) == (125, True), message
        assert name in message


def test_a_profile_that_cannot_be_read_is_an_error(as_user: Sandbox) -> None:
    path = as_user.write("closed.toml", "schema = 1\n", 0o000)
    status, message = launch(as_user, path)
    assert (status, "Permission denied" in message) == (125, True)


def test_what_is_no_file_is_no_profile(sandbox: Sandbox) -> None:
    """A FIFO would be waited for, a device read for ever."""
    os.mkfifo(sandbox.path("fifo.toml"))
    for name in (sandbox.path("fifo.toml"), "/dev/zero", sandbox.directory):
        status, message = launch(sandbox, name)
        assert (status, name in message) == (125, True), message


def test_profiles_that_extend_each_other_in_a_circle_are_refused(sandbox: Sandbox) -> None:
    for one, two in (("a", "b"), ("b", "c"), ("c", "a")):
        sandbox.write(f"{one}.toml", f"schema = 1\nprofile.extends = './{two}.toml'\n")
    status, message = launch(sandbox, sandbox.path("a.toml"))
    assert status == 125
    assert "c.toml" in message


@pytest.mark.parametrize(
    "content",
    (
        "schema = 1\nx = " + "[" * 5_000_000 + "]" * 5_000_000,
        "schema = 1\nx = " + "{a=" * 100_000 + "1" + "}" * 100_000,
        "schema = 1\n" + "a." * 50_000 + "b = 1\n",
        "schema = 1\n" + "".join(f"[t{i}]\n" for i in range(1_000_000)),
    ),
    ids=("arrays", "tables", "dotted", "long"),
)
def test_a_profile_that_would_exhaust_a_parser_is_refused_at_once(
    sandbox: Sandbox, content: str
) -> None:
    path = sandbox.write("deep.toml", content)
    status, message = launch(sandbox, path, timeout=10)
    assert status == 125
    assert message.startswith(f"sbx: error: {path}")
    assert "internal error" not in message
    assert len(message) < 2000


def test_bytes_that_are_no_text_are_told_as_such(sandbox: Sandbox) -> None:
    path = sandbox.write("bytes.toml", "schema = 1\n")
    with open(path, "ab") as file:
        file.write(b"# \xff\xfe\n")
    status, message = launch(sandbox, path)
    assert (status, "UTF-8" in message) == (125, True)


def test_a_file_name_cannot_forge_a_message(sandbox: Sandbox) -> None:
    path = sandbox.path("a\x1b[2J\nsbx: error: forged.toml")
    with open(path, "w", encoding="utf-8") as file:
        file.write("schema = 2\n")
    _, message = launch(sandbox, path)
    assert "\x1b" not in message
    assert "\nsbx: error: forged" not in message


# ---- Hosts that lack something, for real ----


def own_user_namespace() -> None:
    """The caller becomes root of a user namespace of its own."""
    uid, gid = os.getuid(), os.getgid()
    checked(libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))
    checked(libc.unshare(CLONE_NEWUSER))
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def limited(kind: str) -> Step:
    def before() -> None:
        own_user_namespace()
        with open(f"/proc/sys/user/max_{kind}_namespaces", "w", encoding="ascii") as file:
            file.write("0")

    return before


def refused(number: int, error: int) -> Step:
    """A filter of the caller's, as a container may have one: this call fails."""

    def before() -> None:
        rules = (
            (0x20, 0, 0, 0),
            (0x15, 0, 1, number),
            (6, 0, 0, RET_ERRNO | error),
            (6, 0, 0, RET_ALLOW),
        )
        code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *r) for r in rules))
        header = ctypes.create_string_buffer(struct.pack("@HP", len(rules), ctypes.addressof(code)))
        checked(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        checked(libc.prctl(PR_SET_SECCOMP, 2, header, 0, 0))

    return before


def test_without_user_namespaces_the_error_says_so(sandbox: Sandbox) -> None:
    message = sandbox.refusal("", before=limited("user"))
    assert "this host lets the caller make no user namespace" in message
    assert "hint: " in message
    assert "sbx doctor" in message


def test_a_kept_plan_meets_the_same_error(sandbox: Sandbox) -> None:
    """The host has changed since it was compiled: the clone fails, and the reason is put in words."""
    assert sandbox.run("", sandbox.probe, "exit", "0").returncode == 0
    message = sandbox.refusal("", before=refused(CLONE3, errno.EPERM))
    assert "the sandbox can't be made" in message
    assert "sbx doctor" in message


@pytest.mark.parametrize("kind", ("net", "pid", "ipc", "uts", "mnt"))
def test_without_one_kind_of_namespace_the_error_names_it(sandbox: Sandbox, kind: str) -> None:
    message = sandbox.refusal("", before=limited(kind))
    assert f"max_{kind}_namespaces" in message


@pytest.mark.parametrize("kind", ("time", "cgroup"))
def test_without_an_optional_kind_of_namespace_it_is_told(sandbox: Sandbox, kind: str) -> None:
    message = sandbox.refusal("", before=limited(kind))
    assert f"add 'namespaces.{kind}' to profile.optional" in message
    text = f"profile.optional = ['namespaces.{kind}']"
    done = sandbox.run(text, sandbox.probe, "exit", "0", before=limited(kind))
    assert done.returncode == 0
    assert f"namespaces.{kind}" in done.stderr


def test_without_landlock_it_is_an_error_unless_it_is_optional(sandbox: Sandbox) -> None:
    gone = refused(LANDLOCK, errno.ENOSYS)
    message = sandbox.refusal("", before=gone)
    assert "this kernel has no Landlock" in message
    optional = "profile.optional = ['landlock']"
    for _ in range(2):
        done = sandbox.run(optional, sandbox.probe, "exit", "0", before=gone)
        assert done.returncode == 0
        assert "not enforced" in done.stderr
        assert "landlock" in done.stderr
    assert sandbox.run("[landlock]\nenabled = false", sandbox.probe, "exit", "0").returncode == 0


@pytest.mark.parametrize(
    ("number", "name"), ((OPENAT2, "openat2"), (MOUNT_SETATTR, "mount_setattr"), (CLONE3, "clone3"))
)
def test_a_kernel_that_is_too_old_is_told_what_it_lacks(
    as_user: Sandbox, number: int, name: str
) -> None:
    message = as_user.refusal("", before=refused(number, errno.ENOSYS))
    assert f"lacks {name}" in message
    assert "sbx needs Linux 5.12 or later" in message


def test_a_sandbox_runs_within_a_sandbox(as_user: Sandbox) -> None:
    """Root of a user namespace is the caller; it gets what an unprivileged user gets."""
    tries = [("read", "/proc/self/uid_map"), ("tcp", "127.0.0.1", "80"), ("unshare", "0x20000")]
    done = as_user.run("", as_user.probe, *join(tries), before=own_user_namespace)
    assert done.returncode == 0, done
    ids, network, mounts = answers(done.stdout)
    assert ids.value.split() == ["0", "0", "1"]
    assert (network.outcome, mounts.outcome) == ("ECONNREFUSED", "EPERM")


def test_a_limit_on_processes_is_an_error_and_leaves_nothing(as_user: Sandbox) -> None:
    as_user.plan("")
    for limit in (1, 2):
        done = as_user.run(
            "", as_user.probe, "exit", "0",
            before=lambda limit=limit: resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit)),
        )  # fmt: skip
        assert done.returncode in {0, 125}
        assert left(as_user) == {}


def test_few_descriptors_are_an_error_or_enough(sandbox: Sandbox) -> None:
    """Wherever the limit strikes, the launch works or fails as a whole."""
    plan = sandbox.plan("[filesystem]\nread = ['/etc', '/usr']")
    seen = set()
    for limit in (5, 6, 8, 10, 12, 16, 20, 30, 60):

        def lower(limit: int = limit) -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

        done = sandbox.run_plan(plan, sandbox.probe, "exit", "0", before=lower)
        said = "oo many open files" if limit >= 8 else "RLIMIT_NOFILE"
        assert done.returncode == 0 or said in done.stderr, (limit, done)
        seen.add(done.returncode)
    assert seen == {0, 125}
