"""Filters, run by a simulator: they say what the policy says, and what libseccomp's says."""

import errno
from typing import Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sandbox.errors import SandboxError
from sandbox.plan.seccomp import compile_compact, compile_filter, compile_libseccomp
from sandbox.plan.seccomp_groups import GROUPS
from sandbox.plan.seccomp_policy import Action, Arg, Op, Rule, SeccompPolicy
from sandbox.plan.syscalls import MACHINES, numbers
from tests.bpf import AARCH64, ALLOW, ARM, ERRNO, I386, KILL_PROCESS, X86_64, Program
from tests.oracle import NATIVE, argument_vectors, edge_numbers, expected

EPERM, ENOSYS = ERRNO | 1, ERRNO | 38
SERVICE = SeccompPolicy(allow=("@service",))
HIGH = 1 << 32
POLICIES = {
    "nothing": SeccompPolicy(),
    "program": SeccompPolicy(allow=("@program",)),
    "service": SERVICE,
    "service and namespaces": SeccompPolicy(allow=("@service", "@namespaces")),
    "all": SeccompPolicy(allow=("@all",)),
    "all but debugging": SeccompPolicy(allow=("@all",), deny=("@debug", "@io-uring")),
    "service with rules": SeccompPolicy(
        allow=("@service", "personality"),
        deny=("chmod",),
        default_errno=13,
        rules=(
            Rule(call="prctl", action="kill", args=(Arg(0, "eq", (35,), width=32),)),
            Rule(call="fcntl", action="log", args=(Arg(1, "ge", (1024,), width=32),)),
            Rule(call="kill", action="deny", errno=3, args=(Arg(0, "lt", (-1,), width=64),)),
            Rule(call="madvise", action="deny", args=(Arg(0, "gt", (5 << 32,)),)),
            Rule(call="fchmod", action="kill", args=(Arg(1, "ge", (0o4700,)),)),
            Rule(call="mkdir", action="deny", args=(Arg(1, "in", (0o777, 0o1777)),)),
            Rule(call="socket", action="allow", args=(Arg(0, "eq", (40,), width=32),)),
        ),
    ),
}


def program(policy: SeccompPolicy, machine: str = "x86_64") -> Program:
    return Program(compile_filter(policy, machine))


def call(policy: SeccompPolicy, name: str, *args: int) -> int:
    return program(policy).run(numbers("x86_64")[name], args).action


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", POLICIES)
def test_policy_compact_filter_and_libseccomps_agree_on_every_number_and_argument_class(
    name: str, machine: str
) -> None:
    policy = POLICIES[name]
    compact = Program(compile_filter(policy, machine))
    reference = Program(compile_libseccomp(policy, machine))
    arch = NATIVE[machine]
    for number in edge_numbers(machine):
        for same in (0, 2**64 - 1):
            args: tuple[int, ...] = (same,) * 6
            want = expected(policy, machine, arch, number, args)
            assert compact.run(number, args, arch).action == want, number
            assert reference.run(number, args, arch).action == want, number
    for known, number in numbers(machine).items():
        for args in argument_vectors(policy, known, 1500):
            want = expected(policy, machine, arch, number, args)
            assert compact.run(number, args, arch).action == want, (known, args)
            assert reference.run(number, args, arch).action == want, (known, args)


CALLS = ["read", "ioctl", "socket", "clone", "clone3", "unshare", "kill", "mmap", "chmod", "execve"]
ACTIONS: tuple[Action, ...] = ("allow", "deny", "kill", "log")
OPS: tuple[Op, ...] = (
    "eq", "ne", "in", "masked-eq", "masked-ne", "lt", "le", "gt", "ge",
)  # fmt: skip
values = st.one_of(
    st.integers(0, 5),
    st.sampled_from([-1, 0x5412, 0x5413, 0x541C, 40, 0x7E020000, 0x10000000, 0x7FFFFFFF]),
    st.integers(0, 2**32 - 1),
)


