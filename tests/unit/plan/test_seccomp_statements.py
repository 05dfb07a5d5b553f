"""Statements of a profile: what they are taken for, what is wrong with them, and who is to blame."""

import subprocess
import sys

import pytest

from sandbox.errors import ProfileError, SandboxError
from sandbox.plan.seccomp import (
    Arg,
    Rule,
    SeccompPolicy,
    Verdict,
    compile_filter,
    explain,
    filter_flags,
    launch_problems,
    policy_from_profile,
    problems,
)
from sandbox.plan.seccomp_policy import Op
from sandbox.profile.payload import Argument, Seccomp, SeccompRule


def verdict(policy: SeccompPolicy, call: str) -> Verdict:
    return next(found for found in explain(policy, "x86_64") if found.call == call)


def reasons(policy: SeccompPolicy) -> list[tuple[str, str, str]]:
    return [(problem.key, problem.reason, problem.hint) for problem in problems(policy)]


def test_a_profile_becomes_a_policy() -> None:
    seccomp = Seccomp(
        allow=("@service", "ptrace"),
        deny=("@debug/1",),
        default_errno="EACCES",
        log=True,
        rules=(
            SeccompRule(
                call="socket",
                action="deny",
                errno="EAFNOSUPPORT",
                args=(Argument(index=0, op="eq", value=40, width=32),),
            ),
            SeccompRule(
                call="prctl",
                action="allow",
                args=(
                    Argument(index=0, op="in", values=(1, 2)),
                    Argument(index=1, op="masked-eq", value=0, mask=0xFF),
                ),
            ),
        ),
    )
    assert policy_from_profile(seccomp) == SeccompPolicy(
        allow=("@service", "ptrace"),
        deny=("@debug/1",),
        default_errno=13,
        unknown_errno=38,
        log=True,
        rules=(
            Rule(call="socket", action="deny", errno=97, args=(Arg(0, "eq", (40,), 0, 32),)),
            Rule(
                call="prctl",
                action="allow",
                args=(Arg(0, "in", (1, 2)), Arg(1, "masked-eq", (0,), 0xFF)),
            ),
        ),
    )


def test_an_error_name_that_does_not_exist_is_named_with_a_suggestion() -> None:
    rule = SeccompRule(call="read", action="deny", errno="EBUSSY")
    with pytest.raises(ProfileError) as caught:
        policy_from_profile(Seccomp(default_errno="EPREM", rules=(rule,)))
    assert [(p.key, p.hint) for p in caught.value.problems] == [
        ("seccomp.default_errno", "did you mean 'EPERM'?"),
        ("seccomp.rules[0].errno", "did you mean 'EBUSY'?"),
    ]


def test_all_unknown_names_are_reported_at_once_with_suggestions() -> None:
    policy = SeccompPolicy(
        allow=("@servce", "opennat", "@service/7"),
        deny=("mount2",),
        rules=(Rule(call="iocl", action="deny"),),
    )
    assert reasons(policy) == [
        ("seccomp.allow[0]", "there is no group '@servce'", "did you mean '@service'?"),
        (
            "seccomp.allow[1]",
            "there is no system call 'opennat' on a 64-bit machine",
            "did you mean 'openat'?",
        ),
        ("seccomp.allow[2]", "'@service' has no version '7'", "its versions: 1"),
        (
            "seccomp.deny[0]",
            "there is no system call 'mount2' on a 64-bit machine",
            "did you mean 'umount2'?",
        ),
        (
            "seccomp.rules[0].call",
            "there is no system call 'iocl' on a 64-bit machine",
            "did you mean 'ioctl'?",
        ),
    ]
    with pytest.raises(ProfileError) as caught:
        compile_filter(policy, "x86_64")
    assert len(caught.value.problems) == 5


def test_a_group_without_its_sign_is_suggested() -> None:
    assert reasons(SeccompPolicy(allow=("service",)))[0][2] == "did you mean '@service'?"


def test_an_empty_statement_is_an_unknown_call() -> None:
    assert reasons(SeccompPolicy(allow=("",)))[0][0] == "seccomp.allow[0]"


