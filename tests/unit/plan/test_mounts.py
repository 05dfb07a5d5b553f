"""The root: the most specific statement holds, deny wins, and nothing more than asked is there."""

from dataclasses import replace
from typing import Any

import pytest

from sandbox.errors import ProfileError, UnsupportedError
from sandbox.plan.kernel import Attr
from sandbox.plan.ops import (
    Bind,
    BindMount,
    MakeSymlink,
    Mask,
    MaskPath,
    MountOverlay,
    MountRoot,
    MountRootTree,
    MountTmpfs,
    RestrictRoot,
    SetMountAttributes,
    WriteFile,
)
from sandbox.plan.record import Plan
from sandbox.plan.tree import USUAL_LINKS
from tests.plans import FILE, ROOT, USER, binds, compiled, names, ops_of

READ = Attr.RDONLY | Attr.NOSUID | Attr.NODEV | Attr.NOEXEC
EXECUTE = Attr.RDONLY | Attr.NOSUID | Attr.NODEV
WRITE = Attr.NOSUID | Attr.NODEV | Attr.NOEXEC
MAKERS = {"AttachProc", "BindDevice", "BindMount", "MakeSymlink", "MaskPath", "MountTmpfs"}
BARE: dict[str, Any] = {"devices": {"dev": "none"}}


def bare(**filesystem: Any) -> Plan:
    """A plan of these statements without /dev and /proc."""
    return compiled(filesystem={"proc": "none", **filesystem}, **BARE)


def test_each_path_is_bound_with_no_more_than_it_is_given() -> None:
    plan = bare(read=["/r"], write=["/w"], execute=["/x"])
    assert binds(plan) == {"/r": READ, "/w": WRITE, "/x": EXECUTE}
    assert all(op.flags == Bind.RECURSIVE for op in ops_of(plan, BindMount))


def test_a_path_in_two_lists_has_the_rights_of_both() -> None:
    assert binds(bare(write=["/p"], execute=["/p"])) == {"/p": Attr.NOSUID | Attr.NODEV}


def test_a_path_with_the_rights_of_the_one_above_needs_no_mount() -> None:
    plan = bare(read=["/srv", "/srv/a/b"], write=["/srv/a", "/srv/a/c"])
    assert binds(plan) == {"/srv": READ, "/srv/a": WRITE, "/srv/a/b": READ}


def test_what_is_denied_as_a_whole_is_not_there() -> None:
    plan = bare(read=["/srv"], deny=["/srv", "/other"])
    assert not ops_of(plan, BindMount)
    assert not ops_of(plan, MaskPath)


def test_deny_and_mask_cover_what_a_path_above_shows() -> None:
    plan = bare(read=["/srv"], deny=["/srv/a", "/srv/b"], mask=["/srv/b", "/srv/c"])
    assert ops_of(plan, MaskPath) == [
        MaskPath(path="/srv/a", how=Mask.DENY),
        MaskPath(path="/srv/b", how=Mask.DENY),
        MaskPath(path="/srv/c", how=Mask.EMPTY),
    ]


def test_what_is_allowed_below_a_denied_path_is_reached_through_a_passage() -> None:
    plan = bare(read=["/srv", "/srv/a/b"], deny=["/srv/a"])
    order = [op for op in plan.ops if getattr(op, "path", getattr(op, "target", "")) == "/srv/a"]
    assert order == [
        MaskPath(path="/srv/a", how=Mask.PASSAGE),
        SetMountAttributes(path="/srv/a", attributes=READ),
    ]
    assert binds(plan)["/srv/a/b"] == READ
    kinds = names(plan)
    assert kinds.index("MaskPath") < len(kinds) - kinds[::-1].index("BindMount")


def test_the_root_in_memory_is_sealed_once_all_is_in_it() -> None:
    plan = compiled(filesystem={"read": ["/srv", "/srv/a/b"], "deny": ["/srv/a"]})
    seals = [plan.ops.index(op) for op in ops_of(plan, SetMountAttributes)]
    assert plan.ops[seals[-1]] == SetMountAttributes(path="/", attributes=READ)
    mounted = [i for i, name in enumerate(names(plan)) if name in MAKERS]
    assert max(mounted) < min(seals)


