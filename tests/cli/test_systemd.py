"""`sbx systemd` as it is typed; with a real manager behind it in the emulated machine."""

import json
import os

import pytest

from sandbox.systemd.manager import Control
from tests.conftest import Sbx


def quoted(path: str) -> str:
    """As systemd wants a word with spaces; the tree that is tested may lie anywhere."""
    return f'"{path}"' if " " in path else path


def test_a_unit_names_the_launcher_and_the_profile_by_their_paths(sbx: Sbx) -> None:
    path = os.path.join(sbx.home, "my app.toml")
    with open(path, "w", encoding="utf-8") as file:
        file.write("schema = 1\n[profile]\nname = 'app'\ndescription = 'Runs 100% well.'\n")
        file.write("[process]\ncommand = ['true']\n")
    done = sbx("systemd", "unit", "./my app.toml", "--set", "a=b", cwd=sbx.home)
    assert done.returncode == 125
    assert "the profile has no variable 'a'" in done.stderr
    done = sbx("systemd", "unit", "./my app.toml", cwd=sbx.home)
    assert (done.returncode, done.stderr) == (0, "")
    launcher = quoted(sbx.path)
    assert f'\nExecStart={launcher} run --name app --profile "{path}"\n' in done.stdout
    assert "\nDescription=Runs 100%% well.\n" in done.stdout
    assert "WantedBy=multi-user.target" in done.stdout


def test_json_has_every_unit(sbx: Sbx) -> None:
    path = os.path.join(sbx.home, "app.toml")
    with open(path, "w", encoding="utf-8") as file:
        file.write("schema = 1\n[process]\ncommand = ['true']\n[service]\nsockets = ['http']\n")
    done = sbx("systemd", "unit", "--json", "--user", "--listen", "http=8080", path)
    units = {unit["name"]: unit["text"] for unit in json.loads(done.stdout)}
    assert list(units) == ["app.service", "app.socket"]
    assert "ListenStream=8080" in units["app.socket"]
    plain = sbx("systemd", "unit", "--user", "--listen", "http=8080", path).stdout
    for name, text in units.items():
        assert f"# {sbx.home}/.config/systemd/user/{name}\n{text}" in plain


@pytest.mark.parametrize(
    ("words", "said"),
    (
        (["unit", "nginx", "--name", "a b"], "'a b' is no name for a service"),
        (["unit", "nginx", "--name", ".x"], "'.x' is no name for a service"),
        (["unit", "nginx", "--setenv", "X"], "--setenv: 'X' is not NAME=VALUE"),
        (["unit", "nginx", "--listen", "http=80"], "the profile expects no socket of that name"),
        (["unit", "nginx", "--user", "--run-as", "x"], "--run-as is for services of the system"),
        (["unit", "nginx", "--run-as", "no-such-user"], "there is no user 'no-such-user'"),
        (["unit", "nginx", "--systemd-version", "246"], "systemd 246 lacks"),
        (["unit", "minimal"], "the profile has no command"),
        (["unit", "no-such-profile"], "no-such-profile"),
        (["remove", "no-such-service"], "has no unit of 'no-such-service'"),
        (["frob"], "no such command 'frob'"),
    ),
)
def test_what_is_wrong_is_said(sbx: Sbx, words: list[str], said: str) -> None:
    done = sbx("systemd", *words)
    assert (done.returncode, done.stdout) == (125, "")
    assert said in done.stderr


def test_without_a_manager_nothing_is_installed(sbx: Sbx) -> None:
    # XDG_RUNTIME_DIR, where a user's manager would listen, is the test's own.
    done = sbx("systemd", "install", "--user", "nginx", "--name", "web")
    assert (done.returncode, done.stdout) == (125, "")
    assert "the user's systemd doesn't answer" in done.stderr
    assert not os.path.exists(os.path.join(sbx.home, ".config", "systemd"))


def test_a_host_without_systemctl_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from sandbox.errors import SandboxError
    from sandbox.systemd import manager

    monkeypatch.setenv("PATH", "/nowhere")
    assert manager.version() == 0
    with pytest.raises(SandboxError, match="there is no systemctl here"):
        Control(user=False).require()


def test_the_template_runs_profiles_of_sbx_directory(sbx: Sbx) -> None:
    done = sbx("systemd", "template")
    assert (done.returncode, done.stderr) == (0, "")
    launcher = quoted(sbx.path)
    assert f"\nExecStart={launcher} run --name %i --profile %E/sbx/%i.toml\n" in done.stdout
