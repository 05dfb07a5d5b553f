"""Many sandboxes at once, of sbx and of its peers: started one after the other, and ended."""

import abc
import contextlib
import glob
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
from benchmarks.peers import crun_bundle, engine_place, engine_root, podman_words

PATIENCE_S: Final = 20.0
NAME: Final = "sbx-benchmark"
PIDS: Final = 64
"""What a sandbox may hold of processes, so that a fork bomb in it is bounded."""
GRACE_S: Final = 1
"""How long what is asked to end has for it."""
LOGS: Final = (".events", ".events.1")
"""sbx's log of events, which is kept and is no sandbox's."""


def family(top: int) -> list[int]:
    """A process and all below it."""
    found = [top]
    for pid in found:
        with contextlib.suppress(OSError):
            found += children(pid)
    return found


class Crowd(abc.ABC):
    """Sandboxes of one tool that live until they are ended."""

    name = ""
    note = ""
    holds_bombs = False
    detaches = False
    """The command that starts one ends at once; else it stays and waits for it."""
    at_most: int | None = None
    """So many at once, where more take too long."""
    manager: int | None = None
    """A process that waits for all of them together."""

    def __init__(self, scratch: str) -> None:
        self.scratch = scratch
        self.program = building.build("idler")
        self.environment = places.environment(scratch)
        self.clients: list[subprocess.Popen[bytes]] = []
        self.said = os.path.join(scratch, f"said-{self.name}")
        os.mkfifo(self.said)
        os.chmod(self.said, 0o622)  # a program of another user's writes to it
        self.fifo = os.open(self.said, os.O_RDWR | os.O_CLOEXEC)
        self.log = open(os.path.join(scratch, f"log-{self.name}"), "w+b")  # noqa: SIM115 - closed by close()

    @abc.abstractmethod
    def command(self, number: int) -> list[str]:
        """What is typed for one more."""

    @abc.abstractmethod
    def stop(self) -> None:
        """Ends all of them in the tool's own way; what waits for them may end a little later."""

    @abc.abstractmethod
    def left(self) -> dict[str, int]:
        """How much of them the tool or the kernel still knows, by kind, once all have ended."""

    def tops(self) -> list[int]:
        """The topmost process of each."""
        return [client.pid for client in self.clients]

    def clean(self) -> None:  # noqa: B027 - most tools leave nothing
        """Removes what a run that failed has left, once nothing waits any more."""

    def start(self) -> float:
        """Milliseconds until the program of one more has run."""
        begun = time.perf_counter()
        command = self.command(len(self.clients))
        if not os.access(command[0], os.X_OK):
            raise BenchmarkError(f"{command[0]} is not installed")
        client = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if self.detaches else self.fifo,
            stderr=self.log,
            env=self.environment,
            cwd="/",
        )
        self.clients.append(client)
        while not select.select([self.fifo], [], [], 0.2)[0]:
            ended = client.poll() is not None and (client.returncode != 0 or not self.detaches)
            if ended or time.perf_counter() - begun > PATIENCE_S:
                raise BenchmarkError(f"its program didn't start: {self.words()}")
        os.read(self.fifo, 1)
        taken = (time.perf_counter() - begun) * 1e3
        if self.detaches and client.wait(PATIENCE_S) != 0:
            raise BenchmarkError(f"it runs, but its command failed: {self.words()}")
        return taken

    def words(self) -> str:
        """The last line that one of them wrote to standard error."""
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "nothing on standard error"

    def end(self) -> float:
        """Seconds until the topmost process of each has ended."""
        with contextlib.ExitStack() as stack:
            handles = [os.pidfd_open(pid) for pid in self.tops()]
            for handle in handles:
                stack.callback(os.close, handle)
            begun = time.perf_counter()
            self.stop()
            until = time.perf_counter() + PATIENCE_S
            for handle in handles:
                left = max(until - time.perf_counter(), 0.1)
                if not select.select([handle], [], [], left)[0]:
                    raise BenchmarkError("not all of them have ended")
            taken = time.perf_counter() - begun
        for client in self.clients:
            client.wait()
        return taken

    def close(self) -> None:
        """Ends whatever is left, however the measurement went."""
        for client in self.clients:
            if client.poll() is None:
                for pid in reversed(family(client.pid)):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            client.wait()
        self.clean()
        os.close(self.fifo)
        self.log.close()


