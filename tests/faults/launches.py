"""What the faults happen to: launches of the installed sbx, as root and as a user."""

import dataclasses
import errno
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.kernel.harness import MS_BIND, TICK, mount, private_mounts
from tests.reachable import open_the_way

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
UNPRIVILEGED = 61234
_HERE = os.path.dirname(os.path.abspath(__file__))
_FLAGS = ("-std=gnu17", "-D_GNU_SOURCE", "-O1", "-static", "-Wall", "-Wextra", "-Werror")

HEAD = """\
schema = 1
profile.name = "{name}"
environment.set.SHOWN = "yes"
filesystem.tmpfs = ["/tmp"]
{root}seccomp.allow = ["@service"]
[[mounts]]
type = "bind"
source = "{witness}"
target = "{witness}"
execute = true
"""
WHOLE_ROOT = 'filesystem.execute = ["/"]\n'
FULL = """
[rlimits]
nofile = 100
[secrets]
key = {{ file = "{secret}" }}
[service]
stop_timeout = "5s"
"""
LIMITS = """
[resources]
memory_max = "64M"
pids_max = 20
"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One way to start a sandbox."""

    name: str
    user: int | None
    """Who starts it; None: who runs the tests."""
    full: bool = False
    """With limits, a name, a record, a service's supervision and a secret."""
    init: bool = True
    outlives: bool = False
    """It needn't end with its supervisor."""
    cold: bool = False
    """Without a plan in the cache: what is looked at is the launcher that Python hands over to."""


LAUNCHES = (
    Launch(name="warm", user=None),
    Launch(name="warm-user", user=UNPRIVILEGED),
    Launch(name="full", user=None, full=True),
    Launch(name="full-user", user=UNPRIVILEGED, full=True),
    Launch(name="no-init", user=None, init=False),
    Launch(name="no-init-user", user=UNPRIVILEGED, init=False),
    Launch(name="handed-over", user=None, cold=True),
)


def compiled(name: str, directory: str) -> str:
    """A C program of this directory, linked statically."""
    path = os.path.join(directory, name)
    compiler = os.environ.get("CC", "cc").split()
    source = os.path.join(_HERE, f"{name}.c")
    subprocess.run([*compiler, *_FLAGS, "-o", path, source], check=True)
    return path


class Place:
    """Directories in which sbx keeps everything that a launch could leave."""

    def __init__(self, directory: str, launch: Launch) -> None:
        self.launch = launch
        self.directory = directory
        self.unique = f"faults-{os.getpid()}x"
        """What every sandbox of these launches is called and no other: its cgroups are told by it."""
        self.launcher = os.path.join(os.path.dirname(sys.executable), "sbx")
        self.injector = compiled("inject", directory)
        self.witness = compiled("witness", directory)
        for name in ("home", "run", "log", "tmp", "var-cache"):
            os.mkdir(self.path(name))
            self._own(self.path(name))
        os.chmod(self.path("tmp"), 0o1777)
        os.chmod(self.path("run"), 0o700)
        self.secret = self._file("secret", "hidden")
        self.input = self._file("input", "")
        os.chmod(self.input, 0o666)
        self.told = self._file("told", "")
        self.profile = self._file("profile.toml", self._text())
        time.sleep(2 * TICK)

    def path(self, name: str) -> str:
        return os.path.join(self.directory, name)

    def _own(self, path: str) -> None:
        if self.launch.user is not None and os.geteuid() == 0:
            os.chown(path, self.launch.user, self.launch.user)

    def _file(self, name: str, text: str) -> str:
        path = self.path(name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        self._own(path)
        return path

    def _text(self) -> str:
        text = HEAD.format(
            name=self.unique, witness=self.witness, root="" if self.launch.full else WHOLE_ROOT
        )
        if self.launch.full:
            text += FULL.format(secret=self.secret)
            text += LIMITS if self.uid == 0 else ""
        if not self.launch.init:
            text += "[process]\ninit = false\n"
        if self.launch.outlives:
            text += "[process]\ndie_with_parent = false\n"
        return text

    @property
    def uid(self) -> int:
        return os.geteuid() if self.launch.user is None else self.launch.user

    @property
    def cache(self) -> str:
        return self.path("var-cache/sbx" if self.uid == 0 else "home/.cache/sbx")

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": self.path("home"),
            "LANG": "C.UTF-8",
            "SBX_RUNTIME_DIR": self.path("run"),
            "SBX_LOG_DIR": self.path("log"),
        }

    @property
    def command(self) -> list[str]:
        named = ["--name", f"{self.unique}-full"] if self.launch.full else []
        return [self.launcher, "run", "-p", self.profile, *named, "--", self.witness]

    @property
    def generation(self) -> int:
        """Which program of the supervisor's is looked at: Python hands over to the launcher."""
        return 2 if self.launch.cold else 0

    def run(
        self, arguments: Sequence[str], *, seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """A program as the caller."""
        if self.launch.cold:
            shutil.rmtree(self.cache, ignore_errors=True)
        other = self.launch.user is not None and os.geteuid() == 0
        with open(self.input, encoding="utf-8") as stdin:
            return subprocess.run(
                arguments,
                stdin=stdin,
                capture_output=True,
                text=True,
                errors="replace",
                env=self.environment,
                cwd=self.directory,
                timeout=seconds,
                check=False,
                user=self.launch.user if other else None,
                group=self.launch.user if other else None,
                extra_groups=[] if other else None,
            )


@contextmanager
def ready(launch: Launch) -> Iterator[Place]:
    """The place of a launch, in mounts of this process's own, and a plan in the cache.

    Root's cache and everyone's /tmp are the place's from then on, to the end of this process.
    """
    open_the_way(TREE, sys.prefix, sys.base_prefix)
    # Not in /tmp, which is covered.
    with tempfile.TemporaryDirectory(prefix="sbx-faults-", dir="/var/tmp") as directory:
        os.chmod(directory, 0o755)
        place = Place(directory, launch)
        private_mounts()
        mount(place.path("var-cache"), "/var/cache", flags=MS_BIND)
        mount(place.path("tmp"), "/tmp", flags=MS_BIND)
        yield place


def name_of(fault: int) -> str:
    """The fault in words: an errno's name, or SIGKILL for 0."""
    return errno.errorcode[fault] if fault else "SIGKILL"
