"""What no shipped profile lets a payload do, tried from inside it, and outside as the control.

`assert_refused` is what a profile's test calls. The attempts are a Python script that the profile
itself runs, so they see what its application sees.
"""

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from tests.kernel.harness import Sandbox

HOST_LOOPBACK: Final = "connect to a server on the host's loopback"
ENVIRONMENT: Final = "see a secret of the caller's environment"
READ_KEY: Final = "read a key in the caller's home"
LIST_HOME: Final = "list the caller's .ssh"
READ_SHADOW: Final = "read /etc/shadow"
WRITE_HOME: Final = "write into the caller's home"
WRITE_SYSTEM: Final = "put a program into /usr/bin"
WRITE_ETC: Final = "write into /etc"
UNIX_SOCKET: Final = "connect to a socket file of the host"
ABSTRACT_SOCKET: Final = "connect to an abstract socket of the host"
SEE_PROCESS: Final = "see a process of the host"
SIGNAL_PROCESS: Final = "signal a process of the host"
TRACE: Final = "be traced by ptrace"
MOUNT: Final = "mount a file system"
USER_NAMESPACE: Final = "make a user namespace"
KEYRING: Final = "put a key into the kernel's keyring"
SET_USER_ID: Final = "make a set-user-id program"
KERNEL_LOG: Final = "read the kernel's log"
CAPABILITY: Final = "have a capability, or any left to gain"
PRIVILEGES: Final = "gain privileges by executing a program"
DESCRIPTOR: Final = "use a descriptor of the caller's"

_GONE: Final = ("ENOENT", "EACCES")
_READ_ONLY: Final = ("EROFS", "EACCES", "ENOENT", "EPERM")
_VARIABLE: Final = "SBX_TEST_SECRET_KEY"
_DESCRIPTOR: Final = 200
_HERE: Final = os.path.dirname(os.path.abspath(__file__))


class _Attempt(NamedTuple):
    """One thing to try.

    `refusals` are the errors that count as a refusal. `control` says that the same caller can do it
    outside; where it isn't so (a user and /etc/shadow), the refusals name an error that the caller
    doesn't get outside.
    """

    words: tuple[str | int, ...]
    refusals: tuple[str, ...]
    control: bool = True


def assert_refused(
    sandbox: Sandbox,
    profile: str,
    *,
    variables: Mapping[str, str] | None = None,
    granted: Collection[str] = (),
    unreadable: Sequence[str] = (),
    unchangeable: Sequence[str] = (),
    python: str = "/usr/bin/python3",
    **how: Any,
) -> dict[str, str]:
    """What is tried in this profile is refused, and what is `granted` goes well.

    `granted` has names of this module: what the profile allows (HOST_LOOPBACK with the host's
    network). `unreadable` are further files and directories of the caller's that must not be
    opened, `unchangeable` those that may be read but neither changed nor added to; both have to
    exist. `how` is for `Sandbox.program`. Returns the answer to each attempt: "ok" or an error.
    """
    how["env"] = {**how.get("env", sandbox.environment), _VARIABLE: "a token"}
    command = [python, "-I", "-S", "-c", _script()]
    how["pass_fds"] = (*how.get("pass_fds", ()), _DESCRIPTOR)
    with _descriptor(), _targets(sandbox) as tries:
        for path in unreadable:
            tries[f"open {path}"] = _Attempt(("open", path), _GONE)
        for path in unchangeable:
            tries[f"change {path}"] = _Attempt(("change", path), _READ_ONLY)
        assert set(granted) <= set(tries)
        words = json.dumps([attempt.words for attempt in tries.values()])
        outside = _answers(sandbox.program([*command, words], **how), tries)
        inside = _answers(
            sandbox.shipped(profile, *command, words, variables=variables, **how), tries
        )
    failed = {
        name: outside[name]
        for name, attempt in tries.items()
        if attempt.control and outside[name] != "ok"
    }
    assert not failed, f"what {sandbox.uid} can do outside fails: {failed}"
    wrong = {
        name: inside[name]
        for name, attempt in tries.items()
        if inside[name] not in (("ok",) if name in granted else attempt.refusals)
    }
    assert not wrong, f"{profile} as {sandbox.uid}, granted {sorted(granted)}: {wrong}"
    return inside


def _script() -> str:
    with open(os.path.join(_HERE, "attempts_inside.py"), encoding="utf-8") as file:
        return file.read()