def test_the_whole_host_as_root_stays_in_place_where_dev_takes_what_is_made() -> None:
    plan = compiled(filesystem={"execute": ["/"], "deny": ["/root"]})
    assert ops_of(plan, RestrictRoot) == [RestrictRoot(attributes=EXECUTE)]
    assert not ops_of(plan, MountRootTree)
    kinds = names(plan)
    assert kinds.index("RestrictRoot") < kinds.index("MountTmpfs") < kinds.index("MaskPath")


@pytest.mark.parametrize(
    "tables",
    (
        {"devices": {"dev": "none"}},
        {"filesystem": {"read": ["/", "/a/b"], "deny": ["/a"]}},
        {"mounts": [{"type": "overlay", "target": "/o", "lower": ["/l"]}]},
        {"rootfs": {"type": "directory", "path": "/i"}},
    ),
)
def test_the_root_is_a_copy_where_something_must_hang_beside_it(tables: dict[str, Any]) -> None:
    plan = compiled(**{"filesystem": {"read": ["/"]}, **tables})
    assert not ops_of(plan, RestrictRoot)
    assert ops_of(plan, MountRootTree)


def test_links_at_the_top_of_the_host_stay_links_and_what_they_lead_to_is_shown() -> None:
    plan = bare(execute=["/bin", "/lib/x"])
    assert ops_of(plan, MakeSymlink) == [
        MakeSymlink(path="/bin", target="usr/bin"),
        MakeSymlink(path="/lib", target="usr/lib"),
    ]
    assert binds(plan) == {"/usr/bin": EXECUTE, "/usr/lib/x": EXECUTE}
    assert {w.path for w in plan.watched} == {"/bin", "/lib"}


def test_a_usual_link_that_this_host_lacks_is_nothing_to_show() -> None:
    plan = bare(execute=list(USUAL_LINKS))
    assert set(binds(plan)) == {"/usr/bin", "/usr/lib", "/usr/sbin"}
    assert {w.path for w in plan.watched} == set(USUAL_LINKS)


def test_a_denied_path_is_denied_by_every_name_of_its_directory() -> None:
    plan = bare(execute=["/usr"], deny=["/bin/su"])
    assert ops_of(plan, MaskPath) == [MaskPath(path="/usr/bin/su", how=Mask.DENY)]


def test_the_whole_host_as_root_is_one_mount_without_links_of_our_own() -> None:
    plan = bare(read=["/"], execute=["/usr", "/bin"], write=["/srv"], deny=["/root"])
    assert ops_of(plan, MountRootTree) == [MountRootTree(source="/", attributes=READ)]
    assert not ops_of(plan, MountRoot)
    assert not ops_of(plan, MakeSymlink)
    assert binds(plan) == {"/usr": EXECUTE, "/srv": WRITE}
    assert MaskPath(path="/root", how=Mask.DENY) in ops_of(plan, MaskPath)
    assert not ops_of(plan, SetMountAttributes)


def test_proc_and_dev_of_kind_none_arent_the_hosts_unless_named() -> None:
    plan = bare(read=["/"])
    runtime = {"/run/sbx": Mask.DENY}
    found = {op.path: op.how for op in ops_of(plan, MaskPath)}
    assert found == dict.fromkeys(("/dev", "/proc"), Mask.EMPTY) | runtime
    named = bare(read=["/", "/dev", "/proc"])
    assert {op.path: op.how for op in ops_of(named, MaskPath)} == runtime
    assert not ops_of(bare(read=["/usr"]), MaskPath)
    inside = bare(read=["/", "/proc/cpuinfo"])
    assert MaskPath(path="/proc", how=Mask.PASSAGE) in ops_of(inside, MaskPath)
    assert binds(inside) == {"/proc/cpuinfo": READ}


def test_a_denied_root_is_an_empty_one() -> None:
    plan = bare(read=["/", "/srv"], deny=["/"])
    assert ops_of(plan, MountRoot)
    assert binds(plan) == {"/srv": READ}


def test_a_directory_as_root_is_read_only_and_its_paths_are_its_own() -> None:
    plan = compiled(
        rootfs={"type": "directory", "path": "/images/a"},
        filesystem={"proc": "none", "execute": ["/bin"], "read": ["/etc"], "write": ["/var"]},
        **BARE,
    )
    assert ops_of(plan, MountRootTree) == [MountRootTree(source="/images/a", attributes=READ)]
    assert binds(plan) == {"/bin": EXECUTE, "/var": WRITE}
    flags = {op.flags for op in ops_of(plan, BindMount)}
    assert flags == {Bind.RECURSIVE | Bind.FROM_ROOTFS}


