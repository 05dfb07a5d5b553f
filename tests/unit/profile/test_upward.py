"""${up:NAME}: the nearest directory upward that holds a file of the caller's."""

import os
from pathlib import Path

import pytest

from sandbox.profile.upward import search
from sandbox.profile.variables import InvalidError, Variables
from tests.kernel.harness import NOT_ROOT

NAME = ".a-name-that-no-directory-above-has"


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """A directory two levels down."""
    path = tmp_path / "a" / "b"
    path.mkdir(parents=True)
    return path


def test_the_nearest_directory_is_found_and_the_way_to_it_recorded(deep: Path) -> None:
    for above in (deep.parent.parent, deep.parent):
        (above / NAME).touch()
        found = search(NAME, str(deep))
        assert found.directory == str(above)
        assert [path for path, is_it in found.looked_at.items() if is_it] == [str(above / NAME)]
        assert found.looked_at[str(deep / NAME)] is False
    assert str(deep.parent.parent / NAME) not in found.looked_at


def test_a_link_to_nowhere_is_there(deep: Path) -> None:
    (deep.parent / NAME).symlink_to("nowhere")
    assert search(NAME, str(deep)).directory == str(deep.parent)


def test_without_one_it_is_the_working_directory(deep: Path) -> None:
    found = search(NAME, str(deep))
    assert found.directory == str(deep)
    assert list(found.looked_at)[-1] == f"/{NAME}"
    assert not any(found.looked_at.values())
    assert search(NAME, "/").directory == "/"
    assert search("x" * 300, str(deep)).directory == str(deep)


def test_a_file_of_somebody_elses_does_not_count(deep: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip(NOT_ROOT)
    (deep / NAME).touch()
    os.chown(deep / NAME, 4321, 4321)
    assert search(NAME, str(deep)).directory == str(deep)
    (deep.parent / NAME).touch()
    assert search(NAME, str(deep)).directory == str(deep.parent)


def test_it_stands_in_a_profiles_texts(deep: Path) -> None:
    (deep.parent / NAME).touch()
    variables = Variables({}, environ={}, cwd=str(deep))
    assert not variables.looked_at
    assert variables.expand(f"${{up:{NAME}}}/x", "/") == f"{deep.parent}/x"
    assert variables.uses_cwd
    assert variables.looked_at == {str(deep / NAME): False, str(deep.parent / NAME): True}


@pytest.mark.parametrize("name", ("", ".", "..", "a/b"))
def test_it_takes_the_name_of_one_file(name: str) -> None:
    variables = Variables({}, environ={}, cwd="/")
    with pytest.raises(InvalidError, match="isn't the name of one file"):
        variables.expand(f"${{up:{name}}}", "/")
