"""How sbx is started: descriptors, variables, directories, signals and limits that a caller left odd."""

import os
import resource
import signal
import subprocess
import tempfile
from collections.abc import Callable
from typing import Any

import pytest

from tests.kernel.harness import (
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_REMOUNT,
    Sandbox,
    Step,
    libc,
    mount,
)
from tests.kernel.traces import left

PR_SET_CHILD_SUBREAPER = 36
NOT_KEPT = "the compiled plan is not kept"
# What Python heeds, and what it would do to one that heeds it.
PYTHON = {
    "PYTHONHOME": "/nowhere",
    "PYTHONPATH": "/nowhere",
    "PYTHONEXECUTABLE": "/bin/false",
    "__PYVENV_LAUNCHER__": "/bin/false",
    "PYTHONINSPECT": "1",
    "PYTHONVERBOSE": "1",
    "PYTHONUTF8": "x",
    "PYTHONMALLOC": "nonsense",
    "PYTHONHASHSEED": "nonsense",
    "PYTHONTRACEMALLOC": "nonsense",
    "PYTHONWARNINGS": "error",
    "PYTHONPLATLIBDIR": "nowhere",
    "PYTHONIOENCODING": "nonsense",
}


@pytest.fixture
def place(shared_dir: str) -> str:
    """A cache that no other test has filled."""
    return shared_dir


def runs(sandbox: Sandbox, text: str = "", **how: Any) -> subprocess.CompletedProcess[str]:
    """A cold launch and a warm one, both of which have to work; the second one's result."""
    for _ in range(2):
        done = sandbox.run(text, sandbox.probe, "exit", "7", **how)
        assert done.returncode == 7, done
    return done


# ---- Descriptors ----


@pytest.mark.parametrize("closed", ((0,), (1,), (2,), (0, 1, 2)), ids=str)
def test_closed_standard_streams_are_dev_null_for_the_payload(
    sandbox: Sandbox, closed: tuple[int, ...]
) -> None:
    """None of sbx's own descriptors takes their place: the payload reads nothing and may write."""

    def close() -> None:
        for number in closed:
            os.close(number)

    script = "cat && echo out && echo err >&2 && exit 7"
    for _ in range(2):
        done = sandbox.shipped("minimal", "sh", "-c", script, before=close)
        assert done.returncode == 7, done
        assert done.stdout == ("" if 1 in closed else "out\n")
        assert done.stderr == ("" if 2 in closed else "err\n")


# ---- Variables ----


def test_an_empty_environment_is_enough(sandbox: Sandbox) -> None:
    """As cron may give it, and less: without HOME a user's plans are not kept, and sbx says so."""
    for _ in range(2):
        done = sandbox.run("", sandbox.probe, "exit", "7", env={})
        assert done.returncode == 7
        assert (NOT_KEPT in done.stderr) == (not sandbox.is_root)
        assert ("neither XDG_CACHE_HOME nor HOME" in done.stderr) == (not sandbox.is_root)


def test_variables_of_pythons_change_nothing(sandbox: Sandbox) -> None:
    env = {**sandbox.environment, **PYTHON}
    clean = sandbox.program([sandbox.launcher, "show", "minimal"])
    disturbed = sandbox.program([sandbox.launcher, "show", "minimal"], env=env)
    assert (disturbed.returncode, disturbed.stderr) == (0, "")
    assert disturbed.stdout == clean.stdout
    runs(sandbox, env=env)


def test_variables_of_pythons_reach_a_payload_that_is_to_have_them(sandbox: Sandbox) -> None:
    text = "[environment]\npass = ['PYTHON*', '__PYVENV_LAUNCHER__']"
    env = {**sandbox.environment, **PYTHON}
    for _ in range(2):
        inside = sandbox.dump(text, env=env)
        assert {f"{name}={value}" for name, value in PYTHON.items()} <= set(inside.environment)


@pytest.mark.parametrize("language", ("C", "POSIX", "xx_YY.nonsense", "tr_TR.UTF-8"))
def test_any_locale_will_do(sandbox: Sandbox, language: str) -> None:
    """Also for a path that isn't ASCII."""
    env = {**sandbox.environment, "LANG": language, "LC_ALL": language}
    directory = sandbox.mkdir("größe")
    text = f"[filesystem]\nread = ['{directory}']"
    runs(sandbox, text, env=env)
    assert sandbox.attempt(text, "list", directory, env=env).outcome == "ok"


# ---- Directories ----


