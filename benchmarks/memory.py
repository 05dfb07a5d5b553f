"""Peak memory of what waits outside the sandbox while its payload runs, and of all that isn't payload."""

import os
import statistics
import subprocess
import sys
import time
from typing import Any, Final, NamedTuple

from benchmarks import places, records
from benchmarks.common import BenchmarkError, Figure
from benchmarks.peers import Peer, peers

NAMES: Final = ("floor", "sbx", "bubblewrap", "minijail0", "nsjail", "firejail")
SLEEP: Final = "/bin/sleep"
PATIENCE_S: Final = 10.0


class Weight(NamedTuple):
    """Kibibytes of peak resident memory (VmHWM of proc(5))."""

    supervisor: int
    others: int
    """Further processes of the tool, such as an init."""


def weigh(peer: Peer, scratch: str) -> Weight:
    command = peer.command([SLEEP, "30"])
    if peer.place.setup:
        script = f'{peer.place.setup}\nexec "$@"'
        command = [*places.OWN_MOUNTS, "sh", "-c", script, "sh", *command]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=places.environment(scratch),
        cwd="/",
    )
    try:
        family = await_payload(process)
        # The sleep has just been executed; give those who wait for it time to settle.
        time.sleep(0.05)
        own = [pid for pid in family if name_of(pid) != "sleep"]
        return Weight(
            supervisor=peak(process.pid),
            others=sum(peak(pid) for pid in own if pid != process.pid),
        )
    finally:
        for pid in reversed(descendants(process.pid)):
            if name_of(pid) == "sleep":
                os.kill(pid, 9)
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def await_payload(process: "subprocess.Popen[bytes]") -> list[int]:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise BenchmarkError(f"ended with {process.returncode} before its payload ran")
        family = [process.pid, *descendants(process.pid)]
        if any(name_of(pid) == "sleep" for pid in family):
            return family
        time.sleep(0.01)
    raise BenchmarkError("the payload didn't start")


def descendants(top: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8") as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents.setdefault(parent, []).append(int(entry))
    found = parents.get(top, [])
    for pid in found:
        found.extend(parents.get(pid, []))
    return found


def name_of(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
            return file.read().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def peak(pid: int) -> int:
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return next((int(line.split()[1]) for line in file if line.startswith("VmHWM:")), 0)


def measure(sbx: str | None, rounds: int) -> dict[str, Any]:
    results: dict[str, dict[str, float]] = {}
    absent: dict[str, str] = {}
    with places.scratch_directory() as scratch:
        found = [peer for peer in peers(sbx, scratch) if peer.name in NAMES]
        for peer in found:
            command = peer.command([SLEEP, "30"])
            if not os.access(command[0], os.X_OK) or not peer.place.available:
                absent[peer.name] = f"{command[0]} is not installed, or needs root"
                continue
            weigh(peer, scratch)  # a first one makes caches
            weights = [weigh(peer, scratch) for _ in range(rounds)]
            results[peer.name] = {
                "supervisor": statistics.median(weight.supervisor for weight in weights),
                "others": statistics.median(weight.others for weight in weights),
            }
        commands = {peer.name: peer.command([SLEEP, "30"]) for peer in found}
    return {
        "benchmark": "memory",
        "unit": "KiB",
        "facts": records.facts(sbx),
        "rounds": rounds,
        "commands": commands,
        "absent": absent,
        "results": results,
        "figures": figures(results),
    }


def figures(results: dict[str, dict[str, float]]) -> list[Figure]:
    if "sbx" not in results:
        return []
    return [
        Figure(
            name="peak memory of the waiting supervisor",
            value=results["sbx"]["supervisor"],
            reach=1024,
            unit=" KiB",
        )
    ]


def report(content: dict[str, Any]) -> str:
    rows = [("", "supervisor KiB", "others KiB")]
    for name, each in content["results"].items():
        rows.append((name, f"{each['supervisor']:.0f}", f"{each['others']:.0f}"))
    return records.table(rows)


if __name__ == "__main__":
    sys.exit(records.main("memory", __doc__, measure, report, rounds=5))
