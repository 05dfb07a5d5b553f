"""What all tests share: the installed sbx, accounts that can run it, and the rule about skips."""

import contextlib
import gc
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator, Mapping
from typing import NamedTuple, TypeVar

import hypothesis
import pytest

from tests import processes
from tests.reachable import open_the_way

TREE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# No deadlines: the machine may be busy with something else. `./dev fuzz` takes the long one.
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.register_profile("long", deadline=None, max_examples=20_000, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")

# In CI a test may be skipped for one of these reasons and for no other.
KNOWN_SKIPS: tuple[str, ...] = (
    "the tests don't run as root",
    "newuidmap isn't installed",
    "libreoffice isn't installed",
    "the suite (linux|libseccomp|bubblewrap) isn't fetched: .*",
)

# An account that owns nothing; it needs no entry in /etc/passwd.
UNPRIVILEGED = 61234


class Sbx(NamedTuple):
    """The installed launcher, and a home that only one test uses."""

    path: str
    home: str

    def __call__(
        self,
        *args: str,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        cwd: str | None = None,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run `sbx args...` with nothing of the caller's environment but `env`."""
        return subprocess.run(
            [self.path, *args],
            env=self.environment(env or {}),
            input=stdin,
            cwd=cwd or self.home,
            timeout=timeout,
            capture_output=True,
            text=True,
            check=False,
        )

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """What sbx is started with: nothing of the caller's, and `more`."""
        return {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "HOME": self.home,
            "XDG_CACHE_HOME": os.path.join(self.home, ".cache"),
            "XDG_CONFIG_HOME": os.path.join(self.home, ".config"),
            "XDG_RUNTIME_DIR": os.path.join(self.home, ".run"),
            **more,
        }


def pytest_addoption(parser: pytest.Parser) -> None:
    processes.add_option(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Open the way to a tree that lies in a directory of root's own, before anything runs."""
    processes.configure(config)
    if os.geteuid() == 0 and str(config.rootpath) == TREE:
        # Where that isn't allowed, the tests that need it say so.
        with contextlib.suppress(PermissionError):
            open_the_way(TREE, sys.prefix, sys.base_prefix)


def pytest_collection_finish() -> None:
    """What lives as long as the tests is nothing that a test's gc.collect() has to look through."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def tree() -> str:
    """The source tree."""
    return TREE


@pytest.fixture(scope="session")
def sbx_path() -> str:
    """The launcher that was installed beside the Python that runs the tests, or another build of it."""
    path = os.environ.get("SBX_TEST_LAUNCHER") or os.path.join(
        os.path.dirname(sys.executable), "sbx"
    )
    if not os.access(path, os.X_OK):
        pytest.fail(f"{path} isn't there: './dev setup' installs it", pytrace=False)
    return path


@pytest.fixture
def shared_dir() -> Iterator[str]:
    """An empty directory of the caller's that other users may enter (tmp_path they may not)."""
    path = tempfile.mkdtemp(prefix="sbx-test-")
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def sbx(sbx_path: str, shared_dir: str) -> Sbx:
    """The installed sbx with a new home."""
    home = os.path.join(shared_dir, "home")
    for path in (home, os.path.join(home, ".run")):
        os.mkdir(path, 0o700)
    return Sbx(sbx_path, home)


_Report = TypeVar("_Report", pytest.TestReport, pytest.CollectReport)


def _judge(report: _Report) -> _Report:
    """In CI turn a skip for a reason that isn't known into a failure."""
    if report.outcome == "skipped" and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        reason = reason.removeprefix("Skipped: ")
        if not any(re.fullmatch(known, reason) for known in KNOWN_SKIPS):
            report.outcome = "failed"
            report.longrepr = f"skipped in CI for a reason that isn't a known one: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _judge((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _judge((yield))