def test_an_overlay_takes_the_place_of_the_root() -> None:
    rootfs = {"type": "directory", "path": "/i", "overlay": "tmpfs", "overlay_size": "1M"}
    plan = compiled(rootfs=rootfs, filesystem={"execute": ["/"]})
    assert ops_of(plan, MountOverlay) == [
        MountOverlay(
            target="/",
            lower=("/i",),
            upper="",
            work="",
            size=1 << 20,
            attributes=Attr.NOSUID | Attr.NODEV,
        )
    ]
    assert not ops_of(plan, MountRootTree)
    kept = compiled(rootfs={**rootfs, "overlay": "/k"}, filesystem={"execute": ["/"]})
    (overlay,) = ops_of(kept, MountOverlay)
    assert (overlay.upper, overlay.work, overlay.size) == ("/k/upper", "/k/work", 0)


def test_over_an_overlay_statements_narrow_what_it_lets_be_written() -> None:
    plan = compiled(
        rootfs={"type": "directory", "path": "/i", "overlay": "tmpfs"},
        filesystem={"proc": "none", "read": ["/etc"], "write": ["/srv"]},
        **BARE,
    )
    assert binds(plan) == {"/etc": READ}
    assert ops_of(plan, BindMount)[0].flags == Bind.RECURSIVE | Bind.FROM_ROOT


def test_an_overlay_over_nothing_is_refused() -> None:
    with pytest.raises(ProfileError, match="no tree"):
        compiled(rootfs={"overlay": "tmpfs"})


def test_an_overlay_needs_the_kernels_support() -> None:
    rootfs = {"type": "directory", "path": "/i", "overlay": "tmpfs"}
    with pytest.raises(UnsupportedError, match="modprobe overlay"):
        compiled(replace(ROOT, overlay=False), rootfs=rootfs)
    with pytest.raises(UnsupportedError, match=r"Linux 5\.11"):
        compiled(replace(ROOT, release_tuple=(5, 10, 0)), rootfs=rootfs)


def test_memory_is_limited_in_size_and_number_of_files() -> None:
    plan = bare(tmpfs=["/tmp", {"path": "/small", "size": "4K", "mode": "0700"}])
    assert ops_of(plan, MountTmpfs) == [
        MountTmpfs(
            target="/small", size=4096, inodes=64, mode=0o700, attributes=WRITE, uid=1000, gid=1000
        ),
        MountTmpfs(
            target="/tmp",
            size=64 << 20,
            inodes=16384,
            mode=0o1777,
            attributes=WRITE,
            uid=1000,
            gid=1000,
        ),
    ]


def test_files_in_memory_can_be_executed_where_that_is_said() -> None:
    plan = bare(tmpfs=["/tmp", {"path": "/run", "execute": True}])
    run, tmp = ops_of(plan, MountTmpfs)
    assert (run.target, run.attributes) == ("/run", WRITE & ~Attr.NOEXEC)
    assert (tmp.target, tmp.attributes) == ("/tmp", WRITE)


def test_mounts_have_their_own_rights() -> None:
    plan = compiled(
        mounts=[
            {"type": "bind", "source": "/s", "target": "/bin/t", "optional": True},
            {"type": "bind", "source": "/w", "target": "/w", "writable": True, "recursive": False},
            {"type": "tmpfs", "target": "/m", "execute": True, "size": "1M", "mode": "0755"},
            {"type": "overlay", "target": "/o", "lower": ["/l", "/k"], "upper": "/u"},
        ],
        filesystem={"proc": "none"},
        **BARE,
    )
    assert ops_of(plan, BindMount) == [
        BindMount(source="/w", target="/w", attributes=WRITE, flags=0),
        BindMount(
            source="/s", target="/usr/bin/t", attributes=READ, flags=Bind.RECURSIVE | Bind.OPTIONAL
        ),
    ]
    (memory,) = ops_of(plan, MountTmpfs)
    assert (memory.attributes, memory.size, memory.mode) == (WRITE & ~Attr.NOEXEC, 1 << 20, 0o755)
    (overlay,) = ops_of(plan, MountOverlay)
    assert overlay.lower == ("/l", "/k")
    assert (overlay.upper, overlay.work) == ("/u/upper", "/u/work")
    assert overlay.attributes == READ