@st.composite
def conditions(draw: st.DrawFn) -> Arg:
    width: Literal[32, 64] = draw(st.sampled_from((32, 64)))
    index = draw(st.integers(0, 2))
    op: Op = draw(st.sampled_from(OPS))
    number = draw(values)
    if width == 64 and draw(st.booleans()):
        number = (number << 32 | draw(values)) % 2**64
    if op in ("masked-eq", "masked-ne"):
        mask = draw(st.one_of(values, st.integers(1, 2**width - 1))) % 2**width or 1
        return Arg(index, op, (number & mask,), mask, width)
    if op == "in":
        return Arg(index, op, tuple({number, *draw(st.lists(values, max_size=3))}), 0, width)
    return Arg(index, op, (number,), 0, width)


def fitting(call: str, arg: Arg) -> Arg:
    """The condition with values that fit into what is compared."""
    narrow = arg.narrowed(call)
    if arg.op not in ("masked-eq", "masked-ne"):
        return Arg(arg.index, arg.op, narrow.numbers(), 0, arg.width)
    mask = arg.mask & narrow.limit() or narrow.limit()
    return Arg(arg.index, arg.op, (arg.values[0] & mask,), mask, arg.width)


rules = st.builds(
    lambda call, action, error, args: Rule(
        call=call,
        action=action,
        errno=error if action == "deny" else None,
        args=tuple(fitting(call, arg) for arg in args),
    ),
    st.sampled_from(CALLS),
    st.sampled_from(ACTIONS),
    st.one_of(st.none(), st.sampled_from(sorted(errno.errorcode))),
    st.lists(conditions(), max_size=2),
)
statements = st.lists(
    st.one_of(
        st.sampled_from(CALLS),
        st.sampled_from([f"@{name}" for name in GROUPS]),
        st.sampled_from(sorted(numbers("x86_64"))),
    ),
    max_size=5,
).map(tuple)
policies = st.builds(
    SeccompPolicy,
    allow=statements,
    deny=statements,
    default_errno=st.sampled_from((1, 13, 38)),
    unknown_errno=st.sampled_from((38, 1)),
    rules=st.lists(rules, max_size=4).map(tuple),
)


FAR = SeccompPolicy(
    rules=(Rule(call="read", action="allow", args=(Arg(0, "gt", (1,), 0, 32), Arg(1, "eq", (0,)))),)
)
"""libseccomp's program of this one begins with a jump too far for one instruction."""


MERGED = SeccompPolicy(
    rules=(
        Rule(call="read", action="allow"),
        Rule(call="read", action="deny", args=(Arg(1, "gt", (0,)),)),
        Rule(call="read", action="deny", args=(Arg(2, "eq", (0,), 0, 32), Arg(1, "lt", (1,)))),
    )
)
"""Of this one libseccomp 2.5.4 loses the condition on argument 2, so no launch takes it."""


@example(MERGED, "x86_64", 0)
@example(FAR, "aarch64", 0)
@example(SeccompPolicy(default_errno=38), "aarch64", 0)
@given(policies, st.sampled_from(MACHINES), st.integers(0, 2**32))
def test_any_policy_its_filter_and_libseccomps_agree(
    policy: SeccompPolicy, machine: str, seed: int
) -> None:
    """Or the policy is refused, and libseccomp's is the filter that is wrong."""
    try:
        compact = Program(compile_filter(policy, machine))
        reference = Program(compile_libseccomp(policy, machine), limit=50000)
    except SandboxError as refused:
        assert "differs from libseccomp's" in str(refused)  # noqa: PT017 - or nothing is raised
        compact = reference = Program(compile_compact(policy, machine))
    arch = NATIVE[machine]
    told = {rule.call for rule in policy.rules} | set(CALLS)
    for known, number in numbers(machine).items():
        for args in argument_vectors(policy, known, 60 if known in told else 2, seed):
            want = expected(policy, machine, arch, number, args)
            assert compact.run(number, args, arch).action == want, (known, args)
            assert reference.run(number, args, arch).action == want, (known, args)
    for number in (337, 423, 472, 1023, 0x40000000, 0x7FFFFFFF, -1, -2):
        want = expected(policy, machine, arch, number, (0,) * 6)
        assert compact.run(number, (), arch).action == want
        assert reference.run(number, (), arch).action == want


