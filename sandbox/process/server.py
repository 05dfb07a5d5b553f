"""The door for programs that use the library: a native server starts their sandboxes.

Each process of a program has a server of its own, started when the first sandbox is. `csrc/serve.h`
says what passes between the two, `csrc/serve.c` why it isn't done in this process.
"""

import array
import atexit
import contextlib
import errno
import fcntl
import io
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from sandbox.errors import SandboxError
from sandbox.process import owned
from sandbox.process.ending import Usage as Counted
from sandbox.process.ending import read_usage
from sandbox.process.launch import Failure

VERSION: Final = 3
KEEP: Final = 1
START: Final = 2
FORGET: Final = 3
START_LATER: Final = 4

CALL_MAGIC: Final = 0x53425843
MAX_MESSAGE: Final = 32 << 10
MAX_SIZE: Final = 8 << 20
MAX_DESCRIPTORS: Final = 64

STARTED: Final = 1
FAILED: Final = 2
ENDED: Final = 3
READY: Final = 4
LAUNCHED: Final = 5
REAPED: Final = 6
TAKEN: Final = 9

WITNESS: Final = -1
"""In place of a number: a descriptor that is there until the program is executed."""

_REQUEST: Final = struct.Struct("=IIQ")
_CALL: Final = struct.Struct("=6I")
_REPORT: Final = struct.Struct("=IiIIiI")
_END: Final = struct.Struct("=IiQQQ")
_END_MAX: Final = 512


class Usage(NamedTuple):
    """What all processes of a sandbox have used: seconds of processor time, bytes of memory.

    `max_memory` is the peak of the largest single process (ru_maxrss of getrusage(2)).
    """

    user_time: float
    system_time: float
    max_memory: int


class Launched(NamedTuple):
    """The sandbox's first process is there; `pidfd` owns a descriptor of it (pidfd_open(2))."""

    pid: int
    pidfd: io.FileIO | None


class Ended(NamedTuple):
    """The program has ended, with this status of wait(2); others of its sandbox may still die."""

    status: int
    usage: Usage


class Reaped(NamedTuple):
    """Nothing of the sandbox is left. The status is the first process's.

    `counted` is what its control group says, None where it has none.
    """

    status: int
    usage: Usage
    counted: Counted | None = None


class Event(NamedTuple):
    """STARTED, READY or TAKEN."""

    kind: int


Report: TypeAlias = Event | Failure | Launched | Ended | Reaped


class Call(NamedTuple):
    """What a sandbox is to run.

    `environ` are all its variables, `cwd` is empty for the profile's, `descriptors` maps the
    numbers inside to the caller's own ones (WITNESS may come among the numbers).
    """

    argv: Sequence[str | bytes | os.PathLike[str] | os.PathLike[bytes]]
    environ: Mapping[str, str]
    descriptors: Sequence[tuple[int, int]]
    cwd: str = ""

    def encoded(self) -> tuple[bytes, bytes]:
        """The head and the strings. Raises ValueError for what no program can be given."""
        words = [os.fsencode(word) for word in self.argv]
        variables = [os.fsencode(f"{name}={value}") for name, value in self.environ.items()]
        strings = [os.fsencode(self.cwd), *words, *variables]
        if any(b"\0" in text for text in strings):
            raise ValueError("an argument, variable or directory holds a NUL character")
        data = b"".join(text + b"\0" for text in strings)
        if len(data) > MAX_SIZE:
            raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
        if len(self.descriptors) > MAX_DESCRIPTORS:
            raise ValueError(f"more than {MAX_DESCRIPTORS} descriptors")
        numbers = array.array("i", [number for number, _ in self.descriptors]).tobytes()
        in_file = len(numbers) + len(data) > MAX_MESSAGE
        head = _CALL.pack(
            CALL_MAGIC, len(data), len(words), len(variables), len(self.descriptors), in_file
        )
        return head + numbers, data


class Channel:
    """The connection to one sandbox: the call goes in, reports come out.

    Raises no error for a sandbox that ends at any time: its reports tell.
    """

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._launched = False
        end.setblocking(False)

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, call: Call) -> None:
        """Hands over what is to run; can be done once. Nothing happens if the sandbox has ended."""
        head, data = call.encoded()
        fds = [fd for _, fd in call.descriptors]
        try:
            if len(head) - _CALL.size + len(data) <= MAX_MESSAGE:
                socket.send_fds(self._socket, [head, data], fds)
                return
            file = os.memfd_create("sbx-call", os.MFD_CLOEXEC)
            try:
                _write_all(file, data)
                socket.send_fds(self._socket, [head], [file, *fds])
            finally:
                os.close(file)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def receive(self) -> Report | None:
        """The next report, None where the sandbox and the server have closed the channel.

        Raises BlockingIOError if there is none yet.
        """
        try:
            data = self._socket.recv(_END_MAX, 0 if self._launched else socket.MSG_PEEK)
            if not data:
                return None
            (kind,) = struct.unpack_from("=I", data)
            if kind == LAUNCHED:
                self._launched = True
                _, pid, *_ = _REPORT.unpack(data)
                return Launched(pid, owned.receive(self._socket))
            if not self._launched:
                self._socket.recv(_END_MAX)
        except ConnectionResetError:  # it ended before it had read the call
            return self.receive()
        if kind in (ENDED, REAPED):
            _, status, user, system, rss = _END.unpack_from(data)
            usage = Usage(user / 1e6, system / 1e6, rss << 10)
            if kind == ENDED:
                return Ended(status, usage)
            counted = read_usage(data[_END.size :])
            return Reaped(status, usage, counted if counted.measured else None)
        _, _, *failure = _REPORT.unpack(data)
        if kind == FAILED:
            return Failure(*failure)
        return Event(kind)

    def hang_up(self) -> None:
        """Has the server kill the sandbox, now or once it is made; reports still come."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._socket.close()


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _above_standard(end: socket.socket) -> socket.socket:
    """The same with a number that is no standard stream's; see `owned.above_standard`."""
    if end.fileno() > 2:
        return end
    with end:
        return socket.socket(fileno=fcntl.fcntl(end.fileno(), fcntl.F_DUPFD_CLOEXEC, 3))


