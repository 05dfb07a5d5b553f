"""Where the project, the profile and the program lie, and what they are called."""

import os
import subprocess
from typing import Any

import pytest

from tests.kernel.harness import MS_BIND, NOT_ROOT, Sandbox, mount

PROJECT = """\
schema = 1
[profile]
extends = "minimal"
[process]
cwd = "${profile_dir}"
[filesystem]
write = ["${profile_dir}"]
"""
PLAIN = "schema = 1\nprofile.extends = 'minimal'\n"
NOT_UTF8 = "odd-\udcff\udce9"
LONG = "d" * 200


def project(sandbox: Sandbox, *names: str, text: str = PROJECT) -> str:
    """A directory of the caller's with a profile app.toml in it."""
    directory = sandbox.mkdir(os.path.join(*names))
    path = os.path.join(directory, "app.toml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    sandbox.own(path)
    return directory


def run(sandbox: Sandbox, name: str, *words: str, **how: Any) -> subprocess.CompletedProcess[str]:
    return sandbox.program([sandbox.launcher, "run", "-p", name, "--", *words], **how)


@pytest.mark.parametrize(
    "name", ("with blanks", "a'b\"c", "größe", "new\nline", "-p", "$HOME", "%n{}")
)
def test_a_project_may_have_any_name(sandbox: Sandbox, name: str) -> None:
    directory = project(sandbox, name)
    for profile in ("app.toml", f"{directory}/app.toml"):
        for _ in range(2):
            done = run(sandbox, profile, "pwd", cwd=directory)
            assert (done.returncode, done.stdout) == (0, f"{directory}\n"), done


def test_bytes_that_are_no_text_may_stand_in_all_but_a_profiles_values(sandbox: Sandbox) -> None:
    """In the profile's own path, the caller's directory, arguments and environment."""
    directory = project(sandbox, NOT_UTF8, text=PLAIN)
    env = {**sandbox.environment, "HOME": f"{sandbox.home}/{NOT_UTF8}"}
    for profile in ("app.toml", f"{directory}/app.toml"):
        for _ in range(2):
            done = run(sandbox, profile, "echo", NOT_UTF8, cwd=directory, env=env)
            assert (done.returncode, done.stdout, done.stderr) == (0, f"{NOT_UTF8}\n", "")
    done = run(sandbox, f"{directory}/app.toml", NOT_UTF8)
    assert done.returncode == 127
    assert "there is no command 'odd-\\udcff\\udce9' in the sandbox" in done.stderr


def test_bytes_that_are_no_text_in_a_profiles_values_are_told(sandbox: Sandbox) -> None:
    directory = project(sandbox, NOT_UTF8)
    done = run(sandbox, "app.toml", "true", cwd=directory)
    assert done.returncode == 125
    assert "filesystem.write[0]: holds bytes that aren't UTF-8" in done.stderr
    assert "rename it, or bind it to another name" in done.stderr


def test_such_a_project_can_be_bound_to_another_name(staged: Sandbox) -> None:
    directory = project(staged, NOT_UTF8)
    other = staged.mkdir("project")

    def stage() -> None:
        mount(directory, other, flags=MS_BIND)

    done = run(staged, f"{other}/app.toml", "ls", stage=stage)
    assert (done.returncode, done.stdout) == (0, "app.toml\n"), done


def test_directories_that_can_only_be_passed_through(sandbox: Sandbox) -> None:
    """Mode 0711, and another's, all the way."""
    directory = project(sandbox, "one", "two", "project")
    for name in ("one", "one/two"):
        os.chmod(sandbox.path(name), 0o711)
        if os.geteuid() == 0:
            os.chown(sandbox.path(name), 0, 0)
    for _ in range(2):
        done = run(sandbox, "app.toml", "ls", cwd=directory)
        assert (done.returncode, done.stdout) == (0, "app.toml\n"), done


def test_a_directory_that_cannot_be_passed_is_named(as_user: Sandbox) -> None:
    """By a user: root passes through every directory."""
    if os.geteuid() != 0:
        pytest.skip(NOT_ROOT)
    directory = project(as_user, "closed", "project")
    os.chown(as_user.path("closed"), 0, 0)
    os.chmod(as_user.path("closed"), 0o700)
    done = run(as_user, f"{directory}/app.toml", "true")
    assert done.returncode == 125
    assert f"{directory}/app.toml: cannot be read: Permission denied" in done.stderr
    assert "those of a directory above it, keep this user out" in done.stderr
    path = as_user.profile(f"[filesystem]\nread = ['{directory}']")
    done = run(as_user, path, "true")
    assert done.returncode == 125
    assert f"'{directory}' can't be reached by this user" in done.stderr


def deep(sandbox: Sandbox, length: int) -> int:
    """A descriptor of a directory whose path has so many bytes, with a profile in it."""
    path, fd = sandbox.directory, os.open(sandbox.directory, os.O_RDONLY)
    while len(path) < length:
        rest = length - len(path) - 1
        name = "d" * (rest if rest <= 200 else min(200, rest - 2))
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        path, fd = f"{path}/{name}", below
        if sandbox.user is not None:
            os.chown(fd, sandbox.user, sandbox.user)
    with open(os.open("app.toml", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=fd), "w") as file:
        file.write(PROJECT)
    return fd


@pytest.mark.parametrize(("length", "status"), ((3000, 0), (4086, 0), (4090, 125), (4300, 125)))
def test_a_path_may_be_as_long_as_the_kernel_takes(
    sandbox: Sandbox, length: int, status: int
) -> None:
    """4095 bytes with the profile's own name; beyond that the message is bounded all the same."""
    fd = deep(sandbox, length)
    try:
        done = run(sandbox, "app.toml", "pwd", cwd=None, before=lambda: os.fchdir(fd))
        assert done.returncode == status, done
        if status:
            assert "app.toml: cannot be read: File name too long" in done.stderr
            assert len(done.stderr) < 5000
        else:
            assert len(done.stdout) == length + 1
        plain = run(sandbox, "minimal", "true", cwd=None, before=lambda: os.fchdir(fd))
        assert (plain.returncode, plain.stderr) == (0, "")
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("words", "status"),
    (
        (("run", "-p", "/" + "x/" * 6000, "--", "true"), 125),
        (("run", "-p", "x" * 9000 + ".toml", "--", "true"), 125),
        (("run", "-p", "minimal", "--", "/" + "x/" * 6000), 127),
        (("run", "-p", "minimal", "--", "x" * 9000), 127),
        (("run", "-p", "minimal", "--", "x" * 300), 126),
        (("check", "/" + "x/" * 6000), 125),
    ),
    ids=("profile", "name", "path", "command", "file", "check"),
)
def test_no_name_is_too_long_for_a_bounded_message(
    sandbox: Sandbox, words: tuple[str, ...], status: int
) -> None:
    done = sandbox.program([sandbox.launcher, *words])
    assert done.returncode == status, done.stderr[-500:]
    assert done.stderr.startswith("sbx: error: ")
    assert len(done.stderr) < 5000


def test_a_home_that_is_too_long_for_a_cache(as_user: Sandbox) -> None:
    env = {**as_user.environment, "HOME": as_user.directory + "/h" * 3000}
    done = run(as_user, "minimal", "true", env=env)
    assert done.returncode == 0
    assert "the compiled plan is not kept" in done.stderr
    assert "File name too long" in done.stderr
    assert not os.path.exists(as_user.path("h"))


def test_a_user_that_no_file_knows(staged: Sandbox) -> None:
    """No entry in /etc/passwd outside; inside there is one all the same."""
    empty = staged.write("empty", "")

    def stage() -> None:
        for name in ("/etc/passwd", "/etc/group"):
            mount(empty, name, flags=MS_BIND)

    for _ in range(2):
        done = run(staged, "minimal", "id", "-un", stage=stage)
        assert (done.returncode, done.stdout, done.stderr) == (0, "sandbox\n", "")
    assert staged.program([staged.launcher, "doctor"], stage=stage).returncode == 0
