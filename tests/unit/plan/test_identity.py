"""Maps and ids: nobody gets ids that weren't meant, and what isn't mapped is said so."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.errors import ProfileError, UnsupportedError
from sandbox.host import Host
from sandbox.plan.identity import RANGE_FIRST, RANGE_LAST, Identity, accounts, keep_id, resolve
from sandbox.plan.inputs import Inputs
from sandbox.plan.ops import MapBy, MapIds, SetGroups, SetIds
from tests.plans import ROOT, USER, compiled, names, ops_of
from tests.plans import resolve as resolve_profile

NESTED_ROOT = replace(ROOT, first_user_namespace=False)


def identity(host: Host, **tables: Any) -> Identity:
    inputs = Inputs(resolve_profile(tables), host)
    found = resolve(inputs)
    inputs.raise_conflicts()
    return found


def test_root_gets_an_unprivileged_range_and_an_ordinary_user_in_it() -> None:
    found = identity(ROOT)
    assert found.maps is not None
    ((inside, outside, count),) = found.maps[0].segments
    assert (inside, count, found.uid, found.gid) == (0, 65536, 1000, 1000)
    assert RANGE_FIRST <= outside <= RANGE_LAST - count + 1
    assert outside % 65536 == 0
    assert (found.outer_uid, found.outer_gid) == (outside + 1000, outside + 1000)


@given(st.text(min_size=1), st.integers(1, RANGE_LAST - RANGE_FIRST))
def test_the_range_never_leaves_what_is_set_aside_for_containers(name: str, size: int) -> None:
    found = identity(ROOT, profile={"name": name}, identity={"range_size": size, "user": "root"})
    assert found.maps is not None
    ((_, outside, count),) = found.maps[0].segments
    assert outside >= RANGE_FIRST
    assert outside + count - 1 <= RANGE_LAST


def test_profiles_of_different_names_get_different_ranges_and_each_always_the_same() -> None:
    bases = [identity(ROOT, profile={"name": f"app{i}"}).outer_uid for i in range(20)]
    assert len(set(bases)) == 20
    assert bases == [identity(ROOT, profile={"name": f"app{i}"}).outer_uid for i in range(20)]


def test_a_range_larger_than_what_is_set_aside_is_refused() -> None:
    with pytest.raises(ProfileError, match="set aside"):
        identity(ROOT, identity={"range_size": 2**31})


def test_root_of_a_namespace_keeps_its_own_id() -> None:
    found = identity(NESTED_ROOT)
    assert found.maps is not None
    assert found.maps[0].segments == ((0, 0, 1),)


def test_a_normal_user_keeps_the_own_id_alone() -> None:
    plan = compiled(USER)
    assert ops_of(plan, MapIds) == [
        MapIds(by=MapBy.SELF, uid_map="1234 1234 1", gid_map="1235 1235 1", setgroups=0)
    ]
    assert ops_of(plan, SetIds) == [SetIds(uid=1234, gid=1235)]
    assert "SetGroups" not in names(plan)


def test_root_with_one_id_drops_its_groups() -> None:
    plan = compiled(ROOT, identity={"map": "self"})
    assert ops_of(plan, MapIds) == [
        MapIds(by=MapBy.SUPERVISOR, uid_map="0 0 1", gid_map="0 0 1", setgroups=1)
    ]
    assert ops_of(plan, SetGroups) == [SetGroups()]


def test_the_map_root_shows_the_caller_as_user_0() -> None:
    found = identity(USER, identity={"map": "root"})
    assert found.maps is not None
    assert [part.text() for part in found.maps] == ["0 1234 1", "0 1235 1"]
    assert (found.uid, found.outer_uid) == (0, 1234)


def test_the_map_self_can_show_the_caller_under_another_number() -> None:
    found = identity(USER, identity={"user": 33, "group": "root"})
    assert found.maps is not None
    assert [part.text() for part in found.maps] == ["33 1234 1", "0 1235 1"]


def test_the_map_root_with_another_user_is_refused() -> None:
    with pytest.raises(ProfileError, match="5 isn't mapped"):
        identity(USER, identity={"map": "root", "user": 5})


def test_subordinate_ids_surround_the_callers_own() -> None:
    found = identity(USER, identity={"map": "range"})
    assert found.maps is not None
    assert found.maps[0].text() == "0 100000 1234\n1234 1234 1\n1235 101234 64301"
    assert found.maps[1].text() == "0 200000 1235\n1235 1235 1\n1236 201235 64300"
    assert (found.by, found.uid, found.outer_uid) == (MapBy.HELPER, 1234, 1234)
    assert found.keeps_setgroups


@given(
    own=st.integers(0, 200_000),
    size=st.integers(1, 200_000),
    ranges=st.lists(
        st.tuples(st.integers(300_000, 2**31), st.integers(1, 300_000)), max_size=3
    ).map(tuple),
)
def test_a_map_of_subordinate_ids_is_one_to_one_and_keeps_the_own_id(
    own: int, size: int, ranges: tuple[tuple[int, int], ...]
) -> None:
    found = keep_id(own, size, ranges)
    if found is None:
        assert all(count < size - (own < size) for _, count in ranges)
        return
    assert found.outside(own) == own
    inside: set[int] = set()
    outside: set[int] = set()
    for first, base, count in found.segments:
        assert count > 0
        here, there = set(range(first, first + count)), set(range(base, base + count))
        assert not here & inside
        assert not there & outside
        inside |= here
        outside |= there
    assert inside == set(range(size)) | {own}
    granted = {i for first, count in ranges for i in range(first, first + count)}
    assert outside - {own} <= granted


@pytest.mark.parametrize(
    ("host", "words"),
    (
        (replace(USER, newuidmap=None), "newuidmap"),
        (replace(USER, subuids=()), "usermod --add-subuids 100000-165535"),
        (replace(USER, subgids=((1, 10),)), "alice has no 65536"),
        (replace(USER, no_new_privs=True), "no_new_privs"),
    ),
)
def test_what_subordinate_ids_lack_is_named_with_the_remedy(host: Host, words: str) -> None:
    with pytest.raises(UnsupportedError, match=words):
        identity(host, identity={"map": "range"})


def test_an_id_outside_of_the_range_is_refused() -> None:
    with pytest.raises(ProfileError, match="70000 isn't mapped"):
        identity(ROOT, identity={"user": 70000})


def test_without_a_user_namespace_ids_are_the_hosts() -> None:
    plan = compiled(ROOT, identity={"map": "host", "user": 33, "group": 34})
    assert "MapIds" not in names(plan)
    assert ops_of(plan, SetIds) == [SetIds(uid=33, gid=34)]
    assert compiled(ROOT, namespaces={"user": False}, identity={"user": 33, "group": 34}) == plan


def test_only_root_may_go_without_a_user_namespace() -> None:
    with pytest.raises(UnsupportedError, match="only be made by root"):
        identity(USER, identity={"map": "host"})


def test_a_map_without_a_user_namespace_is_refused() -> None:
    with pytest.raises(ProfileError, match="'range' needs a user namespace"):
        identity(ROOT, identity={"map": "range"}, namespaces={"user": False})


def test_a_host_without_user_namespaces_is_an_error_with_a_remedy() -> None:
    with pytest.raises(UnsupportedError, match="sbx doctor"):
        identity(replace(USER, unprivileged_userns_clone=False))


def test_the_generated_files_tell_of_the_payload_and_nothing_of_the_host() -> None:
    tables: dict[str, Any] = {
        "identity": {"name": "web"},
        "environment": {"set": {"HOME": "/srv"}},
        "namespaces": {"hostname": "box"},
    }
    inputs = Inputs(resolve_profile(tables), USER)
    files = accounts(inputs, resolve(inputs))
    assert b"web:x:1234:1235:web:/srv:/bin/sh\n" in files["passwd"]
    assert files["passwd"].startswith(b"root:x:0:0:")
    assert b"web:x:1235:\n" in files["group"]
    assert files["hostname"] == b"box\n"
    assert b"127.0.1.1 box\n" in files["hosts"]
    assert len(files["machine-id"].strip()) == 32
    assert int(files["machine-id"], 16)
    assert not any(b"alice" in content for content in files.values())


def test_a_home_that_passwd_cannot_hold_is_left_out() -> None:
    inputs = Inputs(resolve_profile({"environment": {"set": {"HOME": "/a:b\nroot::0"}}}), USER)
    files = accounts(inputs, resolve(inputs))
    assert b"sandbox:x:1234:1235:sandbox:/:/bin/sh\n" in files["passwd"]
    assert files["passwd"].count(b"\n") == 3


@pytest.mark.parametrize(("user", "lines"), (("root", 2), (65534, 2), (7, 3)))
def test_every_id_has_one_line_in_passwd(user: int | str, lines: int) -> None:
    inputs = Inputs(resolve_profile({"identity": {"user": user, "group": user}}), ROOT)
    files = accounts(inputs, resolve(inputs))
    ids = [line.split(b":")[2] for line in files["passwd"].splitlines()]
    assert len(ids) == len(set(ids)) == lines
    assert len(files["group"].splitlines()) == lines
