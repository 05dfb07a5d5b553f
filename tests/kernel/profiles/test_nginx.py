"""nginx in its shipped profile: a web server's work, and what it may not do."""

import contextlib
import http.client
import os
import shlex
import signal
import ssl
import stat

from tests.applications import application
from tests.kernel.harness import Sandbox
from tests.kernel.profiles import attempts, services
from tests.kernel.profiles.examples import examples

PAGE = "<!doctype html><title>a page</title>\n"
BIG = 8 << 20  # more than the buffers of a connection hold

OWN_CONFIGURATION = """\
worker_processes 2;
pid /run/nginx.pid;
error_log {logs}/error.log notice;
events {{ worker_connections 256; }}
http {{
    include /etc/nginx/mime.types;
    access_log {logs}/access.log;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {directory}/site.pem;
        ssl_certificate_key {key};
        location / {{ return 200 "{answer}"; }}
    }}
}}
"""
OWN_PROFILE = """\
schema = 1
[profile]
extends = "nginx"
[vars]
directory = "{directory}"
config = "{directory}/nginx.conf"
[[mounts]]
type = "bind"
source = "{logs}"
target = "{logs}"
writable = true
idmap = true
[[mounts]]
type = "bind"
source = "{key}"
target = "{key}"
idmap = true
"""
CERTIFICATE = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    " -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout key/site.key -out www/site.pem"
)


def site(sandbox: Sandbox) -> str:
    """A directory with a page and a large file."""
    directory = sandbox.mkdir("www")
    sandbox.write("www/index.html", PAGE)
    with open(sandbox.path("www", "big.bin"), "wb") as file:
        file.write(os.urandom(BIG))
    return directory


def workers(service: services.Service) -> set[int]:
    return {pid for pid, words in service.processes().items() if "nginx: worker" in words}


def test_it_serves_pages_under_load_reloads_and_ends_gracefully(sandbox: Sandbox) -> None:
    application("nginx")
    first, _ = examples("nginx")
    port = services.free_port()
    arguments = services.command(
        sandbox, first, {"/srv/www": site(sandbox)}, {"port": str(port), "workers": "2"}
    )
    with open(sandbox.path("www", "big.bin"), "rb") as file:
        big = file.read()
    with services.running(sandbox, arguments, services.answers(port)) as service:
        assert services.get(port) == (200, PAGE.encode())
        assert services.load(port) > 100
        assert services.load(port, "/big.bin", connections=4) > 1
        assert services.get(port, "/big.bin") == (200, big)
        assert services.get(port, "/big.bin", Range="bytes=10-19") == (206, big[10:20])
        assert services.get(port, "/missing")[0] == 404

        before = workers(service)
        assert len(before) == 2
        service.process.send_signal(signal.SIGHUP)
        service.await_that(lambda: len(workers(service)) == 2 and not workers(service) & before)
        assert services.get(port) == (200, PAGE.encode())

        with contextlib.closing(services.connection(port)) as client:
            client.request("GET", "/big.bin")
            answer = client.getresponse()
            start = answer.read(1000)
            service.process.send_signal(signal.SIGQUIT)
            service.await_that(lambda: not services.answers(port)())
            assert start + answer.read() == big
        assert service.process.wait(services.PATIENCE) == 0
    (line,) = service.said().splitlines()
    assert "[error]" in line
    assert "/missing" in line


def test_it_listens_where_it_is_told_and_ends_at_sigterm(sandbox: Sandbox) -> None:
    application("nginx")
    _, second = examples("nginx")
    port = services.free_port()
    arguments = services.command(sandbox, second, {"/srv/www": site(sandbox), "8443": str(port)})
    with services.running(sandbox, arguments, services.answers(port)) as service:
        assert services.get(port) == (200, PAGE.encode())
        assert service.stop() == 0


def test_a_configuration_of_ones_own_has_tls_and_logs_and_is_read_again(sandbox: Sandbox) -> None:
    """As the profile's comments show it: key and logs are their owner's and nobody else's."""
    application("nginx")
    application("openssl")
    directory, logs, key = sandbox.mkdir("www"), sandbox.mkdir("logs", 0o700), sandbox.mkdir("key")
    made = sandbox.program(shlex.split(CERTIFICATE))
    assert made.returncode == 0, made
    key = os.path.join(key, "site.key")
    assert stat.S_IMODE(os.stat(key).st_mode) == 0o600
    port = services.free_port()
    trust = ssl.create_default_context(cafile=os.path.join(directory, "site.pem"))

    def configure(answer: str) -> None:
        places = {"directory": directory, "logs": logs, "key": key, "port": port}
        sandbox.write("www/nginx.conf", OWN_CONFIGURATION.format(answer=answer, **places))

    def answers(wanted: bytes) -> bool:
        client = http.client.HTTPSConnection("localhost", port, context=trust)
        with contextlib.closing(client), contextlib.suppress(ConnectionError):
            client.request("GET", "/")
            return client.getresponse().read() == wanted
        return False

    configure("first")
    text = OWN_PROFILE.format(directory=directory, logs=logs, key=key)
    arguments = sandbox.shipped_arguments(sandbox.write("app.toml", text))
    with services.running(sandbox, arguments, lambda: answers(b"first")) as service:
        configure("second")
        service.process.send_signal(signal.SIGHUP)
        service.await_that(lambda: answers(b"second"))
        assert service.stop() == 0
    for name in ("access.log", "error.log"):
        state = os.stat(os.path.join(logs, name))
        assert (state.st_uid, state.st_size > 0) == (sandbox.uid, True), name


def test_it_cannot_reach_what_it_wasnt_given(sandbox: Sandbox) -> None:
    """With the host's network it can connect to the host's servers, and to no socket by name."""
    application("nginx")
    directory = site(sandbox)
    attempts.assert_refused(
        sandbox,
        "nginx",
        variables={"directory": directory},
        granted=[attempts.HOST_LOOPBACK],
        unchangeable=[directory, os.path.join(directory, "index.html")],
    )
    shut = attempts.assert_refused(
        sandbox, "nginx", variables={"directory": directory, "network": "none"}
    )
    assert shut[attempts.HOST_LOOPBACK] == "ECONNREFUSED"
