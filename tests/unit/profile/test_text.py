"""A merged profile as text."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.profile import load
from sandbox.profile.names import shipped_names
from sandbox.profile.resolved import key_path, key_text
from sandbox.profile.text import inline, rules, to_toml
from tests.unit.profile.conftest import Load, Write

FULL = """
[profile]
name = "full"
sealed = ["network"]
[vars]
a = "$$x"
[process]
command = ["a", "${a}", "$$", "\\u202e\\"\\\\\\n\\t"]
descriptors = [10, 9]
[environment]
pass = ["LC_*"]
set = { "A.B" = "$$", C = "" }
[filesystem]
read = ["/a b", "/$$x"]
tmpfs = ["/t", { path = "/u", size = 1, mode = "0700" }]
[[mounts]]
type = "overlay"
target = "/m"
lower = ["/l", "/k"]
upper = "/u"
writable = true
[[mounts]]
type = "bind"
target = "/n"
source = "/n"
recursive = false
[[mounts]]
type = "file"
target = "/o"
content = "a $${b}\\n\\"c\\" = 'd'\\t\\n"
[landlock]
scopes = []
[seccomp]
allow = ["read"]
[[seccomp.rules]]
call = "ioctl"
action = "deny"
errno = "EINVAL"
args = [{ index = 1, op = "in", values = [1, 2], width = 32 }]
[rlimits]
as = ["1M", "unlimited"]
core = 0
"""


def again(load_text: Load, text: str) -> object:
    profile = load_text(text.removeprefix("schema = 1\n")).profile
    return msgspec.structs.replace(profile, vars={})


def test_what_is_shown_means_the_same(load_text: Load) -> None:
    profile = load_text(FULL).profile
    shown = to_toml(profile)
    assert again(load_text, shown) == msgspec.structs.replace(profile, vars={})
    assert to_toml(load_text(shown.removeprefix("schema = 1\n")).profile) == shown


@pytest.mark.parametrize("name", shipped_names())
def test_so_does_every_shipped_profile(load_text: Load, tmp_path: Path, name: str) -> None:
    profile = load(name, cwd=str(tmp_path), environ={"HOME": "/home/user"}).profile
    about = msgspec.structs.replace(profile.profile, extends=())
    expected = msgspec.structs.replace(profile, vars={}, profile=about)
    assert again(load_text, to_toml(profile)) == expected


def test_rules_say_where_each_one_comes_from(write: Write, load_text: Load) -> None:
    write("[filesystem]\nread = ['/b']", "base")
    resolved = load_text("[profile]\nextends = 'base.toml'\n[filesystem]\nread = ['/a']")
    found = {(rule.key, rule.value): rule.origin for rule in rules(resolved)}
    assert str(found["filesystem.read", "/a"]) == "app.toml:5"
    assert str(found["filesystem.read", "/b"]) == "base.toml:3"
    assert found["process.umask", "0022"] is None
    assert found["landlock.scopes", "signal"] is None


def test_every_stated_key_is_among_the_rules(load_text: Load) -> None:
    keys = {rule.key for rule in rules(load_text(FULL))}
    assert {
        "process.command",
        "process.descriptors",
        'environment.set."A.B"',
        "filesystem.tmpfs",
        "mounts",
        "seccomp.rules",
        "rlimits.as",
    } <= keys


@given(st.lists(st.from_regex(r"[a-z_-]+", fullmatch=True) | st.integers(0, 99), min_size=1))
def test_a_key_path_is_read_back_from_its_text(path: list[str | int]) -> None:
    first = path[0]
    if isinstance(first, str):
        assert key_path(key_text(tuple(path))) == tuple(path)


@given(st.text())
def test_any_text_is_written_as_toml_that_shows_everything(text: str) -> None:
    import tomllib

    written = inline(text)
    assert written.isprintable()
    assert tomllib.loads(f"a = {written}")["a"] == text.replace("$", "$$")
