"""The comparison of mount tables: every line is the plan's, or is named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox._mountinfo import Table
from sandbox.plan.kernel import Attr
from sandbox.plan.ops import Bind, BindMount, MountRoot, MountTmpfs
from sandbox.plan.record import Plan
from sandbox.verify.mount_promises import Need, Source, mounts_of
from sandbox.verify.mounts import Difference, Where, differences
from tests.plans import compiled

HOST = """\
1 0 8:1 / / rw,relatime shared:1 - ext4 /dev/sda rw
2 1 8:2 / /usr rw,relatime shared:2 - ext4 /dev/sdb rw
3 2 0:9 / /usr/deep rw,nosuid,relatime shared:3 - tmpfs none rw
"""
INSIDE = """\
20 10 0:50 / / ro,nosuid,nodev,noexec,relatime - tmpfs none rw
21 20 8:2 / /usr ro,nosuid,nodev,relatime - ext4 /dev/sdb rw
22 21 0:9 / /usr/deep ro,nosuid,nodev,relatime - tmpfs none rw
23 20 0:51 / /tmp rw,nosuid,nodev,noexec,relatime - tmpfs none rw
"""
ALWAYS = Attr.NOSUID | Attr.NODEV
PLAN = Plan(
    ops=(
        MountRoot(size=1, inodes=0),
        BindMount(
            source="/usr", target="/usr", attributes=ALWAYS | Attr.RDONLY, flags=Bind.RECURSIVE
        ),
        MountTmpfs(target="/tmp", size=1, inodes=0, mode=0o777, attributes=ALWAYS | Attr.NOEXEC),
    ),
    origins=((), (), ()),
)
SEALED_ROOT = mounts_of(PLAN)[0]._replace(
    attributes=Attr.RDONLY | Attr.NOSUID | Attr.NODEV | Attr.NOEXEC
)
PROMISES = (SEALED_ROOT, *mounts_of(PLAN)[1:])


def look(path: str, follow: bool) -> Where:
    return Where(path, exists=follow)


def compare(inside: str, host: str = HOST) -> list[Difference]:
    return list(differences(PROMISES, Table(inside), Table(host), look, look))


def test_what_the_plan_makes_and_what_comes_along_is_promised() -> None:
    assert compare(INSIDE) == []


@pytest.mark.parametrize(
    ("line", "changed", "point"),
    (
        ("21 20 8:2 / /usr ro,", "21 20 8:2 / /usr rw,", "/usr"),
        ("22 21 0:9 / /usr/deep ro,", "22 21 0:9 / /usr/deep rw,", "/usr/deep"),
        ("/tmp rw,nosuid,", "/tmp rw,", "/tmp"),
        (
            "/tmp rw,nosuid,nodev,noexec,relatime -",
            "/tmp rw,nosuid,nodev,noexec shared:7 -",
            "/tmp",
        ),
        ("21 20 8:2 / /usr ", "21 20 8:2 /lib /usr ", "/usr"),
        ("21 20 8:2 / /usr ", "21 20 8:3 / /usr ", "/usr"),
        ("0:51 / /tmp rw,nosuid,nodev,noexec,relatime - tmpfs", "0:51 / /tmp rw - ramfs", "/tmp"),
        ("0:51 / /tmp", "0:9 / /tmp", "/tmp"),
        ("22 21 0:9 /", "22 21 0:9 /part", "/usr/deep"),
    ),
)
def test_what_differs_in_one_thing_is_named(line: str, changed: str, point: str) -> None:
    assert line in INSIDE
    found = compare(INSIDE.replace(line, changed))
    assert point in {each.point for each in found}


POINTS = st.sampled_from(("/", "/usr", "/usr/deep", "/tmp", "/tmp/x", "/home", "/usr/local"))


@given(parent=st.sampled_from((20, 21, 22, 23)), point=POINTS, flags=st.sampled_from(("ro", "rw")))
def test_whatever_is_mounted_besides_is_named(parent: int, point: str, flags: str) -> None:
    """A file system that neither the plan nor the host has, anywhere."""
    added = f"{INSIDE}99 {parent} 0:77 /made {point} {flags},nosuid - tmpfs none rw\n"
    assert [each.point for each in compare(added)] == [point]


@given(gone=st.sampled_from((1, 3)))
def test_whatever_the_plan_makes_and_is_gone_is_named(gone: int) -> None:
    lines = INSIDE.splitlines(keepends=True)
    point = lines[gone].split()[4]
    if point == "/usr":
        del lines[2]
        gone = 1
    del lines[gone]
    assert [each.point for each in compare("".join(lines))] == [point]


def test_a_host_that_unmounts_something_leaves_what_was_brought_along_unexplained() -> None:
    host = "".join(HOST.splitlines(keepends=True)[:2])
    (found,) = compare(INSIDE, host)
    assert (found.point, found.promised) == (
        "/usr/deep",
        "no mount (/usr/deep isn't one on the host)",
    )


def test_every_op_that_mounts_is_promised_once() -> None:
    plan = compiled(
        filesystem={
            "read": ["/usr"],
            "tmpfs": ["/tmp"],
            "deny": ["/usr/secret"],
            "proc": "writable",
        },
        devices={"dev": "private"},
    )
    found = mounts_of(plan)
    points = [each.path for each in found]
    assert points[0] == "/"
    assert {"/usr", "/tmp", "/dev", "/dev/pts", "/proc", "/proc/sys"} <= set(points)
    covers = [each for each in found if each.source == Source.COVER]
    assert {each.need for each in covers} == {Need.IF_THERE}
    assert "/usr/secret" in {each.path for each in covers}


def test_a_mount_that_lies_over_another_is_what_a_path_leads_to() -> None:
    table = Table(INSIDE + "30 23 0:60 /there /tmp rw - tmpfs none rw\n")
    found = table.at("/tmp/file")
    assert found is not None
    assert (found[0].number, found[1]) == (30, "/there/file")
    assert Table("").at("/") is None
