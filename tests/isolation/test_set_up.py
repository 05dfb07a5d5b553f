"""Set-up on trees that somebody has prepared: nothing leads out, and honest ones still work."""

import errno
import os

import pytest

from tests.kernel.harness import Sandbox, outcomes
from tests.kernel.pieces import bind, directory_root, own_for_payload, tree_of
from tests.kernel.test_bad_input import refused
from tests.kernel.traces import snapshot

OPENAT2 = 437


# ---- The launcher's file ----


def test_a_script_that_names_proc_self_exe_runs_nothing_of_the_launchers(sandbox: Sandbox) -> None:
    """CVE-2019-5736: until the payload's program has started, that link leads to sbx itself.

    Landlock's rules are what keeps it: the file lies in none of them. The control shows that
    without them it is sbx that runs; and even then its file can't be written to.
    """
    script = sandbox.write("scripts/script", "#!/proc/self/exe\n", 0o755)
    text = f"[filesystem]\nexecute = ['{os.path.dirname(script)}']\n"
    before = snapshot(os.path.dirname(sandbox.launcher))
    done = sandbox.run(text, script)
    assert (done.returncode, done.stdout) in ((126, ""), (125, "")), done
    assert "may not be executed" in done.stderr
    control = sandbox.run(text + "[landlock]\nenabled = false", script)
    assert control.returncode == 125, control
    assert "Python interpreter" in control.stderr
    assert snapshot(os.path.dirname(sandbox.launcher)) == before


# ---- /proc ----


def test_a_mask_is_made_of_nothing_that_the_root_holds(sandbox: Sandbox) -> None:
    """CVE-2025-31133: what covers a file is made by sbx, whatever the root has as /dev/null."""
    tree = tree_of(sandbox)
    secret = sandbox.write("tree/secret", "the secret")
    os.symlink("/secret", f"{tree}/dev/null")
    text = directory_root(tree)
    for dev in ("private", "none"):
        devices = f"[devices]\ndev = '{dev}'\n"
        tries = [("read", "/secret"), ("read", "/proc/keys"), ("open", "/proc/keys", "w")]
        shown, covered, opened = sandbox.attempts(text + devices, *tries)
        assert (shown.value, covered.value) == ("the secret", "")
        assert opened.outcome != "ok"
        masked = text + devices + "[filesystem]\nmask = ['/secret']"
        assert sandbox.attempt(masked, "read", "/secret").value == ""
    # The control: a cover made of that /dev/null, by its name, shows what the link leads to.
    source = sandbox.write("source/null", "covered")
    os.symlink(secret, f"{tree}/dev/zero")
    for kind, seen in ((source, "covered"), (f"{tree}/dev/zero", "the secret")):
        by_name = text + bind(kind, "/secret")
        assert sandbox.attempt(by_name, "read", "/secret").value == seen
    with open(secret, encoding="ascii") as file:
        assert file.read() == "the secret"


@pytest.mark.parametrize("kind", ("files", "links"))
def test_settings_go_to_the_kernel_and_not_to_a_proc_of_the_roots(
    sandbox: Sandbox, kind: str
) -> None:
    """CVE-2019-16884, CVE-2025-52881: what only looks like /proc takes no write, and leads none elsewhere."""
    tree = tree_of(sandbox, "proc/sys/user", "proc/self")
    victim = sandbox.write("tree/victim", "12345", 0o666)
    limit = "/proc/sys/user/max_user_namespaces"
    for name in (limit, "/proc/self/uid_map", "/proc/self/setgroups", "/proc/self/oom_score_adj"):
        if kind == "links":
            os.symlink(victim, f"{tree}{name}")
        else:
            sandbox.write(f"tree{name}", "12345", 0o666)
    before = snapshot(tree)
    assert sandbox.attempt(directory_root(tree), "read", limit).value == "0\n"
    assert snapshot(tree) == before
    # The control: the same setting made by its name in that tree is a change of a file's.
    [written] = sandbox.outside(("open", f"{tree}{limit}", "wt"))
    assert written.outcome == "ok"
    changed = victim if kind == "links" else f"{tree}{limit}"
    assert {path for path, state in snapshot(tree).items() if before[path] != state} == {changed}


# ---- Mount points ----