def test_an_idmapped_mount_shows_its_owner_as_the_payload() -> None:
    mount = {"type": "bind", "source": "/s", "target": "/s", "idmap": True}
    (bind,) = ops_of(compiled(mounts=[mount]), BindMount)
    assert bind.flags == Bind.RECURSIVE | Bind.IDMAP_OWNER
    assert bind.uid > 524288
    assert bind.uid == bind.gid


def test_a_payload_with_the_callers_id_needs_no_idmapped_mount() -> None:
    mount = {"type": "bind", "source": "/s", "target": "/s", "idmap": True}
    plan = compiled(USER, mounts=[mount])
    assert plan.not_enforced == ()
    assert not ops_of(plan, BindMount)[0].flags & Bind.IDMAP_OWNER


def test_an_idmapped_mount_for_another_id_needs_root() -> None:
    user = replace(
        USER,
        subuids=((100000, 65536),),
        subgids=((100000, 65536),),
        newuidmap="/usr/bin/newuidmap",
        newgidmap="/usr/bin/newgidmap",
    )
    mount = {"type": "bind", "source": "/s", "target": "/s", "idmap": True}
    other = {"map": "range", "user": 7}
    with pytest.raises(UnsupportedError, match="root"):
        compiled(user, mounts=[mount], identity=other)
    optional = {"optional": ["mounts.idmap"]}
    plan = compiled(user, mounts=[mount], identity=other, profile=optional)
    assert plan.not_enforced == ("mounts.idmap",)
    assert not ops_of(plan, BindMount)[0].flags & Bind.IDMAP_OWNER


BIND_HERE = {"type": "bind", "source": "/profiles", "target": "/p", "writable": True}


@pytest.mark.parametrize(
    ("statements", "kept"),
    (
        ({"filesystem": {"write": ["/profiles"]}}, [FILE]),
        ({"filesystem": {"write": ["/"]}}, ["/profiles", FILE]),
        ({"filesystem": {"read": ["/profiles"]}}, []),
        ({"filesystem": {"write": ["/profiles", FILE]}}, []),
        ({"filesystem": {"tmpfs": ["/profiles"]}}, []),
        ({"filesystem": {"write": ["/"]}, "rootfs": {"overlay": "tmpfs"}}, []),
        ({"rootfs": {"type": "directory", "path": "/t"}, "filesystem": {"write": ["/"]}}, []),
        ({"mounts": [BIND_HERE]}, ["/p/app.toml"]),
        ({"mounts": [BIND_HERE | {"writable": False}]}, []),
        ({"mounts": [BIND_HERE | {"source": "/elsewhere", "target": "/profiles"}]}, []),
    ),
)
def test_the_profile_itself_is_protected_where_it_could_be_written_to(
    statements: dict[str, Any], kept: list[str]
) -> None:
    plan = compiled(replace(ROOT, cgroup_points=()), **statements)
    found = [op.path for op in ops_of(plan, MaskPath) if op.how in (Mask.READ_ONLY, Mask.PIN)]
    assert found == kept