@given(policies, st.randoms(use_true_random=False))
def test_the_order_of_statements_never_matters(policy: SeccompPolicy, chance: object) -> None:
    from random import Random

    assert isinstance(chance, Random)
    shuffled = SeccompPolicy(
        allow=tuple(chance.sample(policy.allow, len(policy.allow))),
        deny=tuple(chance.sample(policy.deny, len(policy.deny))),
        default_errno=policy.default_errno,
        unknown_errno=policy.unknown_errno,
        rules=tuple(chance.sample(policy.rules, len(policy.rules))),
    )
    assert compile_compact(policy, "x86_64") == compile_compact(shuffled, "x86_64")


@pytest.mark.parametrize("family", (1, 2, 10))
def test_ordinary_sockets_are_allowed(family: int) -> None:
    assert call(SERVICE, "socket", family, 1, 0) == ALLOW
    assert call(SERVICE, "socket", family, 2 | 0o2004000, 0) == ALLOW


@pytest.mark.parametrize("family", (0, 3, 4, 5, 9, 15, 17, 21, 29, 38, 40, 41, 44, 45, 2**31))
def test_other_families_are_refused_whatever_the_high_half_says(family: int) -> None:
    for high in (0, HIGH, 0xFFFFFFFF * HIGH):
        assert call(SERVICE, "socket", family | high, 1, 0) == EPERM


def test_the_high_half_of_a_family_neither_refuses_nor_allows() -> None:
    """socket(0x100000028) is AF_VSOCK (40), and socket(0x100000001) is AF_UNIX."""
    assert call(SERVICE, "socket", 0x100000028, 1, 0) == EPERM
    assert call(SERVICE, "socket", 0x100000001, 1, 0) == ALLOW


def test_a_rule_that_denies_one_family_holds_for_its_low_half() -> None:
    vsock = Rule(call="socket", action="deny", args=(Arg(0, "eq", (40,), width=32),))
    policy = SeccompPolicy(allow=("@service", "@sockets"), rules=(vsock,))
    assert call(policy, "socket", 39) == ALLOW
    for high in (0, HIGH, 0x28 * HIGH, 0xFFFFFFFF * HIGH):
        assert call(policy, "socket", 40 | high) == EPERM


def test_a_rule_on_an_int_compares_what_the_kernel_reads_whatever_its_width_says() -> None:
    vsock = Rule(call="socket", action="deny", args=(Arg(0, "eq", (40,), width=64),))
    signed = Rule(call="close", action="kill", args=(Arg(0, "eq", (-1,), width=64),))
    mode = Rule(call="chmod", action="kill", args=(Arg(1, "eq", (0o777,), width=64),))
    policy = SeccompPolicy(allow=("@service", "@sockets"), rules=(vsock, signed, mode))
    for high in (0, HIGH, 0xFFFFFFFF * HIGH):
        assert call(policy, "socket", 40 | high) == EPERM
        assert call(policy, "close", 0xFFFFFFFF | high) == KILL_PROCESS
    for high in (0, 1 << 16, HIGH, 0xFFFF0000):
        assert call(policy, "chmod", 0, 0o777 | high) == KILL_PROCESS
    assert call(policy, "chmod", 0, 0o776) == ALLOW


def test_a_rule_on_a_long_compares_all_of_it() -> None:
    rule = Rule(call="mmap", action="deny", args=(Arg(1, "gt", (1 << 32,)),))
    policy = SeccompPolicy(allow=("@service",), rules=(rule,))
    assert call(policy, "mmap", 0, HIGH) == ALLOW
    assert call(policy, "mmap", 0, HIGH + 1) == EPERM
    assert call(policy, "mmap", 0, 5) == ALLOW


def test_netlink_is_for_routes_only() -> None:
    assert call(SERVICE, "socket", 16, 3, 0) == ALLOW
    assert call(SERVICE, "socket", 16, 3, HIGH) == ALLOW
    for protocol in (1, 2, 4, 9, 12, 15, 16, 21, HIGH | 9):
        assert call(SERVICE, "socket", 16, 3, protocol) == EPERM


