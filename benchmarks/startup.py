"""What a launch of /bin/true costs: sbx warm and cold, the floor and the peers, interleaved in one run."""

import argparse
import os
import re
import shutil
import subprocess
import sys
from typing import Any, Final

from benchmarks import common
from benchmarks.common import BenchmarkError, Figure, Place, Spawner, Subject
from benchmarks.peers import EQUAL_FLOOR, Peer, peers

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
    with common.scratch_directory() as scratch:
        found = peers(sbx, scratch)
        subjects = [
            Subject(name=peer.name, argv=peer.command(TRUE), place=peer.place) for peer in found
        ]
        if sbx:
            subjects.append(_cold(sbx, scratch))
        subjects.append(Subject(name="python", argv=[_python(), "-I", "-S", "-c", "pass"]))
        bench = common.Bench(subjects, scratch)
        try:
            for needed in (
                "nothing",
                "floor",
                EQUAL_FLOOR,
                "bubblewrap",
                *(["sbx", "sbx cold"] if sbx else []),
            ):
                if needed in bench.absent:
                    raise BenchmarkError(f"{needed}: {bench.absent[needed]}")
            results = bench.interleave(rounds)
            given = {
                peer.name: observe(peer, bench, scratch)
                for peer in found
                if peer.name in bench.subjects
            }
        finally:
            bench.close()
    return {
        "benchmark": "startup",
        "busy": results["nothing"].median / results["nothing"].least > BUSY,
        "unit": "ms",
        "facts": common.facts(sbx),
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


def observe(peer: Peer, bench: common.Bench, scratch: str) -> dict[str, Any]:
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
        env=common.environment(scratch),
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
    base = results["bubblewrap"].median
    floor = results["floor"].median
    rows = [
        (
            "",
            "median ms",
            "MAD",
            "least",
            "to bwrap",
            "to floor",
            "n",
            "namespaces",
            "filter",
            "caps",
        )
    ]
    for name, each in sorted(results.items(), key=lambda item: item[1].median):
        given = content["given"].get(name, {})
        seen = "new namespaces" in given
        rows.append(
            (
                name,
                f"{each.median:.3f}",
                f"{each.mad:.3f}",
                f"{each.least:.3f}",
                f"{each.median / base:.2f}",
                f"{each.median / floor:.2f}",
                str(each.count),
                str(len(given["new namespaces"])) if seen else "",
                ("yes" if given["filter"] else "no") if seen else "",
                str(given["capabilities"]) if seen else "",
            )
        )
    lines = [common.table(rows)]
    if content["busy"]:
        lines.append("The machine was busy with something else: these times say little.")
    lines += [f"{name}: not here: {why}" for name, why in content["absent"].items()]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    common.add_options(parser)
    parser.add_argument("--rounds", type=int, default=200)
    options = parser.parse_args()
    return common.finish("startup", options, lambda sbx: measure(sbx, options.rounds), report)


if __name__ == "__main__":
    sys.exit(main())
