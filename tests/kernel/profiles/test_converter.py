"""The bases of programs that turn files into files: desktop-headless and converter."""

import os

import pytest

from tests.kernel.harness import Sandbox
from tests.kernel.profiles import attempts
from tests.kernel.profiles.examples import examples, run_example


@pytest.fixture
def folders(sandbox: Sandbox) -> tuple[str, str]:
    """A directory to read, closed to others, and one to write within it."""
    return sandbox.mkdir("in", 0o700), sandbox.mkdir("in/output", 0o700)


@pytest.mark.parametrize("profile", ("desktop-headless", "converter"))
def test_the_examples_of_the_bases_work(
    sandbox: Sandbox, folders: tuple[str, str], profile: str
) -> None:
    source, _ = folders
    result = sandbox.mkdir("out", 0o700)
    sandbox.write("in/names.txt", "pear\napple\n", 0o600)
    places = {"/srv/in": source, "/srv/out": result}
    for command in examples(profile):
        done = run_example(sandbox, command, places=places, cwd=source)
        assert (done.returncode, done.stderr) == (0, ""), command
    if profile == "converter":
        for path in (f"{source}/output/sorted.txt", f"{result}/sorted.txt"):
            with open(path, encoding="ascii") as file:
                assert file.read() == "apple\npear\n"
            assert os.stat(path).st_uid == sandbox.uid


def test_fonts_are_found_without_writing_a_cache(sandbox: Sandbox) -> None:
    done = sandbox.shipped("desktop-headless", "sh", "-c", "fc-list; ls ~ $XDG_RUNTIME_DIR")
    assert done.returncode == 0, done
    assert "/usr/share/fonts/" in done.stdout


def test_files_of_the_result_belong_to_the_owner_of_its_directory(
    as_root: Sandbox,
) -> None:
    source, result = as_root.mkdir("in"), as_root.mkdir("out", 0o700)
    os.chown(result, 4321, 8765)
    variables = {"input": source, "output": result}
    done = as_root.shipped("converter", "touch", f"{result}/made", variables=variables)
    assert (done.returncode, done.stderr) == (0, "")
    state = os.stat(f"{result}/made")
    assert (state.st_uid, state.st_gid) == (4321, 8765)


@pytest.mark.parametrize("profile", ("converter", "untrusted-shell", "agent"))
def test_where_ids_cannot_be_mapped_the_callers_own_one_serves(
    sandbox: Sandbox, folders: tuple[str, str], profile: str
) -> None:
    source, result = folders
    script = "touch output/made; id -u; sed -n 's/^CapBnd:\\t//p' /proc/self/status"
    done = sandbox.shipped(profile, "sh", "-c", script, variables={"ids": "self"}, cwd=source)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [str(sandbox.uid), "0" * 16]
    assert os.stat(f"{result}/made").st_uid == sandbox.uid


@pytest.mark.parametrize("profile", ("desktop-headless", "converter"))
def test_a_converter_reads_one_directory_and_reaches_nothing(
    sandbox: Sandbox, folders: tuple[str, str], profile: str
) -> None:
    source, _ = folders
    other = sandbox.write("elsewhere/letter", "private", 0o600)
    shown = [] if profile == "desktop-headless" else [source]
    attempts.assert_refused(sandbox, profile, cwd=source, unreadable=[other], unchangeable=shown)


def test_the_home_is_no_input(sandbox: Sandbox) -> None:
    home = sandbox.mkdir("in/home", 0o700)
    sandbox.mkdir("in/output")
    sandbox.mkdir("in/home/output")
    sandbox.write("in/home/key", "private", 0o600)
    env = {**sandbox.environment, "HOME": home}
    refused = sandbox.shipped("converter", "true", cwd=home, env=env)
    assert refused.returncode == 125
    assert f"'{home}' is denied by filesystem.deny" in refused.stderr
    look = ("cat", f"{home}/key")
    assert sandbox.program(look, env=env).stdout == "private"
    covered = sandbox.shipped("converter", *look, cwd=os.path.dirname(home), env=env)
    assert "Permission denied" in covered.stderr
    without = {"PATH": sandbox.environment["PATH"], "XDG_CACHE_HOME": home}
    done = sandbox.shipped("converter", "true", cwd=os.path.dirname(home), env=without)
    assert done.returncode == 0, done


def test_without_its_directories_a_converter_says_which_one_is_missing(sandbox: Sandbox) -> None:
    source = sandbox.mkdir("in")
    done = sandbox.shipped("converter", "true", cwd=source)
    assert done.returncode == 125
    assert f"'{source}/output' does not exist" in done.stderr
    assert "hint: create it" in done.stderr


@pytest.mark.parametrize("profile", ("converter", "ffmpeg", "pdf", "chromium"))
def test_no_device_of_the_hosts_is_there(
    sandbox: Sandbox, folders: tuple[str, str], profile: str
) -> None:
    source, _ = folders
    done = sandbox.shipped(profile, "ls", "/dev", cwd=source)
    names = ["fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout"]
    assert done.stdout.split() == [*names, "tty", "urandom", "zero"], done
