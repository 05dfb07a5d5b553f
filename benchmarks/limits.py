"""What limits cost: a launch of /bin/true with memory and pids limits, beside crun with the same.

On cgroup v1 and on v2, whichever the machine has; bubblewrap, which has no limits, is there for
scale. crun refuses a machine with hierarchies of both versions: where it is one, crun gets a view
in which the second isn't mounted. On version 2 the floor with the same cgroup tells what could be had.
"""

import json
import os
import shutil
import sys
from typing import Any, Final

from benchmarks import building, common, places, records
from benchmarks.common import BenchmarkError, Figure
from benchmarks.peers import bubblewrap, crun_bundle, engine_root
from benchmarks.places import Place
from benchmarks.turns import Bench, Subject
from sandbox import _cgroups

TRUE: Final = ("/bin/true",)
MEMORY: Final = 64 << 20
PIDS: Final = 20
TEXT: Final = f"""\
schema = 1
[profile]
extends = "{common.PROFILE}"
[resources]
memory_max = {MEMORY}
pids_max = {PIDS}
"""
# A view of /sys/fs/cgroup with the hierarchies of version 1 only.
ONE_VERSION: Final = """\
mount -t tmpfs tmpfs /mnt
for hierarchy in /sys/fs/cgroup/*; do
    name=${hierarchy##*/}
    [ ! -d "$hierarchy" ] || [ -h "$hierarchy" ] || [ "$name" = unified ] || {
        mkdir "/mnt/$name"
        mount --bind "$hierarchy" "/mnt/$name"
    }
done
mount --rbind /mnt /sys/fs/cgroup
"""


def version() -> int:
    """Where the kernel has the memory controller."""
    mounts = _cgroups.read().mounts
    return 1 if "memory" in mounts else 2


def measure(sbx: str | None, rounds: int) -> dict[str, Any]:
    if sbx is None:
        raise BenchmarkError("there is nothing to compare without sbx")
    if os.geteuid() != 0:
        raise BenchmarkError("crun's limits need root")
    with places.scratch_directory() as scratch:
        profile = os.path.join(scratch, "limited.toml")
        with open(profile, "w", encoding="utf-8") as file:
            file.write(TEXT)
        subjects = [
            Subject(name="nothing", argv=TRUE),
            Subject(name="sbx", argv=[sbx, "run", "-p", common.PROFILE, "--", *TRUE]),
            Subject(name="sbx with limits", argv=[sbx, "run", "-p", profile, "--", *TRUE]),
            Subject(name="bubblewrap", argv=bubblewrap(TRUE)),
            _crun(scratch),
        ]
        if version() == 2:
            floor = [building.build("floor"), "-g", _cgroups.read().mounts[_cgroups.UNIFIED], *TRUE]
            subjects.append(Subject(name="floor with limits", argv=floor))
        with Bench(subjects, scratch) as bench:
            bench.need("sbx with limits", "crun with limits")
            results = bench.interleave(rounds, slow_ms=1000)
    return {
        "benchmark": "limits",
        "unit": "ms",
        "facts": records.facts(sbx),
        "cgroup": version(),
        "rounds": rounds,
        "commands": {subject.name: list(subject.argv) for subject in subjects},
        "places": {subject.name: subject.place.setup for subject in subjects},
        "absent": bench.absent,
        "results": results,
        "figures": figures(results, version()),
    }


def _crun(scratch: str) -> Subject:
    root = engine_root(scratch)
    setup = f"mount --bind /usr {root}/usr\n"
    path = crun_bundle(scratch, TRUE)
    with open(os.path.join(path, "config.json"), "r+", encoding="utf-8") as file:
        config = json.load(file)
        config["linux"]["resources"] = {"memory": {"limit": MEMORY}, "pids": {"limit": PIDS}}
        file.seek(0)
        json.dump(config, file)
        file.truncate()
    setup += ONE_VERSION if version() == 1 else ""
    crun = shutil.which("crun") or "crun"
    argv = [crun, "--cgroup-manager=cgroupfs", "run", "-b", path, "sbx-benchmark-limits"]
    return Subject(name="crun with limits", argv=argv, place=Place(name="crun", setup=setup))


def figures(results: dict[str, common.Times], where: int) -> list[Figure]:
    limited = results["sbx with limits"].median
    found = [
        Figure(
            name=f"warm launch with memory and pids limits against crun with the same, on v{where}",
            value=limited / results["crun with limits"].median,
            reach=0.4 if where == 1 else 0.2,
        )
    ]
    # An emulated machine takes so long for the payload alone that 0.2 of crun's time lies below the
    # floor's: there the launch without the payload, and the floor, tell more.
    if where == 2:
        payload = results["nothing"].median
        found.append(
            Figure(
                name="the same, both without the payload's own time",
                value=(limited - payload) / (results["crun with limits"].median - payload),
                reach=0.2,
            )
        )
    if "floor with limits" in results:
        found.append(
            Figure(
                name="the same against the floor with the same limits",
                value=limited / results["floor with limits"].median,
                reach=1.25,
            )
        )
    if where == 2 and "bubblewrap" in results:
        found.append(
            Figure(
                name="the same against bubblewrap without limits",
                value=limited / results["bubblewrap"].median,
                reach=0.5,
            )
        )
    return found


def report(content: dict[str, Any]) -> str:
    results: dict[str, common.Times] = content["results"]
    table = records.times_table(
        results, title=f"cgroup v{content['cgroup']}", against={"to crun": "crun with limits"}
    )
    return "\n".join([table, *records.not_here(content)])


if __name__ == "__main__":
    sys.exit(records.main("limits", __doc__, measure, report, rounds=200))
