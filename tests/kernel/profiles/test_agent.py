"""The profile agent: it does an agent's work in a repository, and finds no key and plants no program."""

import contextlib
import http.server
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from typing import Final

import pytest

from tests.applications import application
from tests.kernel.harness import Sandbox
from tests.kernel.profiles import attempts
from tests.kernel.profiles.examples import examples, run_example

SECRETS: Final = (
    ".aws/credentials",
    ".cargo/credentials.toml",
    ".config/gcloud/tokens.db",
    ".config/gh/hosts.yml",
    ".config/git/credentials",
    ".config/google-chrome/Default/Cookies",
    ".docker/config.json",
    ".git-credentials",
    ".gnupg/private",
    ".kube/config",
    ".mozilla/firefox/logins.json",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".ssh/id_ed25519",
)
# What a user's tools run by themselves, as far as the project of the tests has it.
KEPT: Final = (
    ".git/hooks",
    ".git/config",
    ".vscode",
    ".claude",
    ".sbx",
    ".pre-commit-config.yaml",
)
# A program's attempts: to read each path, or to change or replace it; one answer a line.
READ: Final = """\
import errno, os, sys
for path in sys.argv[1:]:
    try:
        with open(path) as file:
            print(repr(file.read()))
    except OSError as error:
        print(errno.errorcode[error.errno])
"""
PLANT: Final = """\
import errno, os, sys
def answer(call):
    try:
        call()
        return "ok"
    except OSError as error:
        return errno.errorcode[error.errno]
def write(path):
    with open(path, "a") as file:
        file.write("planted")
for path in sys.argv[1:]:
    inner = os.path.join(path, "planted") if os.path.isdir(path) else path
    print(answer(lambda: write(inner)), answer(lambda: os.rename(path, path + ".away")), end=" ")
    above = os.path.dirname(path)
    print(answer(lambda: os.rename(above, above + ".away")))
"""
WORK: Final = """\
set -eu
git status --short
git checkout -q -b feature
printf 'def answer():\\n    return 6 * 7\\n' > code.py
python3 -c 'import code_of_mine' 2>/dev/null && exit 1
python3 -c 'import sys; sys.path.insert(0, "."); import importlib; print(importlib.import_module("code").answer())'
sed -i 's/one/two/' notes.txt
printf '#!/bin/sh\\necho a program of the project\\n' > run.sh
chmod +x run.sh
./run.sh
git add -A
git commit -q -m 'work of an agent'
git checkout -q -
git merge -q feature
git log --format=%s
git diff HEAD~1 --stat | tail -n 1
curl -sS -m 10 "$1"
"""


class _Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"a page\n")

    def log_message(self, *words: object) -> None:
        """Says nothing."""


@pytest.fixture
def project(sandbox: Sandbox) -> str:
    """A repository of the caller's with one commit, secrets, and settings of tools."""
    application("git")
    project = sandbox.mkdir("project", 0o700)
    git(sandbox, project, "init", "-q", "-b", "main")
    sandbox.write("project/notes.txt", "note one\n")
    sandbox.write("project/.gitignore", ".env\n__pycache__\n")
    for name in (".vscode/tasks.json", ".claude/settings.json", ".sbx/own.toml"):
        sandbox.mkdir(f"project/{os.path.dirname(name)}")
        sandbox.write(f"project/{name}", "{}\n")
    sandbox.write("project/.pre-commit-config.yaml", "repos: []\n")
    sandbox.write("project/.env", "TOKEN=in-the-project\n", 0o600)
    git(sandbox, project, "add", "-A")
    git(sandbox, project, "commit", "-q", "-m", "first")
    return project


def git(sandbox: Sandbox, project: str, *words: str) -> str:
    """Git outside, as the caller."""
    who = ("-c", "user.name=Someone", "-c", "user.email=someone@example.org")
    done = sandbox.program(["/usr/bin/git", *who, *words], cwd=project)
    assert done.returncode == 0, done
    return done.stdout


