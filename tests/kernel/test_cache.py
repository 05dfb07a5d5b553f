"""The cache of compiled plans: used when everything is as it was, and never when in doubt."""

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from sandbox.plan import cache, codec
from sandbox.plan.ops import Execute
from sandbox.plan.record import CwdStamp, HostStamp, Plan, Record
from tests.kernel.harness import MS_REMOUNT, TICK, Sandbox, mount

# The status of a probe that is run in Python's place, and of a plan that no profile gives.
NO_PYTHON, EVIL = 99, 66


@pytest.fixture
def place(shared_dir: str) -> str:
    """A cache that no other test has filled."""
    return shared_dir


def launch(sandbox: Sandbox, path: str, **how: Any) -> subprocess.CompletedProcess[str]:
    return sandbox.program([sandbox.launcher, "run", "-p", path], **how)


def is_warm(sandbox: Sandbox, path: str, status: int = 0, **how: Any) -> bool:
    """Whether a launch takes no Python; then it ends with `status`."""
    how["stage"] = sandbox.without_python(how.get("stage"))
    done = launch(sandbox, path, **how)
    assert done.returncode in {status, NO_PYTHON}, done
    return done.returncode == status


@pytest.fixture
def profile(staged: Sandbox) -> str:
    """A profile that has been run once."""
    path = staged.profile(f"[process]\ncommand = ['{staged.probe}', 'exit', '0']")
    done = launch(staged, path)
    assert (done.returncode, done.stderr) == (0, "")
    return path


@pytest.fixture
def kept(staged: Sandbox, profile: str) -> str:
    """The file in the cache."""
    (name,) = os.listdir(staged.cache)
    return os.path.join(staged.cache, name)


def rewritten(path: str, edit: Callable[[Plan], Plan]) -> None:
    """Changes a kept plan in place; it stays a sound one, and its owner's."""
    with open(path, "r+b") as file:
        plan = codec.decode(file.read())
        file.seek(0)
        file.truncate()
        file.write(codec.encode(edit(plan)))


def evil(plan: Plan) -> Plan:
    ops = [op if not isinstance(op, Execute) else _exit(op) for op in plan.ops]
    return msgspec.structs.replace(plan, ops=tuple(ops))


def _exit(op: Execute) -> Execute:
    return Execute(argv=(op.argv[0], "exit", str(EVIL)))


@pytest.fixture
def evil_plan(kept: str) -> str:
    """A kept plan that does something else than its profile says."""
    rewritten(kept, evil)
    return kept


def is_compiled_anew(sandbox: Sandbox, path: str, **how: Any) -> bool:
    """No launch takes the plan that is there, and the one with Python does what the profile says."""
    assert not is_warm(sandbox, path, EVIL, **how)
    return launch(sandbox, path, **how).returncode == 0


# ---- When it is used ----


def test_the_second_launch_takes_no_python(staged: Sandbox, profile: str, kept: str) -> None:
    assert is_warm(staged, profile)
    file, directory = os.stat(kept), os.stat(staged.cache)
    assert (file.st_mode & 0o7777, directory.st_mode & 0o7777) == (0o600, 0o700)
    assert file.st_uid == directory.st_uid == staged.uid


def test_the_owner_of_the_cache_can_put_anything_there(
    staged: Sandbox, profile: str, evil_plan: str
) -> None:
    """The positive control of the tests below: nobody but the owner can."""
    assert is_warm(staged, profile, EVIL)


def test_each_way_to_name_a_profile_has_its_plan(staged: Sandbox, profile: str) -> None:
    relative = os.path.basename(profile)
    assert not is_warm(staged, f"./{relative}", cwd=staged.place)
    for name in (relative, f"./{relative}"):
        assert launch(staged, name, cwd=staged.place).returncode == 0
        assert is_warm(staged, name, cwd=staged.place)


def test_the_same_relative_name_elsewhere_is_another_profile(staged: Sandbox) -> None:
    for directory, status in (("one", 1), ("two", 2)):
        staged.write(
            f"{directory}/app.toml",
            f"schema = 1\nprofile.extends = '{staged.place}/base.toml'\n"
            f"process.command = ['{staged.probe}', 'exit', '{status}']",
        )
    for directory, status in (("one", 1), ("two", 2), ("one", 1)):
        assert launch(staged, "app.toml", cwd=staged.path(directory)).returncode == status


