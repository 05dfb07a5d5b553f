"""What a sandboxed call from Python adds to subprocess.run, and what ready sandboxes cost."""

import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from benchmarks import common, records
from benchmarks.common import PROFILE, BenchmarkError, Figure, Times
from benchmarks.peers import bubblewrap
from sandbox import Pool, Sandbox
from sandbox.process import server

TRUE: Final = "/bin/true"
PAUSE_S: Final = 0.005
LARGE: Final = 256 << 20
READY: Final = 32

Call = Callable[[], int]


def subjects(sbx: str | None, pool: Pool) -> dict[str, Call]:
    """Each runs /bin/true once with its output captured, and gives its status."""

    def external(command: list[str]) -> Call:
        return lambda: subprocess.run(command, capture_output=True, check=False).returncode

    found = {
        "subprocess.run": external([TRUE]),
        "Sandbox.run": lambda: pool.sandbox.run([TRUE]).returncode,
        "Pool.run": lambda: pool.run([TRUE]).returncode,
        "subprocess.run of bubblewrap": external(bubblewrap([TRUE])),
    }
    if sbx:
        found["subprocess.run of sbx"] = external([sbx, "run", "--profile", PROFILE, "--", TRUE])
    return found


def interleave(calls: dict[str, Call], rounds: int) -> dict[str, Times]:
    """Each call once a round, in a new random order; a short pause is between any two.

    In the pause the pool makes the next sandbox ready, as it does between the calls of a service.
    """
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        order = list(calls)
        random.shuffle(order)
        for name in order:
            time.sleep(PAUSE_S)
            begun = time.perf_counter()
            status = calls[name]()
            samples[name].append((time.perf_counter() - begun) * 1e3)
            if status != 0:
                raise BenchmarkError(f"{name}: status {status}")
    return {name: common.times(values) for name, values in samples.items()}


def saturated(pool: Pool, calls: int) -> float:
    """Milliseconds a call takes where each follows at once upon the one before."""
    begun = time.perf_counter()
    for _ in range(calls):
        pool.run([TRUE])
    return (time.perf_counter() - begun) * 1e3 / calls


@contextlib.contextmanager
def large_process() -> Iterator[None]:
    """This process with so much more memory of its own, every page of it written to."""
    memory = bytearray(LARGE)
    memory[::4096] = b"x" * len(range(0, LARGE, 4096))
    yield
    del memory


# --- What ready sandboxes cost --------------------------------------------------------------------


def children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def own_kib(pid: int) -> int:
    """Memory that a process shares with nobody, in its page tables and outside of them."""
    found = 0
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        found += sum(int(line.split()[1]) for line in file if line.startswith("Private_"))
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        found += sum(int(line.split()[1]) for line in file if line.startswith("VmPTE"))
    return found


def available_kib() -> int:
    with open("/proc/meminfo", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("MemAvailable"))


def processor_ms(pid: int) -> float:
    """Processor time of a process and of its children that have ended."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) * 1000 / os.sysconf("SC_CLK_TCK")


def until_ready(pool: Pool, count: int) -> None:
    while pool.ready < count:
        time.sleep(0.001)


def ready_cost(sandbox: Sandbox, rounds: int) -> dict[str, Any]:
    """Memory of a ready sandbox: its processes' own, and what the machine has less for it."""
    own: list[float] = []
    whole: list[float] = []
    for _ in range(rounds):
        with Pool(sandbox, size=1) as pool:
            until_ready(pool, 1)
            before = available_kib()
            with Pool(sandbox, size=READY) as many:
                until_ready(many, READY)
                whole.append((before - available_kib()) / READY)
                own += [own_kib(pid) for pid in children(server_pid())]
        time.sleep(0.2)  # namespaces are taken down in the background
    return {"own": common.times(own), "whole": common.times(whole)}


def server_pid() -> int:
    found = server.current()
    if found is None:
        raise BenchmarkError("no sandbox has been started")
    return found.pid


def making_ms(sandbox: Sandbox, count: int) -> tuple[Times, float]:
    """Milliseconds until a new sandbox is ready, and the processor time of making and ending it."""
    samples = []
    before = processor_ms(server_pid())
    for _ in range(count):
        begun = time.perf_counter()
        watch = sandbox.compiled.launch()
        watch.wait(None, ready=True)
        samples.append((time.perf_counter() - begun) * 1e3)
        watch.end()
    return common.times(samples), (processor_ms(server_pid()) - before) / count


# --- The record -----------------------------------------------------------------------------------


def measure(sbx: str | None, rounds: int) -> dict[str, Any]:
    sandbox = Sandbox(PROFILE)
    with Pool(sandbox, size=4) as pool:
        calls = subjects(sbx, pool)
        interleave(calls, 3)
        results = interleave(calls, rounds)
        in_a_row = common.times([saturated(pool, 20) for _ in range(max(rounds // 20, 3))])
        with large_process():
            large = interleave(calls, max(rounds // 4, 3))
    making, processor = making_ms(sandbox, max(rounds, 20))
    return {
        "benchmark": "library",
        "unit": "milliseconds",
        "facts": records.facts(sbx),
        "rounds": rounds,
        "results": results,
        "large": {"bytes": LARGE, "results": large},
        "in_a_row": in_a_row,
        "making": making,
        "making_processor_ms": round(processor, 3),
        "ready_kib": ready_cost(sandbox, max(rounds // 40, 3)),
        "figures": figures(results, large),
    }


def figures(results: dict[str, Times], large: dict[str, Times]) -> list[Figure]:
    def ratio(name: str, base: str, found: dict[str, Times] = results) -> float:
        return found[name].median / found[base].median

    wrapped = "subprocess.run of bubblewrap"
    return [
        Figure(
            name="a call in a new sandbox, against subprocess.run of bubblewrap",
            value=ratio("Sandbox.run", wrapped),
            reach=0.65,
        ),
        Figure(
            name="a call in a ready sandbox, against subprocess.run of bubblewrap",
            value=ratio("Pool.run", wrapped),
            reach=0.4,
        ),
        Figure(
            name="a call in a ready sandbox, against subprocess.run without one",
            value=ratio("Pool.run", "subprocess.run"),
            reach=2.5,
        ),
        Figure(
            name="a call in a new sandbox from a program of 256 MiB, against a small one",
            value=large["Sandbox.run"].median / results["Sandbox.run"].median,
            reach=1.15,
        ),
    ]


def report(content: dict[str, Any]) -> str:
    results: dict[str, Times] = content["results"]
    large: dict[str, Times] = content["large"]["results"]
    bare = results["subprocess.run"].median
    rows = [("", "ms", "MAD", "adds", "to bare", "with 256 MiB")]
    for name, each in sorted(results.items(), key=lambda item: item[1].median):
        adds, times = each.median - bare, each.median / bare
        big = large[name].median
        rows.append(
            (
                name,
                f"{each.median:.2f}",
                f"{each.mad:.2f}",
                f"{adds:.2f}",
                f"{times:.2f}",
                f"{big:.2f}",
            )
        )
    row, making, processor = content["in_a_row"], content["making"], content["making_processor_ms"]
    own, whole = (content["ready_kib"][key].median for key in ("own", "whole"))
    lines = [
        f"calls of a pool in a row, each: {row.median:.2f} ms",
        f"until a new sandbox is ready: {making.median:.2f} ms; processor time {processor:.2f} ms",
        f"a ready sandbox: {own:.0f} KiB of its process, {whole:.0f} KiB with the kernel's part",
    ]
    return "\n".join((records.table(rows), "", *lines))


if __name__ == "__main__":
    sys.exit(records.main("library", __doc__, measure, report, rounds=200))