def test_packet_sockets_are_refused_by_their_other_name_too() -> None:
    """The kernel turns AF_INET with SOCK_PACKET (10) into AF_PACKET."""
    for flags in (0, 0o2000000, 0o4000, HIGH):
        assert call(SERVICE, "socket", 2, 10 | flags, 3) == EPERM


@pytest.mark.parametrize("protocol", (33, 115, 132, 256))
def test_protocols_that_load_modules_are_refused(protocol: int) -> None:
    for kind in (1, 2, 5, 6):
        assert call(SERVICE, "socket", 2, kind, protocol) == EPERM
        assert call(SERVICE, "socket", 10, kind, protocol | HIGH) == EPERM


def test_socket_pairs_are_local() -> None:
    assert call(SERVICE, "socketpair", 1, 1, 0, 0) == ALLOW
    assert call(SERVICE, "socketpair", 2, 1, 0, 0) == EPERM
    assert call(SERVICE, "socketpair", 30 | HIGH, 1, 0, 0) == EPERM


@pytest.mark.parametrize("request_", (0x5412, 0x541C, 0x5423))
@pytest.mark.parametrize("high", (0, 1, 0x80000000, 0xFFFFFFFF, 0x5412))
def test_pushing_input_into_a_terminal_is_refused_whatever_the_high_half(
    request_: int, high: int
) -> None:
    assert call(SERVICE, "ioctl", 0, request_ | high << 32, 0) == EPERM
    assert call(SERVICE, "ioctl", 0, 0x5413 | high << 32, 0) == ALLOW


def test_the_guard_of_terminals_outlives_every_statement() -> None:
    policy = SeccompPolicy(
        allow=("@all", "ioctl"),
        rules=(
            Rule(call="ioctl", action="allow"),
            Rule(call="ioctl", action="allow", args=(Arg(1, "eq", (0x5412,), width=32),)),
        ),
    )
    assert call(policy, "ioctl", 0, 0x5412) == EPERM
    assert call(policy, "ioctl", 0, 0x5423) == ALLOW


def test_threads_and_forks_work_and_namespaces_do_not() -> None:
    threads = 0x3D0F00
    fork = 0x1200011
    vfork = 0x4111
    for flags in (threads, fork, vfork):
        assert call(SERVICE, "clone", flags) == ALLOW
        assert call(SERVICE, "clone", flags | HIGH) == ALLOW
    for bit in (17, 25, 26, 27, 28, 29, 30):
        assert call(SERVICE, "clone", fork | 1 << bit) == EPERM
        assert call(SERVICE, "clone", 1 << bit | HIGH) == EPERM
    assert call(SERVICE, "clone3") == ENOSYS
    assert call(SERVICE, "setns") == EPERM


def test_unshare_works_where_it_makes_no_namespace() -> None:
    assert call(SERVICE, "unshare", 0x600) == ALLOW
    for bit in (7, 17, 25, 26, 27, 28, 29, 30):
        assert call(SERVICE, "unshare", 1 << bit) == EPERM
        assert call(SERVICE, "unshare", 0x400 | 1 << bit | HIGH) == EPERM


def test_allowing_clone3_by_name_does_not_open_namespaces() -> None:
    policy = SeccompPolicy(allow=("@service", "clone3", "clone"))
    assert call(policy, "clone3") == ENOSYS
    assert call(policy, "clone", 0x10000000) == EPERM


def test_allowing_namespaces_allows_all_ways_to_make_them() -> None:
    policy = SeccompPolicy(allow=("@service", "@namespaces"))
    assert call(policy, "clone", 0x10000011) == ALLOW
    assert call(policy, "clone3") == ALLOW
    assert call(policy, "unshare", 0x10000000) == ALLOW
    assert call(policy, "setns") == ALLOW


def test_the_execution_domain_can_be_asked_for_but_not_changed() -> None:
    for value in (0, 0xFFFFFFFF, 2**64 - 1, HIGH):
        assert call(SERVICE, "personality", value) == ALLOW
    for value in (0x0040000, 0x0400000, 8, 0xFFFFFFFE):
        assert call(SERVICE, "personality", value) == EPERM


