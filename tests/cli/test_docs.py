"""What the manual pages show is what happens: their profiles and their commands are run."""

import os
import re
import subprocess
from collections.abc import Iterator

import pytest

from sandbox.profile.names import shipped_names
from tests.cli.documents import read
from tests.conftest import Sbx


def runnable(page: str) -> Iterator[str]:
    """The commands of a manual page's examples that are marked as runnable."""
    for block in re.findall(r'(?ms)^\.\\" runnable\n\.EX\n(.*?)^\.EE', page):
        yield from (line.replace("\\-", "-") for line in re.findall(r"(?m)^\$ (.*)$", block))


@pytest.fixture
def environment(sbx: Sbx) -> dict[str, str]:
    """As a user has it who installed sbx and types what the document shows."""
    found = sbx.environment({})
    found["PATH"] = f"{os.path.dirname(sbx.path)}:{found['PATH']}"
    return found


@pytest.fixture
def place(shared_dir: str) -> str:
    """An empty directory to follow a document in."""
    path = os.path.join(shared_dir, "place")
    os.mkdir(path)
    os.chmod(path, 0o755)
    return path


def shell(
    command: str, place: str, environment: dict[str, str]
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=place,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("command", list(runnable(read("docs/man/sbx.1"))))
def test_an_example_of_the_manual_works(
    command: str, place: str, environment: dict[str, str]
) -> None:
    done = shell(command, place, environment)
    assert done.returncode == 0, done.stdout


def test_the_example_in_the_manual_of_profiles_is_well_formed(
    place: str, environment: dict[str, str]
) -> None:
    page = read("docs/man/sbx.toml.5")
    example = re.search(r"(?ms)^\.SH EXAMPLE\n\.EX\n(.*?)^\.EE", page)
    assert example
    with open(os.path.join(place, "app.toml"), "w", encoding="utf-8") as file:
        file.write(example[1].replace("\\-", "-").replace("\\e", "\\"))
    assert shell("sbx check app.toml", place, environment).stdout == "app.toml: ok\n"


def test_the_marks_of_runnable_lines_are_seen() -> None:
    """The search isn't blind."""
    assert list(runnable('.\\" runnable\n.EX\n$ a \\-b\n.EE\n.EX\n$ c\n.EE\n')) == ["a -b"]
    assert len(list(runnable(read("docs/man/sbx.1")))) > 4


def test_the_profiles_that_a_manual_names_are_shipped() -> None:
    """The manuals name a few; `sbx profiles` and docs/profiles.md have all."""
    names = set(shipped_names())
    bases = {"minimal", "service", "interactive"}
    page = read("docs/man/sbx.toml.5").partition(".SH FILES")[2].partition(".SH SEE")[0]
    named = set(re.findall(r"\\fB([a-z-]+)\\fR", page.replace("\\-", "-")))
    assert bases <= named <= names