def test_a_profile_that_names_the_working_directory_has_a_plan_for_each(staged: Sandbox) -> None:
    path = staged.profile(
        f"[process]\ncommand = ['{staged.probe}', 'list', '${{cwd}}']\n"
        "[filesystem]\nread = ['${cwd}']"
    )
    for name in ("one", "two"):
        staged.mkdir(f"{name}/in-{name}")
    for name in ("one", "two", "one", "two"):
        assert f"in-{name}" in launch(staged, path, cwd=staged.path(name)).stdout
    assert is_warm(staged, path, cwd=staged.path("one"))
    assert len(os.listdir(staged.cache)) == 2


SETS = """
[vars]
status = '1'
more = ''
[process]
command = ['{probe}', 'exit', '${{status}}${{more}}']
"""


def test_each_choice_of_variables_has_a_plan_of_its_own(staged: Sandbox) -> None:
    path = staged.profile(SETS.format(probe=staged.probe))
    choices = {
        (): 1,
        ("--set", "status=2"): 2,
        ("--set=status=3",): 3,
        ("--set", "status=2", "--set", "more=0"): 20,
        ("--set", "more=0", "--set", "status=2", "--set", "status=3"): 30,
        ("--set", "more="): 1,
    }
    for stage in (None, staged.without_python()):
        for sets, status in choices.items():
            arguments = [staged.launcher, "run", "-p", path, *sets]
            assert staged.program(arguments, stage=stage).returncode == status, (sets, stage)
    assert len(os.listdir(staged.cache)) == len(choices)


def test_one_set_never_reads_as_another_or_as_a_profile(staged: Sandbox) -> None:
    """What could be split elsewhere is told apart by the lengths."""
    path = staged.profile(SETS.format(probe=staged.probe))
    twisted = f"{cache.key(path, '/', for_cwd=False, sets=['status=4'])}"
    staged.program([staged.launcher, "run", "-p", path, "--set", "status=4"])
    stage = staged.without_python()
    for arguments in (
        ["-p", twisted],
        ["-p", twisted.replace("path:", "")],
        ["-p", path, "--set", "status=4" + "set:0000000000000000:"],
        ["-p", path, "--set", ""],
        ["-p", path, "--set", "status=4", "--set", ""],
    ):
        done = staged.program([staged.launcher, "run", *arguments], stage=stage)
        assert done.returncode == NO_PYTHON, arguments


@pytest.mark.parametrize("how", ("many", "long"))
def test_too_much_of_set_for_a_key_is_compiled_each_time(staged: Sandbox, how: str) -> None:
    path = staged.profile(SETS.format(probe=staged.probe))
    sets = ["--set", "status=5"] * 33 if how == "many" else ["--set", "more=" + "0" * 4096]
    arguments = [staged.launcher, "run", "-p", path, *sets]
    for _ in range(2):
        done = staged.program(arguments)
        assert done.returncode == (5 if how == "many" else done.returncode)
        assert "is not kept" in done.stderr
        assert "too much of --set" in done.stderr
    assert staged.program(arguments, stage=staged.without_python()).returncode == NO_PYTHON


def test_what_was_set_tells_where_a_kept_plan_fails(staged: Sandbox) -> None:
    missing = staged.path("missing")
    mount = "[[mounts]]\ntype = 'bind'\nsource = '${d}'\ntarget = '${d}'\n"
    path = staged.profile(f"[vars]\nd = '/usr'\n[process]\ncommand = ['true']\n{mount}")
    for _ in range(2):
        done = staged.program([staged.launcher, "run", "-p", path, "--set", f"d={missing}"])
        assert done.returncode == 125
        assert f"'{missing}' does not exist" in done.stderr
        assert "hint: create it, or name another: --set d=PATH" in done.stderr


