"""The applications that the shipped profiles are tried with, as the system's packages bring them."""

import glob
import os
import shutil
from typing import Final

import pytest

SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TABLE: Final = os.path.join(os.path.dirname(os.path.abspath(__file__)), "applications.txt")


def packages() -> dict[str, str]:
    """For each command (or pattern of a path) of applications.txt its Debian package."""
    with open(_TABLE, encoding="utf-8") as file:
        lines = (line.split() for line in file if line.strip() and not line.startswith("#"))
        return {words[0]: words[1] for words in lines}


def application(command: str) -> str:
    """The path of a command of applications.txt that all users may run; skips where there is none."""
    package = packages()[command]
    found = (
        sorted(glob.glob(command)) if "/" in command else [shutil.which(command, path=SYSTEM_PATH)]
    )
    if not found or found[-1] is None:
        pytest.skip(f"{os.path.basename(command)} isn't installed (Debian's package {package})")
    return found[-1]
