"""`sbx plan` tells what a launch would do and which line asks for it, and does none of it."""

import json
import os
from typing import Any

import pytest

from sandbox._paths import cache_dir
from sandbox.plan import cache
from tests.conftest import Sbx

PROFILE = """\
schema = 1
[process]
command = ["/bin/true"]
[filesystem]
execute = ["/usr", "/bin", "/lib", "/lib64"]
tmpfs = ["/tmp"]
[seccomp]
allow = ["@program"]
"""


@pytest.fixture
def profile(shared_dir: str) -> str:
    path = os.path.join(shared_dir, "app.toml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(PROFILE)
    return path


def ops(sbx: Sbx, *args: str) -> list[dict[str, Any]]:
    result = sbx("plan", "--json", *args)
    assert result.returncode == 0, result.stderr
    found: list[dict[str, Any]] = json.loads(result.stdout)["ops"]
    return found


def test_the_table_names_each_step_and_the_line_that_asks_for_it(sbx: Sbx, profile: str) -> None:
    result = sbx("plan", profile)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    (memory,) = [line for line in result.stdout.splitlines() if " /tmp is empty memory" in line]
    assert memory.endswith("app.toml:6 filesystem.tmpfs[0]")
    assert result.stdout.splitlines()[-1].endswith("run /bin/true  app.toml:3 process.command")


def test_a_default_has_no_line(sbx: Sbx, profile: str) -> None:
    found = {op["op"]: op for op in ops(sbx, profile)}
    assert found["SetUmask"]["key"] == "process.umask"
    assert found["SetUmask"]["line"] is None
    assert found["InstallFilter"]["line"] == 7
    assert found["InstallFilter"]["file"] == profile


def test_a_command_takes_the_place_of_the_profiles(sbx: Sbx, profile: str) -> None:
    last = ops(sbx, profile, "--", "ls", "-l", "a b")[-1]
    assert last["fields"] == {"argv": ["ls", "-l", "a b"]}
    assert last["text"] == "run ls -l 'a b'"


def test_a_kept_plan_tells_the_same(sbx: Sbx, profile: str) -> None:
    home = {"XDG_CACHE_HOME": os.path.join(sbx.home, ".cache")}
    name = cache.file_name(cache.key(profile, "/", for_cwd=False))
    path = f"{cache_dir(home, os.geteuid())}/{name}"
    assert sbx("run", "--profile", profile).returncode == 0
    try:
        kept = ops(sbx, "--compiled", path)
    finally:
        os.unlink(path)
    fresh = ops(sbx, profile)
    assert [(op["text"], op["key"]) for op in kept] == [(op["text"], op["key"]) for op in fresh]


def test_what_is_no_plan_is_refused(sbx: Sbx, profile: str) -> None:
    result = sbx("plan", "--compiled", profile)
    assert result.returncode == 125
    assert f"{profile}: not a plan" in result.stderr


def test_what_the_profile_gets_wrong_is_an_error(sbx: Sbx, profile: str) -> None:
    with open(profile, "a", encoding="utf-8") as file:
        file.write('[capabilities]\nkeep = ["CAP_KILL"]\n[identity]\nuser = 1000\ngroup = 1000\n')
    result = sbx("plan", profile)
    assert result.returncode == 125
    assert "app.toml:10: capabilities.keep: user 1000 loses them" in result.stderr
    assert result.stdout == ""


def test_control_characters_of_a_profile_do_not_reach_the_terminal(sbx: Sbx, profile: str) -> None:
    with open(profile, "a", encoding="utf-8") as file:
        file.write('[environment]\nset = {A = "\\u001b[2J"}\n')
    result = sbx("plan", profile)
    assert result.returncode == 0, result.stderr
    assert "\x1b" not in result.stdout
    assert "A=\\x1b[2J" in result.stdout
