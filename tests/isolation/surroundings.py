"""What lives around the sandbox that attempts are made in: servers of the host's, and another sandbox."""

import contextlib
import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Iterator

from tests.isolation.scene import Scene
from tests.kernel.harness import Sandbox, checked, libc

IPC_CREAT, IPC_RMID = 0o1000, 0
_ADDRESSES = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


def _echo(server: socket.socket) -> None:
    """Answers each datagram until the socket is shut down."""
    with contextlib.suppress(OSError):
        while True:
            data, sender = server.recvfrom(16)
            if sender is None or not data:
                return
            server.sendto(data, sender)


@contextlib.contextmanager
def servers() -> Iterator[str]:
    """Servers on one port of both loopback addresses, for streams and for datagrams; yields the port."""
    with contextlib.ExitStack() as stack:
        port = 0
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            for family, address in _ADDRESSES:
                server = stack.enter_context(socket.socket(family, kind))
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                server.bind((address, port))
                port = server.getsockname()[1]
                if kind == socket.SOCK_STREAM:
                    server.listen(64)
                    continue
                thread = threading.Thread(target=_echo, args=(server,))
                thread.start()
                stack.callback(thread.join)
                stack.callback(_end, family, address, port)
        yield str(port)


def _end(family: int, address: str, port: int) -> None:
    """An empty datagram is the last."""
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"", (address, port))


@contextlib.contextmanager
def local_servers(directory: str) -> Iterator[dict[str, str]]:
    """Sockets with a path and abstract ones, that every user may speak to."""
    sockets = os.path.join(directory, "sockets")
    os.mkdir(sockets, 0o755)
    os.chmod(sockets, 0o755)
    abstract = f"sbx-isolation-{os.getpid()}-{os.path.basename(os.path.dirname(directory))}"
    kinds = {"stream": socket.SOCK_STREAM, "dgram": socket.SOCK_DGRAM}
    with contextlib.ExitStack() as stack:
        for name, kind in kinds.items():
            path = os.path.join(sockets, name)
            for address in (path, f"\0{abstract}-{name}"):
                server = stack.enter_context(socket.socket(socket.AF_UNIX, kind))
                server.bind(address)
                if kind == socket.SOCK_STREAM:
                    server.listen(64)
            os.chmod(path, 0o666)
        yield {"sockets": sockets, "abstract": f"@{abstract}"}


@contextlib.contextmanager
def shared_memory() -> Iterator[dict[str, str]]:
    """System V objects, a message queue and a file in /dev/shm, open to every user."""
    key = 0x5B000000 | (os.getpid() & 0xFFFF)
    queue = f"sbx-isolation-{os.getpid()}"
    file = f"/dev/shm/{queue}"
    old = os.umask(0)
    try:
        memory = checked(libc.shmget(key, ctypes.c_size_t(4096), IPC_CREAT | 0o666))
        semaphore = checked(libc.semget(key, 1, IPC_CREAT | 0o666))
        messages = checked(libc.msgget(key, IPC_CREAT | 0o666))
        fd = checked(libc.mq_open(f"/{queue}".encode(), os.O_CREAT | os.O_RDWR, 0o666, None))
        with open(file, "w", encoding="ascii") as opened:
            opened.write("secret")
    finally:
        os.umask(old)
    try:
        yield {"key": str(key), "queue": f"/{queue}", "shared": file}
    finally:
        os.close(fd)
        libc.mq_unlink(f"/{queue}".encode())
        os.unlink(file)
        libc.shmctl(memory, IPC_RMID, None)
        libc.semctl(semaphore, 0, IPC_RMID)
        libc.msgctl(messages, IPC_RMID, None)


@contextlib.contextmanager
def another_sandbox(sandbox: Sandbox, profile: str, probe: str) -> Iterator[str]:
    """A live sandbox of the same caller and profile; yields the host's number of its payload."""
    words = sandbox.shipped_arguments(profile, probe, "stay")
    with (
        sandbox.popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
        staying(process) as number,
    ):
        yield number


@contextlib.contextmanager
def staying(process: subprocess.Popen[bytes]) -> Iterator[str]:
    """The host's number of what a sandbox runs with the probe's `stay`, and its end."""
    assert process.stdout is not None
    number = process.pid
    try:
        assert process.stdout.readline() == b"here\n"
        while below := _children(number):
            number = below[0]
        yield str(number)
    finally:
        # The end of its input ends the probe; as PID 1 it hears no SIGTERM.
        process.communicate(timeout=20)


def _children(number: int) -> list[int]:
    with open(f"/proc/{number}/task/{number}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


@contextlib.contextmanager
def all_of_it(sandbox: Sandbox, scene: Scene) -> Iterator[None]:
    """Everything above; its names become the scene's."""
    with (
        servers() as port,
        local_servers(scene.directory) as local,
        shared_memory() as shared,
        another_sandbox(sandbox, sandbox.path("subject.toml"), scene.probe) as peer,
    ):
        scene.around.update(local, **shared, port=port, peer=peer)
        yield
