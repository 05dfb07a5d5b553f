"""Hundreds of idle sandboxes at once: their launch, what they hold, sbx ps over them, and their end.

The figure of `sbx ps` is the median of the whole command beside so many sandboxes, less the median of
`python3 -I -c 'import click'` by the same interpreter, in turns with it.
"""

import argparse
import contextlib
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from typing import Any, Final

from benchmarks import common, places, records
from benchmarks.common import BenchmarkError, Figure
from benchmarks.crowds import PIDS, Crowd, OfSbx, crowds, family, python_of
from benchmarks.library import available_kib

COUNT: Final = 500
IDLE_S: Final = 10.0
BOMBS: Final = 10
MEMINFO: Final = ("Slab", "KernelStack", "PageTables", "SecPageTables", "Percpu")


# --- What they hold -------------------------------------------------------------------------------


def is_payload(pid: int) -> bool:
    with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
        return file.read().strip() == "idler"


def pss_kib(pid: int) -> int:
    """Proportional set size: a page that n processes share counts as an n-th of it."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))


def kernel_kib() -> int:
    """What the kernel holds for itself and tells of."""
    with open("/proc/meminfo", encoding="ascii") as file:
        return sum(int(line.split()[1]) for line in file if line.split(":")[0] in MEMINFO)


def woken(pid: int) -> tuple[float, int]:
    """Milliseconds on a processor, and how often it was left."""
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
        spent = int(file.read().split()[0]) / 1e6
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        lines = [line.split() for line in file if "ctxt_switches" in line]
    return spent, sum(int(words[1]) for words in lines)


def idle(pids: list[int], seconds: float) -> tuple[float, int]:
    """What all of these together have run, of so many seconds."""
    before = [woken(pid) for pid in pids]
    time.sleep(seconds)
    after = [woken(pid) for pid in pids]
    pairs = list(zip(before, after, strict=True))
    return sum(b[0] - a[0] for a, b in pairs), sum(b[1] - a[1] for a, b in pairs)


def ps_ms(crowd: OfSbx, rounds: int) -> dict[str, common.Times]:
    """Milliseconds of `sbx ps` and of an interpreter that imports what it is written with."""
    commands = {
        "sbx ps": [crowd.launcher, "ps"],
        "python": [python_of(crowd.launcher), "-I", "-c", "import click"],
    }
    samples: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name in random.sample(list(commands), len(commands)):
            begun = time.perf_counter()
            done = subprocess.run(
                commands[name], env=crowd.environment, capture_output=True, check=False
            )
            samples[name].append((time.perf_counter() - begun) * 1e3)
            if done.returncode != 0:
                raise BenchmarkError(f"{name}: status {done.returncode}")
            if name == "sbx ps" and len(done.stdout.splitlines()) != len(crowd.clients) + 1:
                raise BenchmarkError("sbx ps doesn't list all of them")
    return {name: common.times(values) for name, values in samples.items()}


# --- Their end ------------------------------------------------------------------------------------


def light_bombs(crowd: Crowd, count: int) -> int:
    """Turns the programs of the last ones into fork bombs; the processes that they have come to."""
    tops = crowd.tops()[-count:] if count else []
    for top in tops:
        os.kill(top, signal.SIGUSR1)
    until = time.monotonic() + 5
    while time.monotonic() < until:
        sizes = [len(family(top)) for top in tops]
        if all(size >= PIDS for size in sizes):
            break
        time.sleep(0.1)
    return sum(len(family(top)) for top in tops)


def left_behind(crowd: Crowd, mounts: int) -> dict[str, int]:
    """What there still is of them, and must not be."""
    processes = 0
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            processes += name.isdigit() and is_payload(int(name))
    left = {"mounts": max(mount_count() - mounts, 0), "processes": processes}
    return left | crowd.left()


def mount_count() -> int:
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return len(file.readlines())


# --- The record -----------------------------------------------------------------------------------


def weigh(crowd: Crowd, count: int, rounds: int, seconds: float) -> dict[str, Any]:
    mounts = mount_count()
    shared = [] if crowd.manager is None else [crowd.manager]
    crowd.start()  # the first one makes caches
    available, kernel, before = available_kib(), kernel_kib(), sum(map(pss_kib, shared))
    launches = [crowd.start() for _ in range(count - 1)]
    time.sleep(1)  # the last ones are recorded, and have settled
    found: dict[str, Any] = {
        "count": count,
        "machine_kib": round((available - available_kib()) / (count - 1), 1),
        "kernel_kib": round((kernel_kib() - kernel) / (count - 1), 1),
    }
    edge = max(len(launches) // 5, 1)
    first, last = (statistics.median(part) for part in (launches[:edge], launches[-edge:]))
    found |= {"launch": common.times(launches), "first_ms": first, "last_ms": last}
    tools: list[int] = []
    payloads: list[int] = []
    for top in crowd.tops():
        for pid in family(top):
            (payloads if is_payload(pid) else tools).append(pid)
    if len(payloads) != count:
        raise BenchmarkError(f"{len(payloads)} programs of {count} are seen")
    grown = (sum(map(pss_kib, shared)) - before) / (count - 1)
    found["pss_kib"] = round(sum(map(pss_kib, tools)) / count + grown, 1)
    found["payload_pss_kib"] = round(sum(map(pss_kib, payloads)) / count, 1)
    found["idle_ms"], found["idle_switches"] = idle(tools + shared, seconds)
    if isinstance(crowd, OfSbx):
        found["ps"] = ps_ms(crowd, rounds)
    bombs = min(BOMBS, count) if crowd.holds_bombs else 0
    found |= {"bombs": bombs, "bomb_processes": light_bombs(crowd, bombs)}
    found["end_s"] = crowd.end()
    return found | {"left": left_behind(crowd, mounts), "note": crowd.note}


def measure(sbx: str | None, count: int, rounds: int, seconds: float) -> dict[str, Any]:
    results: dict[str, Any] = {}
    commands: dict[str, list[str]] = {}
    absent: dict[str, str] = {}
    with places.scratch_directory() as scratch:
        for name, crowd in crowds(sbx, scratch):
            if isinstance(crowd, str):
                absent[name] = crowd
                continue
            commands[name] = crowd.command(0)
            try:
                each = min(count, crowd.at_most or count)
                results[name] = weigh(crowd, each, rounds, seconds)
            except BenchmarkError as error:
                if name == "sbx":
                    raise
                absent[name] = str(error)
            finally:
                crowd.close()
    return {
        "benchmark": "scale",
        "facts": records.facts(sbx),
        "sandboxes": count,
        "rounds": rounds,
        "idle_seconds": seconds,
        "commands": commands,
        "absent": absent,
        "results": results,
        "figures": figures(results, count, seconds),
    }


def figures(results: dict[str, Any], count: int, seconds: float) -> list[Figure]:
    if "sbx" not in results:
        return []
    own = results["sbx"]
    over = own["ps"]["sbx ps"].median - own["ps"]["python"].median
    return [
        Figure(
            name=f"a launch beside {count} sandboxes, against the first ones'",
            value=own["last_ms"] / own["first_ms"],
            reach=1.5,
        ),
        Figure(
            name=f"memory of an idle sandbox's supervisor and init (PSS, of {count})",
            value=own["pss_kib"],
            reach=1024,
            unit=" KiB",
        ),
        Figure(
            name=f"processor time of {count} idle sandboxes in {seconds:.0f} s",
            value=own["idle_ms"],
            reach=0,
            unit=" ms",
        ),
        Figure(
            name=f"`sbx ps` of {count} sandboxes, beyond Python's start with click",
            value=over,
            reach=50,
            unit=" ms",
        ),
        Figure(
            name=f"`sbx stop --all` of {count}, with fork bombs in {own['bombs']}",
            value=own["end_s"],
            reach=5,
            unit=" s",
        ),
        Figure(
            name="what they leave: processes, records, cgroups, mounts",
            value=sum(own["left"].values()),
            reach=0,
        ),
    ]


def report(content: dict[str, Any]) -> str:
    heads = ("", "n", "first ms", "last ms", "PSS KiB", "payload", "kernel", "machine", "idle ms")
    rows = [(*heads, "switches", "end s")]
    for name, each in content["results"].items():
        rows.append(
            (
                name,
                str(each["count"]),
                f"{each['first_ms']:.1f}",
                f"{each['last_ms']:.1f}",
                f"{each['pss_kib']:.0f}",
                f"{each['payload_pss_kib']:.0f}",
                f"{each['kernel_kib']:.0f}",
                f"{each['machine_kib']:.0f}",
                f"{each['idle_ms']:.1f}",
                str(each["idle_switches"]),
                f"{each['end_s']:.2f}",
            )
        )
    lines = [records.table(rows)]
    for name, each in content["results"].items():
        left = ", ".join(f"{kind} {count}" for kind, count in each["left"].items())
        bombs = f"{each['bombs']} fork bombs of {each['bomb_processes']} processes"
        lines.append(f"{name}: {bombs}; left behind: {left}")
        for command, taken in each.get("ps", {}).items():
            lines.append(f"{command}: {taken.median:.1f} ± {taken.mad:.1f} ms")
    lines += records.not_here(content)
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    records.add_options(parser)
    parser.add_argument("--count", type=int, default=COUNT, help="sandboxes at once")
    parser.add_argument("--rounds", type=int, default=20, help="of sbx ps")
    parser.add_argument("--seconds", type=float, default=IDLE_S, help="of idleness")
    options = parser.parse_args()
    return records.finish(
        "scale",
        options,
        lambda sbx: measure(sbx, options.count, options.rounds, options.seconds),
        report,
    )


if __name__ == "__main__":
    sys.exit(main())
