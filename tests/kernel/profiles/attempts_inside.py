"""The script of attempts.py: tries what its argument lists and prints the answers, both as JSON.

It uses the standard library alone and prints "ok" or the name of an error for each try. Whatever
would change this process, or could end it, is tried in a child.
"""

import ctypes
import errno
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
PTRACE_TRACEME = 0
KEY_SPEC_PROCESS_KEYRING = -2
SYSLOG_ACTION_SIZE_BUFFER = 10
SYSCALLS = {"x86_64": {"add_key": 248}, "aarch64": {"add_key": 217}}

libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int) -> None:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def try_open(path: str) -> None:
    os.close(os.open(path, os.O_RDONLY))


def try_change(path: str) -> None:
    """Opens a file for writing; puts an executable file into a directory and takes it out."""
    if not os.path.isdir(path):
        os.close(os.open(path, os.O_WRONLY))
        return
    name = os.path.join(path, ".sbx-attempt")
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT, 0o755))
    os.remove(name)


def try_environment(name: str) -> None:
    if name not in os.environ:
        raise FileNotFoundError(errno.ENOENT, name)


def try_unix(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def try_abstract(name: str) -> None:
    try_unix(f"\0{name}")


def try_tcp(port: int) -> None:
    socket.create_connection(("127.0.0.1", port), timeout=5).close()


def try_see(seconds: str) -> None:
    """Looks for `sleep seconds` among all processes."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if words[:2] == [b"sleep", seconds.encode()]:
            return
    raise ProcessLookupError(errno.ESRCH, seconds)


def try_signal(pid: int) -> None:
    os.kill(pid, 0)


def try_trace() -> None:
    checked(libc.ptrace(PTRACE_TRACEME, 0, None, None))


def try_mount() -> None:
    """Outside, an unprivileged caller may do so in namespaces of its own."""
    libc.unshare(CLONE_NEWUSER | CLONE_NEWNS)
    checked(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None))


def try_user_namespace() -> None:
    checked(libc.unshare(CLONE_NEWUSER))


def try_keyring() -> None:
    number = SYSCALLS[os.uname().machine]["add_key"]
    checked(libc.syscall(number, b"user", b"sbx", b"x", 1, KEY_SPEC_PROCESS_KEYRING))


def try_set_user_id() -> None:
    descriptor, path = tempfile.mkstemp()
    os.close(descriptor)
    try:
        os.chmod(path, 0o4755)
    finally:
        os.remove(path)


def try_kernel_log() -> None:
    checked(libc.klogctl(SYSLOG_ACTION_SIZE_BUFFER, None, 0))


def try_status(field: str, harmless: str) -> None:
    with open("/proc/self/status", encoding="ascii") as file:
        value = next(line.split()[1] for line in file if line.startswith(f"{field}:"))
    if value == harmless:
        raise PermissionError(errno.EPERM, field)


def try_descriptor(number: int) -> None:
    os.read(number, 1)


ATTEMPTS: dict[str, Callable[..., None]] = {
    "open": try_open,
    "change": try_change,
    "environment": try_environment,
    "unix": try_unix,
    "abstract": try_abstract,
    "tcp": try_tcp,
    "see": try_see,
    "signal": try_signal,
    "trace": try_trace,
    "mount": try_mount,
    "user-namespace": try_user_namespace,
    "keyring": try_keyring,
    "set-user-id": try_set_user_id,
    "kernel-log": try_kernel_log,
    "status": try_status,
    "descriptor": try_descriptor,
}


def in_child(attempt: Callable[..., None], words: list[str | int]) -> str:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            attempt(*words)
            answer = "ok"
        except OSError as error:
            answer = errno.errorcode.get(error.errno or 0, str(error))
        except BaseException as error:  # noqa: BLE001 - the child may not go on as its parent
            answer = repr(error)
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answer = pipe.read()
    _, status = os.waitpid(pid, 0)
    return answer if status == 0 else signal.Signals(os.WTERMSIG(status)).name


def main() -> None:
    tries = json.loads(sys.argv[1])
    json.dump([in_child(ATTEMPTS[verb], words) for verb, *words in tries], sys.stdout)


main()
