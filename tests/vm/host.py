"""What this machine has for making the emulated one: tools, and a mirror of Debian's."""

import os
import re
import shlex
import shutil
import subprocess
from typing import Final

from tests.vm.recipe import SUITE

_SBIN: Final = "/usr/local/sbin:/usr/sbin:/sbin"


class UnavailableError(Exception):
    """This machine can't have the image; the message is why, and what to do."""


class BuildError(Exception):
    """Making the image has failed; the message has what was printed."""


def check_tools(*tools: tuple[str, str]) -> None:
    """Raises UnavailableError where a command, the first of each pair, is missing."""
    for command, package in tools:
        if shutil.which(command, path=_path()) is None:
            raise UnavailableError(f"{command} isn't installed (Debian's package {package})")


def succeed(*command: str) -> str:
    """Standard output of a command; raises BuildError with all that it said."""
    env = {**os.environ, "PATH": _path(), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BuildError(
            f"the emulated machine's image can't be made: {shlex.join(command)} ended with"
            f" {done.returncode}\n{done.stdout}{done.stderr}"
        )
    return done.stdout


def _path() -> str:
    return f"{os.environ.get('PATH', os.defpath)}:{_SBIN}"


def mirrors() -> list[str]:
    """Lines for apt, of where this machine's own apt has Debian from, or of SBX_VM_MIRROR."""
    own = os.environ.get("SBX_VM_MIRROR", "").rstrip("/")
    found = [own] if own else _of_apt()
    lines = []
    for uri in found:
        name = os.path.basename(uri)
        if name == "debian-security":
            lines.append(f"deb {uri} {SUITE}-security main")
        elif name == "debian" or uri == own:
            lines += [f"deb {uri} {SUITE}{part} main" for part in ("", "-updates")]
    if not any(line.endswith(f" {SUITE} main") for line in lines):
        raise UnavailableError(
            "apt on this machine knows no mirror of Debian's: set SBX_VM_MIRROR to one,"
            " and install Debian's keys (package debian-archive-keyring)"
        )
    return lines


def _of_apt() -> list[str]:
    """What its sources name, also where no list of packages has been fetched yet."""
    check_tools(("apt-get", "apt"))
    listed = re.findall(
        r"^'(\S+?)/dists/", succeed("apt-get", "update", "--print-uris"), re.MULTILINE
    )
    return sorted({uri.rstrip("/") for uri in listed})
