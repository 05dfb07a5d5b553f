"""`./dev run`: a real service in a real sandbox, asked from outside and attacked from inside.

Exits with 0 only when the service answered and every attack was refused.
"""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

HERE = os.path.dirname(os.path.abspath(__file__))
SBX = os.path.join(os.path.dirname(sys.executable), "sbx")
PROFILE = os.path.join(HERE, "app.toml")
PATIENCE = 20.0  # seconds


class DemoError(Exception):
    """Something didn't go as the demo promises."""


class SocketFile(http.client.HTTPConnection):
    """HTTP over a socket file."""

    def __init__(self, path: str) -> None:
        super().__init__("sandbox", timeout=PATIENCE)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self.path)


def title(text: str) -> None:
    print(f"\n== {text}", flush=True)


@contextlib.contextmanager
def service(environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([SBX, "run", "--profile", PROFILE], env=environment)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def ask(path: str, process: subprocess.Popen[bytes]) -> dict[str, str]:
    """Request / through the socket file as soon as the service listens there."""
    end = time.monotonic() + PATIENCE
    while True:
        if process.poll() is not None:
            raise DemoError(f"the service ended with status {process.returncode}")
        connection = SocketFile(path)
        try:
            connection.request("GET", "/")
            response = connection.getresponse()
            body = response.read()
        except (FileNotFoundError, ConnectionRefusedError):
            if time.monotonic() > end:
                raise DemoError(f"the service doesn't answer within {PATIENCE:.0f} s") from None
            time.sleep(0.01)
            continue
        finally:
            connection.close()
        if response.status != http.client.OK:
            raise DemoError(f"the service answers {response.status} {response.reason}")
        answer: dict[str, str] = json.loads(body)
        return answer


def show_service(environment: dict[str, str]) -> None:
    title(f"A service in the sandbox: sbx run --profile {PROFILE}")
    start = time.monotonic()
    with service(environment) as process:
        answer = ask(os.path.join(environment["SBX_DEMO"], "http.sock"), process)
        print(f"GET / answered 200 after {(time.monotonic() - start) * 1000:.0f} ms, and it says")
        for name, value in answer.items():
            print(f"  {name:<12} {value}")
        process.terminate()
        status = process.wait(PATIENCE)
    print(f"stopped with SIGTERM, ended with status {status}")
    if status != 0:
        raise DemoError("the service should have ended with status 0")


def show_plan(environment: dict[str, str]) -> None:
    title("What is enforced: sbx plan app.toml")
    if subprocess.run([SBX, "plan", PROFILE], env=environment, check=False).returncode:
        raise DemoError("sbx plan failed")


def attack(environment: dict[str, str], command: list[str]) -> list[dict[str, str | bool]]:
    done = subprocess.run(
        [SBX, "run", "--profile", PROFILE, "--", *command],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    if done.returncode != 0:
        raise DemoError(f"the attacker ended with status {done.returncode}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def show_attacks(environment: dict[str, str], secret: str) -> None:
    title("Attacks from inside the same sandbox, and the kernel's answers")
    script = os.path.join(HERE, "attacks.py")
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        subprocess.Popen(["sleep", "60"]) as victim,
    ):
        port = server.getsockname()[1]
        try:
            # Outside, the same things can be had: what refuses them inside is the sandbox.
            with open(secret, encoding="ascii") as text:
                text.read()
            socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
            os.kill(victim.pid, 0)
            tries = attack(environment, ["python3", script, secret, str(port), str(victim.pid)])
        finally:
            victim.kill()
    for found in tries:
        verdict = "refused" if found["refused"] else "NOT REFUSED"
        print(f"  {verdict}  {found['title']:<40} {found['answer']}")
    if len(tries) < 3 or not all(found["refused"] for found in tries):
        raise DemoError("an attack was not refused")


def main() -> int:
    with (
        tempfile.TemporaryDirectory(prefix="sbx-demo-") as shared,
        tempfile.TemporaryDirectory(prefix=".sbx-demo-", dir=os.path.expanduser("~")) as private,
    ):
        # For root the payload has another user id, and it makes its socket here.
        os.chmod(shared, 0o777)
        secret = os.path.join(private, "secret")
        with open(secret, "w", encoding="ascii") as out:
            out.write("the caller's own\n")
        environment = {**os.environ, "SBX_DEMO": shared}
        try:
            show_plan(environment)
            show_service(environment)
            show_attacks(environment, secret)
        except (DemoError, OSError, subprocess.SubprocessError) as error:
            print(f"\ndemo: failed: {error}", file=sys.stderr)
            return 1
    print("\nAll went as it should: the service answered, and every attack was refused.")
    return 0


sys.exit(main())