def test_nothing_is_made_behind_a_dangling_link(sandbox: Sandbox) -> None:
    """CVE-2024-45310: neither of a directory nor of a file, neither absolute nor relative."""
    outside = sandbox.mkdir("outside", 0o777)
    tree = tree_of(sandbox)
    links = {"absolute": f"{outside}/new", "relative": "../" * 20 + outside.lstrip("/") + "/new"}
    source = sandbox.write("source", "x")
    before = snapshot(outside)
    for name, target in links.items():
        os.symlink(target, f"{tree}/{name}")
        for statement in (
            bind(source, f"/{name}"),
            bind(outside, f"/{name}"),
            bind(source, f"/{name}/below"),
            f"[filesystem]\ntmpfs = ['/{name}']",
        ):
            sandbox.run(directory_root(tree) + statement, sandbox.probe, "exit", "0")
            assert snapshot(outside) == before, (name, statement)
    # The control: made by name outside of a sandbox, it appears there.
    [made] = sandbox.outside(("open", f"{tree}/absolute", "wc"))
    assert made.outcome == "ok"
    assert snapshot(outside) != before


def test_links_and_modes_of_an_honest_tree_are_no_obstacle(sandbox: Sandbox) -> None:
    """/var/run is a link, a directory on the way is closed to listing, one has its group's bit."""
    tree = tree_of(sandbox, "run/app", "var", "closed/within", "shared")
    os.symlink("../run", f"{tree}/var/run")
    os.symlink("/run/app", f"{tree}/app")
    os.chmod(f"{tree}/closed", 0o711)
    os.chmod(f"{tree}/shared", 0o2775)
    source = sandbox.write("source/file", "of the source")
    places = ("/var/run/app", "/closed/within", "/shared", "/app")
    for place in places:
        text = directory_root(tree) + bind(os.path.dirname(source), place)
        assert sandbox.attempt(text, "read", f"{place}/file").value == "of the source", place


def test_without_openat2_nothing_runs_and_no_link_is_followed(sandbox: Sandbox) -> None:
    """There is no second way to follow names; sbx says what it lacks."""
    outside = sandbox.mkdir("outside", 0o777)
    tree = tree_of(sandbox)
    os.symlink(outside, f"{tree}/link")
    before = snapshot(outside)
    text = directory_root(tree) + "[filesystem]\ntmpfs = ['/link/new']"
    words = sandbox.arguments(text, [sandbox.probe, "exit", "0"])
    for error in (errno.ENOSYS, errno.EPERM):
        done = sandbox.program(words, before=refused(OPENAT2, error))
        assert (done.returncode, done.stdout) == (125, ""), done
        assert snapshot(outside) == before
        if error == errno.ENOSYS:
            message = done.stderr
            assert "the kernel is too old for it" in message or "lacks openat2" in message
    # The controls: an honest tree and openat2 are all it takes; and a name that is followed leads out.
    honest = sandbox.arguments("", [sandbox.probe, "exit", "0"])
    assert sandbox.program(honest).returncode == 0
    [made] = sandbox.outside(("mkdir", f"{tree}/link/new"))
    assert made.outcome == "ok"
    assert snapshot(outside) != before


# ---- What a run leaves for the next one ----


@pytest.mark.parametrize("how", ("mount", "statement"))
@pytest.mark.parametrize("link", ("absolute", "relative", "above"))
def test_a_link_that_one_run_leaves_leads_the_next_nowhere(
    sandbox: Sandbox, how: str, link: str
) -> None:
    """CVE-2024-42472: a directory below one that the payload writes to, mounted by its name."""
    work, cache = sandbox.mkdir("work", 0o777), sandbox.mkdir("work/above/cache", 0o777)
    private = sandbox.mkdir("private/cache")
    sandbox.write("private/secret", "the secret")
    sandbox.write("private/cache/secret", "the secret")
    own_for_payload(sandbox, work, os.path.dirname(cache), cache)
    place = "/shown" if how == "mount" else cache
    text = f"[filesystem]\nwrite = ['{work}']\n"
    again = bind(cache, place) if how == "mount" else f"read = ['{cache}']\n"
    assert sandbox.run(text + again, sandbox.probe, "exit", "0").returncode == 0
    # What a payload may do to its own directory; the first run may have been under another profile.
    above = os.path.dirname(cache)
    moved = above if link == "above" else cache
    target = {"absolute": private, "relative": "../../private/cache", "above": "../private"}[link]
    tries = (("rename", moved, f"{work}/old"), ("symlink", target, moved))
    assert outcomes(sandbox.attempts(text, *tries)) == ["ok", "ok"]
    for _ in range(2):
        message = sandbox.refusal(text + again, sandbox.probe, "read", f"{place}/secret")
        assert "may write to" in message
        assert "the secret" not in message
    # The control: without the grant the link is the host's own, and is followed.
    trusting = bind(cache, "/shown")
    assert sandbox.attempt(trusting, "read", "/shown/secret").value == "the secret"
