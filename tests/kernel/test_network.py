"""The sandbox's network as the kernel tells it over netlink."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator

import pytest
from pyroute2 import NetNS

from tests.conftest import Sbx


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
