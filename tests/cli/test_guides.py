"""Every command of the README, the tutorial, the cookbook and the comparison is typed, and prints what they show."""

import glob
import importlib
import itertools
import os
import re
import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import click
import pytest

from sandbox.cli.arguments import known_keys
from sandbox.cli.help import EXAMPLES
from sandbox.profile import load
from sandbox.profile.names import is_path, shipped_names
from tests.applications import application, packages
from tests.cli import documents
from tests.cli.documents import TREE, Step, read, sections, steps
from tests.conftest import UNPRIVILEGED, Sbx

# What a document calls its port; a test takes one that nobody has.
PORT = "8321"
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="the tests don't run as root")


class Caller(NamedTuple):
    """Who follows a document, where, and with which environment."""

    user: int | None
    place: str
    environment: dict[str, str]

    def check(self, found: list[Step]) -> None:
        """Do all steps; what comes out is what is shown."""
        assert [step for step in found if not step.file], "there is nothing to type"
        needed = [word for step in found for word in re.findall(r"[\w-]+", step.text)]
        for command in sorted(set(needed) & set(packages())):
            application(command)
        port = str(free_port())
        found = [
            Step(
                step.file,
                step.text.replace(PORT, port),
                step.shown and tuple(line.replace(PORT, port) for line in step.shown),
            )
            for step in found
        ]
        answers = documents.follow(
            found, place=self.place, environment=self.environment, user=self.user
        )
        wrong = {s.text: text for s, a in answers if (text := documents.differences(s, a))}
        assert wrong == {}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number: int = server.getsockname()[1]
        return number


def caller(sbx: Sbx, shared_dir: str, name: str) -> Caller:
    """As somebody has it who installed sbx and types what the document shows."""
    user = UNPRIVILEGED if name == "user" and os.geteuid() == 0 else None
    home = os.path.join(shared_dir, name)
    os.mkdir(home)
    os.chmod(home, 0o755)
    if user is not None:
        os.chown(home, user, user)
    environment = Sbx(sbx.path, home).environment({})
    environment["PATH"] = f"{os.path.dirname(sbx.path)}:{environment['PATH']}"
    environment["SBX_RUNTIME_DIR"] = os.path.join(home, "run")
    return Caller(user, home, environment)


@pytest.fixture
def user(sbx: Sbx, shared_dir: str) -> Caller:
    return caller(sbx, shared_dir, "user")


@pytest.fixture
def root(sbx: Sbx, shared_dir: str) -> Caller:
    return caller(sbx, shared_dir, "root")


def test_the_readme_can_be_followed_by_a_user(user: Caller) -> None:
    user.check(list(steps(read("README.md").partition("## Installation")[0])))


@AS_ROOT
def test_the_readme_can_be_followed_by_root(root: Caller) -> None:
    root.check(list(steps(read("README.md").partition("## Installation")[0])))


def test_the_tutorial_can_be_followed(user: Caller) -> None:
    user.check(list(steps(read("docs/tutorial.md"))))


def test_the_tutorial_counts_its_commands() -> None:
    text = read("docs/tutorial.md")
    for reason in documents.left_out(text):
        text = text.replace(f"<!-- not run: {reason} -->\n", "")
    typed = [step.text for step in steps(text) if not step.file]
    answered = next(at for at, line in enumerate(typed, 1) if line.startswith("curl"))
    assert (
        f"takes {answered} commands until the service answers, {typed.index('sbx doctor')} of"
        in text
    )


RECIPES = {title: text for title, text in sections(read("docs/cookbook.md")).items() if title}


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_of_the_cookbook_works(title: str, user: Caller) -> None:
    user.check(list(steps(RECIPES[title])))


# --- The same sandbox in other programs -----------------------------------------------------------

PEERS = sections(read("docs/coming-from.md"))
SETUP = list(steps(PEERS[""]))


@pytest.mark.parametrize("title", ("sbx", "bubblewrap", "systemd"))
def test_a_peer_does_the_same_for_a_user(title: str, user: Caller) -> None:
    user.check([*SETUP, *steps(PEERS[title])])


def in_private(found: list[Step], setup: str, place: str, caller: Caller, **more: str) -> None:
    """Do the steps as root in `place`, in a mount namespace that `setup` has changed."""
    prefix = ["unshare", "-m", "sh", "-c", f'set -e; {setup}; cd {place}; exec "$@"', "sh"]
    answers = documents.follow(
        found, place=caller.place, environment={**caller.environment, **more}, prefix=prefix
    )
    wrong = {s.text: text for s, a in answers if (text := documents.differences(s, a))}
    assert wrong == {}


