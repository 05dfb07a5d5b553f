"""What the documents show is what happens: their profiles and their commands are run."""

import glob
import os
import re
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.conftest import Sbx

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def read(name: str) -> str:
    with open(os.path.join(TREE, name), encoding="utf-8") as file:
        return file.read()


class Shown(NamedTuple):
    """A line behind `$ `, and what the document shows below it."""

    command: str
    output: tuple[str, ...]


def console(text: str) -> Iterator[Shown]:
    """The commands of all `console` blocks, in order."""
    for block in re.findall(r"(?ms)^```console\n(.*?)^```", text):
        for part in re.split(r"(?m)^\$ ", block)[1:]:
            command, *output = part.splitlines()
            yield Shown(command, tuple(output))


def runnable(page: str) -> Iterator[str]:
    """The commands of a manual page's examples that are marked as runnable."""
    for block in re.findall(r'(?ms)^\.\\" runnable\n\.EX\n(.*?)^\.EE', page):
        yield from (line.replace("\\-", "-") for line in re.findall(r"(?m)^\$ (.*)$", block))


def is_as_shown(line: str, shown: str) -> bool:
    """The same; of a program's own message (`ls: ...: reason`) the reason counts."""
    if re.match(r"[a-z]+: ", shown):
        return line.endswith(shown.rpartition(": ")[2]) and line.startswith(shown.partition(" ")[0])
    return line == shown


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


def test_the_readme_can_be_followed_line_by_line(place: str, environment: dict[str, str]) -> None:
    """Its profile is written to app.toml, and each command prints what is shown below it."""
    text = read("README.md")
    profile = re.search(r"(?ms)^```toml\n(.*?)^```", text)
    assert profile
    with open(os.path.join(place, "app.toml"), "w", encoding="utf-8") as file:
        file.write(profile[1])
    steps = list(console(text))
    assert len(steps) > 5
    for step in steps:
        done = shell(step.command, place, environment)
        lines = done.stdout.splitlines()
        assert done.returncode == 0, (step.command, done.stdout)
        assert len(lines) == len(step.output), (step.command, lines)
        assert all(map(is_as_shown, lines, step.output)), (step.command, lines)


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
    """The search isn't blind, and what differs is seen."""
    assert list(console("```console\n$ a\nb\nc\n$ d\n```\n")) == [
        Shown("a", ("b", "c")),
        Shown("d", ()),
    ]
    assert list(runnable('.\\" runnable\n.EX\n$ a \\-b\n.EE\n.EX\n$ c\n.EE\n')) == ["a -b"]
    assert len(list(runnable(read("docs/man/sbx.1")))) > 4
    assert is_as_shown("ls: can't open 'x': Permission denied", "ls: cannot: Permission denied")
    assert not is_as_shown("ls: cannot: No such file", "ls: cannot: Permission denied")
    assert not is_as_shown("pear", "apple")


def test_every_shipped_profile_is_named_in_the_manuals() -> None:
    names = [os.path.basename(p)[:-5] for p in glob.glob(os.path.join(TREE, "profiles", "*.toml"))]
    assert len(names) > 3
    for page in ("docs/man/sbx.1", "docs/man/sbx.toml.5"):
        text = read(page).replace("\\-", "-")
        assert [name for name in names if f"\\fB{name}\\fR" not in text] == []
