"""libseccomp's simulator says of each filter what the policy says, and what our interpreter says."""

import base64
import json
import os
import platform
import struct
from collections.abc import Iterator

import pytest

from sandbox._paths import profiles_dir
from sandbox.plan.seccomp import compile_filter, compile_libseccomp, policy_from_profile
from sandbox.plan.seccomp_policy import Rule, SeccompPolicy
from sandbox.plan.syscalls import MACHINES, numbers
from sandbox.profile import Overrides, load
from tests.bpf import AARCH64, ALLOW, ARM, I386, X86_64, Program
from tests.conftest import Sbx
from tests.oracle import NATIVE, argument_vectors, edge_numbers, expected
from tests.suites.places import suite
from tests.suites.simulator import Call, Simulator, SimulatorError

VECTORS = 12
"""Argument lists of a call whose arguments the filter looks at, at most."""
NOTHING = (0,) * 6
PROFILES = sorted(entry.removesuffix(".toml") for entry in os.listdir(profiles_dir()))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Simulator:
    return Simulator(suite("libseccomp"), str(tmp_path_factory.mktemp("original")), jset=False)


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Simulator:
    return Simulator(suite("libseccomp"), str(tmp_path_factory.mktemp("extended")), jset=True)


@pytest.fixture(scope="module")
def judged() -> set[bytes]:
    """Filters that were found right; many profiles have the same."""
    return set()


def policy_of(profile: str) -> SeccompPolicy:
    overrides = Overrides(command=("/bin/true",))
    environ = {"HOME": "/home/alice"}
    found = load(profile, cwd="/srv/project", environ=environ, overrides=overrides).profile
    assert found.seccomp.enabled
    return policy_from_profile(found.seccomp)


def calls(policy: SeccompPolicy, machine: str) -> Iterator[Call]:
    """Every number, every class of arguments, and numbers of other architectures."""
    arch = NATIVE[machine]
    for number in edge_numbers(machine):
        yield Call(arch, number, NOTHING)
    for name, number in numbers(machine).items():
        for args in argument_vectors(policy, name, VECTORS):
            yield Call(arch, number, args)
    for other in {X86_64, I386, AARCH64, ARM} - {arch}:
        for number in (0, 1, 11, 59, 221, 0x40000000, 0xFFFFFFFF):
            yield Call(other, number, NOTHING)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("profile", PROFILES)
def test_the_filter_of_a_shipped_profile(
    original: Simulator, extended: Simulator, judged: set[bytes], profile: str, machine: str
) -> None:
    """As exported, and as libseccomp writes it: that one by the simulator as its authors left it."""
    policy = policy_of(profile)
    program = compile_filter(policy, machine)
    if program in judged:
        return
    asked = list(calls(policy, machine))
    ours = Program(program)
    exported = extended.run(program, asked)
    theirs = original.run(compile_libseccomp(policy, machine), asked)
    for call, *answers in zip(asked, exported, theirs, strict=True):
        wanted = expected(policy, machine, call.arch, call.number, call.args)
        answers.append(ours.run(call.number, call.args, call.arch).action)
        assert answers == [wanted] * 3, call
    judged.add(program)


def test_what_sbx_plan_prints_is_that_filter(sbx: Sbx) -> None:
    suite("libseccomp")
    done = sbx("plan", "--json", "minimal", "--", "/bin/true")
    (program,) = [
        base64.b64decode(op["fields"]["program"])
        for op in json.loads(done.stdout)["ops"]
        if op["op"] == "InstallFilter"
    ]
    assert program == compile_filter(policy_of("minimal"), platform.machine())


def test_the_simulator_tells_two_policies_apart(extended: Simulator) -> None:
    """The control: a filter with one call more answers that call otherwise, and nothing else."""
    policy = SeccompPolicy(allow=("@service",))
    wider = SeccompPolicy(allow=("@service",), rules=(Rule(call="mount", action="allow", args=()),))
    asked = [Call(X86_64, number) for number in numbers("x86_64").values()]
    before = extended.run(compile_filter(policy, "x86_64"), asked)
    after = extended.run(compile_filter(wider, "x86_64"), asked)
    other = [call.number for call, a, b in zip(asked, before, after, strict=True) if a != b]
    assert other == [numbers("x86_64")["mount"]]


def test_the_original_says_when_it_does_not_know_an_instruction(original: Simulator) -> None:
    """So a fault is never taken for an answer: BPF_JSET first of all, in front of a return."""
    program = struct.pack("<HBBIHBBI", 0x45, 0, 0, 1, 0x06, 0, 0, ALLOW)
    with pytest.raises(SimulatorError, match="FAULT"):
        original.run(program, [Call(X86_64, 0)])
