"""python-service with a project's gunicorn and uvicorn, and what the project may not do."""

import json
import os
import shutil
import signal

from tests.applications import application
from tests.kernel.harness import Sandbox
from tests.kernel.profiles import attempts, services
from tests.kernel.profiles.examples import examples

WSGI = """\
import hashlib, json, os

def app(environ, start_response):
    digest = hashlib.sha256(environ["PATH_INFO"].encode()).hexdigest()
    body = json.dumps({"pid": os.getpid(), "digest": digest, "cwd": os.getcwd()}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
"""
ASGI = """\
import asyncio

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    await asyncio.sleep(0)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-made-by", b"asgi")]})
    await send({"type": "http.response.body", "body": scope["path"].encode()})
"""
# A program of a virtual environment: it maps machine code of the environment's own, then serves.
ENTRY = """\
#!{python}
import importlib.util, sys

spec = importlib.util.spec_from_file_location("_zoneinfo", "{native}")
importlib.util.module_from_spec(spec)
assert sys.prefix == "{prefix}", sys.prefix
from gunicorn.app.wsgiapp import run
sys.exit(run())
"""


def test_gunicorns_workers_answer_under_load(sandbox: Sandbox) -> None:
    application("gunicorn")
    _, gunicorn, _ = examples("python-service")
    directory = sandbox.mkdir("app")
    sandbox.write("app/app.py", WSGI)
    port = services.free_port()
    arguments = services.command(sandbox, gunicorn, {"/srv/app": directory}, {"port": str(port)})
    with services.running(sandbox, arguments, services.answers(port)) as service:
        assert services.load(port, "/path") > 50
        workers = set()

        def all_have_answered() -> bool:
            answer = json.loads(services.get(port, "/path")[1])
            assert answer["cwd"] == directory
            workers.add(answer["pid"])
            return len(workers) > 1

        service.await_that(all_have_answered)
        # A worker that dies is replaced.
        victim = next(pid for pid in service.processes() if _inner_pid(pid) in workers)
        os.kill(victim, signal.SIGKILL)
        service.await_that(lambda: len(_gunicorns(service)) == 5)
        assert services.get(port, "/")[0] == 200
        service.process.send_signal(signal.SIGHUP)
        service.await_that(lambda: "Hang up" in service.said())
        service.await_that(lambda: len(_gunicorns(service)) == 5)
        assert services.load(port) > 50
        assert service.stop() == 0
    assert not os.path.exists(f"{directory}/__pycache__")


def _inner_pid(pid: int) -> int:
    """A process's id in its own PID namespace."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        line = next(line for line in file if line.startswith("NSpid:"))
    return int(line.split()[-1])


def _gunicorns(service: services.Service) -> list[int]:
    """The master and the workers."""
    return [
        pid
        for pid, words in service.processes().items()
        if words.startswith("/usr/bin/python3") or "gunicorn:" in words
    ]


def test_uvicorn_answers_under_load(sandbox: Sandbox) -> None:
    application("uvicorn")
    *_, uvicorn = examples("python-service")
    directory = sandbox.mkdir("app")
    sandbox.write("app/app.py", ASGI)
    port = services.free_port()
    arguments = services.command(sandbox, uvicorn, {"/srv/app": directory}, {"port": str(port)})
    with services.running(sandbox, arguments, services.answers(port)) as service:
        assert services.load(port, "/some/path") > 50
        assert services.get(port, "/some/path") == (200, b"/some/path")
        # From 0.29 on it ends by the signal, once it has shut down.
        assert service.stop() in {0, 128 + signal.SIGTERM}
        assert "Finished server process" in service.said()


def test_a_virtual_environment_and_a_socket_file(sandbox: Sandbox) -> None:
    """The environment's programs come first, its machine code runs, and state has a place."""
    application("gunicorn")
    directory, state = sandbox.mkdir("app"), sandbox.mkdir("state", 0o700)
    sandbox.write("app/app.py", WSGI)
    prefix = f"{directory}/.venv"
    made = sandbox.program(
        ["/usr/bin/python3", "-m", "venv", "--without-pip", "--system-site-packages", prefix]
    )
    assert made.returncode == 0, made
    find = ["/usr/bin/python3", "-c", "import _zoneinfo; print(_zoneinfo.__file__)"]
    native = f"{prefix}/_zoneinfo.so"
    shutil.copy(sandbox.program(find).stdout.strip(), native)
    os.chmod(native, 0o755)
    entry = ENTRY.format(python=f"{prefix}/bin/python3", native=native, prefix=prefix)
    sandbox.write("app/.venv/bin/gunicorn", entry, 0o755)
    profile = sandbox.write(
        "app.toml",
        f"""
schema = 1
[profile]
extends = "python-service"
[vars]
directory = "{directory}"
[process]
command = ["gunicorn", "--bind", "unix:{state}/http.sock", "--workers", "2", "--graceful-timeout", "5", "app:app"]
[[mounts]]
type = "bind"
source = "{state}"
target = "{state}"
writable = true
idmap = true
""",
    )
    place = f"{state}/http.sock"
    arguments = sandbox.shipped_arguments(profile)
    with services.running(sandbox, arguments, services.answers(place)) as service:
        assert json.loads(services.get(place)[1])["cwd"] == directory
        assert os.stat(place).st_uid == sandbox.uid
        assert service.stop() == 0
    assert "ImportError" not in service.said()


def test_pythons_own_server_shows_a_directory(sandbox: Sandbox) -> None:
    serve, *_ = examples("python-service")
    directory = sandbox.mkdir("site")
    sandbox.write("site/index.html", "a page")
    port = services.free_port()
    arguments = services.command(
        sandbox, serve, {"/srv/site": directory}, {"port": str(port), "network": "host"}
    )
    with services.running(sandbox, arguments, services.answers(port)) as service:
        assert services.get(port) == (200, b"a page")
        assert service.stop() == 128 + signal.SIGTERM


def test_it_cannot_reach_what_it_wasnt_given(sandbox: Sandbox) -> None:
    directory = sandbox.mkdir("app")
    file = sandbox.write("app/app.py", WSGI)
    variables = {"directory": directory}
    kept = [directory, file]
    attempts.assert_refused(sandbox, "python-service", variables=variables, unchangeable=kept)
    attempts.assert_refused(
        sandbox,
        "python-service",
        variables={**variables, "network": "host"},
        unchangeable=kept,
        granted=[attempts.HOST_LOOPBACK],
    )
