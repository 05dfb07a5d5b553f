"""Where the output of a service is kept, and that it stays bounded."""

import contextlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.kernel.harness import MS_BIND, Sandbox, mount
from tests.kernel.service.services import SECONDS, Services, until

FILE = '[service]\nlog = "file"\n'
JOURNAL = '[service]\nlog = "journal"\n'
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (stdout|stderr) ([FP]) (.*)")
NAMED = ("--name", "kept")


@pytest.fixture(autouse=True)
def no_logs(sandbox: Sandbox) -> Iterator[None]:
    yield
    shutil.rmtree(os.path.join(sandbox.logs, "kept"), ignore_errors=True)


def files(services: Services) -> list[str]:
    return sorted(os.listdir(os.path.join(services.sandbox.logs, "kept")))


def lines(services: Services, name: str = "log") -> list[tuple[str, ...]]:
    """Stream, mark and text of each line."""
    path = os.path.join(services.sandbox.logs, "kept", name)
    with open(path, encoding="utf-8", newline="\n") as file:
        found = [LINE.fullmatch(line.removesuffix("\n")) for line in file]
    assert all(found)
    return [match.groups() for match in found if match]


def test_output_is_kept_line_by_line_with_its_stream(services: Services) -> None:
    words = ("out", "one\ntwo", "err", "three", "out", "\x1b[31mred\r")
    done = services.run(FILE, *words, options=NAMED)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
    kept = lines(services)
    assert [line for line in kept if line[0] == "stdout"] == [
        ("stdout", "F", "one"),
        ("stdout", "F", "two"),
        ("stdout", "F", "\x1b[31mred\r"),
    ]
    assert [line for line in kept if line[0] == "stderr"] == [("stderr", "F", "three")]
    path = os.path.join(services.sandbox.logs, "kept")
    assert os.stat(path).st_mode & 0o777 == 0o700
    assert os.stat(os.path.join(path, "log")).st_mode & 0o777 == 0o600


def test_a_warm_launch_keeps_it_as_well(services: Services) -> None:
    assert services.run(FILE, "out", "warm", options=NAMED, warm=True).returncode == 0
    assert lines(services) == [("stdout", "F", "warm")] * 2


def test_a_long_line_is_kept_in_pieces(services: Services) -> None:
    assert services.run(FILE, "out", "x" * 40000, options=NAMED).returncode == 0
    kept = lines(services)
    assert [mark for _, mark, _ in kept] == ["P", "P", "F"]
    assert "".join(text for _, _, text in kept) == "x" * 40000


def test_the_last_line_needs_no_newline(services: Services) -> None:
    assert services.run(FILE, "mib", "1", options=NAMED).returncode == 0
    assert sum(len(text) for _, _, text in lines(services)) == 1 << 20


def test_a_gibibyte_without_a_newline_is_bounded_in_memory_and_on_disk(services: Services) -> None:
    text = FILE + 'log_size = "1M"\nlog_files = 3\n'
    mebibytes = 1024 if services.sandbox.is_root else 64  # the other caller writes by the same way
    with services.start(text, "mib", str(mebibytes), "await", name="kept") as process:
        supervisor = f"/proc/{process.pid}/status"
        most = 0

        def has_written() -> bool:
            nonlocal most
            with open(supervisor, encoding="utf-8") as file:
                status = file.read()
            most = max(most, int(status.split("VmHWM:")[1].split()[0]))
            children = services.state("kept").get("main", "0")
            with open(f"/proc/{children}/io", encoding="utf-8") as file:
                written = int(file.read().split("wchar:")[1].split()[0])
            return written >= mebibytes << 20

        services.await_state("ready", "kept")
        if os.geteuid() == 0:
            assert until(has_written, 60)
        process.terminate()
        assert process.wait(60) == 0
    assert most < 32 << 10
    assert files(services) == ["log", "log.1", "log.2"]
    directory = os.path.join(services.sandbox.logs, "kept")
    sizes = [os.path.getsize(os.path.join(directory, name)) for name in files(services)]
    assert max(sizes) <= 1 << 20


def test_a_new_run_goes_on_in_the_same_log(services: Services) -> None:
    for text in ("first", "second"):
        assert services.run(FILE, "out", text, options=NAMED).returncode == 0
    assert [text for _, _, text in lines(services)] == ["first", "second"]


def test_a_log_that_is_deleted_is_begun_anew(services: Services) -> None:
    with services.start(FILE, "out", "one", "await", "out", "two", "await", name="kept") as process:
        path = os.path.join(services.sandbox.logs, "kept", "log")
        assert until(lambda: os.path.exists(path) and os.path.getsize(path) > 0)
        shutil.rmtree(os.path.dirname(path))
        process.send_signal(signal.SIGUSR1)
        assert until(lambda: os.path.exists(path) and os.path.getsize(path) > 0)
        process.terminate()
        assert process.wait(SECONDS) == 0
    assert [text for _, _, text in lines(services)] == ["signal 10", "two", "signal 15"]


