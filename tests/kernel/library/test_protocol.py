"""What goes over the sockets: whatever is no call is refused, and hurts nobody else."""

import os
import select
import socket
import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox import Sandbox
from sandbox.library.options import start_options
from sandbox.library.streams import Streams
from sandbox.process import server
from sandbox.process.launch import Failure
from sandbox.process.server import Channel, Reaped
from tests.kernel.library.conftest import eventually, sandboxes

HEAD = struct.Struct("=6I")
GOOD = b"\0true\0PATH=/usr/bin\0"


def call(
    strings: bytes = GOOD,
    *,
    size: int | None = None,
    words: int = 1,
    variables: int = 1,
    descriptors: int = 0,
    in_file: int = 0,
    magic: int = server.CALL_MAGIC,
) -> bytes:
    length = len(strings) if size is None else size
    return HEAD.pack(magic, length, words, variables, descriptors, in_file) + strings


def outcome(box: Sandbox, message: bytes, fds: tuple[int, ...] = ()) -> "Failure | Reaped | None":
    """How a sandbox takes a message as its call: its failure, or its end."""
    channel = box.compiled.launch().channel
    try:
        socket.send_fds(channel._socket, [message], fds)
        return _read(channel)
    finally:
        channel.close()


def _read(channel: Channel) -> "Failure | Reaped | None":
    failure = None
    while True:
        select.select([channel], [], [], 30)
        report = channel.receive()
        if isinstance(report, server.Launched):
            assert report.pidfd is not None
            report.pidfd.close()
        if isinstance(report, Failure):
            failure = report
        if report is None or isinstance(report, Reaped):
            return failure or report


def is_refused(found: "Failure | Reaped | None") -> bool:
    return isinstance(found, Failure) and found.error in {74, 12}  # EBADMSG, ENOMEM