@pytest.mark.parametrize(
    ("arg", "reason"),
    (
        (Arg(6, "eq", (1,)), "a call has no argument 6; they count from 0 to 5"),
        (Arg(0, "eq", ()), "'eq' takes one value"),
        (Arg(0, "eq", (1, 2)), "'eq' takes one value"),
        (Arg(0, "in", ()), "'in' takes values"),
        (
            Arg(0, "eq", (1 << 32,), width=32),
            "4294967296 doesn't fit into the 32 bits that are compared",
        ),
        (
            Arg(0, "eq", (-(1 << 31) - 1,), width=32),
            "-2147483649 doesn't fit into the 32 bits that are compared",
        ),
        (Arg(0, "eq", (1 << 32,)), "4294967296 doesn't fit into the 32 bits that are compared"),
        (Arg(1, "eq", (1 << 64,)), f"{1 << 64} doesn't fit into the 64 bits that are compared"),
        (Arg(0, "masked-eq", (0,)), "'masked-eq' needs a mask of 32 bits"),
        (Arg(0, "masked-eq", (5,), mask=4), "0x5 has bits outside the mask 0x4"),
        (Arg(0, "eq", (5,), mask=4), "'eq' takes no mask"),
    ),
)
def test_a_condition_that_cannot_be_meant_is_an_error(arg: Arg, reason: str) -> None:
    policy = SeccompPolicy(rules=(Rule(call="prctl", action="deny", args=(arg,)),))
    assert [found[:2] for found in reasons(policy)] == [("seccomp.rules[0].args[0]", reason)]


@pytest.mark.parametrize("op", ("eq", "ne", "lt", "le", "gt", "ge"))
@pytest.mark.parametrize("value", (-(1 << 31), -1, 0, (1 << 32) - 1))
def test_every_number_of_32_bits_can_be_compared(op: Op, value: int) -> None:
    rule = Rule(call="prctl", action="deny", args=(Arg(0, op, (value,), width=32),))
    policy = SeccompPolicy(allow=("@service",), rules=(rule,))
    assert problems(policy) == ()
    compile_filter(policy, "x86_64")


def test_only_a_denial_has_an_error() -> None:
    policy = SeccompPolicy(rules=(Rule(call="read", action="kill", errno=1),))
    assert reasons(policy) == [
        ("seccomp.rules[0].errno", "'kill' has no errno", "only 'deny' takes one")
    ]


@pytest.mark.parametrize("errno", (0, -1, 512, 4095, 65537))
def test_an_errno_that_no_call_returns_is_an_error(errno: int) -> None:
    policy = SeccompPolicy(
        default_errno=errno, rules=(Rule(call="read", action="deny", errno=errno),)
    )
    assert [found[0] for found in reasons(policy)] == [
        "seccomp.default_errno",
        "seccomp.rules[0].errno",
    ]


def test_a_machine_without_tables_is_refused() -> None:
    with pytest.raises(SandboxError, match="riscv64"):
        compile_filter(SeccompPolicy(), "riscv64")


def test_more_rules_than_a_filter_holds_are_refused() -> None:
    wanted = tuple(range(0, 20000, 2))
    rule = Rule(call="prctl", action="deny", args=(Arg(0, "in", wanted, width=32),))
    with pytest.raises(ProfileError, match="too many"):
        compile_filter(SeccompPolicy(allow=("@service",), rules=(rule,)), "x86_64")


def test_a_policy_that_cannot_start_a_payload_is_told_what_it_lacks() -> None:
    assert launch_problems(SeccompPolicy(allow=("@program",)), "x86_64") == ()
    found = launch_problems(SeccompPolicy(allow=("@program",), deny=("execve",)), "x86_64")
    assert [problem.reason for problem in found] == [
        "the filter refuses 'execve', which starting the payload needs"
    ]
    assert len(launch_problems(SeccompPolicy(), "x86_64")) == 3


def test_logging_is_a_flag_for_loading() -> None:
    assert filter_flags(SeccompPolicy()) == 0
    assert filter_flags(SeccompPolicy(log=True)) == 2
    quiet, loud = SeccompPolicy(allow=("@all",)), SeccompPolicy(allow=("@all",), log=True)
    assert compile_filter(quiet, "x86_64") == compile_filter(loud, "x86_64")