def quietly(command: list[str], environment: dict[str, str]) -> str:
    """What a command writes. Raises BenchmarkError with its words where it fails."""
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, cwd="/"
    )
    if done.returncode != 0:
        raise BenchmarkError(
            f"{command[0]}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}"
        )
    return done.stdout


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
        self.held: list[str] = []
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
        self.held = self._cgroups()
        words = [self.launcher, "stop", "--all", "--timeout", str(GRACE_S)]
        quietly(words, self.environment)

    def _cgroups(self) -> list[str]:
        """Directories of the live ones' cgroups, as their records name them."""
        found = []
        for entry in os.listdir(self.runtime) if os.path.isdir(self.runtime) else ():
            with contextlib.suppress(OSError):
                with open(os.path.join(self.runtime, entry, "record"), "rb") as file:
                    fields = file.read().decode().split("\0")
                found += [field[7:] for field in fields if field.startswith("cgroup=")]
        return found

    def left(self) -> dict[str, int]:
        there = os.listdir(self.runtime) if os.path.isdir(self.runtime) else []
        return {
            "records": len([name for name in there if name not in LOGS]),
            "cgroups": sum(os.path.exists(path) for path in self.held),
        }

    def clean(self) -> None:
        for path in self._cgroups():
            with contextlib.suppress(OSError):
                os.rmdir(path)


