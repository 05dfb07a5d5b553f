"""Another program in a live sandbox: sbx exec of /bin/true beside crun exec and nsenter of the same, interleaved."""

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

from benchmarks import common, places, records
from benchmarks.common import BenchmarkError, Figure, Times
from benchmarks.crowds import NAME
from benchmarks.peers import crun_bundle, engine_place
from benchmarks.places import PLAIN, Place
from benchmarks.turns import Bench, Subject

TRUE: Final = "/bin/true"
SLEEP: Final = ("/bin/sleep", "3600")
USER: Final = 61234
PATIENCE_S: Final = 20.0


@contextlib.contextmanager
def live_sandbox(sbx: str, place: Place, scratch: str) -> Iterator[None]:
    """A sandbox of the benchmarks' profile in which a sleep waits."""
    how = place.how(scratch)
    command = [sbx, "run", "--profile", common.PROFILE, "--name", NAME, "--", *SLEEP]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd="/", **how)
    try:
        record = os.path.join(how["env"]["SBX_RUNTIME_DIR"], NAME, "record")
        await_file(record, process)
        yield
    finally:
        process.kill()  # what it was the parent of dies with it
        process.wait()
        quietly_remove(os.path.dirname(record))


def await_file(path: str, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + PATIENCE_S
    while not os.path.exists(path):
        if process.poll() is not None or time.monotonic() > until:
            raise BenchmarkError("the sandbox that is to be joined didn't start")
        time.sleep(0.01)


def quietly_remove(path: str) -> None:
    shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def live_container(scratch: str) -> Iterator[Place]:
    """A place that begins with a container in it, in which a sleep waits."""
    place = engine_place(scratch)
    pid_file = os.path.join(scratch, "container.pid")
    crun = [shutil.which("crun") or "crun", "--cgroup-manager=disabled", "run", "--detach"]
    crun += ["--pid-file", pid_file, "-b", crun_bundle(scratch, SLEEP), NAME]
    setup = f"{place.setup}\n{shlex.join(crun)} </dev/null >/dev/null"
    try:
        yield Place(name=place.name, setup=setup)
    finally:
        with (
            contextlib.suppress(FileNotFoundError, ProcessLookupError),
            open(pid_file, encoding="ascii") as file,
        ):
            os.kill(int(file.read()), 9)


def subjects(sbx: str | None, place: Place, scratch: str) -> list[Subject]:
    """The same program by every way in; nsenter enters as many namespaces and restricts nothing."""
    own = [sbx or "", "exec", NAME, "--", TRUE]
    enter = 'exec nsenter --target="$(cat "$0")" --mount --pid --net --ipc --uts --cgroup -- "$@"'
    found = [
        Subject(name="nothing", argv=[TRUE]),
        Subject(
            name="crun exec",
            argv=[
                shutil.which("crun") or "crun",
                "--cgroup-manager=disabled",
                "exec",
                NAME,
                TRUE,
            ],
            place=place,
        ),
        Subject(
            name="sh, cat and nsenter",
            argv=["/bin/sh", "-c", enter, os.path.join(scratch, "container.pid"), TRUE],
            place=place,
        ),
    ]
    if sbx:
        found.append(Subject(name="sbx exec", argv=own))
        found.append(
            Subject(name="sbx exec, a normal user", argv=own, place=Place(name="user", user=USER))
        )
        profile = ["--profile", common.PROFILE, "--", TRUE]
        found.append(Subject(name="sbx run", argv=[sbx, "run", *profile]))
    return found


def measure(sbx: str | None, rounds: int) -> dict[str, Any]:
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(places.scratch_directory())
        if sbx:
            stack.enter_context(live_sandbox(sbx, PLAIN, scratch))
            user = Place(name="user", user=USER)
            if user.available:
                stack.enter_context(live_sandbox(sbx, user, scratch))
        place = stack.enter_context(live_container(scratch))
        found = subjects(sbx, place, scratch)
        with Bench(found, scratch) as bench:
            if sbx:
                bench.need("sbx exec")
            results = bench.interleave(rounds)
    return {
        "benchmark": "exec",
        "unit": "ms",
        "facts": records.facts(sbx),
        "rounds": rounds,
        "commands": {subject.name: list(subject.argv) for subject in found},
        "absent": bench.absent,
        "results": results,
        "figures": figures(results),
    }


def figures(results: dict[str, Times]) -> list[Figure]:
    if "crun exec" not in results:
        return []
    return [
        Figure(
            name=f"{name}, against crun exec",
            value=results[name].median / results["crun exec"].median,
            reach=0.3,
        )
        for name in ("sbx exec", "sbx exec, a normal user")
        if name in results
    ]


def report(content: dict[str, Any]) -> str:
    results: dict[str, Times] = content["results"]
    return "\n".join([records.times_table(results), *records.not_here(content)])


if __name__ == "__main__":
    sys.exit(records.main("exec", __doc__, measure, report, rounds=200))
