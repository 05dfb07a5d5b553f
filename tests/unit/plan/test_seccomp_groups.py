"""The groups hold what their names say, and every call has its place."""

import hashlib

import pytest

from sandbox.plan import syscall_args, syscalls
from sandbox.plan.seccomp_groups import CONDITIONS, GROUPS, MEANINGS
from sandbox.plan.seccomp_policy import expand, parse_group

HOT = set(
    """read write readv writev pread64 pwrite64 close lseek open openat openat2 stat fstat lstat
    newfstatat statx access faccessat poll ppoll select pselect6 epoll_wait epoll_pwait epoll_ctl
    mmap munmap mprotect madvise brk futex clock_gettime gettimeofday clock_nanosleep nanosleep
    getpid gettid getppid getuid sched_yield fcntl rt_sigprocmask rt_sigaction rt_sigreturn sendto
    recvfrom recvmsg sendmsg accept accept4 getdents64 dup dup2 pipe2 execve""".split()  # noqa: SIM905
)
VERSIONS = [(name, version) for name, versions in GROUPS.items() for version in versions]

FROZEN = {
    "@memory/1": "1f450b19332a26fc",
    "@io/1": "dd38ce52cded1e52",
    "@file/1": "becffd25d1ea4058",
    "@threads/1": "95d744f4a74ca625",
    "@process/1": "b59c50a139a09d99",
    "@signals/1": "0ca4f265f81b939c",
    "@time/1": "88a66a86440d380a",
    "@scheduling/1": "63d276c170f727f0",
    "@credentials/1": "eed5757f1e0b809b",
    "@network/1": "194a93d1f049213c",
    "@ipc/1": "eefc04f9a3be42f1",
    "@confine/1": "3167b1f1a077017c",
    "@sockets/1": "1421525b0e9809d7",
    "@setid/1": "7b8f887caf1e264b",
    "@execution-domain/1": "f046cfb2d0788f93",
    "@ioctl/1": "2905c127694bcca5",
    "@aio/1": "5c287f9e20500192",
    "@io-uring/1": "8dba1e3883001cfb",
    "@numa/1": "829deec9448cb6b3",
    "@keyring/1": "17fa83ee2bf6a175",
    "@debug/1": "c1eb66024b183502",
    "@namespaces/1": "d3020f90b25a6707",
    "@mount/1": "4565de6b7266fbf8",
    "@clock/1": "c9c583dbd4d2d24c",
    "@modules/1": "0da87e634a055d5e",
    "@admin/1": "a77910f3f7e3d78a",
    "@obsolete/1": "02a1849a9303307f",
    "@program/1": "a77644d79346031b",
    "@service/1": "2938e031d7c221b8",
    "@privileged/1": "1535801e9e37229c",
    "@all/1": "0a424d49c85d1fd4",
}
"""Digests of what the versions hold. Once a version has been in a release its digest stays."""


def words(name: str, version: int) -> list[str]:
    return GROUPS[name][version].split()


def test_every_call_belongs_to_exactly_one_plain_group() -> None:
    owners: dict[str, list[str]] = {name: [] for name in syscalls.names()}
    for group in GROUPS:
        for word in words(group, max(GROUPS[group])):
            if not word.startswith("@") and "?" not in word:
                owners[word].append(group)
    assert {name: found for name, found in owners.items() if len(found) != 1} == {}


@pytest.mark.parametrize(("name", "version"), VERSIONS)
def test_a_member_is_a_call_a_condition_or_a_pinned_group(name: str, version: int) -> None:
    for word in words(name, version):
        if word.startswith("@"):
            assert "/" in word
            parse_group(word)
        elif "?" in word:
            assert word in CONDITIONS
            assert word.partition("?")[0] in syscalls.names()
        else:
            assert word in syscalls.names()


def test_every_condition_is_used_and_every_group_has_a_meaning() -> None:
    used = {word for name, version in VERSIONS for word in words(name, version) if "?" in word}
    assert used == set(CONDITIONS)
    assert set(MEANINGS) == set(GROUPS)