class OfEngine(Crowd):
    """Containers in a mount namespace with cgroup v2 alone, which crun insists on."""

    note = "no cgroup, and so no limits"

    def __init__(self, scratch: str) -> None:
        super().__init__(scratch)
        self.tool = shutil.which(self.name) or self.name
        script = f"set -e\n{engine_place(scratch).setup}\necho .; exec cat"
        self.holder = subprocess.Popen(
            [*places.OWN_MOUNTS, "sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
        )

    def inside(self, *words: str) -> list[str]:
        """The command of the engine with these words, there."""
        if not os.access(self.tool, os.X_OK):
            return [self.tool]
        enter = [shutil.which("nsenter") or "nsenter", "--mount", f"--target={self.holder.pid}"]
        return [*enter, "--", self.tool, *words]

    def start(self) -> float:
        assert self.holder.stdout is not None
        if not self.clients and not self.holder.stdout.readline():
            raise BenchmarkError(f"its place can't be made: {self.words()}")
        return super().start()

    def clean(self) -> None:
        self.holder.kill()
        self.holder.communicate()


class OfCrun(OfEngine):
    """Started by crun, which stays for each."""

    name = "crun"

    def __init__(self, scratch: str) -> None:
        super().__init__(scratch)
        self.bundle = crun_bundle(scratch, [f"/mnt/{os.path.basename(self.program)}"], self.program)

    def _words(self, *words: str) -> list[str]:
        return self.inside("--cgroup-manager=disabled", *words)

    def command(self, number: int) -> list[str]:
        return self._words("run", "-b", self.bundle, f"{NAME}-{number}")

    def stop(self) -> None:
        for number in range(len(self.clients)):
            quietly(self._words("kill", f"{NAME}-{number}", "KILL"), self.environment)

    def left(self) -> dict[str, int]:
        return {"containers": len(quietly(self._words("list", "-q"), self.environment).split())}


class OfPodman(OfEngine):
    """In the background, as is usual: a conmon stays for each. A directory is their root: no image is needed."""

    name = "podman"
    detaches = True
    at_most = 50

    def _conmon(self, number: int) -> str:
        return os.path.join(self.scratch, f"conmon-{number}")

    def command(self, number: int) -> list[str]:
        program, said = (f"/mnt/{os.path.basename(path)}" for path in (self.program, self.said))
        root = engine_root(self.scratch)
        for target in (program, said):
            with open(root + target, "a", encoding="utf-8"):
                pass  # what it is mounted on
        words = ["--detach", "--log-driver=none", f"--conmon-pidfile={self._conmon(number)}"]
        words += [f"--volume={self.program}:{program}:ro", f"--volume={self.said}:{said}"]
        return self.inside(*podman_words(root, *words), program, said)

    def tops(self) -> list[int]:
        found = []
        for number in range(len(self.clients)):
            with contextlib.suppress(FileNotFoundError), open(self._conmon(number)) as file:
                found.append(int(file.read()))
        return found

    def stop(self) -> None:
        quietly(self.inside("rm", "--all", "--force", "--time=0"), self.environment)

    def left(self) -> dict[str, int]:
        listed = quietly(self.inside("ps", "--all", "--quiet"), self.environment)
        return {"containers": len(listed.split())}

    def clean(self) -> None:
        for pid in self.tops():
            with contextlib.suppress(ProcessLookupError):
                for each in reversed(family(pid)):
                    os.kill(each, signal.SIGKILL)
        super().clean()


class OfSystemd(Crowd):
    """Services of the system's manager, which must be systemd.

    It waits for all of them itself. systemd-run isn't told to wait for them: each that does holds a connection to
    the bus on which it hears of every other, and beside some hundreds of them the next service can't be started.
    """

    name = "systemd-run"
    note = "services with limits of memory and processes; the manager waits for all of them"
    holds_bombs = True
    detaches = True
    manager = 1

    def command(self, number: int) -> list[str]:
        limits = ["-pMemoryMax=64M", f"-pTasksMax={PIDS}", f"-pTimeoutStopSec={GRACE_S}"]
        confines = ["-pProtectSystem=strict", "-pPrivateTmp=yes", "-pPrivateNetwork=yes"]
        words = ["--quiet", "--collect", f"--unit={NAME}-{number}", *limits, *confines]
        words.append(f"-pStandardOutput=file:{self.said}")
        return [shutil.which("systemd-run") or "systemd-run", *words, "--", self.program]

    def _ask(self, verb: str, *words: str) -> str:
        return quietly(["systemctl", verb, *words, f"{NAME}-*.service"], self.environment)

    def tops(self) -> list[int]:
        return [int(word) for word in self._ask("show", "-pMainPID", "--value").split()]

    def stop(self) -> None:
        self._ask("stop")

    def left(self) -> dict[str, int]:
        listed = self._ask("list-units", "--all", "--no-legend", "--plain")
        held = glob.glob(f"/sys/fs/cgroup/system.slice/{NAME}-*.service")
        return {"units": len(listed.splitlines()), "cgroups": len(held)}

    def clean(self) -> None:
        if self.left()["units"] > 0:
            self._ask("kill", "--signal=KILL")


def crowds(sbx: str | None, scratch: str) -> Iterator[tuple[str, Crowd | str]]:
    """All that are to be compared, each when its turn comes, or why one can't be."""
    root = os.geteuid() == 0
    if sbx:
        yield OfSbx.name, OfSbx(scratch, sbx)
    yield OfCrun.name, OfCrun(scratch) if root else "needs root"
    yield OfPodman.name, OfPodman(scratch) if root else "needs root"
    has_systemd = os.path.isdir("/run/systemd/system")
    yield OfSystemd.name, OfSystemd(scratch) if root and has_systemd else "needs root and systemd"


def python_of(launcher: str) -> str:
    """The interpreter that belongs to a launcher."""
    beside = os.path.join(os.path.dirname(launcher), "python3")
    return beside if os.access(beside, os.X_OK) else sys.executable
