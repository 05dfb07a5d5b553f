"""Profile git: repositories, and what their hooks and filters would like to do."""

import os
from typing import Any

import pytest

from tests.applications import application
from tests.kernel.harness import NOT_ROOT
from tests.kernel.profiles.projects import Home

SETTINGS = "[user]\n\tname = A Tester\n\temail = tester@example.org\n[core]\n\teditor = false\n"


@pytest.fixture
def repository(home: Home) -> Home:
    """A repository of the caller's, without a commit."""
    application("git")
    home.sandbox.write("home/.gitconfig", SETTINGS, 0o600)
    home.write("a file", "text\n")
    home.outside("git", "init", "--quiet")
    return home


def log(home: Home, *words: str, **how: Any) -> str:
    """The history as a git outside sees it."""
    return home.outside("git", "log", "--format=%an %ae %s", *words, **how).stdout


def test_a_commit_made_inside_is_the_users_outside(repository: Home) -> None:
    home = repository
    assert home.run("git", "git", "status", "--short").stdout == '?? "a file"\n?? thief.sh\n'
    home.run("git", "git", "add", ".")
    home.run("git", "git", "commit", "--quiet", "-m", "First")
    assert log(home) == "A Tester tester@example.org First\n"
    assert home.outside("git", "status", "--short").stdout == ""
    home.outside("git", "fsck", "--strict")
    assert "First" in home.run("git", "git", "log", "--oneline").stdout
    home.assert_owned()


def test_what_git_noted_of_files_outside_holds_inside(repository: Home) -> None:
    """Else each status would read every file anew, inside and outside in turn."""
    home = repository
    index = os.path.join(home.project, ".git", "index")
    home.outside("git", "add", ".")
    os.utime(index, ns=(os.stat(index).st_atime_ns, os.stat(index).st_mtime_ns + 2_000_000_000))
    before = os.stat(index)
    home.run("git", "git", "status", "--short")
    assert os.stat(index).st_ino == before.st_ino
    home.write("a file", "other text\n")
    assert home.run("git", "git", "status", "--short").stdout.startswith('AM "a file"\n')


def test_the_second_launch_needs_no_python(repository: Home) -> None:
    done = repository.run_warm("git", "git", "status", "--short")
    assert (done.stdout, done.stderr) == ('?? "a file"\n?? thief.sh\n', "")


def test_a_directory_in_the_repository_is_as_good_as_its_top(repository: Home) -> None:
    home = repository
    deep = os.path.dirname(home.write("deep/file", "text\n"))
    words = ("git", "status", "--short")
    assert home.run("git", *words, cwd=deep).stdout == home.outside(*words, cwd=deep).stdout
    home.run("git", "git", "add", ".", cwd=deep)
    # The index has changed, and with it the repository; the plan holds all the same.
    warm = home.run("git", *words, cwd=deep, stage=home.sandbox.without_python())
    assert "A  file\n" in warm.stdout
    # A repository that is nearer makes it another plan.
    home.outside("git", "init", "--quiet", cwd=deep)
    assert home.run("git", *words, cwd=deep).stdout == "?? file\n"
    home.assert_owned()


def test_a_repository_of_somebody_elses_above_isnt_taken(repository: Home) -> None:
    home = repository
    if os.geteuid() != 0:
        pytest.skip(NOT_ROOT)
    deep = home.sandbox.mkdir("home/the project/deep")
    os.chown(os.path.join(home.project, ".git"), 4321, 4321)
    done = home.run("git", "ls", "-A", "..", cwd=deep)
    assert done.stdout == "deep\n"


def test_a_hook_and_a_filter_get_nothing_of_the_callers(repository: Home) -> None:
    home = repository
    home.write(".git/hooks/pre-commit", '#!/bin/sh\nexec "./thief.sh"\n', 0o755)
    home.run("git", "git", "add", ".")
    home.run("git", "git", "commit", "--quiet", "-m", "With a hook")
    home.assert_thief_gets(everything=False)
    home.outside("git", "commit", "--quiet", "--allow-empty", "-m", "Control")
    home.assert_thief_gets(everything=True)
    home.outside("git", "config", "filter.steal.clean", "./thief.sh; cat")
    home.write(".gitattributes", "*.x filter=steal\n")
    home.write("filtered.x", "text\n")
    home.run("git", "git", "add", "filtered.x")
    home.assert_thief_gets(everything=False)
    home.outside("git", "add", "--renormalize", "filtered.x")
    home.assert_thief_gets(everything=True)


def test_clones_and_worktrees_of_the_directory_work(repository: Home) -> None:
    home = repository
    home.run("git", "git", "add", ".")
    home.run("git", "git", "commit", "--quiet", "-m", "First")
    home.run("git", "git", "clone", "--quiet", ".", "a clone")
    assert log(home) == log(home, cwd=os.path.join(home.project, "a clone"))
    home.run("git", "git", "worktree", "add", "--quiet", "-b", "side", "tree")
    assert home.run("git", "git", "-C", "tree", "branch", "--show-current").stdout == "side\n"
    home.assert_owned()


def test_a_worktree_elsewhere_needs_a_directory_that_holds_both(repository: Home) -> None:
    home = repository
    above = home.sandbox.mkdir("home/src")
    home.outside("git", "commit", "--quiet", "--allow-empty", "-m", "First")
    home.outside("git", "clone", "--quiet", ".", f"{above}/main")
    home.outside("git", "worktree", "add", "--quiet", "../side", cwd=f"{above}/main")
    alone = home.run("git", "git", "status", status=128, cwd=f"{above}/side")
    assert "not a git repository" in alone.stderr
    commit = ("git", "commit", "--quiet", "--allow-empty", "-m", "Second")
    home.run("git", *commit, cwd=f"{above}/side", variables={"directory": above})
    assert log(home, "-1", cwd=f"{above}/side") == "A Tester tester@example.org Second\n"
    home.assert_owned(above)


def test_what_isnt_granted_is_refused(repository: Home) -> None:
    repository.assert_refused("git", unchangeable=[os.path.join(repository.path, ".gitconfig")])


def test_the_examples_in_the_profile_work(repository: Home) -> None:
    home = repository
    home.run("git", "git", "commit", "--quiet", "--allow-empty", "-m", "First")
    home.outside("git", "clone", "--quiet", ".", "app")
    status, history = home.run_examples("git", {"/srv/src": home.project})
    assert "Untracked files" in status.stdout
    assert "First" in history.stdout
