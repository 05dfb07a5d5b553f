"""Where a launch spends its time: the medians of many `sbx run --timing`, steps taken together."""

import json
import subprocess
import sys
from typing import Any, Final

from benchmarks import common, places, records
from benchmarks.common import BenchmarkError, Figure

TRUE: Final = ("/bin/true",)
SOURCES: Final = "open the sources of mounts"
CLONE: Final = "clone3, until the sandbox's first step is done"
PROGRAM: Final = "execve, the program, and its end"
REST: Final = "everything else"
BESIDE: Final = ("clone3: the namespaces are made", "the id maps are written")
"""What the supervisor does while the sandbox works already, by the words of --timing."""
STAGES: Final = {
    "loopback": {"BringUpLoopback"},
    "id maps and ids": {"MapIds", "SetIds", "SetGroups"},
    "assemble the root": {
        *(
            "MountRoot",
            "MountRootTree",
            "RestrictRoot",
            "MakeDirectory",
            "MakeSymlink",
            "WriteFile",
            "BindMount",
        ),
        *("MountTmpfs", "MountOverlay", "MaskPath", "SetMountAttributes"),
    },
    "/dev": {"MountDev", "MakeDevice", "BindDevice", "MountDevpts"},
    "/proc": {"CreateProc", "SetSysctl", "AttachProc"},
    "enter the root": {"EnterRoot"},
    "Landlock": {"CreateLandlockRuleset", "AllowPath", "AllowPort", "RestrictSelf"},
    "privileges": {
        *("LimitCapabilities", "SetSecurebits", "SetCapabilities", "SetNoNewPrivileges"),
        "ProtectProcess",
    },
    "the system call filter": {"InstallFilter"},
}


def stage_of(op: str) -> str:
    return next((stage for stage, ops in STAGES.items() if op in ops), REST)


def ops_by_text(sbx: str, scratch: str) -> dict[str, str]:
    """The name of each op of the benchmark's plan by what --timing calls it."""
    plan = _run([sbx, "plan", "--json", common.PROFILE], scratch).stdout
    return {op["text"]: op["op"] for op in json.loads(plan)["ops"]}


def one_launch(sbx: str, names: dict[str, str], scratch: str) -> dict[str, float]:
    """Microseconds of each stage. One after the other they are the whole launch."""
    command = [sbx, "run", "--profile", common.PROFILE, "--timing", "--", *TRUE]
    spent = dict.fromkeys([SOURCES, CLONE, *STAGES, REST, PROGRAM], 0.0)
    last, in_sandbox = 0.0, False
    for line in _run(command, scratch).stderr.splitlines()[1:]:
        at, _, where, what = line.split(maxsplit=3)
        if what in BESIDE:
            continue
        if where in {"sandbox", "payload"}:
            stage = stage_of(names[what]) if in_sandbox else CLONE
            in_sandbox = True
        else:
            stage = PROGRAM if in_sandbox else SOURCES
        spent[stage] += float(at) - last
        last = float(at)
    return spent


def _run(command: list[str], scratch: str) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=places.environment(scratch),
        cwd="/",
        check=False,
    )
    if done.returncode != 0:
        raise BenchmarkError(f"status {done.returncode}: {done.stderr.strip()}")
    return done


def measure(sbx: str | None, rounds: int) -> dict[str, Any]:
    if sbx is None:
        raise BenchmarkError("there is nothing to measure without sbx")
    with places.scratch_directory() as scratch:
        names = ops_by_text(sbx, scratch)
        one_launch(sbx, names, scratch)  # leaves the plan in the cache
        launches = [one_launch(sbx, names, scratch) for _ in range(rounds)]
    results = {stage: common.times([launch[stage] for launch in launches]) for stage in launches[0]}
    no_figures: list[Figure] = []
    return {
        "benchmark": "stages",
        "unit": "us",
        "facts": records.facts(sbx),
        "rounds": rounds,
        "results": results,
        "figures": no_figures,
    }


def report(content: dict[str, Any]) -> str:
    results: dict[str, common.Times] = content["results"]
    rows = [("", "median us", "MAD")]
    rows += [(name, f"{each.median:.0f}", f"{each.mad:.0f}") for name, each in results.items()]
    return records.table(rows)


if __name__ == "__main__":
    sys.exit(records.main("stages", __doc__, measure, report, rounds=200))
