"""An nginx that serves a page, unsandboxed or in a sandbox, with one and the same configuration."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from benchmarks import places
from benchmarks.common import BenchmarkError
from sandbox.profile.load import load
from sandbox.profile.resolved import Overrides

PAGE: Final = "<!doctype html><title>sbx</title>" + "<p>a page of a few kilobytes</p>\n" * 120
PATIENCE_S: Final = 10.0
CLIENTS: Final = 4


class Server:
    """A server that answers at a port of the loopback interface."""

    def __init__(self, port: int) -> None:
        self.port = port

    def load(self, requests: int, *, keep_alive: bool) -> float:
        """Milliseconds until so many requests for the page were answered, all of them rightly.

        Each over a connection of its own, or all over those of a few clients.
        """
        url = f"http://127.0.0.1:{self.port}/page.html"
        kept = ["-k"] if keep_alive else []
        words = ["ab", "-q", *kept, "-c", str(CLIENTS), "-n", str(requests), url]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BenchmarkError(f"ab: {done.stderr.strip()}")
        bad = re.search(
            r"^(?:Failed requests|Non-2xx responses): +([1-9]\d*)", done.stdout, re.MULTILINE
        )
        if bad:
            raise BenchmarkError(f"ab: {bad.group(0)}")
        found = re.search(r"^Time taken for tests: +([\d.]+) seconds", done.stdout, re.MULTILINE)
        if found is None:
            raise BenchmarkError("ab doesn't tell its time")
        return float(found.group(1)) * 1000


@contextlib.contextmanager
def nginx(
    directory: str, wrap: Callable[[Sequence[str]], list[str]], sbx: str | None
) -> Iterator[Server]:
    """An nginx for the files of `directory`: by the shipped profile where `sbx` is named, else wrapped."""
    if shutil.which("ab") is None:
        raise BenchmarkError("ab is not installed (Debian's package apache2-utils)")
    os.makedirs(directory)
    with open(os.path.join(directory, "page.html"), "w", encoding="utf-8") as file:
        file.write(PAGE)
    port = _free_port()
    values = {"directory": directory, "port": str(port), "workers": "1"}
    if sbx:
        sets = [word for pair in values.items() for word in ("--set", "=".join(pair))]
        command = [sbx, "run", "--profile", "nginx", *sets]
    else:
        config = _configuration(directory, values)
        command = wrap(["/usr/sbin/nginx", "-e", "stderr", "-c", config, "-g", "daemon off;"])
    with subprocess.Popen(command, env=places.environment(directory), cwd="/") as process:
        try:
            _await(port, process)
            yield Server(port)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_S)


def _configuration(directory: str, values: dict[str, str]) -> str:
    """The shipped profile's own nginx.conf, with what it writes moved to the directory."""
    profile = load("nginx", cwd="/", environ={}, overrides=Overrides(vars=values)).profile
    text = next(mount.content for mount in profile.mounts if mount.content)
    text = text.replace("/run/", f"{directory}/").replace("/var/lib/nginx/", f"{directory}/")
    path = os.path.join(directory, "nginx.conf")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(port: int, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise BenchmarkError("nginx doesn't answer")
