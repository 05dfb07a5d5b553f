"""The runtime directory is in no sandbox, also where the profile shows what it lies in."""

import os
import shutil
import socket

import pytest

from tests.kernel.harness import Answer, Sandbox, outcomes
from tests.kernel.live import named
from tests.kernel.pieces import bind

# As the caller itself, whom a supervisor listens to.
SELF = 'identity.map = "self"\n'


@pytest.fixture
def place(shared_dir: str) -> str:
    """A runtime directory of the test's own."""
    path = os.path.join(shared_dir, "place")
    os.makedirs(path, 0o755)
    return path


def tried(sandbox: Sandbox, text: str, *paths: str, **how: object) -> list[Answer]:
    return sandbox.attempts(SELF + text, *(("unix", path) for path in paths), **how)


@pytest.mark.parametrize("kind", ("read", "write", "root", "bind", "alias", "overlay"))
def test_a_payload_reaches_no_supervisor(sandbox: Sandbox, kind: str) -> None:
    """It does reach another socket beside it."""
    beside = sandbox.mkdir("place/beside")
    control = os.path.join(sandbox.runtime, "web", "control")
    alias = sandbox.path("place/alias")
    os.symlink(sandbox.directory, alias)
    texts = {
        "read": f'filesystem.read = ["{sandbox.place}", "{beside}"]\n',
        "write": f'filesystem.write = ["{sandbox.place}", "{beside}"]\n'
        f'filesystem.protect = ["{sandbox.home}"]\n',
        "root": 'filesystem.read = ["/"]\n',
        "bind": bind(sandbox.directory, "/seen"),
        "alias": bind(alias, "/seen"),
        "overlay": f"[[mounts]]\ntype = 'overlay'\nlower = ['{sandbox.directory}']\ntarget = '/seen'\n",
    }
    above = "/seen" if kind in {"bind", "alias", "overlay"} else sandbox.directory
    seen = above + control.removeprefix(sandbox.directory)
    near = f"{above}/place/beside/socket"
    with named(sandbox, "web"), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(f"{beside}/socket")
        sandbox.own(f"{beside}/socket")
        listener.listen()
        # Another type of socket: the way there is open, and that is all that counts.
        assert outcomes(sandbox.outside(("unix", control))) == ["EPROTOTYPE"]
        found = outcomes(tried(sandbox, texts[kind], seen, near))
        # A file system of its own has no socket of another's.
        assert found == ["EACCES", "ECONNREFUSED" if kind == "overlay" else "ok"]
        warm = outcomes(tried(sandbox, texts[kind], seen, warm=True))
        assert warm == ["EACCES"]


def test_one_that_isnt_there_yet_isnt_seen_later(sandbox: Sandbox) -> None:
    """Not with a plan that was kept, either."""
    text = f'filesystem.read = ["{sandbox.place}"]\n'
    listing = ("open", sandbox.runtime, "r")
    assert outcomes(sandbox.attempts(SELF + text, listing)) == ["EACCES"]
    shutil.rmtree(sandbox.runtime)
    assert outcomes(sandbox.attempts(SELF + text, listing, warm=True)) == ["EACCES"]
    state = os.stat(sandbox.runtime)
    assert (state.st_uid, state.st_mode & 0o777) == (sandbox.uid, 0o700)


def test_another_runtime_directory_makes_another_plan(sandbox: Sandbox) -> None:
    """A kept one covers only what it was made for."""
    other = os.path.join(sandbox.place, "other")
    os.mkdir(other)
    sandbox.own(other)
    text = f'filesystem.read = ["{sandbox.place}"]\n'
    first = sandbox.attempt(SELF + text, "open", other, "r")
    assert first.outcome == "ok"
    environment = sandbox.environment | {"SBX_RUNTIME_DIR": other}
    second = sandbox.attempt(SELF + text, "open", other, "r", env=environment)
    assert second.outcome == "EACCES"


def test_a_statement_that_names_it_is_an_error(sandbox: Sandbox) -> None:
    refusal = sandbox.refusal(f'filesystem.read = ["{sandbox.runtime}"]\n')
    assert "belongs to sbx's runtime directory" in refusal
