"""What a hostile payload would try first; prints one JSON line for each try.

Arguments: a file in the caller's home, and a TCP port on which the host listens.
"""

import ctypes
import errno
import json
import os
import signal
import socket
import sys
from collections.abc import Callable

CLONE_NEWUSER = 0x10000000
TIOCSTI = 0x5412
PTRACE_ATTACH = 16

libc = ctypes.CDLL(None, use_errno=True)


def call(function: str, *arguments: object) -> None:
    """Call into libc and raise the OSError that its errno stands for."""
    if getattr(libc, function)(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def read_secret() -> None:
    with open(sys.argv[1], encoding="ascii") as secret:
        secret.read()


def reach_host() -> None:
    socket.create_connection(("127.0.0.1", int(sys.argv[2])), timeout=5).close()


def write_system() -> None:
    os.close(os.open("/usr/bin/sbx-demo", os.O_WRONLY | os.O_CREAT, 0o755))


def mount_over() -> None:
    call("mount", b"none", b"/usr", b"tmpfs", 0, None)


def new_user_namespace() -> None:
    call("unshare", CLONE_NEWUSER)


def trace_init() -> None:
    call("ptrace", PTRACE_ATTACH, 1, None, None)


def type_into_terminal() -> None:
    # The kernel reads the request's low 32 bits only; a filter that compares 64 would miss this.
    call("ioctl", 0, ctypes.c_ulong(1 << 32 | TIOCSTI), b"x")


def signal_host() -> None:
    os.kill(int(sys.argv[3]), signal.SIGTERM)


ATTACKS: tuple[tuple[str, Callable[[], None], tuple[int, ...]], ...] = (
    ("read a secret in the caller's home", read_secret, (errno.ENOENT, errno.EACCES)),
    ("put a program into /usr/bin", write_system, (errno.EROFS, errno.EACCES)),
    ("connect to a server on the host", reach_host, (errno.ECONNREFUSED, errno.ENETUNREACH)),
    ("end a process of the host", signal_host, (errno.ESRCH, errno.EPERM)),
    ("mount over /usr", mount_over, (errno.EPERM,)),
    ("become root in a new user namespace", new_user_namespace, (errno.EPERM,)),
    ("take over the sandbox's first process", trace_init, (errno.EPERM,)),
    ("type into the caller's terminal", type_into_terminal, (errno.EPERM,)),
)

for title, attack, refusals in ATTACKS:
    try:
        attack()
    except OSError as error:
        number = error.errno or 0
        answer = f"{errno.errorcode.get(number, number)}: {error.strerror}"
        print(json.dumps({"title": title, "answer": answer, "refused": number in refusals}))
    else:
        print(json.dumps({"title": title, "answer": "it worked", "refused": False}))