def test_no_condition_looks_at_bits_that_the_kernel_does_not_read() -> None:
    for word, conjunctions in CONDITIONS.items():
        for index, op, values, mask, width in (one for group in conjunctions for one in group):
            read = (1 << syscall_args.width(word.partition("?")[0], index)) - 1
            seen = mask if op == "masked-eq" else (1 << width) - 1
            assert seen & ~read == 0, word
            assert all(value & ~read == 0 for value in values), word


@pytest.mark.parametrize(
    ("call", "widths"),
    (
        ("socket", (32, 32, 32, 64)),
        ("ioctl", (32, 32, 64)),
        ("openat", (32, 64, 32, 16)),
        ("chmod", (64, 16)),
        ("clone", (32, 64, 64, 64, 64)),
        ("mmap", (64, 64, 64, 64, 64, 64)),
        ("prctl", (32, 64, 64, 64, 64)),
        ("read", (32, 64, 64)),
        ("setsockopt", (32, 32, 32, 64, 32)),
    ),
)
def test_widths_are_those_of_the_kernels_prototypes(call: str, widths: tuple[int, ...]) -> None:
    assert tuple(syscall_args.width(call, index) for index in range(len(widths))) == widths


def test_every_call_with_widths_exists() -> None:
    assert {call for call, _ in syscall_args._widths()} <= syscalls.names()


def test_hot_calls_are_granted_without_conditions() -> None:
    assert set(expand(*parse_group("@service")).calls) >= HOT
    assert HOT.isdisjoint(word.partition("?")[0] for word in CONDITIONS)


def test_all_holds_every_call_of_every_machine() -> None:
    assert set(expand(*parse_group("@all")).calls) == syscalls.names()


@pytest.mark.parametrize("group", ("@program", "@service"))
def test_what_gives_power_over_the_host_or_others_is_not_in_the_ordinary_groups(group: str) -> None:
    ordinary = expand(*parse_group(group))
    for other in (
        "@privileged", "@debug", "@namespaces", "@keyring", "@io-uring", "@obsolete", "@sockets",
        "@setid", "@execution-domain", "@ioctl", "@aio", "@numa",
    ):  # fmt: skip
        assert set(ordinary.calls).isdisjoint(expand(*parse_group(other)).calls), other


def test_programs_without_sockets_get_none() -> None:
    program = expand(*parse_group("@program"))
    sockets = {"socket", "socketpair", "connect", "bind", "listen", "accept", "sendto"}
    assert sockets.isdisjoint({*program.calls, *program.conditional})


def test_a_version_stays_as_it_was() -> None:
    """What is new goes into a new version; before a first release a digest may change too."""
    found: dict[str, str] = {}
    for name, version in VERSIONS:
        conditions = [repr(CONDITIONS[word]) for word in words(name, version) if "?" in word]
        text = " ".join([*sorted(words(name, version)), *conditions])
        found[f"@{name}/{version}"] = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert found == FROZEN


def test_a_group_without_a_version_is_its_newest_one() -> None:
    assert parse_group("@service") == ("service", max(GROUPS["service"]))
    assert parse_group("@service/1") == ("service", 1)


@pytest.mark.parametrize(
    "statement", ("@services", "@", "@service/", "@service/99", "@service/x", "@service/-1")
)
def test_a_group_that_is_not_there_is_not_found(statement: str) -> None:
    with pytest.raises(KeyError):
        parse_group(statement)


def test_numbers_are_those_of_libseccomp() -> None:
    pyseccomp = pytest.importorskip("pyseccomp")
    arches = {"x86_64": pyseccomp.Arch.X86_64, "aarch64": pyseccomp.Arch.AARCH64}
    for machine, arch in arches.items():
        ours = syscalls.numbers(machine)
        theirs = {name: pyseccomp.resolve_syscall(arch, name) for name in ours}
        known = {name: number for name, number in theirs.items() if number != -1}
        assert len(known) > 300
        assert known == {name: ours[name] for name in known}
        for number in range(512):
            try:
                name = pyseccomp.resolve_syscall(arch, number).decode()
            except ValueError:
                continue
            assert ours[name] == number
