"""Services in sandboxes of their own that reach each other through socket files, and nothing else."""

import os

from tests.applications import application
from tests.kernel.harness import Sandbox
from tests.kernel.profiles import services
from tests.kernel.profiles.examples import examples

# Each visit is counted in Redis, asked over its socket file in the protocol's plainest form.
APP = """\
import socket

def app(environ, start_response):
    with socket.socket(socket.AF_UNIX) as redis:
        redis.connect("{redis}")
        redis.sendall(b"INCR visits\\r\\n")
        count = redis.recv(100)[1:].strip()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(count)))])
    return [count]
"""
FRONT = """\
worker_processes 1;
pid /run/nginx.pid;
error_log stderr error;
events {{ worker_connections 256; }}
http {{
    access_log off;
    proxy_temp_path /var/lib/nginx/proxy;
    server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://unix:{socket}; }} }}
}}
"""


def profile(sandbox: Sandbox, name: str, base: str, directory: str, mounts: dict[str, bool]) -> str:
    """A profile on top of `base`, with further directories: whether each may be written to."""
    text = f"schema = 1\n[profile]\nextends = '{base}'\n[vars]\ndirectory = '{directory}'\n"
    for path, writable in mounts.items():
        text += f"[[mounts]]\ntype = 'bind'\nsource = '{path}'\ntarget = '{path}'\n"
        text += f"idmap = true\nwritable = {str(writable).lower()}\n"
    return sandbox.write(f"{name}.toml", text)


def test_nginx_gunicorn_and_redis_serve_together(sandbox: Sandbox) -> None:
    """Only nginx has a network. Each directory is 0700: idmap is what lets root's services meet."""
    for command in ("nginx", "gunicorn", "redis-server"):
        application(command)
    app, site = sandbox.mkdir("app"), sandbox.mkdir("site")
    data, sockets = sandbox.mkdir("data", 0o700), sandbox.mkdir("sockets", 0o700)
    redis, front, port = f"{data}/redis.sock", f"{sockets}/app.sock", services.free_port()
    sandbox.write("app/app.py", APP.format(redis=redis))
    sandbox.write("site/nginx.conf", FRONT.format(port=port, socket=front))
    database = services.command(sandbox, examples("redis")[0], {"/srv/redis": data})
    gunicorn = sandbox.shipped_arguments(
        profile(sandbox, "app", "python-service", app, {sockets: True, data: False}),
        *("gunicorn", "--bind", f"unix:{front}", "--workers", "2", "app:app"),
    )
    nginx = sandbox.shipped_arguments(
        profile(sandbox, "front", "nginx", site, {sockets: False}),
        variables={"config": f"{site}/nginx.conf"},
    )
    with (
        services.running(sandbox, database, lambda: os.path.exists(redis)) as below,
        services.running(sandbox, gunicorn, lambda: os.path.exists(front)) as middle,
        services.running(sandbox, nginx, services.answers(port)) as above,
    ):
        before = int(services.get(port)[1])
        answered = services.load(port)
        assert answered > 20
        assert int(services.get(port)[1]) - before >= answered
        for service in (above, middle, below):
            assert service.stop() == 0, service.said()