@AS_ROOT
def test_firejail_does_the_same(shared_dir: str, root: Caller) -> None:
    """It wants a home that passwd(5) knows, and leaves mounts below /run."""
    application("firejail")
    in_private(
        [*SETUP, *steps(PEERS["firejail"])],
        "mount -t tmpfs none /run; mount -t tmpfs none /root; mkdir /root/place",
        "/root/place",
        root,
        HOME="/root",
    )


@AS_ROOT
def test_podman_does_the_same(shared_dir: str, root: Caller) -> None:
    """The image is a directory with the host's /usr, since no registry is asked."""
    for command in ("podman", "crun"):
        application(command)
    tree, place = os.path.join(shared_dir, "image"), os.path.join(root.place, "place")
    for name in ("usr", "proc", "dev", "sys", "tmp", "etc", "run", "var/tmp"):
        os.makedirs(os.path.join(tree, name))
    for name in ("bin", "sbin", "lib", "lib64"):
        os.symlink(f"usr/{name}", os.path.join(tree, name))
    for name in ("hosts", "hostname", "resolv.conf"):
        with open(os.path.join(tree, "etc", name), "w", encoding="ascii"):
            pass
    os.mkdir(place)
    # No control groups and no limits beyond those of the machine that the tests run on.
    engine = "podman --runtime crun --cgroup-manager=cgroupfs run --cgroups=disabled"
    limits = "--ulimit nofile=1024:1024 --ulimit nproc=1000:1000"
    found = [
        step._replace(
            text=step.text.replace("podman run", f"{engine} {limits}").replace(
                "debian:stable", f"--rootfs {tree}"
            )
        )
        for step in (*SETUP, *steps(PEERS["Docker and Podman"]))
    ]
    in_private(
        found,
        f"mount --bind /usr {tree}/usr; umount -l /sys/fs/cgroup || :; "
        "mount -t cgroup2 none /sys/fs/cgroup; mount -t tmpfs none /run; "
        "mkdir -p /var/lib/containers; mount -t tmpfs none /var/lib/containers",
        place,
        root,
    )


def test_the_keys_that_the_comparison_names_exist() -> None:
    rows = re.findall(r"(?m)^\| .* \| (.*) \|$", read("docs/coming-from.md"))
    named = {key for row in rows for key in re.findall(r"`([a-z]+\.[a-z_]+)`", row)}
    assert len(named) > 15
    assert named - set(known_keys()) == set()


# --- Help -----------------------------------------------------------------------------------------


# Their examples need sandboxes of their own, end them or have no end: tests/kernel tries what they do.
LOOKING_AFTER = frozenset(
    {"adopt", "events", "logs", "stop", "kill", "wait", "pause", "resume", "stats", "top", "gc"}
    | {"systemd"}
)


def test_the_examples_for_live_sandboxes_are_understood() -> None:
    """Their verbs, options and arguments exist."""
    lines = [line for verb in LOOKING_AFTER for line, _ in EXAMPLES.get(verb, ())]
    assert len(lines) > 15
    for line in lines:
        _, verb, *words = shlex.split(line)
        command = importlib.import_module(f"sandbox.cli.{verb}").command
        if isinstance(command, click.Group):
            name, command, words = command.resolve_command(click.Context(command), words)
            assert name
        command.make_context(verb, words)


def test_the_examples_of_the_help_work(user: Caller) -> None:
    """All but the one that asks, and the one that fetches."""
    example = next(step for step in steps(read("README.md")) if step.file == "app.toml")
    prepare = "mkdir -p result .git ~/.local/share/bash-completion/completions ~/.config/fish/completions; echo {} > input.txt; echo x > list"
    live = (
        "sbx run -p minimal --name web -- sleep 20 < /dev/null > /dev/null 2>&1 & "
        "until [ -e $SBX_RUNTIME_DIR/web/record ]; do sleep 0.02; done"
    )
    lines = [
        line
        for verb, examples in EXAMPLES.items()
        if verb not in LOOKING_AFTER
        for line, _ in examples
    ]
    asking = {"sbx init", "sbx run -d --name web -p app.toml"}
    offline = [line.replace("https://example.org/", "file:///dev/null") for line in lines]
    # The lines of zsh and fish are tried there (test_completion.py).
    elsewhere = ("eval", "sbx completion fish")
    typed = [line for line in offline if line not in asking and not line.startswith(elsewhere)]
    assert len(typed) > 15
    user.check(
        [
            example,
            Step("", prepare, None),
            Step("", live, None),
            *(Step("", line, None) for line in typed),
        ]
    )


def comments(name: str) -> Iterator[list[str]]:
    """The words behind `sbx` of each command that the comments of a shipped profile show."""
    text = re.sub(r"\\\n#\s+", "", read(f"profiles/{name}.toml"))
    for line in re.findall(r"(?m)^#\s{2,}(?:\w+=\S+ )*(?:cd \S+ && )?sbx (.*)$", text):
        words = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
        words.whitespace_split = True
        yield list(itertools.takewhile(lambda word: not set(word) & set("<>|&;#"), words))