@pytest.mark.parametrize(
    ("statements", "kept"),
    (
        ({"filesystem": {"write": ["/"]}}, ["/run/a b", "/sys/fs/cgroup"]),
        ({"filesystem": {"write": ["/sys"]}}, ["/sys/fs/cgroup"]),
        ({"filesystem": {"write": ["/sys/fs"], "read": ["/sys"]}}, ["/sys/fs/cgroup"]),
        ({"filesystem": {"write": ["/run"]}}, ["/run/a b"]),
        ({"mounts": [BIND_HERE | {"source": "/sys"}]}, ["/p/fs/cgroup"]),
        ({"mounts": [BIND_HERE | {"source": "/"}]}, ["/p/run/a b", "/p/sys/fs/cgroup"]),
        ({"filesystem": {"read": ["/sys"]}}, []),
        ({"filesystem": {"write": ["/sys"], "read": ["/sys/fs/cgroup"]}}, []),
        ({"filesystem": {"write": ["/sys"], "deny": ["/sys/fs/cgroup"]}}, []),
        ({"filesystem": {"write": ["/"]}, "rootfs": {"overlay": "tmpfs"}}, []),
        (
            {"rootfs": {"type": "directory", "path": "/run"}, "filesystem": {"write": ["/"]}},
            ["/a b"],
        ),
    ),
)
def test_control_groups_stay_read_only_where_what_is_above_is_writable(
    statements: dict[str, Any], kept: list[str]
) -> None:
    host = replace(ROOT, cgroup_points=("/run/a b", "/sys/fs/cgroup"))
    ops = ops_of(compiled(host, **statements), MaskPath)
    found = [op.path for op in ops if op.how == Mask.READ_ONLY and "app.toml" not in op.path]
    assert [path for path in found if path in kept] == kept
    assert all("cgroup" not in path and "a b" not in path for path in set(found) - set(kept))


@pytest.mark.parametrize(
    "statements",
    (
        {"filesystem": {"write": ["/sys/fs/cgroup"]}},
        {"filesystem": {"write": ["/sys/fs/cgroup/user.slice"]}},
        {"mounts": [BIND_HERE | {"source": "/sys/fs/cgroup"}]},
        {"mounts": [BIND_HERE | {"source": "/sys/fs/cgroup/a"}]},
        {
            "rootfs": {"type": "directory", "path": "/sys"},
            "filesystem": {"write": ["/fs/cgroup/a"]},
        },
    ),
)
def test_to_write_to_control_groups_is_an_error(statements: dict[str, Any]) -> None:
    with pytest.raises(ProfileError, match="can lift the limits of any sandbox"):
        compiled(**statements)


def test_a_mount_over_the_root_is_refused() -> None:
    with pytest.raises(ProfileError, match="over the root"):
        compiled(mounts=[{"type": "tmpfs", "target": "/"}])


def test_a_file_of_the_profiles_is_covered_by_itself_where_the_payload_may_write() -> None:
    mounts = [
        {"type": "file", "target": "/etc/conf", "content": "a"},
        {"type": "file", "target": "/tmp/conf", "content": "é"},
    ]
    plan = compiled(mounts=mounts, filesystem={"tmpfs": ["/tmp"]})
    files = {op.path: op.content for op in ops_of(plan, WriteFile)}
    assert files == {"/etc/conf": b"a", "/tmp/conf": "é".encode()}
    (bind,) = (op for op in ops_of(plan, BindMount) if op.flags & Bind.FROM_ROOT)
    assert (bind.source, bind.target, bind.attributes) == ("/tmp/conf", "/tmp/conf", READ)


def test_generated_files_are_those_that_are_asked_for() -> None:
    plan = compiled(rootfs={"generate": ["passwd", "resolv.conf"]})
    assert [op.path for op in ops_of(plan, WriteFile)] == ["/etc/passwd", "/etc/resolv.conf"]
    assert ops_of(plan, WriteFile)[1].content == b""
    plan = compiled(rootfs={"generate": ["passwd"]}, filesystem={"deny": ["/etc/passwd"]})
    assert not ops_of(plan, WriteFile)


@pytest.mark.parametrize(
    ("real", "read", "target"),
    (
        ("/etc/resolv.conf", [], "/etc/resolv.conf"),
        ("/run/systemd/resolve/stub.conf", [], "/etc/resolv.conf"),
        ("/run/systemd/resolve/stub.conf", ["/etc"], "/run/systemd/resolve/stub.conf"),
        ("/etc/resolv.conf", ["/etc"], None),
        ("/run/systemd/resolve/stub.conf", ["/"], None),
    ),
)
def test_with_the_hosts_network_come_its_name_servers(
    real: str, read: list[str], target: str | None
) -> None:
    plan = compiled(
        replace(ROOT, resolv_conf=real),
        network={"mode": "host"},
        rootfs={"generate": ["resolv.conf"]},
        filesystem={"read": read},
    )
    found = [op.target for op in ops_of(plan, BindMount) if op.source == real]
    assert found == ([target] if target else [])
    assert not ops_of(plan, WriteFile)
    assert "/etc/resolv.conf" in {w.path for w in plan.watched}
