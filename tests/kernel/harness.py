"""What the kernel tests share: the installed sbx as root and as a user, with the probe inside."""

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from sandbox.plan import cache, codec
from sandbox.plan.record import Op, Plan
from tests.kernel.posture import Posture

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE, MS_SHARED = 4096, 16384, 1 << 18, 1 << 20
CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000

NOT_ROOT = "the tests don't run as root"

# A file's time stamp tells two states apart only when a tick lies between them.
TICK = 0.015

BASE = """\
schema = 1

[environment]
set = {{ PATH = "/usr/bin:/bin" }}

[[mounts]]
type = "bind"
source = "{probe}"
target = "{probe}"
execute = true

[seccomp]
allow = ["@service"]
"""

Step = Callable[[], None]
libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int) -> int:
    """The result of a libc call, or OSError."""
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    words = (os.fsencode(text) or None for text in (source, target, kind))
    checked(libc.mount(*words, ctypes.c_ulong(flags), os.fsencode(data) or None))


def private_mounts(propagation: int = MS_PRIVATE) -> None:
    """This process gets a mount namespace of its own."""
    checked(libc.unshare(CLONE_NEWNS))
    mount("none", "/", flags=MS_REC | propagation)


class Running(subprocess.Popen[Any]):
    """A program in the background; leaving its context ends it, whatever has happened."""

    def __exit__(self, *error: object) -> None:
        if self.poll() is None:
            self.kill()
        super().__exit__(*error)  # type: ignore[arg-type]


class Answer(NamedTuple):
    """How an attempt of the probe's went: "ok", an errno's name or a signal's."""

    outcome: str
    value: str

    def __str__(self) -> str:
        return self.outcome


def answers(text: str) -> list[Answer]:
    """The probe's lines."""
    return [_answer(json.loads(line)) for line in text.splitlines() if line.startswith("{")]


def _answer(line: dict[str, Any]) -> Answer:
    if line["signal"]:
        return Answer(signal.Signals(line["signal"]).name, "")
    outcome = errno.errorcode.get(line["errno"], "?") if line["errno"] else "ok"
    return Answer(outcome, line["value"].encode("latin-1").decode(errors="surrogateescape"))


