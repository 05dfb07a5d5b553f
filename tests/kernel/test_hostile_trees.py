"""Trees that a payload has prepared: links and exchanges never lead a mount out of the root."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator

import pytest

from sandbox.plan import codec
from sandbox.plan.ops import BindDevice
from sandbox.plan.record import Op, Plan
from tests.kernel.harness import Answer, Sandbox, answers, edited, join, libc
from tests.kernel.pieces import bind, directory_root, tree_of
from tests.kernel.traces import snapshot

AT_FDCWD, RENAME_EXCHANGE = -100, 2
ROUNDS = int(os.environ.get("SBX_RACE_ROUNDS", "200"))
"""Launches of each race; `./dev faults races` takes 2000."""
# Python was to say why a launch failed, and is covered; or sbx's own failure, where nothing can be covered.
FAILED = 99 if os.geteuid() == 0 else 125


@pytest.fixture
def outside(sandbox: Sandbox) -> str:
    """A directory of the host's that must stay as it is and out of sight."""
    outside = sandbox.mkdir("outside/deep")
    sandbox.write("outside/secret", "the secret")
    sandbox.write("outside/deep/secret", "the secret")
    os.chmod(outside, 0o777)
    return os.path.dirname(outside)


def links_out(outside: str) -> dict[str, str]:
    """Ways to write a link to it."""
    return {
        "absolute": outside,
        "relative": "../" * 20 + outside.lstrip("/"),
        "magic": "/proc/1/root" + outside,
    }


def twin(tree: str, outside: str) -> None:
    """The root has a directory of the same path, which is where a link may lead."""
    os.makedirs(f"{tree}{outside}/deep")
    os.makedirs(f"{tree}{outside}/new")
    for path in (f"{tree}{outside}/secret", f"{tree}{outside}/deep/secret"):
        with open(path, "w", encoding="utf-8") as file:
            file.write("of the tree")


OVERLAY = "[[mounts]]\ntype = 'overlay'\ntarget = '/link/deep'\nlower = ['/etc']"
# What is said of a path with the link in it, and what two files below it then hold.
STATEMENTS = {
    "[filesystem]\ntmpfs = ['/link/deep']": ["of the tree", ""],
    "[filesystem]\ntmpfs = ['/link/new']": ["of the tree"] * 2,
    "[filesystem]\nexecute = ['/link/deep']": ["of the tree"] * 2,
    "[filesystem]\nwrite = ['/link/deep']": ["of the tree"] * 2,
    "[filesystem]\ndeny = ['/link/secret']": ["", "of the tree"],
    "[filesystem]\nmask = ['/link']": ["", ""],
    bind("/etc", "/link/deep"): ["of the tree", ""],
    OVERLAY: ["of the tree", ""],
}


@pytest.mark.parametrize(
    ("kind", "statement"),
    (
        *(("absolute", statement) for statement in STATEMENTS),
        *(("relative", statement) for statement in list(STATEMENTS)[2::4]),
        *(("magic", statement) for statement in list(STATEMENTS)[::2]),
    ),
)
def test_a_link_out_of_the_root_leads_nowhere(
    sandbox: Sandbox, outside: str, statement: str, kind: str
) -> None:
    """It is followed within the root, and not at all through /proc; the host is as it was."""
    tree = tree_of(sandbox)
    twin(tree, outside)
    os.symlink(links_out(outside)[kind], f"{tree}/link")
    before = snapshot(tree, outside)
    tries = (("read", "/link/secret"), ("read", "/link/deep/secret"))
    done = sandbox.run(directory_root(tree) + statement, sandbox.probe, *join(tries))
    if kind == "magic" and "mask" not in statement and "deny" not in statement:
        assert done.returncode == 125, done
    else:
        assert done.returncode == 0, done
        expected = STATEMENTS[statement] if kind != "magic" else ["", ""]
        assert [answer.value for answer in answers(done.stdout)] == expected
    assert snapshot(tree, outside) == before


