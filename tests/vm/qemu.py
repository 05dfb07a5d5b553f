"""One qemu: its process, its monitor, and what it prints. It dies with whoever started it."""

import contextlib
import json
import os
import shlex
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from typing import IO, Any, Final

from tests.vm import recipe

_CONSOLE_TAIL: Final = 4000
_MONITOR_SECONDS: Final = 60
_SAVE_SECONDS: Final = 120


class MachineError(Exception):
    """The machine itself failed, not what ran in it; the message ends with its console."""


class Qemu:
    """A virtual machine of the recipe's kind, on the kernel, initrd and disk in `image`.

    What the guest writes to its disk is thrown away at the end unless it is `kept`. With
    `resumed` the machine goes on where the saved state in `image` has stopped.

    `agent` is the host's end of the guest's port. Nothing of all this has a name in a file system
    or is left behind, however the process ends.
    """

    def __init__(
        self,
        image: str,
        *,
        resumed: bool,
        kept: bool = False,
        memory: int = recipe.MEMORY,
        cpus: int = recipe.CPUS,
        options: Sequence[str] = (),
    ) -> None:
        self._ends = contextlib.ExitStack()
        try:
            self._start(image, resumed, kept, memory, cpus, options)
        except BaseException:
            self._ends.close()
            raise

    def _start(
        self,
        image: str,
        resumed: bool,
        kept: bool,
        memory: int,
        cpus: int,
        options: Sequence[str],
    ) -> None:
        # For appending, since qemu's own messages and the guest's console both go there.
        console = tempfile.TemporaryFile("a+b")  # noqa: SIM115 - closed with all else
        self._console: IO[bytes] = self._ends.enter_context(console)
        self.agent, agent = self._pair()
        self._monitor, monitor = self._pair()
        self._monitor.settimeout(_MONITOR_SECONDS)
        self._answers = self._ends.enter_context(self._monitor.makefile("r", encoding="utf-8"))
        arguments = [
            *("-chardev", f"socket,id=agent,fd={agent.fileno()}"),
            *("-chardev", f"socket,id=monitor,fd={monitor.fileno()}"),
            *("-mon", "chardev=monitor,mode=control"),
            *recipe.hardware(image, memory=memory, cpus=cpus, kept=kept, agent="agent"),
            *options,
        ]
        if resumed:
            arguments += ["-incoming", "defer"]
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", recipe.QEMU, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._console,
            stderr=self._console,
            pass_fds=(agent.fileno(), monitor.fileno()),
        )
        self._ends.callback(self._end)
        agent.close()
        monitor.close()
        self._answer()  # the greeting
        self.command("qmp_capabilities")
        if resumed:
            self._resume(image)

    def _resume(self, image: str) -> None:
        try:
            self.command("migrate-incoming", uri=f"exec:cat {shlex.quote(f'{image}/state')}")
            while self.command("query-status")["status"] == "inmigrate":
                time.sleep(0.02)
        except MachineError as error:
            raise MachineError(
                f"the state in {image} can't be resumed: remove that directory, and all of it is"
                f" made anew; {error}"
            ) from error
        self.command("cont")

    def _pair(self) -> tuple[socket.socket, socket.socket]:
        ours, theirs = socket.socketpair()
        self._ends.callback(ours.close)
        self._ends.callback(theirs.close)
        return ours, theirs

    def close(self) -> None:
        """Ends the machine at once, as by pulling the plug."""
        self._ends.close()

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()

    def console(self) -> str:
        """The end of what qemu and the guest's kernel have printed."""
        self._console.seek(0)
        text = self._console.read().decode(errors="replace").strip()
        return text[-_CONSOLE_TAIL:] or "(the console is empty)"

    def failure(self, words: str) -> MachineError:
        """The error to raise, with what is known."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.2)  # it may be about to end
        code = self._process.poll()
        state = "qemu runs" if code is None else f"qemu ended with {code}"
        return MachineError(f"{words}; {state}; its console:\n{self.console()}")

    def is_alive(self) -> bool:
        return self._process.poll() is None

    # ---- The monitor ----

    def command(self, name: str, **arguments: object) -> Any:
        """Has qemu's monitor carry out a command (QMP); raises MachineError where it refuses."""
        line = json.dumps({"execute": name, "arguments": arguments}) + "\n"
        try:
            self._monitor.sendall(line.encode())
            while True:
                answer = self._answer()
                if "error" in answer:
                    raise self.failure(f"qemu refuses {name}: {answer['error']['desc']}")
                if "return" in answer:
                    return answer["return"]
        except OSError as error:
            raise self.failure(f"qemu's monitor doesn't answer {name}: {error}") from error

    def _answer(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            self._process.wait()
            raise self.failure("the machine has stopped")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def save(self, path: str) -> None:
        """Stops the machine and writes its state (memory and devices, not the disk) to a file."""
        self.command("stop")
        self.command("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        self.command("migrate", uri=f"exec:cat > {shlex.quote(path)}")
        late = time.monotonic() + _SAVE_SECONDS
        while (status := self.command("query-migrate").get("status")) != "completed":
            if status == "failed" or time.monotonic() > late:
                raise self.failure(f"its state can't be saved to {path}: {status}")
            time.sleep(0.05)
        if not os.path.getsize(path):
            raise self.failure(f"its state can't be saved to {path}: the file is empty")
