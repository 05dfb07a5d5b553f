"""Everything that the kernel tells of a payload is what its plan promises: no more, no less, by every door."""

import json
import os
import sys

import pytest

from sandbox.plan import ops
from sandbox.plan.record import Op, Plan
from tests.kernel.harness import Sandbox, edited, without
from tests.kernel.posture import Posture
from tests.kernel.promised import differences_from

_LIBRARY = """\
import sys
from sandbox import Profile, Sandbox
done = Sandbox(Profile.load(sys.argv[1])).run(sys.argv[2:], input=b"")
sys.stdout.buffer.write(done.stdout)
sys.stderr.buffer.write(done.stderr)
sys.exit(done.returncode)
"""
PROFILES = {
    "nothing": "",
    "rich": """
[process]
umask = "0027"
cwd = "/data"
[environment]
pass = ["WORD", "LC_*"]
[filesystem]
execute = ["/usr"]
read = ["/etc"]
write = ["{here}"]
deny = ["/etc/passwd"]
tmpfs = ["/data", {{ path = "/small", size = "64K", mode = "0700" }}]
[rootfs]
generate = ["group", "hosts"]
[rlimits]
nofile = 100
core = 0
""",
    "the host": "[filesystem]\nread = ['/']\nwrite = ['{here}']\nproc = 'writable'",
    "shared": "[namespaces]\nipc = false\nuts = false\ntime = false\n[network]\nmode = 'host'",
    "bare": "[process]\ninit = false\n[seccomp]\nenabled = false\n[landlock]\nenabled = false",
    "capable": "[capabilities]\nkeep = ['CAP_NET_BIND_SERVICE']\nambient = true",
    "root": "[identity]\nmap = 'root'",
}
OF_ROOT = {
    "unmapped": "[namespaces]\nuser = false",
    "capable root": "[identity]\nuser = 0\n[capabilities]\nkeep = ['CAP_CHOWN']",
}
DOORS = ("cold", "warm", "library")


@pytest.fixture
def env(sandbox: Sandbox) -> dict[str, str]:
    return {**sandbox.environment, "WORD": "passed", "LC_ALL": "C", "OTHER": "dropped"}


def dumped(sandbox: Sandbox, text: str, door: str, env: dict[str, str]) -> tuple[Posture, Posture]:
    """Of a payload, and of a program in its caller's place."""
    stage = sandbox.without_python() if door == "warm" else None
    if door == "library":
        words = [sys.executable, "-c", _LIBRARY, sandbox.profile(text), sandbox.probe, "dump"]
        done = sandbox.program(words, env=env)
    else:
        done = sandbox.run(text, sandbox.probe, "dump", warm=door == "warm", env=env)
    assert (done.returncode, done.stderr) == (0, ""), done
    caller = sandbox.program([sandbox.probe, "dump"], env=env, stage=stage)
    return Posture(json.loads(done.stdout)), Posture(json.loads(caller.stdout))


@pytest.mark.parametrize("door", DOORS)
def test_a_payload_is_exactly_what_its_plan_promises(
    sandbox: Sandbox, env: dict[str, str], door: str
) -> None:
    found = {}
    for name, text in (PROFILES | (OF_ROOT if sandbox.is_root else {})).items():
        whole = text.format(here=sandbox.directory)
        plan = sandbox.plan(whole)
        inside, outside = dumped(sandbox, whole, door, env)
        found[name] = differences_from(plan, inside, outside)
    assert not {name: each for name, each in found.items() if each}


def test_declared_descriptors_are_there_and_no_others(sandbox: Sandbox) -> None:
    text = "[process]\ndescriptors = [5, 7]"
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(2)]

    def hand_over() -> None:
        for number, fd in zip((5, 7), held, strict=True):
            os.dup2(fd, number)
        os.dup2(held[0], 9)

    try:
        words = (sandbox.probe, "dump")
        done = sandbox.run(text, *words, before=hand_over, pass_fds=(5, 7, 9))
        assert done.stderr == ""
        inside = Posture(json.loads(done.stdout))
    finally:
        for fd in held:
            os.close(fd)
    assert set(inside.descriptors) == {"0", "1", "2", "5", "7"}


LAYERS: dict[str, tuple[type[Op], ...]] = {
    "filters": (ops.InstallFilter,),
    "no_new_privs": (
        ops.SetNoNewPrivileges,
        # None of them can be had without it.
        *(ops.InstallFilter, ops.RestrictSelf, ops.CreateLandlockRuleset, ops.AllowPath),
    ),
    "securebits": (ops.SetSecurebits,),
    "rlimits": (ops.SetRlimit,),
    "umask": (ops.SetUmask,),
    "death signal": (ops.SetDeathSignal,),
    "mount /proc/keys": (ops.MaskPath,),
    "mount /dev/pts": (ops.MountDevpts,),
    "environment": (ops.SetEnvironment,),
    "capabilities": (ops.SetCapabilities, ops.LimitCapabilities),
}


@pytest.mark.parametrize("item", LAYERS)
def test_a_layer_that_is_missing_is_found(sandbox: Sandbox, env: dict[str, str], item: str) -> None:
    """The positive control: another plan is carried out than the one that is promised."""
    text = PROFILES["rich"].format(here=sandbox.directory)
    if item == "death signal":  # of an init it would be the init's
        text = text.replace("[process]", "[process]\ninit = false")
    plan = sandbox.plan(text)
    found = differences_from_run(sandbox, plan, without(plan, *LAYERS[item]), env)
    assert any(line.startswith(f"{item}:") for line in found), found


def test_a_namespace_that_is_missing_is_found(sandbox: Sandbox, env: dict[str, str]) -> None:
    plan = sandbox.plan("")
    weaker = edited(plan, _without_uts)
    assert differences_from_run(sandbox, plan, plan, env) == []
    found = differences_from_run(sandbox, plan, weaker, env)
    assert [line.partition(":")[0] for line in found] == ["namespace uts"]


def test_another_map_of_ids_is_found(sandbox: Sandbox, env: dict[str, str]) -> None:
    """The id outside stays the same for a user; who it is inside doesn't."""
    plan = sandbox.plan("")
    other = sandbox.plan("[identity]\nmap = 'root'")
    found = {line.partition(":")[0] for line in differences_from_run(sandbox, plan, other, env)}
    assert {"id map", "uid"} <= found


def _without_uts(op: Op) -> Op | None:
    if isinstance(op, ops.CreateNamespaces):
        return ops.CreateNamespaces(flags=op.flags & ~0x04000000)
    return None if isinstance(op, ops.SetHostname) else op


def differences_from_run(
    sandbox: Sandbox, promised: Plan, done: Plan, env: dict[str, str]
) -> list[str]:
    result = sandbox.run_plan(done, sandbox.probe, "dump", env=env)
    assert (result.returncode, result.stderr) == (0, ""), result
    caller = sandbox.program([sandbox.probe, "dump"], env=env)
    inside, outside = (Posture(json.loads(each.stdout)) for each in (result, caller))
    return differences_from(promised, inside, outside)
