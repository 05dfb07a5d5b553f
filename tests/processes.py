"""`--processes N`: several processes share the tests out, and one of them tells what came of all.

pytest-xdist isn't used for it: its threads are there when a test forks, which Python 3.12 warns of
for good reason. Here every process is pytest as ever. Each takes the next unit, a file's tests or
those of a whole directory, from one pipe; what the others report comes back in a file without a
name. Tests marked `alone` run at the end, when only the first process is left.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Final

import prctl
import pytest

# They share what is dear: the emulated machine, the surroundings of the attempts.
_UNITS: Final = ("tests/vm/", "tests/isolation/")
# What takes longest comes first, so that no process is left with it at the end.
_FIRST: Final = ("tests/vm/",)

_TOKEN_BYTES: Final = 2
_POLL_SECONDS: Final = 0.05
_LOST: Final = "a process that tests were shared out to hasn't come to its end"

Units = Sequence[Sequence[pytest.Item]]


def add_option(parser: pytest.Parser) -> None:
    parser.getgroup("processes").addoption(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="share the tests out among N processes",
    )


def configure(config: pytest.Config) -> None:
    """Has the process share its tests out where it was asked to."""
    if config.option.processes > 1 and not config.option.collectonly:
        config.pluginmanager.register(First(config))


def in_units(items: Sequence[pytest.Item]) -> list[list[pytest.Item]]:
    """The tests by unit, without those marked `alone`."""
    units: dict[str, list[pytest.Item]] = {}
    for item in items:
        if not _is_alone(item):
            file = item.nodeid.split("::", 1)[0]
            name = next((unit for unit in _UNITS if file.startswith(unit)), file)
            units.setdefault(name, []).append(item)
    return [units[name] for name in sorted(units, key=lambda name: name not in _FIRST)]


def _is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


def _digest(units: Units) -> str:
    """The same where two processes mean the same tests by the same numbers."""
    names = [sorted(item.nodeid for item in unit) for unit in units]
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()


def _taken(queue: int, units: Units) -> Iterator[pytest.Item]:
    """The tests of one unit after the other, each unit taken from the queue when it is its turn."""
    while token := os.read(queue, _TOKEN_BYTES):
        yield from units[int.from_bytes(token, "little")]


def _run(session: pytest.Session, items: Iterator[pytest.Item]) -> Iterator[None]:
    """pytest's own loop over tests; yields after each."""
    item = next(items, None)
    while item is not None:
        following = next(items, None)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        yield
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        item = following


class Helper:
    """One of the other processes: its words are the reports that it writes, and None at its end."""

    def __init__(self, queue: str, target: str, digest: str) -> None:
        self._queue, self._target, self._digest = int(queue), int(target), digest
        self._reports: list[pytest.TestReport] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_cmdline_main(self, config: pytest.Config) -> None:
        config.option.processes = 1
        # So pytest-xdist's workers tell the plugins that write files to leave that to the first.
        config.workerinput = {}  # type: ignore[attr-defined]

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        config.pluginmanager.unregister(name="terminalreporter")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        units = in_units(session.items)
        if session.testsfailed or _digest(units) != self._digest:
            sys.stderr.write("this process has collected other tests than the first one\n")
            return True
        for _ in _run(session, _taken(self._queue, units)):
            self._tell(session.config)
        self._write(None)
        return True

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # Written after the test, which may have put something of its own in os.write's place.
        self._reports.append(report)

    def _tell(self, config: pytest.Config) -> None:
        for report in self._reports:
            self._write(config.hook.pytest_report_to_serializable(config=config, report=report))
        self._reports.clear()

    def _write(self, data: object) -> None:
        line = json.dumps(data).encode() + b"\n"
        # All at once: other processes write there too.
        if os.write(self._target, line) != len(line):
            raise OSError("a report can't be written")

    @pytest.hookimpl
    def pytest_internalerror(self, excrepr: object) -> None:
        sys.stderr.write(f"{excrepr}\n")


class First:
    """The process that starts the others, runs tests as they do, and reports for all."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._others = config.option.processes - 1
        self._read = 0
        self._rest = b""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        if session.testsfailed and not session.config.option.continue_on_collection_errors:
            return None  # pytest says it
        units = in_units(session.items)
        queue, more = os.pipe()
        os.write(more, b"".join(n.to_bytes(_TOKEN_BYTES, "little") for n in range(len(units))))
        os.close(more)
        self._reports = os.memfd_create("reports")
        fcntl.fcntl(self._reports, fcntl.F_SETFL, os.O_APPEND)
        helpers = [self._start(queue, units) for _ in range(self._others)]
        try:
            for _ in _run(session, _taken(queue, units)):
                self._hear()
            while any(helper.poll() is None for helper in helpers):
                self._hear()
                time.sleep(_POLL_SECONDS)
            self._hear()
        finally:
            os.close(queue)
            self._end(helpers)
        if self._others:
            codes = [helper.returncode for helper in helpers]
            pytest.exit(f"{_LOST}: they have ended with {codes}", returncode=1)
        for _ in _run(session, filter(_is_alone, session.items)):
            pass
        return True

    def _start(self, queue: int, units: Units) -> subprocess.Popen[bytes]:
        words = [str(word) for word in self._config.invocation_params.args]
        return subprocess.Popen(
            [
                *(sys.executable, "-u", "-m", __name__),
                *(str(queue), str(self._reports), _digest(units)),
                *words,
            ],
            cwd=self._config.invocation_params.dir,
            stdin=subprocess.DEVNULL,
            pass_fds=(queue, self._reports),
        )

    def _end(self, helpers: Sequence[subprocess.Popen[bytes]]) -> None:
        """What still runs is interrupted, as if from the keyboard, so that it cleans up."""
        for helper in helpers:
            if helper.poll() is None:
                helper.send_signal(signal.SIGINT)
        for helper in helpers:
            with contextlib.suppress(KeyboardInterrupt):
                helper.wait()

    def _hear(self) -> None:
        """Reports what the others have reported since."""
        hook, config = self._config.hook, self._config
        new = os.pread(self._reports, os.fstat(self._reports).st_size - self._read, self._read)
        self._read += len(new)
        *lines, self._rest = (self._rest + new).split(b"\n")
        for line in lines:
            data = json.loads(line)
            if data is None:
                self._others -= 1
                continue
            report = hook.pytest_report_from_serializable(config=config, data=data)
            if isinstance(report.longrepr, list):
                report.longrepr = tuple(report.longrepr)  # a skip's; JSON has no tuples
            hook.pytest_runtest_logreport(report=report)


if __name__ == "__main__":
    # How the first process ends it; whoever started that may have it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    prctl.set_pdeathsig(signal.SIGINT)
    sys.exit(pytest.main(sys.argv[4:], plugins=[Helper(*sys.argv[1:4])]))