def without_cwd() -> None:
    directory = tempfile.mkdtemp()
    os.chdir(directory)
    os.rmdir(directory)


def test_a_removed_working_directory_matters_to_none_but_those_that_name_it(
    sandbox: Sandbox,
) -> None:
    runs(sandbox, before=without_cwd)
    assert (
        sandbox.run("", sandbox.probe, "exit", "7", warm=True, before=without_cwd).returncode == 7
    )
    for verb in ("check", "show", "plan"):
        done = sandbox.program([sandbox.launcher, verb, "minimal"], before=without_cwd)
        assert (done.returncode, done.stderr) == (0, "")
    done = sandbox.program([sandbox.launcher, "init", "--", "true"], before=without_cwd)
    assert done.returncode == 125
    assert "the working directory doesn't exist any more" in done.stderr
    message = sandbox.refusal("[filesystem]\nread = ['${cwd}']", before=without_cwd)
    assert "filesystem.read[0]: the working directory doesn't exist any more" in message
    done = sandbox.program([sandbox.launcher, "check", "./app.toml"], before=without_cwd)
    assert done.returncode == 125
    assert (
        "'./app.toml' starts at the working directory, which doesn't exist any more" in done.stderr
    )


def test_a_working_directory_that_the_caller_may_not_enter(staged: Sandbox) -> None:
    """The one that it was started in, as by su without a dash."""
    directory = staged.mkdir("closed/inner")
    os.chmod(staged.path("closed"), 0o700)
    os.chown(staged.path("closed"), 0, 0)
    runs(staged, cwd=None, stage=lambda: os.chdir(directory))


@pytest.mark.parametrize("mask", (0o777, 0o000), ids=oct)
def test_the_callers_umask_is_no_matter(sandbox: Sandbox, mask: int) -> None:
    """A plan is kept with the mode that it needs, and the sandbox's own files have theirs."""
    assert sandbox.run("", sandbox.probe, "exit", "7", before=lambda: os.umask(mask)).stderr == ""
    names = os.listdir(sandbox.cache)
    modes = {os.stat(os.path.join(sandbox.cache, name)).st_mode & 0o7777 for name in names}
    assert (len(names), modes) == (1, {0o600})
    assert os.stat(sandbox.cache).st_mode & 0o7777 == 0o700
    text = "[rootfs]\ngenerate = ['hostname']"
    found = sandbox.attempts(
        text, ("read", "/etc/hostname"), ("list", "/etc"), before=lambda: os.umask(mask)
    )
    assert [answer.outcome for answer in found] == ["ok", "ok"]


def read_only(sandbox: Sandbox) -> None:
    """The home, and where root's plans are, as a read-only image has them."""
    for directory in (sandbox.home, "/var/cache"):
        mount("tmpfs", directory, "tmpfs", data="mode=1777")
        mount("none", directory, flags=MS_REMOUNT | MS_RDONLY)


def full(sandbox: Sandbox) -> None:
    for directory in (sandbox.home, "/var/cache"):
        mount("tmpfs", directory, "tmpfs", data="mode=1777,size=4k")
        with open(os.path.join(directory, "filler"), "wb", buffering=0) as file:
            while True:
                try:
                    file.write(bytes(4096))
                except OSError:
                    break


@pytest.mark.parametrize(
    ("stage", "reason"),
    ((read_only, "Read-only file system"), (full, "No space left on device")),
)
def test_where_no_plan_can_be_kept_each_launch_works_and_says_so(
    staged: Sandbox, stage: Callable[[Sandbox], None], reason: str
) -> None:
    for _ in range(2):
        done = staged.run("", staged.probe, "exit", "7", stage=lambda: stage(staged))
        assert done.returncode == 7
        assert NOT_KEPT in done.stderr
        assert reason in done.stderr


def test_a_full_cache_is_left_without_halves(staged: Sandbox) -> None:
    """Nothing but whole plans is left where one doesn't fit any more."""

    def listed() -> None:
        full(staged)
        os.unlink("/var/cache/filler")
        os.unlink(os.path.join(staged.home, "filler"))

    script = 'sbx=$1; "$sbx" run -p minimal -- true; find "$2" -type f | wc -l'
    cache = "/var/cache/sbx" if staged.is_root else staged.cache
    done = staged.program(["sh", "-c", script, "sh", staged.launcher, cache], stage=listed)
    assert done.stdout == "0\n", done


