"""What a launch of /bin/true costs: sbx warm and cold, the floor and the peers, interleaved in one run."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Final

from benchmarks import common, places, records
from benchmarks.common import Figure
from benchmarks.peers import EQUAL_FLOOR, Peer, peers
from benchmarks.places import Place, Spawner
from benchmarks.turns import Bench, Subject

TRUE: Final = ("/bin/true",)
# Two roots' caches are one directory: the cold launches get one of their own where that can be had.
COLD: Final = Place(
    name="cold", setup="mount -t tmpfs tmpfs /var/cache" if os.geteuid() == 0 else ""
)
NAMESPACES: Final = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time")
PYTHON_MS: Final = 9.0
# On an idle machine the median launch of nothing lies within a tenth of the least.
BUSY: Final = 1.2


def measure(sbx: str | None, rounds: int) -> dict[str, Any]:
    with places.scratch_directory() as scratch:
        found = peers(sbx, scratch)
        subjects = [
            Subject(name=peer.name, argv=peer.command(TRUE), place=peer.place) for peer in found
        ]
        if sbx:
            subjects.append(_cold(sbx, scratch))
        subjects.append(Subject(name="python", argv=[_python(), "-I", "-S", "-c", "pass"]))
        with Bench(subjects, scratch) as bench:
            bench.need(
                "nothing",
                "floor",
                EQUAL_FLOOR,
                "bubblewrap",
                *(["sbx", "sbx cold"] if sbx else []),
            )
            results = bench.interleave(rounds)
            given = {
                peer.name: observe(peer, bench, scratch)
                for peer in found
                if peer.name in bench.subjects
            }
    return {
        "benchmark": "startup",
        "busy": results["nothing"].median / results["nothing"].least > BUSY,
        "unit": "ms",
        "facts": records.facts(sbx),
        "rounds": rounds,
        "commands": {subject.name: list(subject.argv) for subject in subjects},
        "notes": {peer.name: peer.note for peer in found},
        "places": {subject.name: subject.place.setup for subject in subjects},
        "given": given,
        "absent": bench.absent,
        "results": results,
        "figures": figures(results),
    }


def _cold(sbx: str, scratch: str) -> Subject:
    def wipe(spawner: Spawner) -> None:
        root = f"/proc/{spawner.process.pid}/root"
        cache = f"{root}/var/cache/sbx" if os.geteuid() == 0 else os.path.join(scratch, "sbx")
        if os.path.isdir(cache):
            shutil.rmtree(cache)

    argv = [sbx, "run", "--profile", common.PROFILE, "--", *TRUE]
    return Subject(name="sbx cold", argv=argv, place=COLD, before=wipe)


def _python() -> str:
    return os.path.realpath(sys.executable)


def observe(peer: Peer, bench: Bench, scratch: str) -> dict[str, Any]:
    """What the payload gets, seen from inside: new namespaces, filter, capabilities, no_new_privs."""
    script = (
        "for n in user mnt pid net ipc uts cgroup time; do readlink /proc/self/ns/$n; done; "
        "exec grep -E '^(Seccomp|NoNewPrivs|CapEff|CapBnd):' /proc/self/status"
    )
    command = peer.command(["/bin/sh", "-c", script])
    if peer.place.setup:
        command = ["nsenter", "--mount", "--target", str(bench.pid(peer.place)), "--", *command]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=places.environment(scratch),
        cwd="/",
        check=False,
    )
    inside = dict(re.findall(r"^(\w+):\[(\d+)\]", done.stdout, re.MULTILINE))
    status = dict(re.findall(r"^(\w+):\s+(\w+)$", done.stdout, re.MULTILINE))
    if set(inside) != set(NAMESPACES) or "CapEff" not in status:
        return {"not seen": (done.stderr.strip().splitlines() or ["no output"])[-1]}
    new = [
        kind for kind in NAMESPACES if inside[kind] != str(os.stat(f"/proc/self/ns/{kind}").st_ino)
    ]
    return {
        "new namespaces": new,
        "filter": status["Seccomp"] == "2",
        "no_new_privs": status["NoNewPrivs"] == "1",
        "capabilities": int(status["CapEff"], 16).bit_count(),
        "bounding set": int(status["CapBnd"], 16).bit_count(),
    }


def figures(results: dict[str, common.Times]) -> list[Figure]:
    if "sbx" not in results:
        return []
    warm = results["sbx"].median
    python = results["python"].median
    return [
        Figure(
            name="warm launch against bubblewrap",
            value=warm / results["bubblewrap"].median,
            reach=0.5,
        ),
        Figure(
            name="warm launch against the floor with filter, capabilities and init",
            value=warm / results[EQUAL_FLOOR].median,
            reach=1.15,
        ),
        Figure(
            name=f"cold launch, 150 ms for a Python of {PYTHON_MS:.0f} ms (here {python:.1f})",
            value=results["sbx cold"].median,
            reach=150 * python / PYTHON_MS,
            unit=" ms",
        ),
    ]


def report(content: dict[str, Any]) -> str:
    results: dict[str, common.Times] = content["results"]
    given = {name: seen for name, seen in content["given"].items() if "new namespaces" in seen}

    def shown(tell: Callable[[dict[str, Any]], str]) -> Callable[[str], str]:
        return lambda name: tell(given[name]) if name in given else ""

    table = records.times_table(
        results,
        against={"to bwrap": "bubblewrap", "to floor": "floor"},
        more={
            "namespaces": shown(lambda seen: str(len(seen["new namespaces"]))),
            "filter": shown(lambda seen: "yes" if seen["filter"] else "no"),
            "caps": shown(lambda seen: str(seen["capabilities"])),
        },
    )
    lines = [table]
    if content["busy"]:
        lines.append("The machine was busy with something else: these times say little.")
    lines += records.not_here(content)
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(records.main("startup", __doc__, measure, report, rounds=200))
