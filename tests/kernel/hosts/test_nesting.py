"""Sandboxes in sandboxes: what the outer profile has to grant, and what then holds further in."""

import os

import pytest

from tests.kernel.harness import Sandbox, answers, join
from tests.kernel.hosts.staging import installation, seen

# Each level takes one of Landlock's 16 layers, and a cold launch.
LEVELS = 3
DEEPER = """\
#!/bin/sh
# sbx, the outer profile, how many levels, and the command at the last one
sbx=$1 outer=$2 levels=$3
shift 3
[ "$levels" = 0 ] && exec "$@"
exec "$sbx" run -p "$outer" -- /bin/sh "$0" "$sbx" "$outer" $((levels - 1)) "$@"
"""


def outer(sandbox: Sandbox, more: str = "") -> str:
    """A profile on top of `nested` that also shows the test's own files."""
    shown = seen(sandbox)
    text = f"schema = 1\n[profile]\nname = 'outer'\nextends = 'nested'\n{more}"
    head, tables = text.split("\n[", 1)
    listed = f"[filesystem]\nexecute = {shown}\n"
    return sandbox.write("outer.toml", f"{head}\n{listed}[{tables}")


def nest(sandbox: Sandbox, levels: int, *words: str) -> list[str]:
    """The words that run `words` below so many sandboxes of the outer profile's."""
    script = sandbox.write("deeper.sh", DEEPER)
    inner = [script, sandbox.launcher, outer(sandbox), str(levels), *words]
    return ["/bin/sh", *inner]


def test_sandboxes_nest(sandbox: Sandbox) -> None:
    """With the same profile, and at last with another one that grants nothing of the kind."""
    words = [sandbox.launcher, "run", "-p", sandbox.profile(""), "--", sandbox.probe]
    tries = [("read", "/proc/self/status"), ("list", "/"), ("unshare", "0x10000000")]
    done = sandbox.program([*nest(sandbox, LEVELS, *words), *join(tries)])
    assert (done.returncode, done.stderr) == (0, "")
    status, listed, user = answers(done.stdout)
    lines = dict(line.split(":\t", 1) for line in status.value.splitlines() if ":\t" in line)
    assert lines["Seccomp_filters"] == str(LEVELS + 1)
    assert set(listed.value.split()) == {"dev", "proc", sandbox.probe.split("/")[1]}
    assert user.outcome == "EPERM"


def test_the_payloads_status_comes_out_through_all_levels(sandbox: Sandbox) -> None:
    for words, status in (
        ((sandbox.probe, "exit", "7"), 7),
        ((sandbox.probe, "die", "15"), 143),
        (("/nosuch",), 127),
    ):
        inner = [sandbox.launcher, "run", "-p", "minimal", "--", *words]
        if words[0] == sandbox.probe:
            inner[3] = sandbox.profile("")
        assert sandbox.program(nest(sandbox, 2, *inner)).returncode == status


def test_an_inner_sandbox_is_no_way_around_the_outer_one(sandbox: Sandbox) -> None:
    """It can grant what it sees and no more, whatever its profile says."""
    secret = sandbox.write("closed/secret", "text")
    text = f"\n[filesystem]\ndeny = ['{os.path.dirname(secret)}']\n"
    path = outer(sandbox)
    with open(path, encoding="utf-8") as file:
        whole = file.read().replace("[filesystem]\n", text, 1)
    closed = sandbox.write("closed.toml", whole)
    inner = sandbox.profile(
        f"[filesystem]\nread = ['{sandbox.directory}']\n[network]\nmode = 'host'"
    )
    words = [sandbox.launcher, "run", "-p", inner, "--", sandbox.probe]
    tries = [("read", secret), ("mkdir", f"{sandbox.directory}/new"), ("tcp", "127.0.0.1", "22")]
    done = sandbox.program([sandbox.launcher, "run", "-p", closed, "--", *words, *join(tries)])
    assert done.returncode == 0, done
    assert [answer.outcome for answer in answers(done.stdout)] == [
        "EACCES",
        "EROFS",
        "ECONNREFUSED",
    ]


def test_every_grant_of_nested_is_needed(sandbox: Sandbox) -> None:
    """Without one of them the inner launch fails, with a message that leads to it."""
    words = ["run", "-p", "minimal", "--", "true"]
    for change, said in (
        ("[filesystem]\nproc = 'read-only'\n", "the kernel refuses a new /proc here"),
        ("[filesystem]\nproc = 'none'\n", "/proc/self/exe can't be read"),
        ("[landlock]\nfiles = true\n", "Operation not permitted"),
    ):
        path = outer(sandbox)
        with open(path, encoding="utf-8") as file:
            whole = file.read()
        key, value = change.split("\n")[0], change.split("\n")[1]
        whole = whole.replace(key + "\n", f"{key}\n{value}\n") if key in whole else whole + change
        lesser = sandbox.write("lesser.toml", whole)
        done = sandbox.program(
            [sandbox.launcher, "run", "-p", lesser, "--", sandbox.launcher, *words]
        )
        assert done.returncode == 125, (change, done)
        assert said in done.stderr, (change, done)


def test_a_profile_that_does_not_let_itself_be_nested_says_so(sandbox: Sandbox) -> None:
    """`service` shows sbx, but nothing may be made in it."""
    plain = sandbox.write(
        "plain.toml",
        f"schema = 1\nprofile.extends = 'service'\nfilesystem.execute = {installation(sandbox)}\n",
    )
    words = [sandbox.launcher, "run", "-p", "minimal", "--", "true"]
    done = sandbox.program([sandbox.launcher, "run", "-p", plain, "--", *words])
    assert done.returncode == 125
    assert "sbx: error: " in done.stderr
    assert "hint: " in done.stderr


@pytest.mark.parametrize("change", ("[identity]\nmap = 'host'\n", "[namespaces]\nuser = false\n"))
def test_an_unmasked_proc_is_refused_where_the_payload_is_root_of_the_machine(
    as_root: Sandbox, change: str
) -> None:
    message = as_root.refusal("[filesystem]\nproc = 'unmasked'\n" + change)
    assert "an unmasked /proc would let root of the machine change the kernel's settings" in message


def test_an_unmasked_proc_lets_nobody_set_what_is_the_kernels(sandbox: Sandbox) -> None:
    text = "[filesystem]\nproc = 'unmasked'"
    paths = ("/proc/sys/kernel/core_pattern", "/proc/sys/vm/drop_caches", "/proc/sys/kernel/panic")
    for answer in sandbox.attempts(text, *(("open", path, "w") for path in paths)):
        assert answer.outcome == "EACCES"


def test_without_file_rules_the_scopes_of_landlock_hold(as_user: Sandbox) -> None:
    """A signal to a process outside, which a PID namespace isn't there to hide."""
    text = "[landlock]\nfiles = false\n[namespaces]\npid = false\n[filesystem]\nproc = 'none'\n"
    outside = as_user.popen(["sleep", "30"])
    with outside:
        assert as_user.attempt(text, "kill", outside.pid, 0).outcome == "EPERM"
        off = text.replace("files = false", "enabled = false")
        assert as_user.attempt(off, "kill", outside.pid, 0).outcome == "ok"


def test_the_sixteenth_level_is_the_last_and_says_so(as_user: Sandbox) -> None:
    done = as_user.program(nest(as_user, 20, "true"), timeout=60)
    assert done.returncode == 125
    assert "the kernel takes 16 layers of them" in done.stderr