@pytest.mark.parametrize(
    ("name", "index"), (("chmod", 1), ("fchmod", 1), ("fchmodat", 2), ("fchmodat2", 2))
)
def test_set_id_bits_are_refused(name: str, index: int) -> None:
    def change(mode: int) -> int:
        return call(SERVICE, name, *[0] * index, mode)

    assert change(0o1777) == ALLOW
    for mode in (0o4755, 0o2755, 0o6755, 0o4000 | HIGH):
        assert change(mode) == EPERM


@pytest.mark.parametrize(("name", "index"), (("mknod", 1), ("mknodat", 2)))
def test_nodes_are_files_pipes_and_sockets(name: str, index: int) -> None:
    def make(mode: int) -> int:
        return call(SERVICE, name, *[0] * index, mode)

    for mode in (0o644, 0o100644, 0o010644, 0o140644):
        assert make(mode) == ALLOW
    for mode in (0o020644, 0o060644, 0o104755, 0o012644):
        assert make(mode) == EPERM


def test_known_calls_are_refused_and_unknown_ones_do_not_exist() -> None:
    for name in ("ptrace", "mount", "bpf", "io_uring_setup", "keyctl", "init_module", "reboot"):
        assert call(SERVICE, name) == EPERM
    for number in (337, 400, 423, 472, 600, 0x3FFFFFFF):
        assert program(SERVICE).run(number).action == ENOSYS


def test_calls_of_other_architectures_and_of_x32_kill() -> None:
    everything = SeccompPolicy(allow=("@all",))
    filtered = program(everything)
    for arch in (I386, AARCH64, ARM, 0, X86_64 ^ 0x80000000):
        for number in (0, 1, 11, 59, 600, 0x40000000):
            assert filtered.run(number, arch=arch).action == KILL_PROCESS
    for number in (0x40000000, 0x40000001, 0x40000000 + 520, 0x7FFFFFFF, 0x80000000, -2):
        assert filtered.run(number).action == KILL_PROCESS
    assert filtered.run(-1).action == ENOSYS
    other = program(everything, "aarch64")
    assert other.run(64, arch=AARCH64).action == ALLOW
    assert other.run(1, arch=X86_64).action == KILL_PROCESS


def test_calls_without_conditions_are_answered_by_few_instructions() -> None:
    """The kernel runs the filter once for each number when it is loaded."""
    filtered = program(SERVICE)
    steps = [filtered.run(number).steps for number in range(480)]
    assert len(filtered) <= 130
    assert max(steps) <= 24
    assert sum(steps) / len(steps) <= 10


def test_hot_calls_do_not_look_at_arguments() -> None:
    """What the kernel's own bitmap needs: no load of anything but number and architecture."""
    filtered = program(SERVICE)
    for name in ("read", "write", "openat", "fstat", "getppid", "close", "futex", "mmap", "poll"):
        place, number = 0, numbers("x86_64")[name]
        answer = filtered.run(number)
        ignoring = [filtered.run(number, args) for args in ((2**64 - 1,) * 6, (0x5412,) * 6)]
        assert answer.action == ALLOW
        assert all(other == answer for other in ignoring), (place, name)


def test_the_same_policy_gives_the_same_bytes() -> None:
    assert compile_filter(SERVICE, "x86_64") == compile_filter(SERVICE, "x86_64")


def test_jumps_longer_than_255_instructions_arrive() -> None:
    wanted = tuple(range(1000, 1900, 3))
    rule = Rule(call="fcntl", action="deny", errno=7, args=(Arg(1, "in", wanted, width=32),))
    wide = Rule(call="ioctl", action="kill", args=(Arg(2, "in", wanted, width=64),))
    policy = SeccompPolicy(allow=("@service",), rules=(rule, wide))
    compact = Program(compile_compact(policy, "x86_64"))
    assert len(compact) > 600
    for number in range(480):
        want = expected(policy, "x86_64", X86_64, number, (0,) * 6)
        assert compact.run(number).action == want
    for value in range(990, 1910):
        assert compact.run(72, (0, value)).action == (ERRNO | 7 if value in wanted else ALLOW)
        kill = value in wanted
        assert compact.run(16, (0, 1, value)).action == (KILL_PROCESS if kill else ALLOW)
        assert compact.run(16, (0, 1, value | HIGH)).action == ALLOW
