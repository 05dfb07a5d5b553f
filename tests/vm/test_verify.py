"""`sbx verify` under cgroup v2 and systemd: the limits that were promised, and what becomes of them."""

import json

from tests.vm.machine import Machine
from tests.vm.units import installed

PROFILE = """
schema = 1
[profile]
extends = "service"
[process]
command = ["sleep", "1000"]
[resources]
memory_max = "64M"
pids_max = 20
cpu_max = "50%"
"""


LOOSENED = {
    "limit memory.max": (str(64 << 20), str(128 << 20)),
    "limit pids.max": ("20", "max"),
}
# In the directory of the sandbox's own control group, as root's hand does it.
LOOSEN = 'cd "$(find /sys/fs/cgroup -path "*/sbx/promised" -type d)" && echo max >pids.max && echo 128M >memory.max'


def test_a_service_is_as_promised_until_its_limits_are_loosened(
    machine: Machine, place: str
) -> None:
    machine.write(f"{place}/limited.toml", PROFILE)
    with installed(machine, f"{place}/limited.toml", "--now", name="promised") as unit:
        first = json.loads(unit.await_true("sbx verify --json promised"))
        assert (first["as_promised"], first["findings"], first["unseen"]) == (True, [], [])
        assert machine.shell(LOOSEN).returncode == 0
        done = machine.run("sbx", "verify", "--json", "promised")
        assert (done.returncode, done.stderr) == (1, "")
        found = json.loads(done.stdout)["findings"]
        assert {each["item"]: (each["promised"], each["found"]) for each in found} == LOOSENED
