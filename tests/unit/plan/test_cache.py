"""Kept plans: found again by the launcher, never half written, never where others may write."""

import errno
import os
import stat
import time
from collections.abc import Mapping

import msgspec
import pytest

from sandbox import _paths
from sandbox.plan import cache, codec
from sandbox.plan.record import FileStamp, Plan, PlanFlag, Watched
from tests.plans import compiled


@pytest.fixture
def environ(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """An environment whose cache is a directory of the test's own, whoever runs it."""
    base = str(tmp_path_factory.mktemp("cache"))
    monkeypatch.setattr(_paths, "CACHE_OF_ROOT", f"{base}/sbx")
    return {"XDG_CACHE_HOME": base}


def plan_of(*watched: Watched) -> Plan:
    """A plan with old stamps that depends on what is watched."""
    return msgspec.structs.replace(compiled(), watched=watched)


def store(plan: Plan, environ: Mapping[str, str], *, profile: str = "app") -> str:
    started = time.time_ns() + 10 * cache.TICK_NS
    return cache.store(plan, profile=profile, cwd="/work", environ=environ, started_ns=started)


def kept(environ: Mapping[str, str], text: str = "name:app") -> Plan:
    with open(f"{environ['XDG_CACHE_HOME']}/sbx/{cache.file_name(text)}", "rb") as file:
        return codec.decode(file.read())


def listing(environ: Mapping[str, str]) -> list[str]:
    return sorted(os.listdir(f"{environ['XDG_CACHE_HOME']}/sbx"))


def test_a_plan_is_kept_whole_for_its_user_alone(environ: dict[str, str]) -> None:
    plan = plan_of()
    assert store(plan, environ) == ""
    assert kept(environ).ops == plan.ops
    directory = f"{environ['XDG_CACHE_HOME']}/sbx"
    assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700
    (name,) = listing(environ)
    assert stat.S_IMODE(os.stat(f"{directory}/{name}").st_mode) == 0o600


def test_a_newer_plan_takes_the_place_of_the_old_one(environ: dict[str, str]) -> None:
    store(plan_of(), environ)
    assert store(compiled(namespaces={"hostname": "other"}), environ) == ""
    assert kept(environ).ops == compiled(namespaces={"hostname": "other"}).ops
    assert len(listing(environ)) == 1


def test_what_is_watched_becomes_a_stamp(environ: dict[str, str], tmp_path: object) -> None:
    link = f"{tmp_path}/link"
    os.symlink("nowhere", link)
    plan = plan_of(Watched(link, follow=False), Watched(link, follow=True))
    assert store(plan, environ) == ""
    found = kept(environ)
    stamps = {
        (stamp.follow, stamp.exists, stamp.inode)
        for stamp in found.stamps
        if isinstance(stamp, FileStamp) and stamp.path == link
    }
    assert stamps == {(0, 1, os.lstat(link).st_ino), (1, 0, 0)}
    assert found.watched == ()


def test_of_some_files_only_which_one_it_is_becomes_a_stamp(
    environ: dict[str, str], tmp_path: object
) -> None:
    """It may have changed just now: that plays no part."""
    directory = f"{tmp_path}/directory"
    os.mkdir(directory)
    assert store(plan_of(Watched(directory, follow=False, any_state=True)), environ) == ""
    state = os.stat(directory)
    wanted = FileStamp(
        path=directory,
        follow=0,
        exists=2,
        device=state.st_dev,
        inode=state.st_ino,
        size=0,
        mtime_ns=0,
        ctime_ns=0,
    )
    assert wanted in kept(environ).stamps


def test_sbx_itself_is_among_the_stamps(environ: dict[str, str]) -> None:
    store(plan_of(), environ)
    paths = [stamp.path for stamp in kept(environ).stamps if isinstance(stamp, FileStamp)]
    assert any(path.endswith("/sandbox/plan/compile.py") for path in paths)


def test_a_plan_is_not_kept_while_its_files_change(
    environ: dict[str, str], tmp_path: object
) -> None:
    """A change in the same tick of the clock would leave the stamp as it is."""
    path = f"{tmp_path}/file"
    with open(path, "w", encoding="utf-8"):
        pass
    now = os.stat(path).st_ctime_ns
    plan = plan_of(Watched(path, follow=True))
    args = {"profile": "app", "cwd": "/", "environ": environ}
    assert "just now" in cache.store(plan, started_ns=now, **args)  # type: ignore[arg-type]
    assert not os.path.exists(f"{environ['XDG_CACHE_HOME']}/sbx")
    later = now + 2 * cache.TICK_NS
    assert cache.store(plan, started_ns=later, **args) == ""  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("profile", "for_cwd", "key"),
    (
        ("web", False, "name:web"),
        ("./web", False, "path:/work/./web"),
        ("web.toml", False, "path:/work/web.toml"),
        ("a/../web", False, "path:/work/a/../web"),
        ("/x/web.toml", False, "path:/x/web.toml"),
        ("web", True, "name:web\0cwd:/work"),
    ),
)
def test_keys_are_what_the_command_line_says(profile: str, for_cwd: bool, key: str) -> None:
    assert cache.key(profile, "/work", for_cwd=for_cwd) == key