@pytest.mark.parametrize("name", shipped_names())
def test_the_commands_in_a_profiles_head_are_understood(name: str) -> None:
    """Their verbs and options exist, and so do the variables and profiles that they name."""
    known = load(name, cwd="/srv/here", environ={"HOME": "/home/me"}).profile.vars
    for verb, *words in comments(name):
        command = importlib.import_module(f"sandbox.cli.{verb}").command
        given = command.make_context(verb, words).params
        if not is_path(given.get("profile") or name):
            assert given.get("profile", name) in shipped_names()
        if given.get("profile") == name:
            assert {text.partition("=")[0] for text in given["variables"]} <= set(known)


def test_the_heads_of_profiles_have_commands() -> None:
    """The search isn't blind."""
    assert sum(len(list(comments(name))) for name in shipped_names()) > 10


# --- The reader of documents ----------------------------------------------------------------------


def test_what_is_not_run_says_why() -> None:
    found = [why for name in GUIDES for why in documents.left_out(read(name))]
    assert set(found) == {
        "the stopwatch runs it, as it takes the network",
        "it takes a running systemd; tests/vm/test_systemd.py does it",
    }


GUIDES = ("README.md", "docs/tutorial.md", "docs/cookbook.md", "docs/coming-from.md")


def test_no_other_document_has_commands_that_nobody_types() -> None:
    found = (*glob.glob("*.md", root_dir=TREE), *glob.glob("*/*.md", root_dir=TREE))
    assert len(found) > len(GUIDES)
    for name in set(found) - set(GUIDES):
        assert re.findall(r"(?m)^```(console|sh|shell|bash)$", read(name)) == [], name


@pytest.mark.parametrize("name", GUIDES)
def test_every_block_is_of_a_kind_that_is_run(name: str) -> None:
    """Shell to type, or a file with its name; other text says that it is text.

    The README's Python is run in tests/kernel/library.
    """
    text = read(name).partition("## Installation")[0] if name == "README.md" else read(name)
    for _, _, kind, block in documents._FENCE.findall(text):
        first = block.partition("\n")[0]
        run_elsewhere = kind == "python" and name == "README.md"
        assert (
            run_elsewhere or kind in {"console", "sh", "text"} or documents._FILE.fullmatch(first)
        ), block


def test_the_reader_sees_files_commands_and_output() -> None:
    text = (
        "```toml\n# a.toml\nx = 1\n```\n"
        "```console\n$ one\nshown\n$ two \\\n>   more\n```\n"
        "<!-- not run: it is slow -->\n```console\n$ three\n```\n"
        "```sh\nfour \\\n  five\n```\n"
    )
    assert list(steps(text)) == [
        Step("a.toml", "# a.toml\nx = 1\n", None),
        Step("", "one", ("shown",)),
        Step("", "two \\\n  more", ()),
        Step("", "four five", None),
    ]
    assert documents.left_out(text) == ["it is slow"]


def test_what_differs_is_seen(user: Caller) -> None:
    found = [
        Step("a b.txt".replace(" ", ""), "text\n", None),
        Step("", "mkdir d && cd d", ()),
        Step("", "cat ../ab.txt; pwd", ("text", "...d")),
        Step("", "echo two; echo one", ("one", "two")),
        Step("", "false", ()),
        Step("", 'read line; echo "$line"', ("",)),
    ]
    answers = documents.follow(
        found, place=user.place, environment=user.environment, user=user.user
    )
    wrong = [documents.differences(step, answer) for step, answer in answers]
    assert [bool(text) for text in wrong] == [False, False, True, True, False]
    assert os.listdir(user.place) != []


@pytest.mark.parametrize(
    ("line", "shown", "same"),
    (
        ("ls: can't open 'x': Permission denied", "ls: cannot: Permission denied", True),
        ("ls: cannot: No such file", "ls: cannot: Permission denied", False),
        ("pear", "apple", False),
        ("a  12 b", "a ... b", True),
        ("sbx: error: x", "sbx: error: y", False),
    ),
)
def test_lines_are_compared(line: str, shown: str, same: bool) -> None:
    assert documents.is_as_shown(line, shown) is same


def test_nothing_that_a_document_starts_is_left(user: Caller) -> None:
    mark = f"sleep {free_port()}.5"
    documents.follow(
        [Step("", f"{mark} &", None)],
        place=user.place,
        environment=user.environment,
        user=user.user,
    )
    ps = shutil.which("ps")
    assert ps
    shown = subprocess.run([ps, "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert mark not in shown
