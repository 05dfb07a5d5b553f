"""Profiles that name what is not there, by each key that names something of the host's."""

import os
import re

import pytest

from tests.kernel.harness import Sandbox
from tests.kernel.traces import left, snapshot

# Each names {missing} once; what is said of it, and what to do about it.
STATEMENTS = {
    "read": ("[filesystem]\nread = ['{missing}']", "does not exist", "create it"),
    "write": ("[filesystem]\nwrite = ['{missing}']", "does not exist", "create it"),
    "execute": ("[filesystem]\nexecute = ['{missing}']", "does not exist", "create it"),
    "source": (
        "[[mounts]]\ntype = 'bind'\nsource = '{missing}'\ntarget = '/data'",
        "does not exist",
        "a [[mounts]] with optional = true",
    ),
    "rootfs": ("[rootfs]\ntype = 'directory'\npath = '{missing}'", "does not exist", "create it"),
    "cwd": ("[process]\ncwd = '{missing}'", "the working directory", "process.cwd"),
    "device": ("[devices]\nallow = ['{missing}']", "does not exist", "create it"),
    "lower": (
        "[[mounts]]\ntype = 'overlay'\ntarget = '/data'\nlower = ['{missing}']",
        "does not exist",
        "create it",
    ),
    "upper": (
        "mounts = [{{type='overlay', target='/data', lower=['/etc'], writable=true, upper='{missing}'}}]",
        "does not exist",
        "two empty directories",
    ),
    "overlay": (
        "[rootfs]\noverlay = '{missing}'\n[filesystem]\nread = ['/']",
        "does not exist",
        "two empty directories",
    ),
    "descriptor": ("[process]\ndescriptors = [987]", "descriptor 987", "open it"),
}


@pytest.mark.parametrize("key", STATEMENTS)
def test_what_is_missing_is_named_with_its_line_and_a_remedy(sandbox: Sandbox, key: str) -> None:
    """At the first launch and at the next, which finds a kept plan; and nothing is made for it."""
    statement, said, advice = STATEMENTS[key]
    missing = sandbox.path("missing")
    text = statement.format(missing=missing)
    before = snapshot(sandbox.directory)
    lines = text.split("\n")
    line = 4 + max(at for at, words in enumerate(lines) if missing in words or "987" in words)
    for _ in range(2):
        message = sandbox.refusal(text)
        first, hint = message.splitlines()[0], message.splitlines()[-1]
        place = re.match(r"sbx: error: (\S+\.toml):(\d+): ", first)
        assert place, message
        assert os.path.dirname(place[1]) == sandbox.place
        # Of a table in an array the line of its head is told.
        assert int(place[2]) in {4, line}, message
        assert said in first
        assert missing in first or key == "descriptor"
        assert hint.startswith("hint: ")
        assert advice in hint, message
    assert snapshot(sandbox.directory) == before
    assert left(sandbox) == {}


@pytest.mark.parametrize("key", ("deny", "mask"))
def test_what_is_denied_need_not_be_there(sandbox: Sandbox, key: str) -> None:
    """There is nothing to cover, and nothing is made."""
    text = f"[filesystem]\nread = ['{sandbox.directory}']\n{key} = ['{sandbox.path('missing')}']"
    answer = sandbox.attempt(text, "read", sandbox.path("missing"))
    assert answer.outcome == "ENOENT"
    assert not os.path.exists(sandbox.path("missing"))


def test_a_part_of_a_path_that_is_a_file_is_told(sandbox: Sandbox) -> None:
    sandbox.write("file", "")
    message = sandbox.refusal(f"[filesystem]\nread = ['{sandbox.path('file/below')}']")
    assert f"'{sandbox.path('file/below')}': a part of the path is not a directory" in message


def test_links_in_a_circle_and_into_nothing_are_told(sandbox: Sandbox) -> None:
    os.symlink("circle", sandbox.path("circle"))
    os.symlink("nowhere", sandbox.path("dangling"))
    message = sandbox.refusal(f"[filesystem]\nread = ['{sandbox.path('circle')}']")
    assert "symbolic links lead in a circle" in message
    message = sandbox.refusal(f"[filesystem]\nread = ['{sandbox.path('dangling')}']")
    assert f"'{sandbox.path('dangling')}' does not exist" in message


def test_a_file_in_a_directorys_place_is_told(sandbox: Sandbox) -> None:
    """As the root, the working directory, a layer and a device."""
    path = sandbox.write("file", "text")
    for text in (
        f"[rootfs]\ntype = 'directory'\npath = '{path}'",
        f"[filesystem]\nread = ['{path}']\n[process]\ncwd = '{path}'",
        f"[[mounts]]\ntype = 'overlay'\ntarget = '/data'\nlower = ['{path}']",
        f"[devices]\nallow = ['{path}']",
    ):
        message = sandbox.refusal(text)
        assert path in message, message
        assert "irectory" in message or "not the character device" in message, message


def test_the_remedy_works(sandbox: Sandbox) -> None:
    """What the message says to create is created, and the next launch succeeds."""
    missing = sandbox.path("missing")
    text = f"[filesystem]\nread = ['{missing}']"
    assert f"'{missing}' does not exist" in sandbox.refusal(text)
    sandbox.mkdir("missing")
    assert sandbox.attempt(text, "list", missing).outcome == "ok"
