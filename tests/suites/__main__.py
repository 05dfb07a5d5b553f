"""`./dev suites`: fetches what suites are missing, and runs sbx's tests with them."""

import glob
import os
import shutil
import subprocess
import sys
from typing import Final

from tests.suites.places import HOW, LINUX_PARTS, SOURCES, directory, is_there

_HELP: Final = """\
usage: ./dev suites [PYTEST'S ARGUMENT...]

Run suites that others wrote against sbx: the kernel's own tests of Landlock and seccomp,
libseccomp's filter simulator, bubblewrap's test script. What is missing is fetched first,
with git and apt, into build/suites (or $SBX_SUITES). By hand, each in a directory of its name:

"""


def _say(text: str) -> None:
    sys.stderr.write(f"dev: {text}\n")


def _clone(name: str, target: str) -> None:
    # A tag, so that what is run is what its authors have released.
    listed = subprocess.run(
        ["git", "ls-remote", "--tags", "--refs", "--sort=-version:refname", SOURCES[name], "v*"],
        check=True,
        capture_output=True,
        text=True,
    )
    tags = [line.rpartition("/")[2] for line in listed.stdout.splitlines()]
    tag = next(tag for tag in tags if "-" not in tag)
    command = ["git", "-c", "advice.detachedHead=false", "clone", "-q", "--depth=1"]
    subprocess.run([*command, f"--branch={tag}", SOURCES[name], target], check=True)


def _unpack_linux(target: str) -> None:
    pattern = "/usr/src/linux-source-*.tar.xz"
    if not glob.glob(pattern):
        subprocess.run(
            ["apt-get", "-y", "-qq", "install", "--no-install-recommends", "linux-source"],
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdout=subprocess.DEVNULL,
            check=True,
        )
    newest = max(glob.glob(pattern), key=_version)
    os.makedirs(target)
    # The first part is the name with the version.
    members = [f"*/{part}" for part in LINUX_PARTS]
    unpack = ["tar", "-xJf", newest, "-C", target, "--strip-components=1", "--wildcards"]
    subprocess.run([*unpack, "--no-wildcards-match-slash", *members], check=True)


def _version(path: str) -> list[int]:
    """Of /usr/src/linux-source-6.12.tar.xz [6, 12]."""
    name = os.path.basename(path).removeprefix("linux-source-").removesuffix(".tar.xz")
    return [int(part) for part in name.split(".")]


def _fetch(name: str) -> bool:
    target = os.path.join(directory(), name)
    if os.path.lexists(target):
        _say(f"{target} is there, but it isn't what is looked for; remove it to fetch it again")
        return False
    _say(f"fetching {name}: {HOW[name]}")
    part = target + ".part"
    shutil.rmtree(part, ignore_errors=True)
    try:
        _unpack_linux(part) if name == "linux" else _clone(name, part)
    except (OSError, StopIteration, ValueError, subprocess.CalledProcessError) as error:
        shutil.rmtree(part, ignore_errors=True)
        _say(f"{name} can't be fetched: {error}")
        return False
    os.rename(part, target)
    return True


def main(words: list[str]) -> int:
    if words[:1] in (["-h"], ["--help"]):
        sys.stdout.write(_HELP + "".join(f"  {name:12} {how}\n" for name, how in HOW.items()))
        return 0
    os.makedirs(directory(), exist_ok=True)
    missing = [name for name in HOW if not is_there(name) and not _fetch(name)]
    if missing:
        _say(f"left out: {', '.join(missing)}")
    done = subprocess.run([sys.executable, "-m", "pytest", "tests/suites", *words], check=False)
    # What was asked for is all of them.
    return done.returncode or bool(missing)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
