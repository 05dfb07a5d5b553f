"""Profile fetch: downloads over HTTP and HTTPS from servers of the test's own."""

import os
import ssl
import subprocess
from collections.abc import Iterator
from typing import Self

import pytest

from tests.applications import application
from tests.kernel.profiles.projects import Home
from tests.kernel.profiles.servers import address, server_of, start

CONTENT = b"A page.\n" * 10_000


class Servers:
    """Two servers of the same directory on the loopback, one with TLS."""

    def __init__(self, directory: str) -> None:
        self.certificate = os.path.join(directory, "certificate.pem")
        key = os.path.join(directory, "key.pem")
        words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        files = ("-keyout", key, "-out", self.certificate)
        subprocess.run([*words.split(), *names, *files], check=True, capture_output=True)
        served = os.path.join(directory, "served")
        os.mkdir(served)
        with open(os.path.join(served, "index.html"), "wb") as file:
            file.write(CONTENT)
        self._servers = [server_of(served) for _ in "12"]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        secure = self._servers[1]
        secure.socket = context.wrap_socket(secure.socket, server_side=True)
        self.plain, self.secure = (
            address(server, scheme)
            for scheme, server in zip(("http", "https"), self._servers, strict=True)
        )

    def __enter__(self) -> Self:
        for server in self._servers:
            start(server)
        return self

    def __exit__(self, *error: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


@pytest.fixture
def servers(home: Home) -> Iterator[Servers]:
    """Servers on the host's loopback."""
    application("openssl")
    with Servers(home.sandbox.mkdir("servers")) as found:
        yield found


def content(*names: str) -> bytes:
    with open(os.path.join(*names), "rb") as file:
        return file.read()


def test_the_examples_in_the_profile_work(home: Home, servers: Servers) -> None:
    application("curl")
    application("wget")
    elsewhere = home.sandbox.mkdir("incoming")
    places = {"https://example.org": servers.plain, "/srv/incoming": elsewhere}
    home.run_examples("fetch", places)
    assert content(home.project, "index.html") == CONTENT
    assert content(elsewhere, "index.html") == CONTENT
    home.assert_owned(home.project, elsewhere)


def test_certificates_are_checked_against_the_hosts_and_the_callers(
    home: Home, servers: Servers
) -> None:
    application("curl")
    curl = ("curl", "--silent", "--show-error", "--output", "page", f"{servers.secure}/index.html")
    # 60 is a certificate that isn't trusted; without any certificates of the host's it'd be 77.
    home.run("fetch", *curl, status=60)
    certificate = home.write("certificate.pem", content(servers.certificate).decode())
    environment = {**home.environment, "CURL_CA_BUNDLE": certificate}
    home.run("fetch", *curl, env=environment)
    assert content(home.project, "page") == CONTENT


def test_the_second_launch_needs_no_python(home: Home, servers: Servers) -> None:
    application("curl")
    done = home.run_warm("fetch", "curl", "--silent", f"{servers.plain}/index.html")
    assert done.stdout.encode() == CONTENT


@pytest.mark.parametrize("name", ("/etc/resolv.conf", "/etc/hosts"))
def test_names_are_looked_up_as_on_the_host(home: Home, name: str) -> None:
    found = content(name).decode() if os.path.exists(name) else ""
    assert home.run("fetch", "cat", name).stdout == found


def test_accounts_of_the_callers_are_not_used(home: Home, servers: Servers) -> None:
    application("curl")
    curl = ("curl", "--silent", "--verbose", f"{servers.plain}/", "--output", "page")
    home.sandbox.write("home/.curlrc", 'user-agent = "from the home"\n')
    assert "from the home" in home.outside(*curl).stderr
    assert "from the home" not in home.run("fetch", *curl).stderr


def test_a_download_goes_nowhere_else_and_is_not_executed(home: Home, servers: Servers) -> None:
    application("curl")
    curl = ("curl", "--silent", f"{servers.plain}/index.html", "--output")
    target = os.path.join(home.other, "page")
    home.run("fetch", *curl, target, status=23)
    home.outside(*curl, target)
    assert content(target) == CONTENT
    home.run("fetch", "./thief.sh", status=126)
    home.outside("./thief.sh")
    home.assert_thief_gets(everything=True)


def test_what_isnt_granted_is_refused(home: Home) -> None:
    home.assert_refused("fetch", network=True)