def test_a_home_elsewhere_or_behind_a_link(staged: Sandbox) -> None:
    """On a file system of its own that honours neither programs nor set-user-id bits, by a link."""
    real, link = staged.mkdir("real"), staged.path("link")
    os.symlink(real, link)
    env = {**staged.environment, "HOME": link}

    def stage() -> None:
        mount("tmpfs", real, "tmpfs", flags=MS_NOSUID | MS_NODEV | MS_NOEXEC, data="mode=1777")
        os.mkdir(f"{real}/project")
        os.chmod(f"{real}/project", 0o777)

    text = f"[filesystem]\nwrite = ['{link}/project']"
    assert runs(staged, text, env=env, stage=stage).stderr == ""
    assert (
        staged.attempt(text, "mkdir", f"{link}/project/new", env=env, stage=stage).outcome == "ok"
    )


# ---- Signals, sessions and parents ----


def ignore_all() -> None:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)


def block_all() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


@pytest.mark.parametrize("odd", (ignore_all, block_all))
def test_signals_that_the_caller_ignores_or_blocks_work_inside(sandbox: Sandbox, odd: Step) -> None:
    runs(sandbox, before=odd)
    for number in (signal.SIGTERM, signal.SIGPIPE, signal.SIGRTMAX):
        inside = sandbox.run("", sandbox.probe, "die", str(int(number)), before=odd)
        assert inside.returncode == 128 + number, inside


def subreaper() -> None:
    """Its own orphan comes back to it: a child that it knows nothing of."""
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if os.fork() == 0:
        if os.fork() == 0:
            os.execv("/bin/sleep", ["sleep", "0.3"])
        os._exit(0)


def test_a_callers_other_children_disturb_nothing(sandbox: Sandbox) -> None:
    """sbx inherits children by exec, as from a shell's `exec`, and never takes one for its own."""
    assert runs(sandbox, before=subreaper).stderr == ""


def test_a_session_without_a_terminal(sandbox: Sandbox) -> None:
    runs(sandbox, before=os.setsid)
    runs(sandbox, "[process]\nterminal = 'auto'", before=os.setsid)
    message = sandbox.refusal("[process]\nterminal = 'always'", before=os.setsid)
    assert "none of the standard streams is a terminal" in message


# ---- Limits ----


def limited(kind: int, value: int) -> Step:
    return lambda: resource.setrlimit(kind, (value, value))


@pytest.mark.parametrize(
    ("kind", "value", "name"),
    (
        (resource.RLIMIT_NOFILE, 4, "RLIMIT_NOFILE"),
        (resource.RLIMIT_AS, 24 << 20, "RLIMIT_AS"),
        (resource.RLIMIT_DATA, 8 << 20, "RLIMIT_DATA"),
        (resource.RLIMIT_STACK, 96 << 10, "RLIMIT_STACK"),
        (resource.RLIMIT_FSIZE, 0, "RLIMIT_FSIZE"),
    ),
)
def test_limits_too_small_for_python_are_named(
    sandbox: Sandbox, kind: int, value: int, name: str
) -> None:
    """Not by Python, whose own words and status would pass for the payload's."""
    message = sandbox.refusal("", before=limited(kind, value))
    assert "Python, which compiles profiles and explains failures, can't run" in message
    assert f"({name}) is below" in message
    assert "hint: raise it: ulimit -" in message


@pytest.mark.parametrize(
    ("kind", "value"), ((resource.RLIMIT_AS, 24 << 20), (resource.RLIMIT_DATA, 8 << 20))
)
def test_a_warm_launch_needs_little(sandbox: Sandbox, kind: int, value: int) -> None:
    done = sandbox.run("", sandbox.probe, "exit", "7")
    done = sandbox.run("", sandbox.probe, "exit", "7", before=limited(kind, value))
    assert (done.returncode, done.stderr) == (7, "")


def test_a_limit_on_the_size_of_files_is_named(sandbox: Sandbox) -> None:
    """Of a file that sbx writes for the sandbox."""
    text = "[rootfs]\ngenerate = ['hostname']"
    assert sandbox.run(text, sandbox.probe, "exit", "0").returncode == 0
    message = sandbox.refusal(text, before=limited(resource.RLIMIT_FSIZE, 0))
    assert "RLIMIT_FSIZE" in message


def test_a_limit_on_processes_is_named(as_user: Sandbox) -> None:
    for value in (0, 1, 2):
        message = as_user.refusal("", before=limited(resource.RLIMIT_NPROC, value))
        assert "no more processes may be started (RLIMIT_NPROC or pids.max)" in message
        assert "ulimit -u" in message
        assert left(as_user) == {}
