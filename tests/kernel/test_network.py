"""The sandbox's network as the kernel tells it over netlink."""

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator

import pytest
from pyroute2 import IPRoute, NetNS

from tests.conftest import Sbx
from tests.kernel.harness import Sandbox, checked, libc


@pytest.fixture
def namespace(sbx: Sbx) -> Iterator[str]:
    """The network namespace of a running sandbox, as a path."""
    process = subprocess.Popen(
        [sbx.path, "run", "--profile", "minimal", "--", "sh", "-c", "echo up; exec sleep 60"],
        env=sbx.environment({}),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "up\n"
    try:
        with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="ascii") as file:
            init = file.read().split()[0]
        yield f"/proc/{init}/ns/net"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="entering a network namespace needs root")
def test_without_a_network_there_is_a_loopback_and_nothing_else(namespace: str) -> None:
    """The one interface is lo, up, with its own addresses; no route leads further."""
    with NetNS(namespace, flags=0) as network:
        links = network.get_links()
        assert [link.get_attr("IFLA_IFNAME") for link in links] == ["lo"]
        assert links[0].get_attr("IFLA_OPERSTATE") in ("UP", "UNKNOWN")
        addresses = {entry.get_attr("IFA_ADDRESS") for entry in network.get_addr()}
        assert addresses == {"127.0.0.1", "::1"}
        routes = network.get_routes(family=socket.AF_INET)
        outward = [r for r in routes if r.get_attr("RTA_GATEWAY") or r.get_attr("RTA_OIF") != 1]
        assert outward == []


CLONE_NEWNET = 0x40000000
METADATA = "169.254.169.254"


@contextlib.contextmanager
def metadata_server() -> Iterator[tuple[int, Callable[[], None]]]:
    """A server at a cloud's address in a network of its own: its port, and how to enter that network."""
    ready, go_on = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(go_on[1])
        try:
            checked(libc.unshare(CLONE_NEWNET))
            with IPRoute() as network:
                network.link("set", index=1, state="up")
                network.addr("add", index=1, address=METADATA, prefixlen=32)
            server = socket.create_server((METADATA, 0))
            os.write(ready[1], str(server.getsockname()[1]).encode())
            os.read(go_on[0], 1)
        finally:
            os._exit(0)
    os.close(ready[1])
    port = int(os.read(ready[0], 16) or b"0")
    network = os.open(f"/proc/{child}/ns/net", os.O_RDONLY)

    def enter() -> None:
        checked(libc.setns(network, CLONE_NEWNET))

    try:
        yield port, enter
    finally:
        for fd in (*go_on, ready[0], network):
            os.close(fd)
        os.waitpid(child, 0)


def test_a_clouds_metadata_is_out_of_reach(staged: Sandbox) -> None:
    """Whoever reaches that address has the machine's credentials."""
    with metadata_server() as (port, enter):
        words = ("tcp", METADATA, port)
        assert staged.attempt("", *words, stage=enter).outcome == "ENETUNREACH"
        assert staged.attempt('[network]\nmode = "host"', *words, stage=enter).outcome == "ok"


# A listening socket ends its listening and is connected; another one of the host's sends.
GOING_OUT = """\
import errno, socket, sys
port = int(sys.argv[1])
own = socket.socket().connect_ex(("127.0.0.1", port))
given = socket.socket(fileno=5)
given.shutdown(socket.SHUT_RDWR)
given.connect(("127.0.0.1", port))
socket.socket(fileno=6).sendto(b"out", ("127.0.0.1", port))
print(errno.errorcode[own], given.recv(9).decode())
"""


def test_a_socket_that_is_handed_over_is_one_of_the_hosts_network(sandbox: Sandbox) -> None:
    """SECURITY.md warns of it: whoever hands one over lets the payload reach what the host reaches."""
    text = """
[process]
descriptors = [5, 6]
[filesystem]
execute = ["/usr"]
read = ["/"]
[seccomp]
allow = ["@service", "@network"]
"""
    datagrams = socket.SOCK_DGRAM
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_server(("127.0.0.1", 0)) as given,
        socket.socket(socket.AF_INET, datagrams) as heard,
        socket.socket(socket.AF_INET, datagrams) as sending,
    ):
        port = server.getsockname()[1]
        heard.bind(("127.0.0.1", port))
        heard.settimeout(20)

        def hand_over() -> None:
            for number, fd in ((5, os.dup(given.fileno())), (6, os.dup(sending.fileno()))):
                os.dup2(fd, number)

        words = sandbox.arguments(text, ["python3", "-c", GOING_OUT, str(port)])
        with sandbox.popen(
            words, before=hand_over, close_fds=False, stdout=subprocess.PIPE
        ) as process:
            server.settimeout(20)
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"reached")
                output, _ = process.communicate(timeout=20)
        assert heard.recv(9) == b"out"
    assert (process.returncode, output) == (0, b"ECONNREFUSED reached\n")
