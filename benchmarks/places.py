"""Where commands are run and by what: mount namespaces, users, environments, and the stopwatch in them."""

import contextlib
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.building import build
from benchmarks.common import BenchmarkError

# The least and the most that the environment of a launch holds.
ENVIRONMENT: Final = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A mount namespace that commands run in; `setup` is a shell script run in it first.

    The empty one is the machine as it is. A place of its own, and another user's, need root.
    """

    name: str
    setup: str = ""
    user: int | None = None
    """The id of the user who runs the commands, without groups; None: the caller."""

    @property
    def available(self) -> bool:
        return (not self.setup and self.user is None) or os.geteuid() == 0

    def how(self, scratch: str) -> dict[str, Any]:
        """What subprocess is to be told: the environment, and the user."""
        if self.user is None:
            return {"env": environment(scratch)}
        home = os.path.join(scratch, f"user-{self.user}")
        if not os.path.isdir(home):
            os.mkdir(home)
            os.chown(home, self.user, self.user)
        identity = {"user": self.user, "group": self.user, "extra_groups": []}
        return {"env": environment(home), **identity}


PLAIN: Final = Place(name="plain")
OWN_MOUNTS: Final = ("unshare", "--mount", "--propagation", "private")


class Spawner:
    """benchmarks/spawn.c at work in one place."""

    def __init__(self, place: Place, commands: Sequence[Sequence[str]], scratch: str) -> None:
        self.log = tempfile.TemporaryFile("w+", dir=scratch)  # noqa: SIM115 - closed with the spawner
        listing = os.path.join(scratch, f"commands-{place.name}")
        with open(listing, "w", encoding="utf-8") as file:
            file.writelines("\t".join(command) + "\n" for command in commands)
        argv = [build("spawn"), listing]
        if place.setup:
            script = f"set -e\n{place.setup}\nexec {shlex.join(argv)}"
            argv = [*OWN_MOUNTS, "sh", "-c", script]
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            cwd="/",
            **place.how(scratch),
        )
        assert self.process.stdout is not None
        if self.process.stdout.readline() != "ready\n":
            raise BenchmarkError(f"the place {place.name} can't be made: {self.words()}")

    def ask(self, request: str) -> list[int]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(request + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline().split()
        except BrokenPipeError:
            answer = []
        if not answer:
            raise BenchmarkError(f"the spawner ended: {self.words()}")
        return [int(word) for word in answer]

    def run(self, index: int) -> float:
        """Milliseconds of one launch."""
        nanoseconds, status = self.ask(f"run {index}")
        self._check(status)
        return nanoseconds / 1e6

    def rate(self, index: int, workers: int, milliseconds: int) -> float:
        """Launches per second."""
        launches, nanoseconds, status = self.ask(f"rate {index} {workers} {milliseconds}")
        self._check(status)
        return launches * 1e9 / nanoseconds

    def _check(self, status: int) -> None:
        if status != 0:
            code = os.waitstatus_to_exitcode(status)
            raise BenchmarkError(f"status {code}: {self.words()}")

    def words(self) -> str:
        """The last line that a command wrote to standard error."""
        self.log.seek(0)
        lines = self.log.read().strip().splitlines()
        return lines[-1] if lines else "nothing on standard error"

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()


def environment(scratch: str) -> dict[str, str]:
    """What every launch gets, with a cache and runtime directory of the benchmark's own."""
    places = {"HOME": scratch, "XDG_CACHE_HOME": scratch, "XDG_RUNTIME_DIR": scratch}
    return {**ENVIRONMENT, **places, "SBX_RUNTIME_DIR": os.path.join(scratch, "live")}


@contextlib.contextmanager
def scratch_directory() -> Iterator[str]:
    """A directory that a private /tmp doesn't cover."""
    with tempfile.TemporaryDirectory(prefix="sbx-benchmark-", dir="/var/tmp") as path:
        os.chmod(path, 0o755)
        yield path
