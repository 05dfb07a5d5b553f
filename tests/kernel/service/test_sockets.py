"""Socket activation: sockets that somebody else has opened become the payload's."""

import fcntl
import os
import socket
import subprocess
from collections.abc import Sequence
from typing import Any

from tests.kernel.harness import Running
from tests.kernel.service.services import NOTIFIES, SECONDS, Services

HTTP = '[service]\nsockets = ["http"]\n'
SHOWN = ("variable", "LISTEN_FDS", "variable", "LISTEN_FDNAMES")


def listening() -> socket.socket:
    opened = socket.create_server(("127.0.0.1", 0))
    opened.settimeout(SECONDS)
    return opened


def activated(
    services: Services, more: str, files: Sequence[int], names: str | None, *words: str, **how: Any
) -> Running:
    """The service with files at 3 and above, as systemd.exec(5) hands them over."""
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 50) for fd in files]
    moves = "; ".join(f"exec {3 + at}<&{fd} {fd}<&-" for at, fd in enumerate(high))
    named = "" if names is None else f"export LISTEN_FDNAMES='{names}'; "
    script = f'{moves}; export LISTEN_FDS={len(high)} LISTEN_PID=$$; {named}exec "$@"'
    sandbox = services.sandbox
    arguments = sandbox.arguments(
        services.text(more), (services.program, *words), ("--name", "active")
    )
    streams: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
    try:
        return sandbox.popen(
            ["/bin/bash", "-c", script, "bash", *arguments], pass_fds=high, **streams, **how
        )
    finally:
        for fd in high:
            os.close(fd)


def test_a_socket_is_handed_over_with_its_name(services: Services) -> None:
    with listening() as opened:
        words = (*SHOWN, "variable", "LISTEN_PID", "pid", "serve", "3")
        process = activated(services, HTTP, [opened.fileno()], "http", *words)
        with process, socket.create_connection(opened.getsockname(), SECONDS) as client:
            assert client.makefile().readline() == "served\n"
            lines = process.communicate(timeout=SECONDS)[0].splitlines()
    assert lines[:2] == ["LISTEN_FDS=1", "LISTEN_FDNAMES=http"]
    assert lines[2].removeprefix("LISTEN_PID=") == lines[3].removeprefix("pid ")


def test_a_warm_launch_hands_it_over_as_well(services: Services) -> None:
    stage = services.sandbox.without_python()
    for how in ({}, {"stage": stage}):
        with listening() as opened:
            process = activated(services, HTTP, [opened.fileno()], "http", *SHOWN, **how)
            with process:
                assert process.communicate(timeout=SECONDS)[0].startswith("LISTEN_FDS=1\n")


def test_several_sockets_of_one_name_keep_their_order(services: Services) -> None:
    text = '[service]\nsockets = ["http", "admin"]\n'
    with listening() as first, listening() as second, listening() as third:
        files = [each.fileno() for each in (first, second, third)]
        with activated(services, text, files, "http:admin:http", *SHOWN, "serve", "4") as process:
            with socket.create_connection(second.getsockname(), SECONDS) as client:
                assert client.makefile().readline() == "served\n"
            lines = process.communicate(timeout=SECONDS)[0].splitlines()
    assert lines == ["LISTEN_FDS=3", "LISTEN_FDNAMES=http:admin:http"]


def test_the_supervisor_keeps_none(services: Services) -> None:
    with listening() as opened:
        words = ("await", "exit", "0")
        with activated(services, HTTP, [opened.fileno()], "http", *words) as process:
            services.await_state("ready", "active")
            with open(
                os.path.join(services.sandbox.runtime, "active", "record"), encoding="utf-8"
            ) as file:
                assert f"supervisor={process.pid}\0" in file.read()
            links = f"/proc/{process.pid}/fd"
            inode = os.fstat(opened.fileno()).st_ino
            held = [os.readlink(os.path.join(links, name)) for name in os.listdir(links)]
            assert f"socket:[{inode}]" not in held
            process.kill()


def test_a_missing_socket_is_an_error(services: Services) -> None:
    done = services.run(HTTP, *SHOWN)
    assert done.returncode == 125
    assert "expects are http; handed over: none" in done.stderr
    assert "FileDescriptorName=" in done.stderr


def test_a_socket_that_is_not_expected_is_an_error(services: Services) -> None:
    for names in ("other", "http:other", None):
        with listening() as first, listening() as second:
            files = [first.fileno(), second.fileno()][: 2 if names != "other" else 1]
            with activated(services, HTTP, files, names, *SHOWN) as process:
                _, messages = process.communicate(timeout=SECONDS)
        assert process.returncode == 125
        assert "the sockets that the profile expects are http" in messages


def test_what_is_meant_for_another_process_is_not_passed(services: Services) -> None:
    env = {**services.sandbox.environment, "LISTEN_FDS": "1", "LISTEN_PID": "1"}
    done = services.run(NOTIFIES, *SHOWN, env=env)
    assert done.stdout == "LISTEN_FDS=(unset)\nLISTEN_FDNAMES=(unset)\n"


def test_what_the_service_has_stored_comes_back_under_its_own_name(services: Services) -> None:
    fd = os.memfd_create("stored")
    os.write(fd, b"kept")
    os.lseek(fd, 0, os.SEEK_SET)
    with activated(services, NOTIFIES, [fd], "sbx.state", *SHOWN) as process:
        lines = process.communicate(timeout=SECONDS)[0].splitlines()
    os.close(fd)
    assert lines == ["LISTEN_FDS=1", "LISTEN_FDNAMES=state"]


def test_a_directory_is_not_handed_over(services: Services) -> None:
    fd = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    with activated(services, HTTP, [fd], "http", *SHOWN) as process:
        _, messages = process.communicate(timeout=SECONDS)
    os.close(fd)
    assert process.returncode == 125
    assert "director" in messages.lower()
