"""Where the suites that others wrote are found: below build/suites, or the directory SBX_SUITES.

Nothing of them is part of this tree. `./dev suites` fetches what is missing; by hand it is done as
`HOW` says. A test whose suite is absent is skipped by the suite's name.
"""

import os
from typing import Final

import pytest

TREE: Final = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

_SELFTESTS: Final = "tools/testing/selftests"
LINUX_PARTS: Final = (
    "Makefile",
    f"{_SELFTESTS}/landlock",
    f"{_SELFTESTS}/seccomp",
    f"{_SELFTESTS}/clone3",
    f"{_SELFTESTS}/kselftest.h",
    f"{_SELFTESTS}/kselftest_harness.h",
    "include/uapi/linux/fs.h",
    "include/uapi/linux/landlock.h",
    "include/uapi/linux/prctl.h",
    "include/uapi/linux/seccomp.h",
)
"""What is unpacked of the kernel's source: its own tests, and the headers to build them with."""
SOURCES: Final = {
    "libseccomp": "https://github.com/seccomp/libseccomp",
    "bubblewrap": "https://github.com/containers/bubblewrap",
}
HOW: Final = {
    "linux": "apt-get install linux-source, and unpack /usr/src/linux-source-*.tar.xz",
    **{name: f"git clone {source}" for name, source in SOURCES.items()},
}
"""For each suite how it gets there by hand."""
_MARKS: Final = {
    "linux": f"{_SELFTESTS}/kselftest_harness.h",
    "libseccomp": "tools/scmp_bpf_sim.c",
    "bubblewrap": "tests/test-run.sh",
}


def directory() -> str:
    """Where all of them are."""
    return os.path.abspath(os.environ.get("SBX_SUITES") or os.path.join(TREE, "build", "suites"))


def is_there(name: str) -> bool:
    return os.path.exists(os.path.join(directory(), name, _MARKS[name]))


def suite(name: str) -> str:
    """The directory of one; skips the test where it is absent."""
    if not is_there(name):
        pytest.skip(f"the suite {name} isn't fetched: ./dev suites, or {HOW[name]}")
    return os.path.join(directory(), name)
