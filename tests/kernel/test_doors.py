"""One executor, two doors: a launch by Python and one by the launcher alone give the same state."""

import json
from typing import Any

import pytest

from tests.kernel.harness import Sandbox, interpreter
from tests.kernel.posture import Posture, namespaces_of

SAME_STATUS = (
    *("Umask", "Uid", "Gid", "Groups", "NStgid", "NSpid", "NSpgid", "NSsid", "Threads"),
    *("SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt", "NoNewPrivs"),
    *("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "Seccomp", "Seccomp_filters"),
)
SAME_RAW = (
    *("uid_map", "gid_map", "cgroup", "rlimits", "environment", "hostname", "cwd", "securebits"),
    *("dumpable", "death_signal", "pid", "parent", "group", "session", "uid", "gid", "umask"),
)
RICH = """
[process]
umask = "0027"
cwd = "/data"
[environment]
pass = ["WORD"]
[identity]
map = "root"
[namespaces]
hostname = "inner"
[rootfs]
generate = ["passwd", "group", "hosts"]
[filesystem]
execute = ["/usr"]
read = ["/etc"]
deny = ["/etc/passwd"]
tmpfs = ["/data", {{ path = "/small", size = "64K", mode = "0700" }}]
[rlimits]
nofile = 100
core = 0
[[mounts]]
type = "overlay"
target = "/layers"
lower = ["{lower}"]
writable = true
"""
PROFILES = {
    "nothing": "",
    "rich": RICH,
    "the whole host": "[filesystem]\nread = ['/']\nwrite = ['/var/tmp']",
    "no init": "[process]\ninit = false",
    "no filter": "[seccomp]\nenabled = false\n[landlock]\nenabled = false",
    "shared": "[namespaces]\nipc = false\nuts = false\n[network]\nmode = 'host'",
    "capable": "[capabilities]\nkeep = ['CAP_NET_BIND_SERVICE']\nambient = true",
}


@pytest.fixture
def place(shared_dir: str) -> str:
    """A cache that no other test has filled."""
    return shared_dir


def state(posture: Posture) -> dict[str, Any]:
    """Everything about a payload but the numbers that are new each time."""
    found = {name: posture.raw[name] for name in SAME_RAW}
    found["status"] = {name: posture.status[name] for name in SAME_STATUS}
    # A warm launch is made with something mounted over Python.
    found["mounts"] = sorted(
        (m.point, m.root, sorted(m.flags), m.propagation, m.kind, sorted(m.options))
        for m in posture.mounts
        if m.point != interpreter()
    )
    found["descriptors"] = {
        number: target.partition(":")[0] for number, target in posture.descriptors.items()
    }
    return found


@pytest.mark.parametrize("name", PROFILES)
def test_cold_and_warm_launches_give_the_same_state(sandbox: Sandbox, name: str) -> None:
    env = sandbox.environment | {"WORD": "passed", "OTHER": "dropped"}
    text = PROFILES[name].format(lower=sandbox.mkdir("lower"))
    cold = sandbox.dump(text, env=env)
    warm = sandbox.dump(text, env=env, warm=True)
    assert state(warm) == state(cold)
    outside = namespaces_of("self")
    new = [{k for k in outside if p.namespaces[k] != outside[k]} for p in (cold, warm)]
    assert new[0] == new[1] >= {"mnt"}


@pytest.mark.parametrize("shipped", ("minimal", "service"))
def test_so_it_is_with_shipped_profiles(sandbox: Sandbox, shipped: str) -> None:
    text = (
        f"schema = 1\nprofile.extends = '{shipped}'\n"
        f"[[mounts]]\ntype = 'bind'\nsource = '{sandbox.probe}'\n"
        "target = '/probe'\nexecute = true\n"
    )
    path = sandbox.write("shipped.toml", text)
    words = [sandbox.launcher, "run", "-p", path, "/probe", "dump"]
    found = []
    for stage in (None, sandbox.without_python()):
        done = sandbox.program(words, stage=stage)
        assert (done.returncode, done.stderr) == (0, "")
        found.append(state(Posture(json.loads(done.stdout))))
    assert found[0] == found[1]


def test_timing_changes_nothing_but_what_is_printed(sandbox: Sandbox) -> None:
    words = (sandbox.probe, "exit", "3")
    for _ in range(2):
        done = sandbox.run("", *words, options=["--timing"])
        assert done.returncode == 3
        assert "ms" in done.stdout + done.stderr
