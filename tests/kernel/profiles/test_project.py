"""Profile project, the base of the developer's tools: one directory, and nothing else of the home."""

import os
from typing import Any

import pytest

from tests.kernel.harness import NOT_ROOT, Sandbox, mount
from tests.kernel.profiles import attempts
from tests.kernel.profiles.projects import Home


def test_the_examples_in_the_profile_work(home: Home) -> None:
    home.write("names.txt", "pear\napple\n")
    _, listed = home.run_examples("project", {"/srv/data": home.project})
    assert home.read("names.txt") == "apple\npear\n"
    assert "names.txt" in listed.stdout
    home.assert_owned()


def test_the_second_launch_needs_no_python(home: Home) -> None:
    assert home.run_warm("project", "cat", "thief.sh").stdout == home.read("thief.sh")


@pytest.mark.parametrize("name", ("project", "home/project"))
def test_a_project_may_lie_anywhere(home: Home, name: str) -> None:
    """Below /tmp, which is private, and below the home, which is not shown; names may hold anything."""
    project = home.sandbox.mkdir(f"{name} $ 'x' ä")
    home.run("project", "sh", "-c", "pwd > file; ls -a .. > parent", cwd=project)
    with open(f"{project}/file", encoding="utf-8") as file:
        assert file.read() == f"{os.path.realpath(project)}\n"
    with open(f"{project}/parent", encoding="utf-8") as file:
        assert file.read().split("\n")[2:] == [os.path.basename(project), ""]
    home.assert_owned(project)


def test_new_files_are_as_private_as_the_caller_has_them(home: Home) -> None:
    home.run("project", "touch", "private", before=lambda: os.umask(0o077) and None)
    assert os.stat(os.path.join(home.project, "private")).st_mode & 0o777 == 0o600


def test_nothing_in_it_can_be_executed(home: Home) -> None:
    assert home.run("project", "./thief.sh", status=126).stdout == ""
    home.outside("./thief.sh")
    home.assert_thief_gets(everything=True)
    home.run("project", "sh", "thief.sh")
    home.assert_thief_gets(everything=False)


def test_what_isnt_granted_is_refused(home: Home) -> None:
    home.assert_refused("project")


def test_the_home_itself_is_refused(home: Home) -> None:
    done = home.run("project", "ls", status=125, cwd=home.path)
    assert f"process.cwd: '{home.path}' is denied by filesystem.deny" in done.stderr
    assert "hint: grant a directory below" in done.stderr
    words = {"cwd": home.project, "variables": {"directory": home.path}}
    done = home.run("git", "git", "status", status=125, **words)
    assert f"process.cwd: '{home.project}' is denied by filesystem.deny" in done.stderr


def test_a_directory_above_the_home_shows_nothing_of_it(home: Home) -> None:
    done = home.run("project", "ls", "-A", home.path, status=2, cwd=home.sandbox.directory)
    assert "Permission denied" in done.stderr
    assert home.outside("ls", "-A", home.path, cwd=home.sandbox.directory).stdout


def test_secrets_in_a_part_of_the_home_are_refused(home: Home) -> None:
    config = os.path.join(home.path, ".config")
    home.sandbox.write("home/.config/app", "a setting\n")
    words = ("cat", "app", "gh/hosts.yml")
    assert home.outside(*words, cwd=config).stdout == "a setting\na secret\n"
    done = home.run("project", *words, status=1, cwd=config)
    assert done.stdout == "a setting\n"
    assert "Permission denied" in done.stderr
    assert home.run("project", "ls", status=125, cwd=os.path.join(home.path, ".ssh")).stdout == ""


def test_a_directory_of_anothers_stays_anothers(home: Home) -> None:
    """Root works in a user's directory as that user; a user can do no more than outside."""
    if os.geteuid() != 0:
        pytest.skip(NOT_ROOT)
    project = home.sandbox.mkdir("anothers")
    os.chown(project, 4321, 8765)
    done = home.sandbox.shipped("project", "touch", "new", env=home.environment, cwd=project)
    if home.sandbox.is_root:
        assert done.returncode == 0, done
        state = os.stat(f"{project}/new")
        assert (state.st_uid, state.st_gid) == (4321, 8765)
    else:
        assert (done.returncode, os.listdir(project)) == (1, [])


def test_root_may_work_where_nothing_can_be_id_mapped(as_root: Sandbox) -> None:
    """An overlay, as in most containers."""
    project, layers = as_root.mkdir("project"), as_root.mkdir("layers")
    for name in ("lower", "upper", "work"):
        os.mkdir(os.path.join(layers, name))

    def stage() -> None:
        where = f"lowerdir={layers}/lower,upperdir={layers}/upper,workdir={layers}/work"
        mount("overlay", project, "overlay", data=where)

    how: dict[str, Any] = {"stage": stage, "cwd": project}
    done = as_root.shipped("project", "touch", "made", **how)
    assert done.returncode == 125
    assert "its file system doesn't take the attributes" in done.stderr
    assert 'identity.map = "self"' in done.stderr
    done = as_root.shipped("project", "touch", "made", variables={"ids": "self"}, **how)
    assert (done.returncode, done.stderr) == (0, "")
    state = os.stat(os.path.join(layers, "upper", "made"))
    assert (state.st_uid, state.st_gid) == (0, 0)


def test_root_keeps_its_id_without_its_privileges_where_that_is_said(as_root: Sandbox) -> None:
    attempts.assert_refused(as_root, "project", variables={"ids": "self"})
