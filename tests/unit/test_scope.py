"""Asking a message bus for a scope: each way in which it doesn't answer is an error with a remedy."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sandbox import _cgroups
from sandbox.errors import UnsupportedError
from sandbox.process import scope

Behaviour = Callable[[socket.socket], None]


@contextmanager
def bus(path: Path, behave: Behaviour) -> Iterator[str]:
    """A socket of a bus, for one caller."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                behave(client)

        thread = threading.Thread(target=serve)
        thread.start()
        yield str(path)
        thread.join()


def silent(client: socket.socket) -> None:
    """Takes what is said until the caller gives up."""
    while client.recv(4096):
        pass


def deaf(client: socket.socket) -> None:
    """Lets the caller in, and then says nothing more."""
    client.recv(4096)
    client.sendall(b"OK 0123456789abcdef0123456789abcdef\r\n")
    silent(client)


def refusing(client: socket.socket) -> None:
    said = b""
    while not said.endswith(b"\n"):  # a word more would meet a closed socket
        said += client.recv(4096)
    client.sendall(b"REJECTED EXTERNAL\r\n")
    client.recv(4096)


def gone(client: socket.socket) -> None:
    client.recv(1)


@pytest.mark.parametrize(
    ("behave", "words"),
    (
        (silent, "didn't answer on"),
        (deaf, "didn't answer on"),
        (refusing, "refuses this user"),
        (gone, "can't be reached"),
    ),
)
def test_a_bus_that_does_not_answer_is_an_error(
    tmp_path: Path, behave: Behaviour, words: str
) -> None:
    before = _cgroups.own_paths()
    with bus(tmp_path / "bus", behave) as path, pytest.raises(UnsupportedError) as caught:
        scope.ask(path, "sbx-test-1.scope", "test", seconds=0.3)
    assert words in caught.value.message
    assert caught.value.hint
    assert _cgroups.own_paths() == before


def test_a_socket_that_nobody_listens_at_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "bus"
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(path))
    with pytest.raises(UnsupportedError, match="can't be reached: Connection refused"):
        scope.ask(str(path), "sbx-test-1.scope", "test")


def test_the_users_bus_is_looked_for_where_sessions_have_it(tmp_path: Path) -> None:
    nobody = 4_000_000
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    assert _cgroups.user_bus(environ, nobody) == ""
    (tmp_path / "bus").touch()
    assert _cgroups.user_bus(environ, nobody) == str(tmp_path / "bus")
    assert _cgroups.user_bus({"XDG_RUNTIME_DIR": os.path.relpath(tmp_path)}, nobody) == ""


@pytest.mark.parametrize(
    ("name", "unit"),
    (
        ("web", "sbx-web-7.scope"),
        ("a b/../é%n", "sbx-a_b______n-7.scope"),
        ("", "sbx-sandbox-7.scope"),
        ("x" * 500, f"sbx-{'x' * 128}-7.scope"),
    ),
)
def test_a_scope_is_named_after_the_sandbox(name: str, unit: str) -> None:
    assert scope.unit_name(name, 7) == unit