@pytest.mark.parametrize("name", ("proc", "dev", "etc"))
@pytest.mark.parametrize("kind", ("absolute", "relative", "file", "loop", "into the tree"))
def test_a_link_in_place_of_a_mount_point_leads_nowhere(
    as_user: Sandbox, name: str, kind: str
) -> None:
    sandbox, outside = as_user, as_user.mkdir("outside")
    tree = tree_of(sandbox, "other")
    os.makedirs(f"{tree}{outside}")
    target = {"file": "/other/file", "loop": name, "into the tree": "/other", **links_out(outside)}
    os.rmdir(f"{tree}/{name}")
    os.symlink(target[kind], f"{tree}/{name}")
    before = snapshot(tree, outside)
    text = directory_root(tree)
    tries = [("open", "/proc/sys/kernel/core_pattern", "w"), ("read", "/proc/keys")]
    done = sandbox.run(text, sandbox.probe, *join(tries))
    assert done.returncode == (125 if kind in {"file", "loop"} and name != "etc" else 0), done
    if done.returncode == 0:
        switch, keys = answers(done.stdout)
        assert switch.outcome == "EACCES"
        assert keys.value == ""
    assert snapshot(tree, outside) == before


@pytest.mark.parametrize("generate", ("[]", "['passwd', 'hosts', 'resolv.conf', 'machine-id']"))
def test_pipes_in_place_of_files_hold_nobody_up(sandbox: Sandbox, generate: str) -> None:
    """Nobody writes to them: whoever opened one would wait for ever (CVE-2024-9676 of Podman)."""
    tree = tree_of(sandbox)
    for name in ("passwd", "group", "hosts", "resolv.conf", "machine-id", "ld.so.cache"):
        os.mkfifo(f"{tree}/etc/{name}")
    text = f"{directory_root(tree)}generate = {generate}\n[identity]\nname = 'somebody'\n"
    done = sandbox.run(text, sandbox.probe, *join([("read", sandbox.probe)]))
    assert done.returncode == 0, done


# ---- Exchanges while a launch goes on ----


@contextlib.contextmanager
def exchanging(one: str, two: str) -> Iterator[None]:
    """Another process swaps two names as fast as it can."""
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            names = os.fsencode(one), os.fsencode(two)
            while os.getppid() == parent:
                for _ in range(100):
                    libc.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE)
        finally:
            os._exit(0)
    try:
        yield
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def until_both(look: Callable[[], bool]) -> bool:
    """Whether it is seen to be true and to be false within five seconds."""
    end = time.monotonic() + 5
    seen: set[bool] = set()
    while len(seen) < 2 and time.monotonic() < end:
        seen.add(look())
    return len(seen) == 2


def many_launches(sandbox: Sandbox, plan: Plan, *words: str) -> tuple[set[int], list[Answer]]:
    """The same warm launch again and again: its statuses, and all that the payloads found."""
    fd = os.memfd_create("plan")
    os.write(fd, codec.encode(plan))
    loop = f'for i in $(seq {ROUNDS}); do "$@"; echo status $?; done'
    command = [sandbox.launcher, "run", "--plan-fd", str(fd), "--", sandbox.probe, *words]
    try:
        done = sandbox.program(
            ["/bin/sh", "-c", loop, "sh", *command],
            pass_fds=(fd,),
            stage=sandbox.without_python(),
            timeout=30 + ROUNDS / 20,
        )
    finally:
        os.close(fd)
    lines = done.stdout.splitlines()
    statuses = [int(line.split()[1]) for line in lines if line.startswith("status ")]
    assert len(statuses) == ROUNDS
    return set(statuses), answers(done.stdout)


def test_a_directory_that_becomes_a_link_while_it_is_mounted_on(
    sandbox: Sandbox, outside: str
) -> None:
    """The target's parent in the root's tree alternates with a link out of it."""
    tree = tree_of(sandbox, "data/deep")
    plan = sandbox.plan(directory_root(tree) + bind("/etc", "/data/deep"))
    os.symlink(outside, f"{tree}/link")
    before = snapshot(outside)
    tries = (("read", "/data/deep/secret"), ("list", "/data/deep"))
    with exchanging(f"{tree}/data", f"{tree}/link"):
        statuses, found = many_launches(sandbox, plan, *join(tries))
    assert all("the secret" not in answer.value for answer in found)
    assert statuses == {0, FAILED}
    assert snapshot(outside) == before


