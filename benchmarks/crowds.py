"""Many sandboxes at once, of sbx and of its peers: started one after the other, and ended."""

import abc
import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Final

from benchmarks import building, places
from benchmarks.common import BenchmarkError
from benchmarks.library import children
from benchmarks.peers import crun_bundle, engine_place

PATIENCE_S: Final = 20.0
NAME: Final = "sbx-benchmark"
PIDS: Final = 64
"""What a sandbox may hold of processes, so that a fork bomb in it is bounded."""
GRACE_S: Final = 1
"""How long what is asked to end has for it."""


def family(top: int) -> list[int]:
    """A process and all below it."""
    found = [top]
    for pid in found:
        with contextlib.suppress(OSError):
            found += children(pid)
    return found


class Crowd(abc.ABC):
    """Sandboxes of one tool that live until they are ended; a process of it waits for each."""

    name = ""
    note = ""
    holds_bombs = False

    def __init__(self, scratch: str) -> None:
        self.scratch = scratch
        self.program = building.build("idler")
        self.environment = places.environment(scratch)
        self.waiting: list[subprocess.Popen[bytes]] = []
        self.reader, self.writer = os.pipe()
        self.log = open(os.path.join(scratch, f"log-{self.name}"), "w+b")  # noqa: SIM115 - closed by close()

    @abc.abstractmethod
    def command(self, number: int) -> list[str]:
        """What is typed for one more."""

    @abc.abstractmethod
    def stop(self) -> None:
        """Ends all of them in the tool's own way; what waits for them may end a little later."""

    def clean(self) -> None:  # noqa: B027 - most tools leave nothing
        """Removes what a run that failed has left, once nothing waits any more."""

    def start(self) -> float:
        """Milliseconds until the program of one more has run."""
        begun = time.perf_counter()
        command = self.command(len(self.waiting))
        if not os.access(command[0], os.X_OK):
            raise BenchmarkError(f"{command[0]} is not installed")
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self.writer,
            stderr=self.log,
            env=self.environment,
            cwd="/",
        )
        self.waiting.append(process)
        while not select.select([self.reader], [], [], 0.2)[0]:
            if process.poll() is not None or time.perf_counter() - begun > PATIENCE_S:
                raise BenchmarkError(f"its program didn't start: {self.words()}")
        os.read(self.reader, 1)
        return (time.perf_counter() - begun) * 1e3

    def words(self) -> str:
        """The last line that one of them wrote to standard error."""
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "nothing on standard error"

    def end(self) -> float:
        """Seconds until all have ended and nothing waits for them any more."""
        begun = time.perf_counter()
        self.stop()
        until = time.monotonic() + PATIENCE_S
        for process in self.waiting:
            try:
                process.wait(max(until - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                raise BenchmarkError("not all of them have ended") from None
        return time.perf_counter() - begun

    def close(self) -> None:
        """Ends whatever is left, however the measurement went."""
        for process in self.waiting:
            if process.poll() is None:
                for pid in reversed(family(process.pid)):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            process.wait()
        self.clean()
        for fd in (self.reader, self.writer):
            os.close(fd)
        self.log.close()


def quietly(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, cwd="/"
    )
    if done.returncode != 0:
        raise BenchmarkError(
            f"{command[0]}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}"
        )


PROFILE: Final = """schema = 1
[profile]
extends = "minimal"
[filesystem]
execute = ["{program}"]
"""


class OfSbx(Crowd):
    """As root with limits of memory and processes, else with a limit of processes alone."""

    name = "sbx"

    def __init__(self, scratch: str, launcher: str) -> None:
        super().__init__(scratch)
        self.launcher = launcher
        self.holds_bombs = True
        self.runtime = self.environment["SBX_RUNTIME_DIR"]
        self.profile = os.path.join(scratch, "idle.toml")
        limits = f"[rlimits]\nnproc = {PIDS}\n"
        if os.geteuid() == 0:
            limits = f'[resources]\nmemory_max = "64M"\npids_max = {PIDS}\n'
            self.note = "with a cgroup of its own that limits memory and processes"
        with open(self.profile, "w", encoding="utf-8") as file:
            file.write(PROFILE.format(program=self.program) + limits)

    def command(self, number: int) -> list[str]:
        del number
        return [self.launcher, "run", "--profile", self.profile, "--", self.program]

    def stop(self) -> None:
        words = [self.launcher, "stop", "--all", "--timeout", str(GRACE_S)]
        quietly(words, self.environment)

    def cgroups(self) -> list[str]:
        """Directories of the live ones' cgroups, as their records name them."""
        found = []
        for entry in os.listdir(self.runtime) if os.path.isdir(self.runtime) else ():
            with contextlib.suppress(OSError):
                with open(os.path.join(self.runtime, entry, "record"), "rb") as file:
                    fields = file.read().decode().split("\0")
                found += [field[7:] for field in fields if field.startswith("cgroup=")]
        return found

    def clean(self) -> None:
        for path in self.cgroups():
            with contextlib.suppress(OSError):
                os.rmdir(path)


class OfCrun(Crowd):
    """In a mount namespace with cgroup v2 alone, which it insists on; no cgroup, and so no limits."""

    name = "crun"
    note = "no cgroup"

    def __init__(self, scratch: str) -> None:
        super().__init__(scratch)
        place = engine_place(scratch)
        self.crun = shutil.which("crun") or "crun"
        self.bundle = crun_bundle(scratch, [f"/mnt/{os.path.basename(self.program)}"], self.program)
        self.holder = subprocess.Popen(
            [*places.OWN_MOUNTS, "sh", "-c", f"set -e\n{place.setup}\necho .; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
        )
        assert self.holder.stdout is not None
        if not self.holder.stdout.readline():
            raise BenchmarkError(f"its place can't be made: {self.words()}")

    def _inside(self, *words: str) -> list[str]:
        enter = [shutil.which("nsenter") or "nsenter", "--mount", f"--target={self.holder.pid}"]
        return [*enter, "--", self.crun, "--cgroup-manager=disabled", *words]

    def command(self, number: int) -> list[str]:
        if not os.access(self.crun, os.X_OK):
            return [self.crun]
        return self._inside("run", "-b", self.bundle, f"{NAME}-{number}")

    def stop(self) -> None:
        for number, process in enumerate(self.waiting):
            if process.poll() is None:
                quietly(self._inside("kill", f"{NAME}-{number}", "KILL"), self.environment)

    def clean(self) -> None:
        self.holder.kill()
        self.holder.communicate()


class OfSystemd(Crowd):
    """Services of the system's manager, which must be systemd; it waits for all of them itself."""

    name = "systemd-run"
    note = "a service with limits of memory and processes; `--wait` stays for each"

    def command(self, number: int) -> list[str]:
        limits = ["-pMemoryMax=64M", f"-pTasksMax={PIDS}", f"-pTimeoutStopSec={GRACE_S}"]
        confines = ["-pProtectSystem=strict", "-pPrivateTmp=yes", "-pPrivateNetwork=yes"]
        words = ["--quiet", "--wait", "--pipe", f"--unit={NAME}-{number}", *limits, *confines]
        return [shutil.which("systemd-run") or "systemd-run", *words, "--", self.program]

    def stop(self) -> None:
        quietly(["systemctl", "stop", f"{NAME}-*.service"], self.environment)


def crowds(sbx: str | None, scratch: str) -> Iterator[tuple[str, Crowd | str]]:
    """All that are to be compared, each when its turn comes, or why one can't be."""
    root = os.geteuid() == 0
    if sbx:
        yield OfSbx.name, OfSbx(scratch, sbx)
    yield OfCrun.name, OfCrun(scratch) if root else "needs root"
    has_systemd = os.path.isdir("/run/systemd/system")
    yield OfSystemd.name, OfSystemd(scratch) if root and has_systemd else "needs root and systemd"


def python_of(launcher: str) -> str:
    """The interpreter that belongs to a launcher."""
    beside = os.path.join(os.path.dirname(launcher), "python3")
    return beside if os.access(beside, os.X_OK) else sys.executable
