"""The profile untrusted-shell: a person works in a directory, and finds nothing else."""

import os
import subprocess
from collections.abc import Iterator
from typing import Final

import pytest

from tests.kernel.harness import Sandbox
from tests.kernel.profiles import attempts
from tests.kernel.profiles.examples import examples, run_example
from tests.kernel.terminals import Terminal

# TIOCSTI, by which a program types into its terminal; the answer is an error's name or "typed".
PUSH: Final = """\
import errno, fcntl, termios
try:
    fcntl.ioctl(0, termios.TIOCSTI, b"x")
    print("typed")
except OSError as error:
    print(errno.errorcode[error.errno])
"""


@pytest.fixture
def project(sandbox: Sandbox) -> str:
    """A directory closed to others, with a program and a Makefile."""
    project = sandbox.mkdir("project", 0o700)
    sandbox.write("project/run", "#!/bin/sh\necho it runs\n", 0o755)
    sandbox.write("project/Makefile", "all:\n\t./run > result\n", 0o600)
    return project


@pytest.fixture
def terminal(sandbox: Sandbox, project: str) -> Iterator[Terminal]:
    """A person in front of the profile's own command, who has set a prompt."""
    env = {**sandbox.environment, "TERM": "dumb"}
    terminal = Terminal(sandbox, sandbox.shipped_arguments("untrusted-shell"), cwd=project, env=env)
    terminal.wait_for(r"[$#] $")
    terminal.type("bind 'set enable-bracketed-paste off'; PS1='rea''dy> '\n")
    terminal.wait_for("ready> $")
    yield terminal
    terminal.close()


def test_a_person_works_in_the_directory(
    sandbox: Sandbox, project: str, terminal: Terminal
) -> None:
    assert terminal.command("pwd; tty") == f"{project}\n/dev/pts/0"
    assert terminal.command("./run | tee result; mkdir new; mv result new/") == "it runs"
    assert terminal.command("cat > code.py <<< 'print(6 * 7)'; python3 code.py") == "42"
    assert "Terminated" in terminal.command("sleep 60 & kill %1; wait; jobs")
    assert terminal.command("cd ~; pwd; ls -A; touch kept; ls") == f"{sandbox.home}\nkept"
    terminal.type("exit 3\n")
    assert terminal.end() == 3
    assert terminal.is_restored()
    assert sorted(os.listdir(project)) == ["Makefile", "code.py", "new", "run"]
    assert os.stat(f"{project}/new/result").st_uid == sandbox.uid
    assert not os.path.exists(f"{sandbox.home}/kept")


def test_the_examples_work(sandbox: Sandbox, project: str) -> None:
    shell, make = examples("untrusted-shell")
    done = run_example(sandbox, shell, cwd=project, stdin="./run\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "it runs\n", "")
    done = run_example(sandbox, make, cwd=project)
    assert done.returncode == 0, done
    with open(f"{project}/result", encoding="ascii") as file:
        assert file.read() == "it runs\n"


def test_nothing_is_typed_into_the_terminal(
    sandbox: Sandbox, project: str, terminal: Terminal
) -> None:
    """Neither into the sandbox's own, nor into the caller's where that is handed on."""
    script = sandbox.write("project/push.py", PUSH)
    assert terminal.command(f"python3 {script}") == "EPERM"
    text = "schema = 1\nprofile.extends = 'untrusted-shell'\nprocess.terminal = 'never'\n"
    words = ("python3", script)
    handed = sandbox.shipped_arguments(sandbox.write("handed.toml", text), *words)
    for arguments, answer in ((handed, "EPERM"), (["/usr/bin/python3", script], None)):
        person = Terminal(sandbox, arguments, cwd=project)
        assert person.end() == 0
        # Outside a sysctl decides (dev.tty.legacy_tiocsti), and it has another error.
        assert answer in person.seen if answer else "EPERM" not in person.seen
        person.close()


def test_nothing_else_of_the_users_is_in_reach(sandbox: Sandbox, project: str) -> None:
    """The home is another one, so writing there goes well and changes nothing outside."""
    before = sorted(os.listdir(sandbox.home))
    secret = sandbox.write("elsewhere/secret", "private", 0o600)
    attempts.assert_refused(
        sandbox,
        "untrusted-shell",
        cwd=project,
        granted=[attempts.WRITE_HOME],
        unreadable=[secret, os.path.dirname(secret)],
    )
    assert sorted(os.listdir(sandbox.home)) == before
    assert sorted(os.listdir(sandbox.directory)) == ["elsewhere", "project"]


def test_it_is_refused_where_the_directory_is_the_home(sandbox: Sandbox) -> None:
    done = sandbox.shipped("untrusted-shell", "true", cwd=sandbox.home)
    assert done.returncode == 125
    assert f"'{sandbox.home}' is taken by filesystem.tmpfs" in done.stderr


def test_above_the_home_the_home_is_another_one(sandbox: Sandbox) -> None:
    """The caller's files beside the home are shown: they are in the current directory."""
    above = os.path.dirname(sandbox.home)
    done = sandbox.shipped("untrusted-shell", "ls", "-A", sandbox.home, cwd=above)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_root_starts_makes_files_of_the_directorys_owner(as_root: Sandbox) -> None:
    project = as_root.mkdir("project", 0o700)
    os.chown(project, 4321, 8765)
    done = as_root.shipped("untrusted-shell", "sh", "-c", "touch made; id -u", cwd=project)
    assert (done.returncode, done.stderr) == (0, "")
    state = os.stat(f"{project}/made")
    assert (state.st_uid, state.st_gid) == (4321, 8765)


def test_programs_of_the_work_run_from_the_directory_and_from_memory(
    sandbox: Sandbox, project: str
) -> None:
    script = "cp /bin/true . && ./true && cp true /tmp && /tmp/true && cp true ~ && ~/true"
    done = sandbox.shipped("untrusted-shell", "sh", "-ec", script, cwd=project)
    assert (done.returncode, done.stderr) == (0, "")
    tries = subprocess.list2cmdline(["cp", "/bin/true", "/dev/shm/"])
    done = sandbox.shipped("untrusted-shell", "sh", "-c", f"{tries} && /dev/shm/true", cwd=project)
    assert done.returncode == 126