def test_a_source_in_the_tree_that_becomes_a_link_while_it_is_opened(
    sandbox: Sandbox, outside: str
) -> None:
    tree = tree_of(sandbox, "data/deep")
    sandbox.write("tree/data/deep/secret", "of the tree")
    plan = sandbox.plan(directory_root(tree) + "[filesystem]\nexecute = ['/data/deep']")
    os.symlink(outside, f"{tree}/link")
    with exchanging(f"{tree}/data", f"{tree}/link"):
        statuses, found = many_launches(sandbox, plan, "read", "/data/deep/secret")
    assert {answer.value for answer in found} <= {"", "of the tree"}
    assert statuses == {0, FAILED}


@pytest.mark.parametrize("name", ("null", "console"))
def test_covers_and_devices_are_made_of_nothing_that_changes_places_in_the_root(
    sandbox: Sandbox, name: str
) -> None:
    """CVE-2025-31133, CVE-2025-52565: /dev leads to where a device alternates with a link to a switch."""
    tree = tree_of(sandbox, "volume")
    os.rmdir(f"{tree}/dev")
    os.symlink("volume", f"{tree}/dev")
    switch = "/proc/sys/kernel/core_pattern"
    device, link = sandbox.write(f"tree/volume/{name}", "of the tree"), f"{tree}/volume/link"
    os.symlink(switch, link)
    plan = sandbox.plan(directory_root(tree))
    tries = (("read", "/proc/keys"), ("open", switch, "w"), ("stat", "/dev/null"))
    with open(switch, encoding="ascii") as file:
        before = file.read()
    with exchanging(device, link):
        # The control: by its name it is now the one, now the other.
        assert until_both(lambda: os.path.islink(device))
        statuses, found = many_launches(sandbox, plan, *join(tries))
    assert statuses == {0}
    assert {answer.value for answer in found[::3]} == {""}
    assert {answer.outcome for answer in found[1::3]} == {"EACCES"}
    assert {answer.value.split()[3] for answer in found[2::3]} == {"1:3"}
    with open(switch, encoding="ascii") as file:
        assert file.read() == before


@pytest.mark.parametrize("right", ("read", "write"))
def test_of_two_sources_that_change_places_one_is_mounted_wholly(
    sandbox: Sandbox, right: str
) -> None:
    """With the rights that were granted, whichever of them it is."""
    for name in ("one", "two"):
        sandbox.mkdir(f"{name}/deep", 0o777)
        for path in (f"{name}/marker", f"{name}/deep/marker"):
            sandbox.write(path, name, 0o666)
    one, two = sandbox.path("one"), sandbox.path("two")
    plan = sandbox.plan(f"[filesystem]\n{right} = ['{one}']\n")
    opened = ("open", f"{one}/deep/marker", "w")
    with exchanging(one, two):
        statuses, found = many_launches(
            sandbox,
            plan,
            *join([("read", f"{one}/marker"), ("read", f"{one}/deep/marker"), opened]),
        )
    assert statuses == {0}
    rows = list(zip(found[::3], found[1::3], found[2::3], strict=True))
    assert len(rows) == ROUNDS
    assert all(above.value == below.value for above, below, _ in rows)
    assert {above.value for above, _, _ in rows} == {"one", "two"}
    assert {change.outcome for _, _, change in rows} == {"ok" if right == "write" else "EROFS"}


@pytest.mark.parametrize("kind", ("file", "link"))
def test_what_takes_a_devices_place_is_never_mounted_as_one(staged: Sandbox, kind: str) -> None:
    """What was checked is what is mounted."""
    node, other = staged.path("node"), staged.write("other", "the secret")
    os.mknod(node, 0o020666, os.makedev(1, 3))
    if kind == "link":
        os.unlink(other)
        os.symlink(node, other)

    def elsewhere(op: Op) -> Op:
        names_it = "/dev/null" in {getattr(op, "target", ""), getattr(op, "path", "")}
        return BindDevice(source=node, target="/dev/null", major=1, minor=3) if names_it else op

    plan = edited(staged.plan(""), elsewhere)
    with exchanging(node, other):
        statuses, found = many_launches(staged, plan, "stat", "/dev/null")
    assert statuses == {0, FAILED}
    assert {answer.value.split()[3] for answer in found} == {"1:3"}
