"""Records that another user has written for root to read: they hold nobody up and lead nowhere."""

import fcntl
import os
import shutil
import socket
import struct
from collections.abc import Iterator

import pytest

from sandbox.live import cgroups
from tests.kernel.harness import Sandbox
from tests.kernel.live import sbx

RECORD = {
    "name": "forged",
    "profile": "/p\x1b[2J.toml",
    "supervisor": "1",
    "first": "1",
    "has_init": "1",
    "started_ns": "1",
    "begun_ns": "1",
    "plan_fd": "3",
    "argv": "\x1b]0;mine\x07",
}


class Forger:
    """Another user's runtime directory, in the place that sbx chooses by itself."""

    def __init__(self, sandbox: Sandbox, place: str) -> None:
        self.sandbox = sandbox
        self.place = place
        self.held: list[int] = []

    def forge(self, name: str, /, **fields: str) -> str:
        """The directory of a sandbox that seems to live."""
        path = os.path.join(self.place, name)
        os.mkdir(path, 0o700)
        self.write(f"{name}/record", **{**RECORD, **fields})
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.fcntl(fd, 37, struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0))
        self.held.append(fd)
        self.sandbox.own(path)
        return path

    def write(self, name: str, /, **fields: str) -> None:
        path = os.path.join(self.place, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write("".join(f"{key}={value}\0" for key, value in fields.items()))
        self.sandbox.own(path)


@pytest.fixture
def forger(as_user: Sandbox) -> Iterator[Forger]:
    above = f"/run/user/{as_user.uid}"
    place = f"{above}/sbx" if os.path.isdir(above) else f"/tmp/sbx-{as_user.uid}"
    had_one = os.path.isdir(place)
    os.makedirs(place, 0o700, exist_ok=True)
    as_user.own(place)
    made = Forger(as_user, place)
    yield made
    for fd in made.held:
        os.close(fd)
    for name in os.listdir(place):
        if name.startswith("forged"):
            shutil.rmtree(os.path.join(place, name))
    if not had_one:
        shutil.rmtree(place)


@pytest.mark.parametrize("name", ("pipe", "cgroup.freeze"))
def test_what_a_mark_names_is_not_waited_for(forger: Forger, as_root: Sandbox, name: str) -> None:
    """To open a pipe would wait for another to do so, for ever."""
    path = forger.forge("forged")
    os.mkfifo(os.path.join(path, name), 0o666)
    forger.write("forged/paused", path=path, file=name, thawed="0")
    for words in (("ps", "--all-users", "--json"), ("gc", "--dry-run")):
        done = sbx(as_root, *words, timeout=10)
        assert (done.returncode, done.stderr) == (0, ""), done
    assert '"name": "forged"' in sbx(as_root, "ps", "--all-users", "--json").stdout


FIGURES = ("9" * 5000, "\u00b2", "-1", "1e9", "")


def test_a_figure_that_is_none_is_left_out(forger: Forger, as_root: Sandbox) -> None:
    for number, text in enumerate(FIGURES):
        name = f"forged-{number}"
        path = forger.forge(name, cgroup=os.path.join(forger.place, name))
        with open(os.path.join(path, "memory.current"), "w", encoding="utf-8") as file:
            file.write(text)
    done = sbx(as_root, "ps", "--all-users")
    assert (done.returncode, done.stderr) == (0, ""), done
    lines = [line for line in done.stdout.splitlines() if line.startswith("forged-")]
    assert len(lines) == len(FIGURES)
    assert all(" - " in line for line in lines)
    assert "\x1b" not in done.stdout


def test_a_file_without_an_end_is_not_read_to_its_end(shared_dir: str) -> None:
    path = os.path.join(shared_dir, "memory.current")
    with open(path, "wb") as file:
        file.truncate(64 << 20)
    assert len(cgroups.read(path) or "") == 16 << 20


def test_nothing_is_said_to_a_socket_of_another_user(as_user: Sandbox, as_root: Sandbox) -> None:
    """Who is first to make /tmp/sbx-UID would get the streams of those that `sbx exec` there."""
    place = as_root.mkdir("taken")
    os.mkdir(os.path.join(place, "web"), 0o755)
    with open(os.path.join(place, "web/record"), "w", encoding="utf-8") as file:
        file.write("".join(f"{key}={value}\0" for key, value in RECORD.items()))
    os.chmod(file.name, 0o644)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(os.path.join(place, "web/control"))
        os.chmod(os.path.join(place, "web/control"), 0o666)
        listener.listen()
        listener.setblocking(False)
        environment = as_user.environment | {"SBX_RUNTIME_DIR": place}
        # An option that the launcher leaves to Python, and none.
        for options in (("--cwd=/",), ("--cwd", "relative/../x"), ()):
            words = ("exec", *options, "web", "/bin/true")
            assert sbx(as_user, *words, env=environment).returncode == 125
        for words in (("kill", "web"), ("stop", "web"), ("wait", "web"), ("inspect", "web")):
            assert sbx(as_user, *words, env=environment).returncode == 125
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_exec_waits_for_nothing_that_a_dead_sandbox_names(sandbox: Sandbox) -> None:
    """Its supervisor's number may be another's by now."""
    pipe = sandbox.path("pipe")
    os.mkfifo(pipe, 0o600)
    sandbox.own(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    place = os.path.join(sandbox.runtime, "forged-dead")
    os.mkdir(place, 0o700)
    try:
        holder = sandbox.popen(["/usr/bin/sleep", "60"], pass_fds=(reader,))
        with holder, open(os.path.join(place, "record"), "w", encoding="utf-8") as file:
            fields = RECORD | {"supervisor": str(holder.pid), "plan_fd": str(reader)}
            file.write("".join(f"{key}={value}\0" for key, value in fields.items()))
            file.close()
            sandbox.own(place, file.name)
            done = sbx(sandbox, "exec", "forged-dead", "/bin/true", timeout=10)
            assert done.returncode == 125
            assert "doesn't answer" in done.stderr
    finally:
        os.close(reader)
        shutil.rmtree(place)