def test_each_verdict_names_the_statement_that_decides() -> None:
    policy = SeccompPolicy(
        allow=("@service", "ptrace"),
        deny=("@ipc", "kill"),
        rules=(
            Rule(call="prctl", action="kill", args=(Arg(0, "eq", (35,), width=32),)),
            Rule(call="chdir", action="deny", errno=2),
        ),
    )
    assert verdict(policy, "read") == Verdict(
        call="read", number=0, action="allow", errno="", because="allow @service/1"
    )
    assert verdict(policy, "ptrace").because == "allow ptrace"
    assert verdict(policy, "shmget").because == "deny @ipc/1"
    assert verdict(policy, "kill").because == "deny kill"
    assert verdict(policy, "bpf").because == "nothing allows it"
    chdir = verdict(policy, "chdir")
    assert (chdir.action, chdir.errno, chdir.because) == ("deny", "ENOENT", "rules[1]: deny chdir")
    assert verdict(policy, "prctl").conditions == (
        ("(int)arg0 == 0x23", "kill", "", "rules[0]: kill prctl"),
    )
    assert verdict(policy, "clone3").errno == "ENOSYS"
    assert verdict(policy, "clone3").because == "built in: namespaces are not allowed"


@pytest.mark.parametrize(
    ("arg", "text"),
    (
        (Arg(1, "ne", (5,)), "arg1 == 0x5"),
        (Arg(1, "lt", (5,), width=32), "(int)arg1 < 0x5"),
        (Arg(1, "ge", (-1,), width=32), "(int)arg1 >= 0xffffffff"),
        (Arg(1, "in", (1, 2)), "arg1 in {0x1, 0x2}"),
        (Arg(1, "masked-eq", (1,), 3), "arg1 & 0x3 == 0x1"),
    ),
)
def test_conditions_are_written_as_people_read_them(arg: Arg, text: str) -> None:
    policy = SeccompPolicy(
        allow=("prctl",), rules=(Rule(call="prctl", action="deny", args=(arg,)),)
    )
    assert verdict(policy, "prctl").conditions[0][0] == text


def test_a_name_is_stronger_than_a_group_either_way() -> None:
    assert verdict(SeccompPolicy(allow=("bpf",), deny=("@privileged",)), "bpf").action == "allow"
    assert verdict(SeccompPolicy(allow=("@service",), deny=("read",)), "read").action == "deny"


def test_between_equals_deny_wins() -> None:
    assert verdict(SeccompPolicy(allow=("read",), deny=("read",)), "read").action == "deny"
    both = SeccompPolicy(allow=("@service", "@debug"), deny=("@debug",))
    assert verdict(both, "ptrace").action == "deny"


def test_grants_of_groups_add_up() -> None:
    assert verdict(SeccompPolicy(allow=("@network",)), "socket").action == "deny"
    widened = verdict(SeccompPolicy(allow=("@network", "@sockets")), "socket")
    assert (widened.action, widened.conditions) == ("allow", ())


def test_the_parser_of_names_and_groups_does_not_start_libseccomp() -> None:
    """`sbx check` of a profile needs the names only."""
    code = (
        "import sys; from sandbox.plan.seccomp import *;"
        "problems(SeccompPolicy(allow=('@service',)));"
        "explain(SeccompPolicy(allow=('@service',)), 'x86_64');"
        "sys.exit('pyseccomp' in sys.modules or 'ctypes' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_pyseccomp_is_loaded_without_searching_for_libraries() -> None:
    """ctypes.util.find_library starts ldconfig, and gcc where there is one."""
    code = (
        "import sys; from sandbox.plan.libseccomp import load_pyseccomp;"
        "found = load_pyseccomp(); assert found is load_pyseccomp();"
        "assert found.system_arch();"
        "assert 'subprocess' not in sys.modules, 'subprocess';"
        "assert 'ctypes.util' not in sys.modules, 'ctypes.util';"
        "import ctypes.util; assert ctypes.util.find_library('c')"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
