"""Two names of one place: what a statement keeps is kept, whichever of them it has and the payload takes."""

import os

import pytest

from tests.kernel.harness import Sandbox, answers, join, outcomes
from tests.kernel.pieces import own_for_payload

ROOTS = pytest.mark.parametrize("tree", (True, False), ids=("tree", "assembled"))
NAMES = pytest.mark.parametrize("link", ("a-link", "z-link"))
"""Before and behind the directory by the alphabet: the order of mounts must not matter."""


@pytest.fixture
def directory(sandbox: Sandbox) -> str:
    """One of the payload's, with another in it, and two links that its owner has made beside it."""
    directory = sandbox.mkdir("directory")
    for path in (directory, sandbox.mkdir("directory/part")):
        own_for_payload(sandbox, path)
    for name in ("a-link", "z-link"):
        os.symlink(directory, sandbox.path(name))
    return directory


def files(tree: bool, **lists: list[str]) -> str:
    lists["read"] = [*lists.get("read", []), *(["/"] if tree else [])]
    return "[filesystem]\n" + "".join(f"{key} = {paths!r}\n" for key, paths in lists.items())


def writes(sandbox: Sandbox, text: str, *directories: str) -> list[str]:
    return outcomes(
        sandbox.attempts(text, *(("open", f"{path}/new", "wc") for path in directories))
    )


@ROOTS
@NAMES
def test_what_is_protected_by_another_name_is_protected(
    sandbox: Sandbox, directory: str, link: str, tree: bool
) -> None:
    link = sandbox.path(link)
    for write, protect in ((link, directory), (directory, link)):
        names = [directory, link] if tree else [write]
        text = files(tree, write=[write])
        assert writes(sandbox, text, *(f"{name}/part" for name in names)) == ["ok"] * len(names)
        text = files(tree, write=[write], protect=[f"{protect}/part"])
        assert writes(sandbox, text, write) == ["ok"]
        found = writes(sandbox, text, *(f"{name}/part" for name in names))
        assert found == ["EROFS"] * len(names)
        whole = files(tree, write=[write], protect=[protect])
        assert writes(sandbox, whole, write) != ["ok"]


@NAMES
def test_a_part_that_is_granted_less_by_another_name_is_less(
    sandbox: Sandbox, directory: str, link: str
) -> None:
    link = sandbox.path(link)
    for write, read in ((link, directory), (directory, link)):
        text = files(tree=True, write=[write], read=[f"{read}/part"])
        assert writes(sandbox, text, directory, link) == ["ok"] * 2
        assert writes(sandbox, text, f"{directory}/part", f"{link}/part") == ["EROFS"] * 2


def test_a_place_that_is_read_and_written_by_two_names_can_be_written(
    sandbox: Sandbox, directory: str
) -> None:
    """As one that is listed twice by the same name. In an assembled root each name is what is said of it."""
    link = sandbox.path("a-link")
    text = files(tree=True, write=[directory], read=[link])
    assert writes(sandbox, text, directory, link) == ["ok"] * 2
    text = files(tree=False, write=[directory], read=[link])
    assert writes(sandbox, text, directory, link) == ["ok", "EROFS"]


@ROOTS
def test_a_profile_cannot_be_changed_by_another_name(
    sandbox: Sandbox, directory: str, tree: bool
) -> None:
    link = sandbox.path("a-link")
    head = f"schema = 1\nprofile.name = 'probe'\nprofile.extends = '{sandbox.place}/base.toml'\n"
    for name in ("app.toml", "other.toml"):
        path = sandbox.write(f"directory/{name}", head + files(tree, write=[link]))
        own_for_payload(sandbox, path)
    tries = [("open", f"{link}/{name}.toml", "w") for name in ("other", "app")]
    words = [sandbox.launcher, "run", "-p", f"{directory}/app.toml", "--", sandbox.probe]
    done = sandbox.program([*words, *join(tries)])
    assert outcomes(answers(done.stdout)) == ["ok", "EROFS"]


def test_a_link_of_the_payloads_makes_no_statement_one_about_its_target(
    sandbox: Sandbox, directory: str
) -> None:
    """What an earlier run has left where a statement names something grants nothing behind a denied path."""
    outside = sandbox.mkdir("outside")
    sandbox.write("outside/part/file", "not shown")
    name = f"{directory}/name"
    os.mkdir(name)
    text = files(tree=True, write=[directory], read=[name], deny=[outside])
    assert sandbox.attempt(text, "read", f"{outside}/part/file").outcome == "EACCES"
    os.rmdir(name)
    plant = files(tree=True, write=[directory], deny=[outside])
    assert sandbox.attempt(plant, "symlink", f"{outside}/part", name).outcome == "ok"
    assert "symbolic link" in sandbox.refusal(text, sandbox.probe, "read", f"{outside}/part/file")


@ROOTS
@NAMES
@pytest.mark.parametrize("cover", ("deny", "mask"))
def test_what_is_covered_by_another_name_is_covered(
    sandbox: Sandbox, directory: str, link: str, tree: bool, cover: str
) -> None:
    sandbox.write("directory/secret", "secret")
    link = sandbox.path(link)
    for shown, named in ((link, directory), (directory, link)):
        for granted in (shown, f"{shown}/secret"):
            text = files(tree, read=[granted])
            assert sandbox.attempt(text, "read", f"{shown}/secret").value == "secret"
            text = files(tree, read=[granted], **{cover: [f"{named}/secret"]})
            assert sandbox.attempt(text, "read", f"{shown}/secret").value == ""
        text = files(tree, read=[shown], **{cover: [named]})
        assert sandbox.attempt(text, "read", f"{shown}/secret").value == ""
