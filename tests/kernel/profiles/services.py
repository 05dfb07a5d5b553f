"""Services in the background: started from a profile's own examples, asked, loaded, stopped."""

import contextlib
import http.client
import os
import re
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from tests.applications import application
from tests.kernel.harness import Running, Sandbox

PATIENCE: Final = (
    60.0  # seconds; gunicorn waits 30 for a worker that a signal has come too early for
)


def command(
    sandbox: Sandbox,
    example: str,
    places: Mapping[str, str],
    variables: Mapping[str, str] | None = None,
) -> list[str]:
    """An example with the test's paths for those that it shows, and with more variables set."""
    for shown, place in places.items():
        assert shown in example, (shown, example)
        example = example.replace(shown, place)
    words = shlex.split(example, comments=True)
    if words[0] == "sbx":
        words[0] = sandbox.launcher
    sets = [word for pair in (variables or {}).items() for word in ("--set", "=".join(pair))]
    at = words.index("--") if "--" in words else len(words)
    return [*words[:at], *sets, *words[at:]]


def free_port() -> int:
    """A TCP port of the loopback that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class Service:
    """A service in its sandbox, by the supervisor in front of it."""

    def __init__(self, process: Running, log: str) -> None:
        self.process = process
        self.log = log

    def said(self) -> str:
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def await_that(self, is_so: Callable[[], bool]) -> None:
        """Waits until it is so. Raises AssertionError with what the service has said."""
        end = time.monotonic() + PATIENCE
        while not is_so():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < end, self.said()
            time.sleep(0.02)

    def processes(self) -> dict[int, str]:
        """All processes of the sandbox by their ids on the host, with their command lines."""
        found: dict[int, str] = {}
        above = [self.process.pid]
        while above:
            pid = above.pop()
            with contextlib.suppress(OSError):
                for task in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
                        above += map(int, file.read().split())
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    found[pid] = file.read().replace(b"\0", b" ").decode(errors="replace")
        return found

    def stop(self, sig: signal.Signals = signal.SIGTERM) -> int:
        """Sends sbx a signal and returns how it ends; nothing of the sandbox is left then."""
        inside = self.processes()
        assert len(inside) > 1, inside
        self.process.send_signal(sig)
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it doesn't end: {self.said()}") from None
        left = [pid for pid in inside if os.path.exists(f"/proc/{pid}")]
        assert left == [], [inside[pid] for pid in left]
        return status


@contextlib.contextmanager
def running(
    sandbox: Sandbox, arguments: Sequence[str], is_ready: Callable[[], bool]
) -> Iterator[Service]:
    """The service, once it is ready; one that the test doesn't stop is killed."""
    log = sandbox.write(f"log-{time.monotonic_ns()}", "")
    with (
        open(log, "ab") as out,
        sandbox.popen(arguments, stdout=out, stderr=out) as process,
    ):
        service = Service(process, log)
        service.await_that(is_ready)
        yield service


# ---- HTTP ----


class SocketFile(http.client.HTTPConnection):
    """HTTP over a socket file."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self.path)


def connection(place: int | str) -> http.client.HTTPConnection:
    """To a port of the loopback, or to a socket file."""
    if isinstance(place, str):
        return SocketFile(place)
    return http.client.HTTPConnection("127.0.0.1", place, timeout=PATIENCE)


def get(place: int | str, path: str = "/", **headers: str) -> tuple[int, bytes]:
    """Status and body of the answer."""
    with contextlib.closing(connection(place)) as client:
        client.request("GET", path, headers=headers)
        answer = client.getresponse()
        return answer.status, answer.read()


def answers(place: int | str, path: str = "/") -> Callable[[], bool]:
    """Whether something answers there."""

    def is_so() -> bool:
        try:
            get(place, path)
        except (OSError, http.client.HTTPException):
            return False
        return True

    return is_so


def load(port: int, path: str = "/", *, seconds: int = 1, connections: int = 16) -> int:
    """Requests answered under load, every one of them with a status below 400."""
    arguments = [application("wrk"), "-t", "1", "-c", str(connections), "-d", f"{seconds}s"]
    done = subprocess.run(
        [*arguments, f"http://127.0.0.1:{port}{path}"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert "Non-2xx" not in done.stdout, done.stdout
    assert "Socket errors" not in done.stdout, done.stdout
    found = re.search(r"(\d+) requests in", done.stdout)
    assert found, done.stdout
    return int(found[1])
