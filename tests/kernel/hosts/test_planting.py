"""A payload that may write to the cache of plans: every launch that compiles says so."""

import os

import pytest

from tests.kernel.harness import Sandbox, answers, join

WARNING = "where sbx keeps compiled plans: it could leave one there that a later launch runs"


@pytest.fixture
def place(shared_dir: str) -> str:
    """A home that no other test has filled."""
    return shared_dir


@pytest.mark.parametrize(
    "statement",
    (
        "[filesystem]\nwrite = ['{home}']",
        "[filesystem]\nwrite = ['{home}/.cache/sbx']",
        "[[mounts]]\ntype = 'bind'\nsource = '{home}'\ntarget = '/home/sandbox'\nwritable = true",
        "[filesystem]\nwrite = ['{link}']",
        "[rootfs]\ntype = 'directory'\npath = '/'\n[filesystem]\nwrite = ['{home}']",
    ),
    ids=("home", "cache", "mount", "link", "directory"),
)
def test_writing_to_the_cache_is_warned_of(as_user: Sandbox, statement: str) -> None:
    os.makedirs(as_user.cache, 0o700, exist_ok=True)
    for directory in (as_user.cache, os.path.dirname(as_user.cache)):
        as_user.own(directory)
    link = as_user.path("link")
    os.symlink(as_user.home, link)
    text = statement.format(home=as_user.home, link=link)
    done = as_user.run(text, as_user.probe, "exit", "7")
    assert done.returncode == 7
    assert WARNING in done.stderr
    assert f'protect it: filesystem.protect = ["{as_user.cache}"]' in done.stderr
    checked = as_user.program([as_user.launcher, "check", as_user.profile(text)])
    assert checked.returncode == 0
    assert WARNING in checked.stderr


def test_the_remedy_keeps_the_payload_out(as_user: Sandbox) -> None:
    """What is protected is neither written to nor moved away, and there is no warning."""
    text = f"[filesystem]\nwrite = ['{as_user.home}']\n"
    as_user.run(text, as_user.probe, "exit", "7")  # makes the cache
    planted = ("mkdir", f"{as_user.cache}/planted")
    assert as_user.attempt(text, *planted).outcome == "ok"
    protected = text + f"protect = ['{as_user.cache}']\n"
    assert as_user.run(protected, as_user.probe, "exit", "7").stderr == ""
    moved = ("rename", os.path.dirname(as_user.cache), f"{as_user.home}/moved")
    found = as_user.attempts(protected, ("mkdir", f"{as_user.cache}/other"), moved)
    assert [answer.outcome for answer in found] == ["EROFS", "EBUSY"]


def test_what_leaves_the_cache_alone_is_not_warned_of(sandbox: Sandbox) -> None:
    project = sandbox.mkdir("project")
    for text in (
        f"[filesystem]\nwrite = ['{project}']",
        f"[filesystem]\nread = ['{sandbox.home}']",
        f"[filesystem]\nwrite = ['{sandbox.home}']\ndeny = ['{sandbox.home}/.cache']",
        f"[filesystem]\nwrite = ['{sandbox.place}']\ntmpfs = ['{sandbox.home}']",
    ):
        assert sandbox.run(text, sandbox.probe, "exit", "7").stderr == ""


def test_a_cover_whose_name_can_be_moved_away_is_none(as_user: Sandbox) -> None:
    """~/.cache can be renamed with what is mounted in it, and made anew."""
    text = f"[filesystem]\nwrite = ['{as_user.home}']\ndeny = ['{as_user.cache}']"
    assert WARNING in as_user.run(text, as_user.probe, "exit", "7").stderr
    above = os.path.dirname(as_user.cache)
    moved = ("rename", above, f"{as_user.home}/moved")
    tries = (moved, ("mkdir", above), ("mkdir", as_user.cache))
    found = answers(as_user.run(text, as_user.probe, *join(tries)).stdout)
    assert [answer.outcome for answer in found] == ["ok", "ok", "ok"]


def test_roots_payload_owns_no_cache(as_root: Sandbox) -> None:
    """But for one that is root itself."""
    text = "[filesystem]\nwrite = ['/var']\n"
    assert as_root.run(text, as_root.probe, "exit", "7").stderr == ""
    done = as_root.run(text + "[identity]\nmap = 'host'", as_root.probe, "exit", "7")
    assert WARNING in done.stderr


def test_a_home_that_is_covered_is_not_warned_of(as_user: Sandbox) -> None:
    """Above it may be written to: what counts is the most specific statement."""
    above = f'[[mounts]]\ntype = "bind"\nsource = "{as_user.place}"\ntarget = "{as_user.place}"\nwritable = true\n'
    assert WARNING in as_user.run(above, as_user.probe, "exit", "0").stderr
    covered = f'{above}[filesystem]\ntmpfs = ["{as_user.home}"]'
    assert as_user.run(covered, as_user.probe, "exit", "0").stderr == ""
    elsewhere = above.replace(f'target = "{as_user.place}"', 'target = "/mnt"')
    assert (
        WARNING
        in as_user.run(
            f'{elsewhere}[filesystem]\ntmpfs = ["{as_user.home}"]', as_user.probe, "exit", "0"
        ).stderr
    )
