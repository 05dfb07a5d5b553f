"""How much of a source's name is trusted."""

import pytest

from sandbox.errors import ProfileError
from sandbox.plan.compile import compile as compile_plan
from sandbox.plan.ops import BindMount, PlaceSecret
from sandbox.plan.record import Plan
from tests.plans import ROOT, compiled, ops_of, resolve


@pytest.mark.parametrize(
    ("write", "source", "trusted"),
    (
        ((), "/w/a", 0),
        (("/w",), "/w/a", 3),
        (("/w",), "/w", 0),
        (("/w",), "/wide/a", 0),
        (("/w", "/w/a"), "/w/a/b", 3),
        (("/w/a", "/x"), "/w/a/b/c", 5),
        (("/",), "/w/a", 0),
    ),
)
def test_a_source_is_trusted_down_to_what_may_be_written(
    write: tuple[str, ...], source: str, trusted: int
) -> None:
    mount = {"type": "bind", "source": source, "target": "/shown"}
    plan = compiled(filesystem={"write": list(write)}, mounts=[mount])
    (bind,) = (op for op in ops_of(plan, BindMount) if op.target == "/shown")
    assert bind.trusted == trusted


def test_a_writable_mount_counts_by_its_source() -> None:
    mounts = [
        {"type": "bind", "source": "/w", "target": "/there", "writable": True},
        {"type": "bind", "source": "/w/a", "target": "/shown"},
    ]
    found = {op.target: op.trusted for op in ops_of(compiled(mounts=mounts), BindMount)}
    assert (found["/there"], found["/shown"]) == (0, 3)


def test_in_a_root_of_its_own_names_count_from_its_top() -> None:
    filesystem = {"write": ["/w"], "execute": ["/w/a"]}
    plan = compiled(filesystem=filesystem, rootfs={"type": "directory", "path": "/tree"})
    found = {op.target: op.trusted for op in ops_of(plan, BindMount)}
    assert (found["/w"], found["/w/a"]) == (0, 3)


def linked(source: str, links: dict[str, str], *write: str) -> Plan:
    """Where the host's owner has made links."""
    mount = {"type": "bind", "source": source, "target": "/shown"}
    tables = {"filesystem": {"write": list(write)}, "mounts": [mount]}
    return compile_plan(resolve(tables, links=links), ROOT)


def found(source: str, links: dict[str, str], write: str = "/w") -> tuple[str, int]:
    (bind,) = (
        op for op in ops_of(linked(source, links, write), BindMount) if op.target == "/shown"
    )
    return bind.source, bind.trusted


@pytest.mark.parametrize(
    ("write", "source", "links", "expected"),
    (
        ("/w", "/alias/a", {"/alias": "/w"}, ("/w/a", 3)),
        ("/w", "/x/alias/a", {"/x/alias": "../w"}, ("/w/a", 3)),
        ("/alias", "/w/a", {"/alias": "w"}, ("/w/a", 3)),
        ("/w", "/x/file", {"/x/file": "/w/a/b"}, ("/w/a/b", 3)),
        ("/w", "/x/file", {"/x/file": "y", "/x/y": "/w"}, ("/x/file", 0)),
        ("/w", "/x/file", {"/x/file": "/elsewhere/a"}, ("/x/file", 0)),
        ("/w", "/loop/a", {"/loop": "/loop"}, ("/loop/a", 0)),
    ),
)
def test_a_directory_is_known_by_each_of_its_names(
    write: str, source: str, links: dict[str, str], expected: tuple[str, int]
) -> None:
    assert found(source, links, write) == expected


def test_what_the_payload_says_where_it_may_write_is_not_heard() -> None:
    links = {"/w/a": "/etc", "/alias": "/w/a"}
    assert found("/w/a/b", links) == ("/w/a/b", 3)
    assert found("/alias/b", links) == ("/w/a/b", 3)


def test_a_link_on_the_way_is_watched_where_it_matters() -> None:
    links = {"/alias": "/elsewhere", "/etc/one": "../usr/two"}
    assert "/alias" in {watched.path for watched in linked("/alias/a", links, "/w").watched}
    assert "/etc/one" not in {watched.path for watched in linked("/etc/one", links).watched}


def test_the_file_of_a_secret_counts_as_a_source() -> None:
    secrets: dict[str, dict[str, str]] = {"key": {"file": "/w/a/key"}, "other": {"file": "/x/key"}}
    plan = compiled(filesystem={"write": ["/w"]}, secrets=secrets)
    assert {op.name: op.trusted for op in ops_of(plan, PlaceSecret)} == {"key": 3, "other": 0}


@pytest.mark.parametrize(
    "tables",
    (
        {"mounts": [{"type": "overlay", "target": "/o", "lower": ["/x", "/w/lower"]}]},
        {
            "mounts": [
                {
                    "type": "overlay",
                    "target": "/o",
                    "lower": ["/x"],
                    "upper": "/w/up",
                    "writable": True,
                }
            ]
        },
        {
            "mounts": [
                {"type": "bind", "source": "/w", "target": "/there", "writable": True},
            ],
            "rootfs": {"type": "directory", "path": "/w/tree"},
        },
    ),
)
def test_no_layer_lies_where_the_payload_could_exchange_it(tables: dict[str, object]) -> None:
    with pytest.raises(ProfileError, match="which the payload may write to"):
        compiled(**{"filesystem": {"write": ["/w"]}, **tables})


def test_what_goes_to_an_overlay_is_not_written_to_the_host() -> None:
    rootfs = {"type": "host", "overlay": "/w/up"}
    mount = {"type": "bind", "source": "/w/a", "target": "/shown"}
    plan = compiled(filesystem={"read": ["/"], "write": ["/w"]}, rootfs=rootfs, mounts=[mount])
    assert {op.trusted for op in ops_of(plan, BindMount)} == {0}


def test_a_launch_looks_at_no_link_where_nothing_of_the_hosts_can_be_written_to() -> None:
    """Each costs every launch a call; with something that can be written to they have to be known."""
    links = {"/usr/link": "/usr/there", "/etc/other": "/usr/x"}
    filesystem = {"read": ["/usr/link/a", "/etc/other"]}
    plain = compile_plan(resolve({"filesystem": filesystem}, links=links), ROOT)
    assert not set(links) & {watched.path for watched in plain.watched}
    filesystem |= {"write": ["/usr/there"], "protect": ["/usr/link/b"]}
    looks = compile_plan(resolve({"filesystem": filesystem}, links=links), ROOT)
    assert "/usr/link" in {watched.path for watched in looks.watched}