def _answers(
    done: "subprocess.CompletedProcess[str]", tries: Mapping[str, _Attempt]
) -> dict[str, str]:
    assert (done.returncode, done.stderr) == (0, ""), done
    answers: list[str] = json.loads(done.stdout)
    return dict(zip(tries, answers, strict=True))


@contextlib.contextmanager
def _targets(sandbox: Sandbox) -> Iterator[dict[str, _Attempt]]:
    """A key, sockets and a process of the caller's to try for, and the attempts."""
    with contextlib.ExitStack() as stack:
        key = _plant_key(sandbox, stack)
        path = os.path.join(sandbox.home, f"{secrets.token_hex(4)}.sock")
        stack.callback(_remove, path)
        stack.enter_context(_listening(path))
        os.chmod(path, 0o777)
        name = f"sbx-{secrets.token_hex(8)}"
        stack.enter_context(_listening(f"\0{name}"))
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        # The fraction tells this process from others; nothing but `sleep` starts with that word.
        seconds = f"120.{secrets.randbelow(10**9):09}"
        victim = stack.enter_context(sandbox.popen(["sleep", seconds]))
        as_root = sandbox.is_root
        yield {
            READ_KEY: _Attempt(("open", key), _GONE),
            LIST_HOME: _Attempt(("open", os.path.dirname(key)), _GONE),
            # A user outside gets EACCES; inside there is no such file.
            READ_SHADOW: _Attempt(("open", "/etc/shadow"), ("ENOENT",), control=as_root),
            ENVIRONMENT: _Attempt(("environment", _VARIABLE), ("ENOENT",)),
            WRITE_HOME: _Attempt(("change", sandbox.home), _READ_ONLY),
            WRITE_SYSTEM: _Attempt(("change", "/usr/bin"), ("EROFS", "EACCES"), control=as_root),
            WRITE_ETC: _Attempt(("change", "/etc"), ("EROFS", "EACCES"), control=as_root),
            # EPERM: a filter without sockets.
            UNIX_SOCKET: _Attempt(("unix", path), (*_GONE, "EPERM")),
            # Another network namespace has none of that name; on the host's Landlock refuses.
            ABSTRACT_SOCKET: _Attempt(("abstract", name), ("ECONNREFUSED", "EPERM")),
            HOST_LOOPBACK: _Attempt(
                ("tcp", server.getsockname()[1]), ("ECONNREFUSED", "ENETUNREACH", "EPERM")
            ),
            SEE_PROCESS: _Attempt(("see", seconds), ("ESRCH",)),
            SIGNAL_PROCESS: _Attempt(("signal", victim.pid), ("ESRCH",)),
            TRACE: _Attempt(("trace",), ("EPERM",)),
            MOUNT: _Attempt(("mount",), ("EPERM",)),
            USER_NAMESPACE: _Attempt(("user-namespace",), ("EPERM", "ENOSPC")),
            KEYRING: _Attempt(("keyring",), ("EPERM",)),
            SET_USER_ID: _Attempt(("set-user-id",), ("EPERM",)),
            KERNEL_LOG: _Attempt(("kernel-log",), ("EPERM",), control=as_root),
            CAPABILITY: _Attempt(("status", "CapBnd", "0000000000000000"), ("EPERM",)),
            PRIVILEGES: _Attempt(("status", "NoNewPrivs", "1"), ("EPERM",)),
            DESCRIPTOR: _Attempt(("descriptor", _DESCRIPTOR), ("EBADF",)),
        }


@contextlib.contextmanager
def _descriptor() -> Iterator[None]:
    """A file that this process has open, as a caller has that forgot to close it."""
    with open("/etc/passwd", "rb") as file:
        os.dup2(file.fileno(), _DESCRIPTOR)
    try:
        yield
    finally:
        os.close(_DESCRIPTOR)


def _plant_key(sandbox: Sandbox, stack: contextlib.ExitStack) -> str:
    directory = os.path.join(sandbox.home, ".ssh")
    os.mkdir(directory, 0o700)
    stack.callback(shutil.rmtree, directory)
    key = os.path.join(directory, "id_ed25519")
    with open(key, "w", encoding="ascii") as file:
        file.write("a private key\n")
    os.chmod(key, 0o600)
    sandbox.own(directory, key)
    return key


def _listening(name: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(name)
    listener.listen(16)
    return listener


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)