BAD: dict[str, Callable[[], bytes]] = {
    "short": lambda: call()[:20],
    "no magic": lambda: call(magic=1),
    "no words": lambda: call(words=0),
    "more words than strings": lambda: call(words=5),
    "fewer words than strings": lambda: call(b"\0true\0A=b\0C=d\0"),
    "no strings": lambda: call(b""),
    "no closing NUL": lambda: call(b"\0true\0PATH=/usr/bin"),
    "a size that is too large": lambda: call(size=100),
    "a size that is too small": lambda: call(size=3),
    "counts beyond any size": lambda: call(words=0xFFFFFFFF, variables=0xFFFFFFFF),
    "a size beyond any": lambda: call(size=0xFFFFFFFF),
    "descriptors that don't come": lambda: call(descriptors=2),
    "more descriptors than there can be": lambda: call(descriptors=0xFFFFFFFF),
    "a file that doesn't come": lambda: call(b"", size=len(GOOD), in_file=1),
    "more than a message": lambda: call(b"x" * 60_000),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_call_is_refused(box: Sandbox, without_init: Sandbox, what: str) -> None:
    for sandbox in (box, without_init):
        assert is_refused(outcome(sandbox, BAD[what]()))
    assert box.run(["true"]).ok


def test_a_good_call_is_taken(box: Sandbox) -> None:
    """The control: the helper makes what the library makes."""
    found = outcome(box, call())
    assert found is None or isinstance(found, Reaped)


@pytest.mark.parametrize(("number", "error"), ((-2, 74), (1 << 20, 74), (0x7FFFFFFF, 74)))
def test_a_number_that_no_descriptor_can_have_is_refused(
    box: Sandbox, number: int, error: int
) -> None:
    message = call(struct.pack("=i", number) + GOOD, size=len(GOOD), descriptors=1)
    found = outcome(box, message, (0,))
    assert isinstance(found, Failure)
    assert found.error == error


@pytest.mark.parametrize("count", (65, 66, 67, 253))
def test_more_descriptors_than_a_call_may_have_are_refused(box: Sandbox, count: int) -> None:
    numbers = struct.pack(f"={count}i", *range(3, 3 + count))
    message = call(numbers + GOOD, size=len(GOOD), descriptors=count)
    assert isinstance(outcome(box, message, (0,) * count), Failure)


def test_a_file_shorter_than_it_says_is_refused(box: Sandbox) -> None:
    file = os.memfd_create("call")
    try:
        os.write(file, GOOD)
        assert is_refused(outcome(box, call(b"", size=len(GOOD) + 1, in_file=1), (file,)))
        found = outcome(box, call(b"", size=len(GOOD), in_file=1), (file,))
        assert found is None or isinstance(found, Reaped)
    finally:
        os.close(file)


@given(
    st.binary(max_size=200),
    st.lists(st.integers(0, 0xFFFFFFFF) | st.integers(0, 40), min_size=5, max_size=5),
)
@settings(max_examples=60, database=None)  # an account without privilege has no place for one
def test_no_message_does_more_than_fail(data: bytes, numbers: list[int]) -> None:
    """Whatever comes, the sandbox ends and the server goes on."""
    box = _box()
    outcome(box, HEAD.pack(server.CALL_MAGIC, *numbers) + data)
    assert box.run(["true"]).ok


_made: list[Sandbox] = []


def _box() -> Sandbox:
    """One for all examples: hypothesis runs them within one fixture."""
    if not _made:
        _made.append(Sandbox("minimal"))
    return _made[0]


@pytest.mark.parametrize(
    "message",
    (
        b"",
        b"x",
        b"x" * 64,
        struct.pack("=IIQ", 99, server.VERSION, 1),
        struct.pack("=IIQ", server.START, server.VERSION, 1),
        struct.pack("=IIQ", server.START, 77, 1),
        struct.pack("=IIQ", server.START_LATER, server.VERSION, 1),
        struct.pack("=IIQ", server.KEEP, server.VERSION, 77),
        struct.pack("=IIQ", server.FORGET, server.VERSION, 77),
    ),
)
def test_requests_that_make_no_sense_are_passed_over(box: Sandbox, message: bytes) -> None:
    found = server.current()
    assert found
    if message:
        found._socket.send(message)
    assert box.run(["true"]).ok
    assert server.current() is found


@pytest.mark.parametrize("kind", (server.KEEP, server.FORGET, 99))
def test_descriptors_that_no_request_has_are_closed(box: Sandbox, kind: int) -> None:
    found = server.current()
    assert found
    request = struct.pack("=IIQ", kind, server.VERSION, 77)

    def held() -> int:
        return len(os.listdir(f"/proc/{found.pid}/fd"))

    assert eventually(lambda: sandboxes() == [])
    before = held()
    for count in (1, 2, 3, 100):
        socket.send_fds(found._socket, [request], [0] * count)
    assert box.run(["true"]).ok
    assert eventually(lambda: held() == before)


def test_one_that_is_given_up_before_it_is_made_is_never_made(box: Sandbox) -> None:
    for _ in range(20):
        box.compiled.launch(later=True).drop()
    assert box.run(["true"]).ok
    assert eventually(lambda: sandboxes() == [])


def test_one_that_is_made_later_serves_a_call_that_comes_before(box: Sandbox) -> None:
    watch = box.compiled.launch(later=True)
    streams = Streams()
    watch.call(box.compiled.call(["true"], start_options(text=False), streams))
    streams.close()
    assert watch.wait(30)
    assert watch.status == 0
    watch.end()


def test_a_sandbox_of_a_plan_that_is_not_known_is_refused(box: Sandbox) -> None:
    found = server.current()
    assert found
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        found._send(server.START, 987_654, theirs.fileno())
    channel = Channel(ours)
    failure = _read(channel)
    channel.close()
    assert isinstance(failure, Failure)
    assert failure.error == 74


def test_bytes_that_are_no_plan_are_not_kept(box: Sandbox) -> None:
    found = server.current()
    assert found
    channel = found.start(987_655, b"x" * 4096)
    failure = _read(channel)
    channel.close()
    assert isinstance(failure, Failure)
    found.forget(987_655)


def test_a_plan_that_is_forgotten_is_kept_again_when_it_is_needed(box: Sandbox) -> None:
    server.forget(box.compiled.number)
    assert box.run(["true"]).ok