@pytest.fixture
def settings(sandbox: Sandbox) -> Iterator[None]:
    """The caller's .gitconfig, in the home that the tests share."""
    path = f"{sandbox.home}/.gitconfig"
    with open(path, "w", encoding="ascii") as file:
        file.write("[user]\nname = Someone\nemail = someone@example.org\n")
    os.chmod(path, 0o600)
    sandbox.own(path)
    yield
    os.remove(path)


@pytest.fixture
def home(sandbox: Sandbox) -> str:
    """A home with keys and credentials, each readable to the caller alone."""
    home = sandbox.mkdir("home", 0o700)
    for name in (*SECRETS, ".config/open/settings"):
        path = sandbox.write(f"home/{name}", "a secret\n", 0o600)
        while (path := os.path.dirname(path)) != home:
            sandbox.own(path)
    return home


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """The address of a page on the host's loopback."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def agent(
    sandbox: Sandbox, project: str, *words: str, profile: str = "agent", home: str | None = None
) -> subprocess.CompletedProcess[str]:
    env = {**sandbox.environment, **({"HOME": home} if home else {})}
    return sandbox.shipped(profile, *words, cwd=project, env=env)


def over(sandbox: Sandbox, text: str) -> str:
    """A profile on top of agent."""
    return sandbox.write("mine.toml", f"schema = 1\nprofile.extends = 'agent'\n{text}")


# ---- Work ----


@pytest.mark.usefixtures("settings")
def test_it_does_an_agents_work(sandbox: Sandbox, project: str) -> None:
    application("curl")
    with serving() as address:
        done = agent(sandbox, project, "sh", "-c", WORK, "work", address)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "42",
        "a program of the project",
        "work of an agent",
        "first",
        " 3 files changed, 5 insertions(+), 1 deletion(-)",
        "a page",
    ]
    assert git(sandbox, project, "log", "-1", "--format=%an %s") == "Someone work of an agent\n"
    assert git(sandbox, project, "status", "--short") == ""
    git(sandbox, project, "fsck", "--strict")
    made = [f"{project}/code.py", f"{project}/.git/index", f"{project}/.git/refs/heads/feature"]
    assert {os.stat(path).st_uid for path in made} == {sandbox.uid}


def test_node_runs_in_the_project(sandbox: Sandbox, project: str) -> None:
    application("node")
    script = "require('fs').writeFileSync('made', String(6 * 7)); console.log(process.cwd())"
    done = agent(sandbox, project, "node", "-e", script)
    assert (done.returncode, done.stdout) == (0, f"{project}\n"), done
    assert os.stat(f"{project}/made").st_uid == sandbox.uid


@pytest.mark.usefixtures("settings")
def test_the_examples_work(sandbox: Sandbox, project: str) -> None:
    shell, command = examples("agent")
    done = run_example(sandbox, shell, cwd=project, stdin="git log --format=%s; exit 3\n")
    assert (done.returncode, done.stdout, done.stderr) == (3, "first\n", "")
    done = run_example(sandbox, command, cwd=project)
    assert (done.returncode, done.stderr) == (0, "")


def test_its_own_directory_and_key_are_what_the_variables_name(
    sandbox: Sandbox, project: str, home: str
) -> None:
    os.mkdir(f"{home}/.config/assistant", 0o700)
    sandbox.own(f"{home}/.config/assistant")
    env = {**sandbox.environment, "HOME": home, "ASSISTANT_KEY": "a key", "OTHER_KEY": "another"}
    script = 'echo "$ASSISTANT_KEY/${OTHER_KEY-}"; echo kept > ~/.config/assistant/state'
    variables = {"state": f"{home}/.config/assistant", "key": "ASSISTANT_KEY"}
    done = sandbox.shipped("agent", "sh", "-c", script, variables=variables, cwd=project, env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, "a key/\n", "")
    with open(f"{home}/.config/assistant/state", encoding="ascii") as file:
        assert file.read() == "kept\n"


# ---- Secrets ----


def test_nothing_but_the_project_and_the_network_is_in_reach(
    sandbox: Sandbox, project: str
) -> None:
    secret = sandbox.write("elsewhere/secret", "private", 0o600)
    attempts.assert_refused(
        sandbox,
        "agent",
        cwd=project,
        granted=[attempts.HOST_LOOPBACK, attempts.WRITE_HOME],
        unreadable=[secret, os.path.dirname(secret)],
        unchangeable=[f"{project}/{name}" for name in KEPT],
    )


def test_sockets_that_are_as_good_as_a_login_are_not_there(sandbox: Sandbox, project: str) -> None:
    """An agent for keys in /tmp, as ssh-agent makes it, named by the environment."""
    sandbox.mkdir("agent.1", 0o700)
    path = sandbox.path("agent.1", "socket")
    env = {**sandbox.environment, "SSH_AUTH_SOCK": path}
    script = (
        "import errno, os, socket, sys\n"
        "print(os.environ.get('SSH_AUTH_SOCK'))\n"
        "try:\n    socket.socket(socket.AF_UNIX).connect(sys.argv[1])\n    print('ok')\n"
        "except OSError as error:\n    print(errno.errorcode[error.errno])\n"
    )
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        sandbox.own(path)
        words = ("/usr/bin/python3", "-c", script, path)
        outside = sandbox.program(words, env=env, cwd=project)
        inside = sandbox.shipped("agent", *words, env=env, cwd=project)
    assert outside.stdout.split() == [path, "ok"]
    assert inside.stdout.split() == ["None", "ENOENT"]


def test_files_with_the_projects_secrets_appear_empty(sandbox: Sandbox, project: str) -> None:
    done = agent(sandbox, project, "/usr/bin/python3", "-c", READ, ".env", "notes.txt")
    assert done.stdout.splitlines() == ["''", r"'note one\n'"]
    done = agent(sandbox, project, "sh", "-c", "rm -f .env; mv .env away; echo x > .env; ls -A")
    assert ".env\n" in done.stdout
    with open(f"{project}/.env", encoding="ascii") as file:
        assert file.read() == "TOKEN=in-the-project\n"


def test_a_profile_that_shows_more_of_the_home_shows_no_secret(
    sandbox: Sandbox, project: str, home: str
) -> None:
    text = f"[filesystem]\nread = ['{home}/.config', '{home}/.local']\n"
    os.makedirs(f"{home}/.local/share/keyrings")
    sandbox.write("home/.local/share/keyrings/login", "a secret\n", 0o600)
    for name in (".local", ".local/share", ".local/share/keyrings"):
        sandbox.own(f"{home}/{name}")
    paths = [f"{home}/{name}" for name in (*SECRETS, ".local/share/keyrings/login")]
    look = ("/usr/bin/python3", "-c", READ, *paths)
    outside = sandbox.program(look, cwd=project)
    assert set(outside.stdout.splitlines()) == {r"'a secret\n'"}
    inside = agent(sandbox, project, *look, profile=over(sandbox, text), home=home)
    assert inside.stderr == ""
    assert set(inside.stdout.splitlines()) <= {"EACCES", "ENOENT"}
    done = agent(
        sandbox,
        project,
        "cat",
        f"{home}/.config/open/settings",
        profile=over(sandbox, text),
        home=home,
    )
    assert sandbox.is_root or done.stdout == "a secret\n"


@pytest.mark.parametrize(
    "statement",
    (
        "[filesystem]\nread = ['${home}/.ssh']",
        "[filesystem]\nread = ['${home}/.aws/credentials']",
        "[[mounts]]\ntype = 'bind'\nsource = '${home}/.ssh'\ntarget = '/keys'",
        "[filesystem]\nread = ['${cwd}/.env']",
        "[filesystem]\nread = ['/run/docker.sock']",
        "[filesystem]\nwrite = ['${cwd}/.git/hooks']",
        "[[mounts]]\ntype = 'bind'\nwritable = true\nsource = '${cwd}/.git'\ntarget = '${cwd}/.git/config'",
    ),
)
def test_a_profile_cannot_open_by_accident_what_is_sealed(
    sandbox: Sandbox, project: str, home: str, statement: str
) -> None:
    done = agent(sandbox, project, "true", profile=over(sandbox, statement), home=home)
    assert done.returncode == 125
    assert "agent.toml seals filesystem." in done.stderr


# ---- What runs outside later ----


def test_what_a_users_tools_run_by_themselves_can_be_neither_changed_nor_replaced(
    sandbox: Sandbox, project: str
) -> None:
    """A shell without the protection does it all: the control."""
    names = ("notes.txt", *KEPT)
    words = ("/usr/bin/python3", "-c", PLANT, *(f"{project}/{name}" for name in names))
    plain, *kept = agent(sandbox, project, *words).stdout.splitlines()
    assert plain.split()[:2] == ["ok", "ok"]
    for answers in kept:
        write, move, above = answers.split()
        assert (write, move) == ("EROFS", "EBUSY")
        assert above in {"EBUSY", "EACCES"}
    assert git(sandbox, project, "status", "--short", "--", *KEPT[2:]) == ""
    control = agent(sandbox, project, *words[:3], *words[4:], profile="untrusted-shell")
    assert control.stdout.splitlines()[0] == "ok ok ok"


def test_git_outside_runs_nothing_that_was_planted(sandbox: Sandbox, project: str) -> None:
    """All ways that settings and hooks of git offer, tried by git itself and by hand."""
    mark = sandbox.path("project", "ran")
    plant = (
        f"printf '#!/bin/sh\\ntouch {mark}\\n' > p.sh; chmod +x p.sh;"
        " for name in core.fsmonitor core.sshCommand diff.external core.pager alias.status; do"
        ' git config "$name" "$PWD/p.sh"; done;'
        ' git config core.hooksPath "$PWD"; cp p.sh pre-commit;'
        " cp p.sh .git/hooks/pre-commit; cp p.sh .git/hooks/post-checkout;"
        " mv .git/config .git/old; rm -rf .git/hooks; mv .git away"
    )

    def use() -> bool:
        git(sandbox, project, "status")
        git(sandbox, project, "diff")
        git(sandbox, project, "commit", "-q", "--allow-empty", "-m", "outside")
        ran = os.path.exists(mark)
        if ran:
            os.remove(mark)
        return ran

    agent(sandbox, project, "sh", "-c", plant)
    assert not use()
    agent(sandbox, project, "sh", "-c", plant.partition(" mv ")[0], profile="untrusted-shell")
    assert use()


def test_a_name_that_is_not_there_yet_remains_and_a_read_only_repository_closes_it(
    sandbox: Sandbox, project: str
) -> None:
    """The head of agent.toml says so."""
    make = ("sh", "-c", "echo ../evil > .git/commondir; touch .envrc; ls -A . .git")
    strict = over(sandbox, "[filesystem]\nprotect = ['${cwd}/.git']")
    done = agent(sandbox, project, *make, profile=strict)
    assert "commondir" not in done.stdout
    assert "Read-only file system" in done.stderr
    assert agent(sandbox, project, "git", "log", "--format=%s", profile=strict).stdout == "first\n"
    done = agent(sandbox, project, *make)
    assert "commondir\n" in done.stdout
    assert ".envrc\n" in done.stdout


def test_a_link_in_the_place_of_something_protected_is_told(sandbox: Sandbox, project: str) -> None:
    """Such as an earlier run could have left where there was nothing."""
    os.symlink("elsewhere", f"{project}/.idea")
    done = agent(sandbox, project, "true")
    assert done.returncode == 125
    assert f"'{project}/.idea' is a symbolic link" in done.stderr
