"""The probe of the host agrees with what the kernel itself says."""

import errno
import os
import time
from dataclasses import FrozenInstanceError, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import _calls, host
from sandbox._cgroups import Cgroups
from sandbox.capabilities import CAPABILITY_NAMES, capability_names
from sandbox.host import Host, parse_id_ranges, parse_release, probe


@pytest.fixture(scope="module")
def here() -> Host:
    return probe()


def test_identity_is_the_callers(here: Host) -> None:
    assert (here.uid, here.gid) == (os.getuid(), os.getgid())
    assert here.groups == tuple(sorted(os.getgroups()))
    assert here.cwd == os.getcwd()


def test_machine_and_release_are_uname_s(here: Host) -> None:
    assert (here.machine, here.release) == (os.uname().machine, os.uname().release)
    assert here.release.startswith(".".join(map(str, here.release_tuple[:2])))


def test_capabilities_are_the_effective_set_of_proc(here: Host) -> None:
    with open("/proc/self/status", encoding="ascii") as status:
        mask = next(line.split()[1] for line in status if line.startswith("CapEff:"))
    bits = {CAPABILITY_NAMES.index(name) for name in here.capabilities}
    assert sum(1 << bit for bit in bits) == int(mask, 16)


def test_the_last_capability_has_a_name_or_this_kernel_is_newer_than_the_table(here: Host) -> None:
    assert here.last_capability >= CAPABILITY_NAMES.index("CAP_AUDIT_READ")


def test_links_of_the_root_lead_where_the_links_lead(here: Host) -> None:
    for path, target in here.root_links.items():
        assert os.readlink(path) == target
    for path in here.root_directories:
        assert os.path.isdir(path)
        assert not os.path.islink(path)


def test_seccomp_actions_are_those_of_the_sysctl(here: Host) -> None:
    with open("/proc/sys/kernel/seccomp/actions_avail", encoding="ascii") as actions:
        assert here.seccomp_actions == frozenset(actions.read().split())


def test_namespace_limits_are_those_of_the_sysctls(here: Host) -> None:
    for kind in host.NAMESPACES:
        with open(f"/proc/sys/user/max_{kind}_namespaces", encoding="ascii") as limit:
            assert here.namespace_limits[kind] == int(limit.read())


def test_every_path_of_the_stamps_is_absolute(here: Host) -> None:
    assert "/etc/subuid" in here.stamps
    assert all(path.startswith("/") for path in here.stamps)


def test_probing_takes_less_than_five_milliseconds_of_the_processor() -> None:
    times = []
    for _ in range(20):
        start = time.process_time()
        probe()
        times.append(time.process_time() - start)
    assert sorted(times)[10] < 0.005


def test_probing_leaves_no_descriptor_open() -> None:
    before = os.listdir("/proc/self/fd")
    probe()
    assert os.listdir("/proc/self/fd") == before


def test_a_removed_working_directory_is_none(tmp_path: os.PathLike[str]) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        lost = os.path.join(tmp_path, "lost")
        os.mkdir(lost)
        os.chdir(lost)
        os.rmdir(lost)
        os.write(writer, repr(probe().cwd).encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        assert pipe.read() == b"None"
    assert os.waitpid(child, 0)[1] == 0


def test_a_call_that_the_kernel_does_not_know_is_enosys() -> None:
    """The positive control of the calls that are seen to be there."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    assert _calls._call(libc, 100_000, 0) == -errno.ENOSYS


def test_a_host_cannot_be_changed(here: Host) -> None:
    with pytest.raises(FrozenInstanceError):
        here.uid = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("release", "numbers"),
    (
        ("6.18.44-fc-v595", (6, 18, 44)),
        ("5.15.0-101-generic", (5, 15, 0)),
        ("6.1", (6, 1, 0)),
        ("4.19.128-microsoft-standard", (4, 19, 128)),
        ("6.12.0+rpt-rpi-v8", (6, 12, 0)),
        ("5.14.0_el9", (5, 14, 0)),
        ("6.8.0rc1", (6, 8, 0)),
    ),
)
def test_release_numbers(release: str, numbers: tuple[int, int, int]) -> None:
    assert parse_release(release) == numbers


@given(st.text())
def test_any_release_gives_three_numbers(release: str) -> None:
    assert len(parse_release(release)) == 3


@given(st.integers(min_value=0, max_value=2**63 - 1))
def test_as_many_names_as_bits(mask: int) -> None:
    assert len(capability_names(mask)) == mask.bit_count()


@pytest.mark.parametrize(
    ("line", "ranges"),
    (
        ("alice:100000:65536", [(100000, 65536)]),
        ("1000:200000:10\n", [(200000, 10)]),
        ("bob:100000:65536", []),
        ("alice:100000", []),
        ("alice:-1:65536", []),
        ("alice:100000:0", []),
        ("# alice:1:1", []),
        ("", []),
    ),
)
def test_a_line_of_subuid(line: str, ranges: list[tuple[int, int]]) -> None:
    assert list(parse_id_ranges([line], "alice", 1000)) == ranges


def test_a_user_without_a_name_owns_no_nameless_range() -> None:
    assert list(parse_id_ranges([":100000:65536"], "", 1000)) == []


def test_user_namespaces_need_the_kernel_a_limit_and_permission(here: Host) -> None:
    able = replace(
        here,
        namespaces=frozenset(host.NAMESPACES),
        namespace_limits=dict.fromkeys(host.NAMESPACES, 10),
        unprivileged_userns_clone=True,
        capabilities=frozenset(),
    )
    assert able.user_namespaces
    assert not replace(able, namespaces=frozenset({"mnt"})).user_namespaces
    assert not replace(able, namespace_limits={"user": 0}).user_namespaces
    forbidden = replace(able, unprivileged_userns_clone=False)
    assert not forbidden.user_namespaces
    assert replace(forbidden, capabilities=frozenset({"CAP_SYS_ADMIN"})).user_namespaces


def test_only_root_of_the_machine_maps_its_mounts(here: Host) -> None:
    root = replace(
        here,
        release_tuple=(5, 12, 0),
        mount_setattr=True,
        first_user_namespace=True,
        capabilities=frozenset({"CAP_SYS_ADMIN"}),
    )
    assert root.idmapped_mounts
    assert not replace(root, first_user_namespace=False).idmapped_mounts
    assert not replace(root, release_tuple=(5, 11, 22)).idmapped_mounts


def test_every_field_is_plain_data(here: Host) -> None:
    plain = (str, int, tuple, frozenset, dict, Cgroups, type(None))
    assert all(isinstance(getattr(here, field.name), plain) for field in fields(Host))