def test_a_full_disk_stops_nothing_and_is_said_later(staged: Sandbox, services: Services) -> None:
    def stage() -> None:
        mount("tmpfs", staged.logs, "tmpfs", data="size=64k,mode=777")

    words = ("mib", "1", "out", "", "await", "exit", "5")
    with services.start(FILE, *words, name="kept", stage=stage) as process:
        main = services.await_state("ready", "kept")["main"]

        def waits() -> bool:
            with open(f"/proc/{main}/stat", encoding="utf-8") as file:
                return file.read().split(")")[1].split()[0] == "S"

        assert until(waits)
        process.terminate()
        assert process.wait(SECONDS) == 5


def test_a_directory_that_others_may_write_to_is_refused(services: Services) -> None:
    path = os.path.join(services.sandbox.logs, "kept")
    os.mkdir(path)
    os.chmod(path, 0o777)
    services.sandbox.own(path)
    done = services.run(FILE, "out", "x", options=NAMED)
    assert done.returncode == 125
    assert "logs belongs to another user" in done.stderr


@pytest.mark.parametrize("read", (False, True), ids=("nobody reads", "somebody reads"))
def test_a_pipe_in_its_place_holds_nobody_up(services: Services, read: bool) -> None:
    path = os.path.join(services.sandbox.logs, "kept", "log")
    assert services.run(FILE, "out", "x", options=NAMED).returncode == 0
    os.unlink(path)
    os.mkfifo(path, 0o600)
    services.sandbox.own(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK) if read else -1
    done = services.run(FILE, "out", "x", options=NAMED)
    assert done.returncode == 125
    assert "service.log" in done.stderr
    if read:
        os.close(reader)


class Journal:
    """journald's socket, in a /run of the test's own."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.path = os.path.join(directory, "systemd/journal/socket")
        os.makedirs(os.path.dirname(self.path))
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(SECONDS)
        for path in (directory, os.path.dirname(os.path.dirname(self.path)), self.path):
            os.chmod(path, 0o777)

    def stage(self) -> None:
        mount(self.directory, "/run", flags=MS_BIND)

    def hear(self) -> dict[str, str]:
        """The next message's fields."""
        data = self.socket.recv(1 << 17)
        fields: dict[str, str] = {}
        while data:
            head, _, data = data.partition(b"\n")
            name, equals, value = head.partition(b"=")
            if not equals:
                (size,) = struct.unpack("<Q", data[:8])
                value, data = data[8 : 8 + size], data[9 + size :]
            fields[name.decode()] = value.decode()
        return fields


@pytest.fixture
def journal(staged: Sandbox) -> Iterator[Journal]:
    path = staged.mkdir("run")
    opened = Journal(path)
    yield opened
    opened.socket.close()


def test_the_journal_gets_each_line_under_the_sandboxes_name(
    services: Services, journal: Journal
) -> None:
    words = ("out", "one", "out", "<3>broken", "err", "y" * 20000)
    assert services.run(JOURNAL, *words, options=NAMED, stage=journal.stage).returncode == 0
    heard = [journal.hear() for _ in range(4)]
    out = [each for each in heard if each["SBX_STREAM"] == "stdout"]
    assert [(each["MESSAGE"], each["PRIORITY"]) for each in out] == [("one", "6"), ("broken", "3")]
    assert {each["SYSLOG_IDENTIFIER"] for each in heard} == {"kept"}
    err = [each["MESSAGE"] for each in heard if each["SBX_STREAM"] == "stderr"]
    assert (len(err), "".join(err)) == (2, "y" * 20000)


def test_without_a_journal_it_is_an_error(services: Services, journal: Journal) -> None:
    journal.socket.close()
    done = services.run(JOURNAL, "out", "x", options=NAMED, stage=journal.stage)
    assert done.returncode == 125
    assert "journal" in done.stderr
    assert "hint:" in done.stderr


def test_a_journal_that_dies_stops_nothing(services: Services, journal: Journal) -> None:
    words = ("out", "one", "await", "mib", "1", "out", "", "exit", "6")
    with services.start(JOURNAL, *words, name="kept", stage=journal.stage) as process:
        assert journal.hear()["MESSAGE"] == "one"
        journal.socket.close()
        process.terminate()
        assert process.wait(SECONDS) == 6


def test_a_journal_that_is_slow_loses_nothing(services: Services, journal: Journal) -> None:
    with services.start(
        JOURNAL, "mib", "2", "out", "", name="kept", stage=journal.stage
    ) as process:
        time.sleep(0.3)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.2)
        heard = 0
        while heard < 2 << 20:
            heard += len(journal.hear()["MESSAGE"])
        assert process.wait(SECONDS) == 0


def test_output_that_is_kept_needs_no_terminal(services: Services) -> None:
    done = services.run('[process]\nterminal = "always"\n' + FILE, "out", "x", options=NAMED)
    assert done.returncode == 125
    assert "service.log" in done.stderr
