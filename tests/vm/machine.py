"""An emulated machine, as tests use it: run a command, put a file, get one."""

import contextlib
import io
import os
import shlex
import socket
import subprocess
import tarfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from types import TracebackType
from typing import Final, NamedTuple, Self

from tests.vm import recipe
from tests.vm.agent import READY, Head, pack, unpack
from tests.vm.qemu import MachineError, Qemu

BOOT_SECONDS: Final = 180
# How much longer than the command itself its answer may take.
_GRACE: Final = 30
_SEED_BYTES: Final = 64

Done = subprocess.CompletedProcess[str]


class _Answer(NamedTuple):
    head: Head
    body: bytes


class Running:
    """A command in the machine that hasn't been waited for; leaving its context kills it."""

    def __init__(
        self, machine: "Machine", number: int, argv: Sequence[str], timeout: float
    ) -> None:
        self._machine = machine
        self._number = number
        self._argv = argv
        self._timeout = timeout
        self.answer: Future[_Answer] = Future()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if not self.answer.done():
            self.signal(9)
            with contextlib.suppress(MachineError, subprocess.TimeoutExpired):
                self.wait_bytes()

    def signal(self, number: int) -> None:
        """Signals the command's process group, if it still runs."""
        self._machine.request({"do": "signal", "to": self._number, "signal": number})

    def wait_bytes(self) -> subprocess.CompletedProcess[bytes]:
        """Waits for the end. Raises subprocess.TimeoutExpired, with the output so far."""
        try:
            head, body = self.answer.result(self._timeout + _GRACE)
        except NotYet:
            raise self._machine.failure(f"no answer to {shlex.join(self._argv)}") from None
        out, err = body[: head["split"]], body[head["split"] :]
        if head["error"]:
            raise OSError(f"{shlex.join(self._argv)}: {head['error']}")
        if head["status"] is None:
            raise subprocess.TimeoutExpired(self._argv, self._timeout, out, err)
        return subprocess.CompletedProcess(self._argv, head["status"], out, err)

    def wait(self) -> Done:
        """The same with text; bytes that are no UTF-8 are there as surrogates."""
        done = self.wait_bytes()
        out, err = (part.decode(errors="surrogateescape") for part in (done.stdout, done.stderr))
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)


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
        self._lock = threading.Lock()
        self._last = READY
        self._waiting: dict[int, Future[_Answer]] = {}

    def __enter__(self) -> Self:
        booted: Future[_Answer] = Future()
        self._waiting[READY] = booted
        self.qemu = Qemu(
            self._image,
            resumed=not self._cold,
            kept=self._kept,
            memory=self._memory,
            cpus=self._cpus,
            options=self._options,
        )
        self._reader = threading.Thread(target=self._read_answers, daemon=True)
        self._reader.start()
        try:
            if self._cold:
                self._await_boot(booted)
            self._wake()
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
        with contextlib.suppress(OSError):
            self.qemu.agent.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self.qemu.close()

    def failure(self, words: str) -> MachineError:
        """The error that tells of the machine's failure."""
        return self.qemu.failure(words)

    def _await_boot(self, booted: "Future[_Answer]") -> None:
        late = time.monotonic() + BOOT_SECONDS
        while True:
            with contextlib.suppress(NotYet):
                booted.result(0.2)
                return
            if time.monotonic() > late or not self.qemu.is_alive():
                raise self.failure(f"the machine hasn't booted in {BOOT_SECONDS} seconds")

    def _wake(self) -> None:
        """Sets the clock, and seeds what all machines of one saved state would have in common."""
        seed = os.urandom(_SEED_BYTES)
        self.request({"do": "wake", "time": time.time()}, seed)

    # ---- Requests ----

    def request(self, head: Head, body: bytes = b"") -> None:
        """Has the agent do something other than to run a command; waits until it is done."""
        number, answer = self._number()
        self._send({"id": number, **head}, body)
        try:
            error = answer.result(_GRACE).head["error"]
        except NotYet:
            raise self.failure(f"the agent doesn't answer '{head['do']}'") from None
        if error:
            raise self.failure(f"the agent can't do '{head['do']}': {error}")

    def _number(self) -> tuple[int, "Future[_Answer]"]:
        answer: Future[_Answer] = Future()
        with self._lock:
            self._last += 1
            self._waiting[self._last] = answer
            return self._last, answer

    def _send(self, head: Head, body: bytes) -> None:
        try:
            with self._lock:
                self.qemu.agent.sendall(pack(head, body))
        except OSError as error:
            raise self.failure(f"the agent can't be reached: {error}") from error

    def _read_answers(self) -> None:
        with self.qemu.agent.makefile("rb") as stream:

            def read(count: int) -> bytes:
                data = stream.read(count)
                if len(data) < count:
                    raise EOFError
                return data

            with contextlib.suppress(EOFError, OSError):
                while True:
                    head, body = unpack(read)
                    with self._lock:
                        answer = self._waiting.pop(head["id"], None)
                    if answer:
                        answer.set_result(_Answer(head, body))
        with self._lock:
            for answer in self._waiting.values():
                answer.set_exception(self.failure("the machine has stopped"))
            self._waiting.clear()

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
        """Starts a command; its output comes when it has ended.

        `cwd` is by default the user's home. With `unit`, or `properties` such as `MemoryMax=50M`,
        it runs in a transient service of the system's manager, or the user's. After `timeout`
        seconds it is killed. What it leaves in the background must not hold its output open.
        """
        words = [*_in_unit(user, properties, env or {}), *argv] if unit or properties else argv
        number, answer = self._number()
        running = Running(self, number, words, timeout)
        running.answer = answer
        head = {
            "id": number,
            "do": "run",
            "argv": words,
            "user": user,
            "env": dict(env or {}),
            "cwd": cwd,
            "timeout": timeout,
        }
        self._send(head, stdin.encode() if isinstance(stdin, str) else stdin)
        return running

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
        """Copies a file or a directory of the host's to `target` in the machine; root owns it."""
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


def _in_unit(user: str, properties: Sequence[str], env: Mapping[str, str]) -> list[str]:
    return [
        "systemd-run",
        *(() if user == "root" else ("--user",)),
        *("--quiet", "--wait", "--collect", "--pipe", "--expand-environment=no"),
        *(f"--property={text}" for text in properties),
        *(f"--setenv={name}={value}" for name, value in env.items()),
        "--",
    ]


def _of_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member
