"""An emulated machine, as tests use it: run a command, put a file, get one."""

import contextlib
import io
import itertools
import os
import shlex
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import IO, Final, Self

from tests.vm import recipe
from tests.vm.agent import Head
from tests.vm.channel import STDERR, STDOUT, Channel, Exchange, GoneError
from tests.vm.qemu import MachineError, Qemu

BOOT_SECONDS: Final = 180
# How much longer than the command itself its answer may take.
_GRACE: Final = 30
_SEED_BYTES: Final = 64

Done = subprocess.CompletedProcess[str]


class Running:
    """A command in the machine that hasn't been waited for; leaving its context kills it."""

    def __init__(
        self,
        machine: "Machine",
        exchange: Exchange,
        argv: Sequence[str],
        timeout: float,
        manager: Sequence[str],
    ) -> None:
        self._machine = machine
        self._exchange = exchange
        self._argv = argv
        self._timeout = timeout
        self._manager = manager

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._exchange.answer is None:
            self.signal(signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.wait_bytes()

    def signal(self, number: int) -> None:
        """Signals the command's process group, or all of its unit, if it still runs."""
        if self._manager:
            self._machine.run(*self._manager, f"--signal={number}")
        else:
            self._machine.request({"do": "signal", "to": self._exchange.number, "signal": number})

    @property
    def output(self) -> str:
        """What it has written to standard output so far."""
        return self._exchange.output[STDOUT].decode(errors="surrogateescape")

    @property
    def messages(self) -> str:
        """What it has written to standard error so far."""
        return self._exchange.output[STDERR].decode(errors="surrogateescape")

    def await_output(self, text: str, timeout: float = 30) -> str:
        """Waits until `text` is in the output, and returns all of it; AssertionError if it ends."""
        late = not self._wait(timeout, lambda: text in self.output)
        if text not in self.output:
            what = f"hasn't written {text!r} in {timeout} seconds" if late else "has ended"
            raise AssertionError(
                f"{shlex.join(self._argv)} {what}: {self.output!r}, {self.messages!r}"
            )
        return self.output

    def copy_output(self, out: IO[bytes], err: IO[bytes]) -> None:
        """Writes what it writes, as it comes, until its end."""
        written = {STDOUT: 0, STDERR: 0}
        output = self._exchange.output
        ended = False
        while not ended:
            heard = self._wait(
                self._timeout + _GRACE,
                lambda: any(len(output[stream]) > count for stream, count in written.items()),
            )
            ended = not heard or self._exchange.answer is not None
            for stream, file in ((STDOUT, out), (STDERR, err)):
                new = output[stream][written[stream] :]
                file.write(new)
                file.flush()
                written[stream] += len(new)

    def wait_bytes(self) -> subprocess.CompletedProcess[bytes]:
        """Waits for the end. Raises subprocess.TimeoutExpired, with the output so far.

        OSError where there is no such program, user or directory.
        """
        if not self._wait(self._timeout + _GRACE):
            raise self._machine.failure(f"no answer to {shlex.join(self._argv)}")
        assert self._exchange.answer is not None
        error, status = (self._exchange.answer[name] for name in ("error", "status"))
        out, err = (bytes(self._exchange.output[stream]) for stream in (STDOUT, STDERR))
        if error:
            raise OSError(f"{shlex.join(self._argv)}: {error}")
        if status is None:
            if self._manager:
                self.signal(signal.SIGKILL)
            raise subprocess.TimeoutExpired(self._argv, self._timeout, out, err)
        return subprocess.CompletedProcess(self._argv, status, out, err)

    def wait(self) -> Done:
        """The same with text; bytes that are no UTF-8 are there as surrogates."""
        done = self.wait_bytes()
        out, err = (part.decode(errors="surrogateescape") for part in (done.stdout, done.stderr))
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    def _wait(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        try:
            return self._exchange.wait(seconds, until)
        except GoneError:
            raise self._machine.failure("the machine has stopped") from None


class Machine:
    """A Debian guest under emulation, on an image of `image.provide()`; a context manager.

    It goes on from the saved state of a booted machine, in about a second. One with `memory` (MiB),
    `cpus` or `options` (qemu's) of its own, or `cold`, boots, in about twenty. What it writes to
    its disk ends with it, and it has no network but its own loopback interface.

    Commands run as root or as `user`, uid 1000, whose systemd manager is up. They start in the
    delegated subtree of a system service, from which sbx makes cgroups; `unit=True` gives them a
    transient service of their own. Calls may come from several threads.
    """

    def __init__(
        self,
        image: str,
        *,
        cold: bool = False,
        kept: bool = False,
        memory: int = recipe.MEMORY,
        cpus: int = recipe.CPUS,
        options: Sequence[str] = (),
    ) -> None:
        own = (memory, cpus, tuple(options)) != (recipe.MEMORY, recipe.CPUS, ())
        self._image = image
        self._kept = kept
        self._cold = cold or kept or own
        self._memory = memory
        self._cpus = cpus
        self._options = options
        self._units = itertools.count(1)

    def __enter__(self) -> Self:
        self.qemu = Qemu(
            self._image,
            resumed=not self._cold,
            kept=self._kept,
            memory=self._memory,
            cpus=self._cpus,
            options=self._options,
        )
        self._channel = Channel(self.qemu.agent)
        try:
            if self._cold:
                self._await_boot()
            # The clock, and what all machines of one saved state would have in common.
            seed = os.urandom(_SEED_BYTES)
            self.request({"do": "wake", "time": time.time()}, seed)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the machine, and with it all that runs in it."""
        self._channel.close()
        self.qemu.close()

    def failure(self, words: str) -> MachineError:
        """The error that tells of the machine's failure."""
        return self.qemu.failure(words)

    def _await_boot(self) -> None:
        try:
            if self._channel.booted.wait(BOOT_SECONDS):
                return
        except GoneError:
            raise self.failure("the machine has stopped while booting") from None
        raise self.failure(f"the machine hasn't booted in {BOOT_SECONDS} seconds")

    def request(self, head: Head, body: bytes = b"") -> None:
        """Has the agent do something other than to run a command; waits until it is done."""
        try:
            exchange = self._channel.ask(head, body)
            if not exchange.wait(_GRACE):
                raise self.failure(f"the agent doesn't answer '{head['do']}'")
        except GoneError:
            raise self.failure("the machine has stopped") from None
        assert exchange.answer is not None
        if exchange.answer["error"]:
            raise self.failure(f"the agent can't do '{head['do']}': {exchange.answer['error']}")

    # ---- Commands ----

    def start(
        self,
        *argv: str,
        stdin: str | bytes = b"",
        user: str = "root",
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        unit: bool = False,
        properties: Sequence[str] = (),
        timeout: float = 60,
    ) -> Running:
        """Starts a command, in a session of its own.

        `cwd` is by default the user's home. With `unit`, or `properties` such as `MemoryMax=50M`,
        it runs in a transient service of the system's manager, or the user's. After `timeout`
        seconds it is killed. What it leaves in the background must not hold its output open.
        """
        words, manager = list(argv), list[str]()
        if unit or properties:
            name = f"test-{next(self._units)}.service"
            scope = [] if user == "root" else ["--user", f"--machine={user}@"]
            manager = ["systemctl", *scope, "kill", name]
            words = [*_in_unit(user, name, properties, env or {}), *argv]
        head = {
            "do": "run",
            "argv": words,
            "user": user,
            "env": dict(env or {}),
            "cwd": cwd,
            "timeout": timeout,
        }
        try:
            body = stdin.encode() if isinstance(stdin, str) else stdin
            exchange = self._channel.ask(head, body)
        except GoneError:
            raise self.failure("the machine has stopped") from None
        return Running(self, exchange, words, timeout, manager)

    def run(
        self,
        *argv: str,
        stdin: str | bytes = b"",
        user: str = "root",
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        unit: bool = False,
        properties: Sequence[str] = (),
        timeout: float = 60,
    ) -> Done:
        """Runs a command to its end; see start()."""
        return self.start(
            *argv,
            stdin=stdin,
            user=user,
            env=env,
            cwd=cwd,
            unit=unit,
            properties=properties,
            timeout=timeout,
        ).wait()

    def succeed(self, *argv: str, user: str = "root", timeout: float = 60) -> str:
        """The output of a command that must end with 0."""
        done = self.run(*argv, user=user, timeout=timeout)
        assert done.returncode == 0, f"{shlex.join(argv)}: {done}"
        return done.stdout

    def shell(self, script: str, *arguments: str, user: str = "root", timeout: float = 60) -> Done:
        """Runs a script of bash's, with its arguments as $1 and so on."""
        return self.run("bash", "-c", script, "bash", *arguments, user=user, timeout=timeout)

    # ---- Files ----

    def write(self, path: str, content: str | bytes, mode: int = 0o644) -> None:
        """A file of root's; directories on the way are made."""
        script = 'mkdir -p "$(dirname "$1")" && cat >"$1" && chmod "$2" "$1"'
        done = self.run("sh", "-c", script, "sh", path, f"{mode:o}", stdin=content)
        if done.returncode:
            raise OSError(done.stderr)

    def read(self, path: str) -> bytes:
        """A file's content."""
        with self.start("cat", "--", path) as running:
            done = running.wait_bytes()
        if done.returncode:
            raise OSError(done.stderr.decode())
        return done.stdout

    def put(self, source: str, target: str) -> None:
        """Copies a file or a directory of the host's to `target` in the machine; root owns it.

        What the host's Python has compiled stays behind.
        """
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(source, os.path.basename(target), filter=_of_root)
        above = os.path.dirname(target) or "."
        script = 'mkdir -p -- "$1" && tar -C "$1" -xf -'
        done = self.run("sh", "-c", script, "sh", above, stdin=packed.getvalue(), timeout=300)
        if done.returncode:
            raise OSError(done.stderr)

    def get(self, source: str, target: str) -> None:
        """Copies what a directory of the machine's holds into a directory of the host's."""
        with self.start("tar", "-C", source, "-cf", "-", ".", timeout=300) as running:
            done = running.wait_bytes()
        if done.returncode:
            raise OSError(done.stderr.decode())
        os.makedirs(target, exist_ok=True)
        subprocess.run(["tar", "-C", target, "-xf", "-"], input=done.stdout, check=True)


def _in_unit(user: str, name: str, properties: Sequence[str], env: Mapping[str, str]) -> list[str]:
    return [
        "systemd-run",
        *(() if user == "root" else ("--user",)),
        *("--quiet", "--wait", "--collect", "--pipe", "--expand-environment=no"),
        f"--unit={name}",
        *(f"--property={text}" for text in properties),
        *(f"--setenv={name}={value}" for name, value in env.items()),
        "--",
    ]


def _of_root(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if os.path.basename(member.name) == "__pycache__":
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member