def test_what_is_set_stands_first_in_a_key_with_its_length_in_bytes() -> None:
    key = cache.key("web", "/work", for_cwd=False, sets=("a=1", "b=é"))
    assert key == "set:0000000000000003:a=1set:0000000000000004:b=éname:web"


def test_the_key_of_a_path_at_the_root_has_one_slash() -> None:
    assert cache.key("web.toml", "/", for_cwd=False) == "path:/web.toml"


def test_a_plan_for_one_directory_is_kept_under_its_name(environ: dict[str, str]) -> None:
    plan = msgspec.structs.replace(plan_of(), flags=int(PlanFlag.FOR_CWD))
    assert store(plan, environ) == ""
    assert kept(environ, "name:app\0cwd:/work").flags == PlanFlag.FOR_CWD


@pytest.mark.parametrize(
    ("environ", "uid", "directory"),
    (
        ({"XDG_CACHE_HOME": "/c", "HOME": "/h"}, 1000, "/c/sbx"),
        ({"XDG_CACHE_HOME": "c", "HOME": "/h"}, 1000, "/h/.cache/sbx"),
        ({"HOME": "/h"}, 1000, "/h/.cache/sbx"),
        ({"HOME": "h"}, 1000, None),
        ({"XDG_CACHE_HOME": "/c"}, 0, "/var/cache/sbx"),
    ),
)
def test_the_directory_is_the_users_own(
    environ: dict[str, str], uid: int, directory: str | None
) -> None:
    assert _paths.cache_dir(environ, uid) == directory


def test_a_directory_open_to_others_is_refused(environ: dict[str, str]) -> None:
    directory = f"{environ['XDG_CACHE_HOME']}/sbx"
    os.mkdir(directory)
    os.chmod(directory, 0o770)
    assert "0700" in store(plan_of(), environ)
    assert listing(environ) == []


def test_a_directory_of_another_user_is_refused(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkdir(f"{environ['XDG_CACHE_HOME']}/sbx", 0o700)
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    assert "user's own" in store(plan_of(), environ)
    assert listing(environ) == []


def test_a_link_in_place_of_the_directory_is_refused(
    environ: dict[str, str], tmp_path: object
) -> None:
    os.mkdir(f"{tmp_path}/there", 0o700)
    os.symlink(f"{tmp_path}/there", f"{environ['XDG_CACHE_HOME']}/sbx")
    assert "isn't a directory" in store(plan_of(), environ)
    assert os.listdir(f"{tmp_path}/there") == []


def test_a_link_in_place_of_a_kept_plan_is_replaced_not_followed(
    environ: dict[str, str], tmp_path: object
) -> None:
    victim = f"{tmp_path}/victim"
    with open(victim, "w", encoding="utf-8") as file:
        file.write("precious")
    directory = f"{environ['XDG_CACHE_HOME']}/sbx"
    os.mkdir(directory, 0o700)
    os.symlink(victim, f"{directory}/{cache.file_name('name:app')}")
    assert store(plan_of(), environ) == ""
    with open(victim, encoding="utf-8") as file:
        assert file.read() == "precious"
    assert kept(environ).ops


def test_a_full_disk_is_no_error_and_leaves_nothing(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_file: int, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    assert "No space left" in store(plan_of(), environ)
    assert listing(environ) == []


def test_a_place_that_cannot_be_is_no_error(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = f"{tmp_path}/file"
    with open(file, "w", encoding="utf-8"):
        pass
    monkeypatch.setattr(_paths, "CACHE_OF_ROOT", f"{file}/sbx")
    assert "Not a directory" in store(plan_of(), {"XDG_CACHE_HOME": file})


def test_old_plans_make_room_for_new_ones(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "MAX_PLANS", 6)
    for number in range(12):
        assert store(plan_of(), environ, profile=f"app{number}") == ""
    names = listing(environ)
    assert 3 <= len(names) <= 6
    assert cache.file_name("name:app11") in names