def test_launches_at_the_same_time_do_not_disturb_each_other(staged: Sandbox) -> None:
    path = staged.profile(f"[process]\ncommand = ['{staged.probe}', 'exit', '7']")
    running = [staged.popen([staged.launcher, "run", "-p", path]) for _ in range(8)]
    assert [process.wait(30) for process in running] == [7] * 8
    assert len(os.listdir(staged.cache)) == 1
    assert is_warm(staged, path, 7)


def test_nor_do_they_where_what_is_kept_is_stale(staged: Sandbox) -> None:
    path = staged.profile(f"[process]\ncommand = ['{staged.probe}', 'exit', '7']")
    assert launch(staged, path).returncode == 7
    time.sleep(TICK)
    with open(path, "r+", encoding="utf-8") as file:
        text = file.read().replace("'exit', '7'", "'exit', '8'")
        file.seek(0)
        file.write(text)
    time.sleep(TICK)
    running = [staged.popen([staged.launcher, "run", "-p", path]) for _ in range(8)]
    assert [process.wait(30) for process in running] == [8] * 8
    assert len(os.listdir(staged.cache)) == 1
    assert is_warm(staged, path, 8)


# ---- When it is stale ----


def test_a_changed_profile_is_compiled_anew(staged: Sandbox, profile: str) -> None:
    """Even if its size and its time of modification are what they were."""
    before = os.stat(profile)
    with open(profile, "r+", encoding="utf-8") as file:
        text = file.read().replace("'exit', '0'", "'exit', '5'")
        file.seek(0)
        file.write(text)
    os.utime(profile, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert os.stat(profile).st_size == before.st_size
    assert not is_warm(staged, profile)
    time.sleep(TICK)
    assert launch(staged, profile).returncode == 5
    assert is_warm(staged, profile, 5)


def test_a_plan_of_another_installation_is_not_taken(staged: Sandbox, profile: str) -> None:
    """It has profiles and code of its own, though the version be the same."""
    assert is_warm(staged, profile)
    other = staged.mkdir("other")
    for name in ("sbx", "sbx-python"):
        shutil.copy(os.path.join(os.path.dirname(staged.launcher), name), other)
    words = [f"{other}/sbx", "run", "-p", profile]
    assert staged.program(words, stage=staged.without_python()).returncode == NO_PYTHON
    assert is_warm(staged, profile)


def test_a_replaced_profile_is_compiled_anew(staged: Sandbox, profile: str) -> None:
    with open(profile, encoding="utf-8") as file:
        other = staged.write("new.toml", file.read())
    os.utime(other, ns=(os.stat(profile).st_atime_ns, os.stat(profile).st_mtime_ns))
    os.rename(other, profile)
    assert not is_warm(staged, profile)


def test_a_changed_base_is_compiled_anew(staged: Sandbox, profile: str) -> None:
    with open(f"{staged.place}/base.toml", "a", encoding="utf-8") as file:
        file.write("[rlimits]\nnofile = 77\n")
    assert not is_warm(staged, profile)
    time.sleep(TICK)
    assert launch(staged, profile).returncode == 0
    assert is_warm(staged, profile)


def test_a_removed_profile_is_an_error(staged: Sandbox, profile: str) -> None:
    os.unlink(profile)
    done = launch(staged, profile)
    assert done.returncode == 125
    assert profile in done.stderr


def test_a_changed_variable_of_the_callers_is_compiled_anew(staged: Sandbox) -> None:
    path = staged.profile(f"[process]\ncommand = ['{staged.probe}', 'exit', '${{env:STATUS:-9}}']")
    plain = staged.environment
    for status in ("3", "4", "3", None):
        env = plain if status is None else plain | {"STATUS": status}
        expected = int(status or 9)
        assert not is_warm(staged, path, expected, env=env)
        assert launch(staged, path, env=env).returncode == expected
        assert is_warm(staged, path, expected, env=env | {"OTHER": "x"})


def test_a_plan_for_another_host_sbx_or_user_is_not_used(
    staged: Sandbox, profile: str, kept: str
) -> None:
    with open(kept, "rb") as file:
        plan = evil(codec.decode(file.read()))

    def keep(**change: Any) -> None:
        def edit(stamp: Record) -> Record:
            host = isinstance(stamp, HostStamp)
            return msgspec.structs.replace(stamp, **change) if host else stamp

        stamps = tuple(map(edit, plan.stamps))
        rewritten(kept, lambda _: msgspec.structs.replace(plan, stamps=stamps))

    keep()
    assert is_warm(staged, profile, EVIL)  # the positive control
    others: tuple[dict[str, Any], ...] = (
        {"release": "6.0.0-other"},
        {"version": "0.0.0"},
        {"uid": 4321},
        {"gid": 4321},
        {"capabilities": 1 << 40},
    )
    for change in others:
        keep(**change)
        assert not is_warm(staged, profile, EVIL), change
    assert launch(staged, profile).returncode == 0


def test_a_plan_without_stamps_or_for_another_directory_is_not_used(
    staged: Sandbox, profile: str, kept: str
) -> None:
    elsewhere = (CwdStamp(path="/nowhere"),)
    rewritten(kept, lambda p: msgspec.structs.replace(evil(p), stamps=(*p.stamps, *elsewhere)))
    assert not is_warm(staged, profile, EVIL)
    rewritten(kept, lambda plan: msgspec.structs.replace(plan, stamps=()))
    assert is_compiled_anew(staged, profile)


def test_a_plan_of_another_profile_under_this_ones_name_is_not_used(
    staged: Sandbox, profile: str, kept: str
) -> None:
    other = staged.profile(f"[process]\ncommand = ['{staged.probe}', 'exit', '{EVIL}']")
    assert launch(staged, other).returncode == EVIL
    (name,) = set(os.listdir(staged.cache)) - {os.path.basename(kept)}
    os.rename(os.path.join(staged.cache, name), kept)
    assert is_compiled_anew(staged, profile)


# ---- When it isn't the user's own ----


def test_a_file_with_another_mode_is_not_used(
    staged: Sandbox, profile: str, evil_plan: str
) -> None:
    for mode in (0o640, 0o660, 0o644, 0o604, 0o622, 0o400, 0o700, 0o4600):
        os.chmod(evil_plan, mode)
        assert not is_warm(staged, profile, EVIL), mode
    assert launch(staged, profile).returncode == 0
    assert is_warm(staged, profile)


def test_a_directory_with_another_mode_is_not_used(
    staged: Sandbox, profile: str, evil_plan: str
) -> None:
    for mode in (0o750, 0o770, 0o755, 0o1700, 0o2700):
        os.chmod(staged.cache, mode)
        assert not is_warm(staged, profile, EVIL), mode
    done = launch(staged, profile)
    assert done.returncode == 0
    assert "must be the user's own, with mode 0700" in done.stderr


@pytest.mark.parametrize("what", ("file", "directory"))
def test_what_belongs_to_someone_else_is_not_used(
    staged: Sandbox, profile: str, evil_plan: str, what: str
) -> None:
    os.chown(evil_plan if what == "file" else staged.cache, 54321, 54321)
    assert is_compiled_anew(staged, profile)


def test_a_symbolic_link_is_not_followed(staged: Sandbox, profile: str, evil_plan: str) -> None:
    elsewhere = staged.path("elsewhere")
    os.rename(evil_plan, elsewhere)
    os.symlink(elsewhere, evil_plan)
    assert is_compiled_anew(staged, profile)
    assert not os.path.islink(evil_plan)
    assert os.path.exists(elsewhere)


def test_a_directory_that_is_a_symbolic_link_is_not_followed(
    staged: Sandbox, profile: str, evil_plan: str
) -> None:
    elsewhere = staged.path("elsewhere")
    os.rename(staged.cache, elsewhere)
    os.symlink(elsewhere, staged.cache)
    assert is_compiled_anew(staged, profile)


@pytest.mark.parametrize("make", (os.mkfifo, os.mkdir), ids=["fifo", "directory"])
def test_something_else_than_a_file_is_not_used(
    staged: Sandbox, profile: str, kept: str, make: Callable[[str, int], None]
) -> None:
    os.unlink(kept)
    make(kept, 0o600)
    staged.own(kept)
    assert is_compiled_anew(staged, profile)


# ---- When it is damaged ----


def test_a_truncated_file_is_not_used(staged: Sandbox, profile: str, evil_plan: str) -> None:
    size = os.stat(evil_plan).st_size
    for length in (size - 1, size // 2, 64, 63, 8, 1, 0):
        os.truncate(evil_plan, length)
        assert not is_warm(staged, profile, EVIL)
    assert launch(staged, profile).returncode == 0
    assert is_warm(staged, profile)


def test_a_file_with_more_behind_it_is_not_used(
    staged: Sandbox, profile: str, evil_plan: str
) -> None:
    with open(evil_plan, "ab") as file:
        file.write(bytes(8))
    assert not is_warm(staged, profile, EVIL)
    os.truncate(evil_plan, 16 << 20)
    assert is_compiled_anew(staged, profile)


def test_a_file_with_one_bit_changed_is_not_used(
    staged: Sandbox, profile: str, evil_plan: str
) -> None:
    with open(evil_plan, "rb") as file:
        sound = file.read()
    chosen = random.Random(4)
    header = [(byte, bit) for byte in range(0, 64, 3) for bit in (0, 7)]
    anywhere = [(chosen.randrange(len(sound)), chosen.randrange(8)) for _ in range(40)]
    for byte, bit in header + anywhere:
        changed = bytearray(sound)
        changed[byte] ^= 1 << bit
        with open(evil_plan, "wb") as file:
            file.write(changed)
        assert not is_warm(staged, profile, EVIL), (byte, bit)
    assert launch(staged, profile).returncode == 0


# ---- When nothing can be kept ----


def mounted_cache(sandbox: Sandbox, data: str, flags: int = 0) -> Callable[[], None]:
    """A stage in which the directory above the cache is a tmpfs of its own, in the end full."""
    above = "/var/cache" if sandbox.is_root else os.path.dirname(sandbox.cache)
    if not sandbox.is_root:
        os.makedirs(above, exist_ok=True)
        sandbox.own(above)

    def stage() -> None:
        mount("tmpfs", above, "tmpfs", data=f"{data},mode=755,uid={sandbox.uid}")
        if not flags:
            with open(f"{above}/filler", "wb", buffering=0) as file:
                try:
                    while file.write(bytes(4096)):
                        pass
                except OSError:
                    return
        mount("none", above, flags=MS_REMOUNT | flags)

    return stage


@pytest.mark.parametrize("flags", (0, 1), ids=["full", "read-only"])
def test_a_cache_that_takes_nothing_costs_a_warning_and_no_more(
    staged: Sandbox, flags: int
) -> None:
    stage = mounted_cache(staged, "size=64k", flags)
    done = staged.run("", staged.probe, "exit", "8", stage=stage)
    assert done.returncode == 8
    reason = "No space left on device" if not flags else "Read-only file system"
    assert "sbx: warning: the compiled plan is not kept" in done.stderr
    assert reason in done.stderr


def test_a_user_without_a_home_runs_all_the_same(as_user: Sandbox) -> None:
    done = as_user.run("", as_user.probe, "exit", "8", env={"PATH": "/usr/bin:/bin"})
    assert done.returncode == 8
    assert "neither XDG_CACHE_HOME nor HOME is an absolute path" in done.stderr


def test_a_home_that_the_user_may_not_write_to_is_no_obstacle(as_user: Sandbox) -> None:
    env = as_user.environment | {"HOME": "/nonexistent"}
    done = as_user.run("", as_user.probe, "exit", "8", env=env)
    assert done.returncode == 8
    assert "the compiled plan is not kept" in done.stderr


def test_the_cache_follows_xdg_cache_home(as_user: Sandbox) -> None:
    elsewhere = as_user.mkdir("xdg")
    env = as_user.environment | {"XDG_CACHE_HOME": elsewhere}
    assert as_user.run("", as_user.probe, "exit", "8", env=env).returncode == 8
    assert len(os.listdir(f"{elsewhere}/sbx")) == 1
    assert not os.path.exists(as_user.cache)
