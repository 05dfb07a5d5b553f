"""A first profile: which base is proposed, how it is written, and that it says what was asked."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.cli.check import check
from sandbox.draft import keep
from sandbox.draft.bases import Base, Shipped, fitting
from sandbox.draft.compose import Answers, Place, compose
from sandbox.draft.program import Program
from sandbox.errors import Problem, SandboxError
from sandbox.profile import load
from sandbox.profile.text import string, to_toml

BASE = Base(
    names=("minimal",),
    description="",
    execute=("/usr", "/bin"),
    visible=("/usr", "/bin"),
    places=(),
    generated=(),
    path="/usr/bin:/bin",
    reach="none",
    terminal="never",
    command=(),
    vars=(),
    foreign=False,
)


def test_a_file_that_came_meanwhile_is_kept(tmp_path: Path) -> None:
    path = str(tmp_path / "app.toml")

    def slow(_draft: str) -> tuple[()]:
        Path(path).write_text("theirs", encoding="utf-8")
        return ()

    with pytest.raises(SandboxError, match="exists already"):
        keep.put("schema = 1\n", path, check=slow, replace=False)
    assert Path(path).read_text(encoding="utf-8") == "theirs"
    assert os.listdir(tmp_path) == ["app.toml"]


# Whatever a file may be called, but for what no profile can name.
NAMES = st.text(
    st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=40
).filter(lambda name: name not in {".", ".."} and len(name.encode()) < 200)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
WORDS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=40)


def answers(command: tuple[str, ...], **more: tuple[str, ...]) -> Answers:
    program = Program(word=command[0], execute=(), search=())
    return Answers(command=command, base=BASE, program=program, **more)  # type: ignore[arg-type]


@given(
    st.lists(WORDS, max_size=4),
    st.lists(PATHS, max_size=3, unique=True),
    st.lists(PATHS, max_size=3, unique=True),
    st.sampled_from(("", "home", "profile_dir")),
)
def test_what_is_written_loads_back_as_what_was_asked(
    arguments: list[str], read: list[str], deny: list[str], where: str
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = {"": "/data", "home": "/home/me", "profile_dir": directory}[where]
        asked = answers(
            ("/usr/bin/true", *arguments),
            read=tuple(f"{root}/{path}" for path in read),
            deny=tuple(f"{root}/{path}" for path in deny),
        )
        text = compose(asked, Place(directory=directory, home="/home/me"))
        path = os.path.join(directory, "app.toml")
        assert keep.put(text, path, check=_check_at_home, replace=False) == ()
        profile = load(path, cwd="/", environ={"HOME": "/home/me"}).profile
    assert profile.process.command == asked.command
    assert set(profile.filesystem.read) == set(asked.read)
    assert set(profile.filesystem.deny) == set(asked.deny)


def _check_at_home(path: str) -> tuple[Problem, ...]:
    load(path, cwd="/", environ={"HOME": "/home/me"})
    return ()


def test_the_composed_text_passes_check(tmp_path: Path) -> None:
    """Positive and negative: a sound profile has no problems, a broken one is not kept."""
    path = str(tmp_path / "app.toml")
    text = compose(answers(("true",)), Place(directory=str(tmp_path), home=""))
    assert keep.put(text, path, check=check, replace=False) == ()
    (problem,) = keep.put(f"{text}[oops]\n", path, check=check, replace=True)
    assert (problem.file, problem.key) == (path, "oops")
    assert Path(path).read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("command", "expected"),
    (
        ("git", "git"),
        ("/usr/bin/git", "git"),
        ("redis-server", "redis"),
        ("postgres", "postgresql"),
        ("sqlite3", "sqlite"),
        ("node", "minimal"),
        ("sh", "minimal"),
        ("true", "minimal"),
    ),
)
def test_the_profile_made_for_a_program_is_proposed(command: str, expected: str) -> None:
    known = {
        "git": "git",
        "git-server": "git",
        "redis": "/usr/bin/redis-server",
        "postgresql": "postgres",
        "sqlite": "sqlite3",
        "node-service": "node",
        "interactive": "/bin/sh",
    }
    shipped = [Shipped(name=n, description="", extends=(), command=(c,)) for n, c in known.items()]
    assert fitting(command, tuple(shipped)) == expected


@given(WORDS)
def test_a_string_means_itself_wherever_it_stands(word: str) -> None:
    """Of [profile] too, whose strings hold no variables; and `sbx show` says the same again."""
    text = (
        f"schema = 1\n[profile]\ndescription = {string(word, variables=False)}\n"
        f"[process]\ncommand = [{string(word)}]\n"
    )
    for _ in range(2):
        with keep.unplaced(text) as path:
            profile = load(path, cwd="/", environ={}).profile
        assert (profile.profile.description, profile.process.command) == (word, (word,))
        text = to_toml(profile)