class Sandbox:
    """Runs the installed sbx as one caller, and the probe within.

    `directory` is the caller's own; other users may look inside. So is `place`, which holds
    profiles, a home and the cache: where tests share it, what one has run is warm for the next.
    `user` is the account to change to, None to stay who the tests run as. `python` is the
    interpreter that the launcher turns to; a warm launch is made without it.
    """

    def __init__(
        self,
        *,
        launcher: str,
        probe: str,
        directory: str,
        place: str,
        user: int | None,
        python: str,
    ) -> None:
        self.launcher = launcher
        self.probe = probe
        self.directory = directory
        self.user = user
        self.uid = os.geteuid() if user is None else user
        self.home = os.path.join(place, "home")
        self.place = place
        self._python = python
        self._var_cache = os.path.join(place, "var-cache")
        self.runtime = os.path.join(place, "run")
        """Where live sandboxes of this caller are recorded."""
        self.logs = os.path.join(place, "log")
        """Where the logs of this caller's services are kept."""
        for path in (place, self.home, self._var_cache, self.runtime, self.logs):
            os.makedirs(path, 0o755, exist_ok=True)
        self.own(directory, place, self.home, self.runtime, self.logs)
        self._write(os.path.join(place, "base.toml"), BASE.format(probe=probe), 0o644)

    @property
    def is_root(self) -> bool:
        return self.uid == 0

    @property
    def cache(self) -> str:
        """Where this caller's compiled plans are kept, as seen from outside."""
        above = self._var_cache if self.is_root else os.path.join(self.home, ".cache")
        return os.path.join(above, "sbx")

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": self.home,
            "LANG": "C.UTF-8",
            "SBX_RUNTIME_DIR": self.runtime,
            "SBX_LOG_DIR": self.logs,
        }

    def own(self, *paths: str) -> None:
        """Gives paths to the caller."""
        if self.user is not None:
            for path in paths:
                os.chown(path, self.user, self.user, follow_symlinks=False)

    def path(self, *names: str) -> str:
        return os.path.join(self.directory, *names)

    def write(self, name: str, text: str, mode: int = 0o644) -> str:
        """A file of the caller's in the directory; untouched if it says the same already."""
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return self._write(path, text, mode)

    def _write(self, path: str, text: str, mode: int) -> str:
        with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as file:
            if file.read() == text:
                return path
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)
        self.own(path)
        time.sleep(TICK)
        return path

    def mkdir(self, name: str, mode: int = 0o755) -> str:
        """A directory of the caller's in the directory."""
        path = self.path(name)
        os.makedirs(path)
        os.chmod(path, mode)
        self.own(path)
        return path

    def profile(self, text: str) -> str:
        """A profile file on top of the base, which mounts the probe and allows @service."""
        name = hashlib.sha256(text.encode()).hexdigest()[:12]
        head = 'schema = 1\nprofile.name = "probe"\nprofile.extends = "./base.toml"\n'
        return self._write(os.path.join(self.place, f"{name}.toml"), head + text, 0o644)

    # ---- Launching ----

    def arguments(self, text: str, words: Sequence[str], options: Sequence[str] = ()) -> list[str]:
        return [self.launcher, "run", "--profile", self.profile(text), *options, "--", *words]

    def popen(
        self,
        arguments: Sequence[str],
        *,
        stage: Step | None = None,
        before: Step | None = None,
        env: Mapping[str, str] | None = None,
        **more: Any,
    ) -> Running:
        """A program as the caller.

        `stage` runs first, in a mount namespace of its own and as whoever runs the tests; `before`
        last, as the caller.
        """

        def prepare() -> None:
            if os.geteuid() == 0:
                private_mounts()
                mount(self._var_cache, "/var/cache", flags=MS_BIND)
            if stage:
                stage()
            if self.user is not None:
                os.setgroups([])
                os.setresgid(self.user, self.user, self.user)
                os.setresuid(self.user, self.user, self.user)
            if before:
                before()

        more.setdefault("cwd", self.directory)
        more.setdefault("stdin", subprocess.DEVNULL)
        environment = self.environment if env is None else env
        return Running(arguments, env=environment, preexec_fn=prepare, **more)

    def program(
        self, arguments: Sequence[str], *, stdin: str | None = None, timeout: float = 30, **how: Any
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program as the caller to its end."""
        if stdin is not None:
            how["stdin"] = subprocess.PIPE
        for stream in ("stdout", "stderr"):
            how.setdefault(stream, subprocess.PIPE)
        with self.popen(arguments, text=True, errors="surrogateescape", **how) as process:
            output, messages = process.communicate(stdin, timeout)
        return subprocess.CompletedProcess(arguments, process.returncode, output, messages)

    def run(
        self, text: str, *words: str, options: Sequence[str] = (), warm: bool = False, **how: Any
    ) -> subprocess.CompletedProcess[str]:
        """`sbx run` with this profile. `warm` makes sure that no Python takes part."""
        arguments = self.arguments(text, words, options)
        if warm:
            self.program(arguments, **how)
            how["stage"] = self.without_python(how.get("stage"))
        return self.program(arguments, **how)

    def without_python(self, stage: Step | None = None) -> Step:
        """A stage in which the launcher finds a Python that only ever fails."""

        def prepare() -> None:
            if stage:
                stage()
            if os.geteuid() == 0:
                mount(self.probe, self._python, flags=MS_BIND)

        return prepare

    def start(self, text: str, *words: str, options: Sequence[str] = (), **how: Any) -> Running:
        """`sbx run` in the background, with pipes for the standard streams."""
        for stream in ("stdin", "stdout", "stderr"):
            how.setdefault(stream, subprocess.PIPE)
        return self.popen(self.arguments(text, words, options), **how)

    # ---- Shipped profiles ----

    def shipped_arguments(
        self, profile: str, *words: str, variables: Mapping[str, str] | None = None
    ) -> list[str]:
        """The command line that runs `words`, or the profile's own command, in a shipped profile."""
        sets = [word for pair in (variables or {}).items() for word in ("--set", "=".join(pair))]
        return [
            self.launcher,
            "run",
            "--profile",
            profile,
            *sets,
            *(["--", *words] if words else []),
        ]

    def shipped(
        self, profile: str, *words: str, variables: Mapping[str, str] | None = None, **how: Any
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command in a shipped profile, or one of the test's own by its path, to its end."""
        return self.program(self.shipped_arguments(profile, *words, variables=variables), **how)

    def start_shipped(
        self, profile: str, *words: str, variables: Mapping[str, str] | None = None, **how: Any
    ) -> Running:
        """The same in the background, with pipes for the standard streams."""
        for stream in ("stdin", "stdout", "stderr"):
            how.setdefault(stream, subprocess.PIPE)
        return self.popen(self.shipped_arguments(profile, *words, variables=variables), **how)

    # ---- Plans ----

    def plan_file(self, text: str) -> str:
        """Where the compiled plan of this profile is kept."""
        path = self.profile(text)
        return os.path.join(self.cache, cache.file_name(cache.key(path, "/", for_cwd=False)))

    def plan(self, text: str) -> Plan:
        """The plan that sbx compiles for this caller, without what the cache needs to know."""
        done = self.run(text, self.probe, "exit", "0")
        assert (done.returncode, done.stderr) == (0, ""), done
        with open(self.plan_file(text), "rb") as file:
            plan = codec.decode(file.read())
        return msgspec.structs.replace(plan, stamps=())

    def run_plan(
        self, plan: Plan | bytes, *words: str, options: Sequence[str] = (), **how: Any
    ) -> subprocess.CompletedProcess[str]:
        """Has the executor carry out a plan that may be any other than a profile's."""
        fd = os.memfd_create("plan")
        try:
            os.write(fd, plan if isinstance(plan, bytes) else codec.encode(plan))
            arguments = [self.launcher, "run", "--plan-fd", str(fd), *options]
            arguments += ["--", *words] if words else []
            return self.program(arguments, pass_fds=(fd, *how.pop("pass_fds", ())), **how)
        finally:
            os.close(fd)

    def attempts_under(self, plan: Plan, *tries: Sequence[object]) -> list[Answer]:
        return _all_answered(self.run_plan(plan, self.probe, *join(tries)), len(tries))

    # ---- The probe ----

    def attempts(self, text: str, *tries: Sequence[object], **how: Any) -> list[Answer]:
        """What the probe's attempts in the sandbox come to; the launch itself must be flawless."""
        done = self.run(text, self.probe, *join(tries), **how)
        return _all_answered(done, len(tries))

    def attempt(self, text: str, *words: object, **how: Any) -> Answer:
        return self.attempts(text, words, **how)[0]

    def outside(self, *tries: Sequence[object], **how: Any) -> list[Answer]:
        """The same attempts of the same caller without a sandbox: the positive control."""
        done = self.program([self.probe, *join(tries)], **how)
        return _all_answered(done, len(tries))

    def dump(self, text: str, **how: Any) -> Posture:
        """What the payload is made of."""
        done = self.run(text, self.probe, "dump", **how)
        assert (done.returncode, done.stderr) == (0, ""), done
        return Posture(json.loads(done.stdout))

    def dump_outside(self) -> Posture:
        """The same of the caller."""
        return Posture(json.loads(self.program([self.probe, "dump"]).stdout))

    def refusal(self, text: str, *words: str, **how: Any) -> str:
        """The message of a launch that sbx refuses with 125."""
        done = self.run(text, *(words or (self.probe, "exit", "0")), **how)
        assert done.returncode == 125, done
        assert done.stdout == "", done
        return done.stderr


def edited(plan: Plan, edit: Callable[[Op], Op | None]) -> Plan:
    """The plan with each op as `edit` leaves it; None takes it out."""
    pairs = zip(map(edit, plan.ops), plan.origins, strict=True)
    kept = [(op, origin) for op, origin in pairs if op is not None]
    return msgspec.structs.replace(
        plan, ops=tuple(op for op, _ in kept), origins=tuple(origin for _, origin in kept)
    )


def without(plan: Plan, *kinds: type[Op]) -> Plan:
    """The plan without its ops of these kinds."""
    return edited(plan, lambda op: None if isinstance(op, kinds) else op)


def join(tries: Sequence[Sequence[object]]) -> Iterator[str]:
    """The probe's command line for several attempts."""
    for index, words in enumerate(tries):
        if index:
            yield "+"
        yield from map(str, words)


def _all_answered(done: subprocess.CompletedProcess[str], count: int) -> list[Answer]:
    assert (done.returncode, done.stderr) == (0, ""), done
    found = answers(done.stdout)
    assert len(found) == count, done
    return found


def outcomes(found: Sequence[Answer]) -> list[str]:
    """Only how the attempts went."""
    return [answer.outcome for answer in found]


def await_line(process: subprocess.Popen[Any], wanted: bytes = b"ready\n") -> None:
    """Waits until the program in the background has said what it should."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if line != wanted:
        process.kill()
        _, messages = process.communicate()
        raise AssertionError(f"expected {wanted!r}, got {line!r}: {messages!r}")


def interpreter() -> str:
    """The Python that runs the tests, as a file."""
    return os.path.realpath(sys.executable)
