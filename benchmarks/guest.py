"""A benchmark in the emulated machine, where cgroup v2 and systemd are: `./dev bench guest NAME [option...]`.

Its options follow the name; its record is kept beside the others as NAME-guest.json.
"""

import json
import os
import sys
import tempfile
from typing import Final

from benchmarks import building, common, records
from benchmarks.common import BenchmarkError
from tests.isolation.build import build_probe
from tests.vm import host, image, recipe, wheel
from tests.vm.machine import Machine
from tests.vm.qemu import MachineError

TREE: Final = os.path.dirname(common.HERE)
THERE: Final = "/srv/tree"
RESULTS: Final = "/root/results"
# The machine has no compiler: what this one has built goes along.
PROGRAMS: Final = ("spawn", "floor", "idler")
TIMEOUT_S: Final = 3600
# An emulated machine is slow: only what is compared within it says something.
TIMES: Final = (" ms", " s")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def measure(name: str, options: list[str], directory: str) -> int:
    """Run one benchmark in a new machine and fetch what it keeps; its exit status."""
    for program in PROGRAMS:
        building.build(program)
    build_probe(building.BUILD)
    path = image.provide(_say)
    with Machine(path) as machine, tempfile.TemporaryDirectory() as scratch:
        wheel.install(machine, wheel.provide(image.cache_directory()))
        for part in ("benchmarks", "profiles", "tests", os.path.relpath(building.BUILD, TREE)):
            machine.put(os.path.join(TREE, part), f"{THERE}/{part}")
        python = f"{recipe.ENVIRONMENT}/bin/python"
        command = [python, "-m", f"benchmarks.{name}", "--results", RESULTS, *options]
        with machine.start(*command, cwd=THERE, timeout=TIMEOUT_S) as running:
            running.copy_output(sys.stdout.buffer, sys.stderr.buffer)
            status = running.wait_bytes().returncode
        if status == 0:
            machine.get(RESULTS, scratch)
            with open(os.path.join(scratch, f"{name}.json"), encoding="utf-8") as file:
                content = json.load(file)
            content["figures"] = [each for each in content["figures"] if each["unit"] not in TIMES]
            records.save(f"{name}-guest", content, directory)
    return status


def main() -> int:
    name, *options = sys.argv[1:] or [""]
    if not os.path.isfile(os.path.join(common.HERE, f"{name}.py")):
        print(__doc__, file=sys.stderr)
        return 2
    directory = common.RESULTS
    if "--results" in options:
        at = options.index("--results")
        directory = options[at + 1]
        del options[at : at + 2]
    try:
        return measure(name, options, directory)
    except (BenchmarkError, host.UnavailableError, host.BuildError, MachineError, OSError) as error:
        print(f"guest: error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
