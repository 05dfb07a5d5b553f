"""The guest's side of the machine: carries out the host's requests, over a virtio-serial port.

The image has this file alone as /usr/local/sbin/machine-agent, so it needs nothing but Python's own
library; the host imports the framing from it. A frame is two 32-bit lengths, a head in JSON, and a
body of bytes. Requests, each with an `id` that its answer has too:

- run: `argv`, `user`, `env`, `cwd` or null, `timeout` in seconds; the body is standard input. First
  come frames with `stream` 1 or 2 and what was written there; the answer comes at the end.
- signal: sends `signal` to the process group of the request `to`.
- wake: the machine has been resumed from its saved state. Sets the clock to `time`, and puts the
  body into the random pool, which otherwise all machines of that state would share.

An answer has `error` in words where something couldn't be done, and to run `status` as subprocess
has it, or null when time was up and the command has been killed.
"""

import array
import contextlib
import fcntl
import glob
import json
import os
import pwd
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from typing import IO, Any, Final

PORT: Final = "sbx-agent"
READY: Final = 0
"""The id of the frame that says that the guest has booted; no request has it."""

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_LENGTHS: Final = struct.Struct("<II")
_CHUNK: Final = 32768
# What a killed program's children may hold open isn't waited for longer than this, in seconds.
_LAST_WORDS: Final = 2

# <linux/random.h>
_RNDADDENTROPY: Final = 0x40085203
_RNDRESEEDCRNG: Final = 0x5207

Head = dict[str, Any]


def pack(head: Head, body: bytes = b"") -> bytes:
    """A frame."""
    text = json.dumps(head).encode()
    return _LENGTHS.pack(len(text), len(body)) + text + body


def unpack(read: Callable[[int], bytes]) -> tuple[Head, bytes]:
    """The next frame's head and body; `read` has to return just as many bytes as it is asked for."""
    head, body = _LENGTHS.unpack(read(_LENGTHS.size))
    return json.loads(read(head)), read(body)


class Agent:
    """Answers on one port; each request has a thread of its own."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._write = threading.Lock()
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    def serve(self) -> None:
        """Never ends."""
        self._send({"id": READY})
        while True:
            head, body = unpack(self._read)
            threading.Thread(target=self._carry_out, args=(head, body), daemon=True).start()

    def _read(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            part = os.read(self._port, min(count - len(data), 1 << 20))
            if not part:  # nobody holds the host's end
                time.sleep(0.05)
            data += part
        return bytes(data)

    def _send(self, head: Head, body: bytes = b"") -> None:
        rest = memoryview(pack(head, body))
        with self._write:
            while rest:
                rest = rest[os.write(self._port, rest[:_CHUNK]) :]

    def _carry_out(self, head: Head, body: bytes) -> None:
        answer = {"id": head["id"], "status": None, "error": ""}
        try:
            if head["do"] == "run":
                answer["status"] = self._run(head, body)
            elif head["do"] == "signal":
                self._signal(head["to"], head["signal"])
            else:
                _wake(head["time"], body)
        except (OSError, ValueError, KeyError) as error:
            answer["error"] = f"{type(error).__name__}: {error}"
        self._send(answer)

    def _run(self, head: Head, stdin: bytes) -> int | None:
        late = time.monotonic() + head["timeout"]
        user = pwd.getpwnam(head["user"])
        process = subprocess.Popen(
            head["argv"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={**_environment(user), **head["env"]},
            cwd=head["cwd"] or user.pw_dir,
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=os.getgrouplist(user.pw_name, user.pw_gid),
        )
        self._running[head["id"]] = process
        steps: list[tuple[Callable[..., None], tuple[Any, ...]]] = [
            (_feed, (process.stdin, stdin)),
            (self._pass_on, (head["id"], 1, process.stdout)),
            (self._pass_on, (head["id"], 2, process.stderr)),
        ]
        threads = [threading.Thread(target=step, args=args, daemon=True) for step, args in steps]
        for thread in threads:
            thread.start()
        try:
            # All output first: it has ended when nobody is left who could write more.
            for thread in threads[1:]:
                thread.join(max(0, late - time.monotonic()))
            if not any(thread.is_alive() for thread in threads[1:]):
                return process.wait(max(0, late - time.monotonic()))
        except subprocess.TimeoutExpired:
            pass
        finally:
            del self._running[head["id"]]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for thread in threads[1:]:
            thread.join(_LAST_WORDS)
        return None

    def _pass_on(self, number: int, stream: int, pipe: IO[bytes]) -> None:
        with pipe:
            while part := os.read(pipe.fileno(), _CHUNK):
                self._send({"id": number, "stream": stream}, part)

    def _signal(self, number: int, signal_number: int) -> None:
        process = self._running.get(number)
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal_number)


def _feed(pipe: IO[bytes], data: bytes) -> None:
    # A program needn't read its input.
    with contextlib.suppress(BrokenPipeError), pipe:
        pipe.write(data)


def _environment(user: pwd.struct_passwd) -> dict[str, str]:
    """What a login would set; root has no session here, so it has no runtime directory."""
    found = {
        "PATH": PATH,
        "HOME": user.pw_dir,
        "USER": user.pw_name,
        "LOGNAME": user.pw_name,
        "SHELL": user.pw_shell,
        "LANG": "C.UTF-8",
    }
    if user.pw_uid:
        runtime = f"/run/user/{user.pw_uid}"
        found["XDG_RUNTIME_DIR"] = runtime
        found["DBUS_SESSION_BUS_ADDRESS"] = f"unix:path={runtime}/bus"
    return found


def _wake(now: float, seed: bytes) -> None:
    time.clock_settime(time.CLOCK_REALTIME, now)
    with open("/dev/urandom", "wb", buffering=0) as pool:
        entropy = array.array("B", struct.pack("ii", 8 * len(seed), len(seed)) + seed)
        fcntl.ioctl(pool, _RNDADDENTROPY, entropy)
        # Without it the next reseeding may be a minute away.
        fcntl.ioctl(pool, _RNDRESEEDCRNG)


def _open_port() -> int:
    """Found in sysfs: udev's name for it appears late in the boot."""
    while True:
        for path in glob.glob("/sys/class/virtio-ports/*"):
            with open(f"{path}/name", encoding="ascii") as name:
                if name.read().strip() == PORT:
                    return os.open(f"/dev/{os.path.basename(path)}", os.O_RDWR | os.O_CLOEXEC)
        time.sleep(0.1)


if __name__ == "__main__":
    Agent(_open_port()).serve()