def _pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return _above_standard(ours), _above_standard(theirs)


class Server:
    """The native process that starts sandboxes for this one; it ends when this one does."""

    def __init__(self, launcher: str) -> None:
        ours, theirs = _pair()
        self.user = os.geteuid()
        self._socket = ours
        self._plans: set[int] = set()
        with theirs:
            self.pid = _spawn(launcher, theirs.fileno())
        hello = ours.recv(_REQUEST.size)
        if not hello or _REQUEST.unpack(hello)[1] != VERSION:
            self.close()
            raise SandboxError(
                f"{launcher} doesn't serve this version of sbx's library",
                hint="install sbx anew with pip: the two belong together",
            )

    def start(self, number: int, plan: bytes, *, wait: bool = True, later: bool = False) -> Channel:
        """Has a sandbox of a plan made, up to its program, which a call over the channel names.

        `number` stands for these bytes. With `later` it is made in some milliseconds, out of the
        way of what is being done now. Raises BrokenPipeError if the server has ended, and without
        `wait` BlockingIOError if it has more requests than its socket can hold.
        """
        if number not in self._plans:
            self._keep(number, plan)
        flags = 0 if wait else socket.MSG_DONTWAIT
        ours, theirs = _pair()
        try:
            with theirs:
                self._send(START_LATER if later else START, number, theirs.fileno(), flags)
        except BaseException:
            ours.close()
            raise
        return Channel(ours)

    def _keep(self, number: int, plan: bytes) -> None:
        file = os.memfd_create("sbx-plan", os.MFD_CLOEXEC)
        try:
            _write_all(file, plan)
            self._send(KEEP, number, file)
        finally:
            os.close(file)
        self._plans.add(number)

    def forget(self, number: int) -> None:
        """Gives up a plan; sandboxes of it live on."""
        if number in self._plans:
            self._plans.discard(number)
            with contextlib.suppress(OSError):
                self._send(FORGET, number, None)

    def _send(self, kind: int, number: int, fd: int | None, flags: int = 0) -> None:
        request = _REQUEST.pack(kind, VERSION, number)
        socket.send_fds(self._socket, [request], [] if fd is None else [fd], flags)

    def close(self) -> None:
        """Ends the server, and with it its sandboxes."""
        self._socket.close()
        with contextlib.suppress(ChildProcessError):
            for _ in range(100):
                if os.waitpid(self.pid, os.WNOHANG)[0]:
                    return
                time.sleep(0.001)  # a fork may hold the socket: then it ends with this process

    def abandon(self) -> None:
        """Lets go of it: a fork, whose parent it serves, or at the program's end."""
        self._socket.close()


def _spawn(launcher: str, control: int) -> int:
    """The native server, in a process group of its own: the terminal's Ctrl-C is for this one."""
    # dup2 to the same number leaves close-on-exec on.
    number = fcntl.fcntl(control, fcntl.F_DUPFD_CLOEXEC, 10)
    target = 3
    try:
        return os.posix_spawn(
            launcher,
            [launcher, "_serve", str(target)],
            {},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0),
                (os.POSIX_SPAWN_DUP2, 0, 1),
                (os.POSIX_SPAWN_DUP2, 0, 2),
                (os.POSIX_SPAWN_DUP2, number, target),
            ],
            setpgroup=0,
            setsigmask=[],
            setsigdef=[signal.SIGCHLD, signal.SIGPIPE],
        )
    except OSError as error:
        raise SandboxError(
            f"the launcher {launcher} can't be run: {error.strerror}",
            hint="install sbx anew with pip; it belongs beside Python's scripts",
        ) from None
    finally:
        os.close(number)


# A plan that is garbage is given up in whichever thread finds it, maybe in the middle of a start.
_lock = threading.RLock()
_server: Server | None = None


def launcher() -> str:
    """The native program that was installed with this package."""
    import sysconfig

    places = [os.path.join(sysconfig.get_path("scripts"), "sbx")]
    with contextlib.suppress(KeyError):
        user = sysconfig.get_preferred_scheme("user")
        places.append(os.path.join(sysconfig.get_path("scripts", user), "sbx"))
    return next((place for place in places if os.access(place, os.X_OK)), places[0])


def start(number: int, plan: bytes, *, wait: bool = True, later: bool = False) -> Channel:
    """A sandbox from this process's server. Raises SandboxError if there can't be one.

    A server that has been killed, or that was started as another user, is replaced.
    """
    global _server  # noqa: PLW0603 - one for each process, as the process is its sandboxes' owner
    with _lock:
        if _server is not None and _server.user != os.geteuid():
            _server.close()
            _server = None
        if _server is not None:
            try:
                return _server.start(number, plan, wait=wait, later=later)
            except (BrokenPipeError, ConnectionResetError):
                _server.close()
        _server = Server(launcher())
        return _server.start(number, plan)


def current() -> Server | None:
    """This process's server, if it has one."""
    return _server


def forget(number: int) -> None:
    """The plan of this number isn't needed any more."""
    with _lock:
        if _server is not None:
            _server.forget(number)


def _after_fork() -> None:
    global _lock, _server  # noqa: PLW0603 - the parent's
    _lock = threading.RLock()
    if _server is not None:
        _server.abandon()
    _server = None


def _at_exit() -> None:
    if _server is not None:
        _server.abandon()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
