"""sbx init: what it writes is what was asked for, is accepted, and runs."""

import os
import pty
import select
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from sandbox.cli import main
from sandbox.errors import EXIT_SANDBOX
from sandbox.profile import load
from sandbox.profile.names import shipped_names
from tests.conftest import Sbx

Output = pytest.CaptureFixture[str]


@pytest.fixture
def here(sbx: Sbx) -> str:
    """A directory to work in, below the home of the test's sbx."""
    path = os.path.join(sbx.home, "project")
    os.mkdir(path)
    os.chmod(sbx.home, 0o755)
    os.chmod(path, 0o755)
    return path


def write(path: str, text: str, mode: int = 0o644) -> str:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)
    return path


def made(here: str, name: str) -> dict[str, object]:
    with open(os.path.join(here, name), "rb") as file:
        return tomllib.load(file)


# --- What it writes runs --------------------------------------------------------------------------


def test_a_command_with_a_file_runs_and_sees_nothing_else(sbx: Sbx, here: str) -> None:
    write(f"{here}/input.txt", "pear\napple\n")
    write(f"{here}/secret.txt", "s")
    done = sbx("init", "--", "sort", "input.txt", cwd=here)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "sort.toml: written",
        "  sbx plan sort.toml  # see what a launch does",
        "  sbx run --profile sort.toml  # run it",
    ]
    assert sbx("check", "sort.toml", cwd=here).stdout == "sort.toml: ok\n"
    assert sbx("run", "--profile", "sort.toml", cwd=here).stdout == "apple\npear\n"
    refused = sbx("run", "-p", "sort.toml", "--", "cat", "secret.txt", cwd=here)
    assert refused.returncode == 1
    assert "No such file" in refused.stderr


def test_a_profile_for_a_script_is_called_like_the_script(sbx: Sbx, here: str) -> None:
    write(f"{here}/tool.py", "print('hello')\n")
    assert sbx("init", "--", "python3", "tool.py", cwd=here).returncode == 0
    assert sbx("run", "-p", "tool.toml", cwd=here).stdout == "hello\n"


def test_a_script_of_the_directory_runs_with_its_neighbours(sbx: Sbx, here: str) -> None:
    write(f"{here}/tool.py", "#!/usr/bin/env python3\nimport near\nprint(near.word)\n", 0o755)
    write(f"{here}/near.py", "word = 'hello'\n")
    assert sbx("init", "--", "./tool.py", cwd=here).returncode == 0
    assert made(here, "tool.toml")["process"] == {
        "command": ["${profile_dir}/tool.py"],
        "cwd": "${profile_dir}",
    }
    assert sbx("run", "-p", "tool.toml", cwd=here).stdout == "hello\n"
    # It may be run from anywhere.
    assert sbx("run", "-p", f"{here}/tool.toml", cwd="/").stdout == "hello\n"


def test_a_virtual_environment_runs_with_its_python(sbx: Sbx, here: str) -> None:
    environment = f"{sbx.home}/venv"
    base = os.path.realpath(sys.executable)
    subprocess.run([base, "-m", "venv", "--without-pip", environment], check=True)
    write(f"{environment}/bin/app", f"#!{environment}/bin/python\nimport sys\nprint(sys.prefix)\n")
    os.chmod(f"{environment}/bin/app", 0o755)
    # As pipx does: a link in a directory of PATH.
    os.makedirs(f"{sbx.home}/.local/bin")
    os.symlink(f"{environment}/bin/app", f"{sbx.home}/.local/bin/app")
    env = {"PATH": f"{sbx.home}/.local/bin:/usr/bin:/bin"}
    done = sbx("init", "--", "app", cwd=here, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert sbx("run", "-p", "app.toml", cwd=here).stdout == f"{environment}\n"


def test_a_program_elsewhere_brings_its_directory_and_its_libraries(sbx: Sbx, here: str) -> None:
    write(f"{sbx.home}/opt/tool/lib/words", "hi\n")
    write(f"{sbx.home}/opt/tool/bin/tool", '#!/bin/sh\ncat "$(dirname "$0")/../lib/words"\n', 0o755)
    env = {"PATH": f"/usr/bin:/bin:{sbx.home}/opt/tool/bin"}
    assert sbx("init", "--", "tool", cwd=here, env=env).returncode == 0
    assert sbx("run", "-p", "tool.toml", cwd=here).stdout == "hi\n"


def test_a_program_in_the_home_brings_itself_alone(sbx: Sbx, here: str) -> None:
    write(f"{sbx.home}/tool", "#!/bin/sh\nls -A ~+/..\n", 0o755)
    write(f"{sbx.home}/.ssh/key", "k")
    assert sbx("init", "-o", "tool.toml", "--", "../tool", cwd=here).returncode == 0
    shown = sbx("run", "-p", "tool.toml", "--", "ls", "-A", sbx.home, cwd=here)
    assert shown.stdout == "tool\n"


def test_what_env_looks_up_is_found_inside(sbx: Sbx, here: str) -> None:
    write(f"{sbx.home}/opt/speak", '#!/bin/sh\necho "spoken by $0"\n', 0o755)
    write(f"{here}/script", "#!/usr/bin/env speak\n", 0o755)
    env = {"PATH": f"/usr/bin:/bin:{sbx.home}/opt"}
    assert sbx("init", "--", "./script", cwd=here, env=env).returncode == 0
    assert sbx("run", "-p", "script.toml", cwd=here).stdout == f"spoken by {sbx.home}/opt/speak\n"


SOCKETS = "import socket; a = socket.create_server(('127.0.0.1', 0)); socket.create_connection(a.getsockname()); print('met')"


def test_loopback_lets_a_program_meet_itself(sbx: Sbx, here: str) -> None:
    words = ["init", "--network", "loopback", "--", "python3", "-c", SOCKETS]
    assert sbx(*words, cwd=here).returncode == 0
    assert sbx("run", "-p", "python3.toml", cwd=here).stdout == "met\n"
    none = ["init", "--force", "--network", "none", "--", "python3", "-c", SOCKETS]
    assert sbx(*none, cwd=here).returncode == 0
    assert "PermissionError" in sbx("run", "-p", "python3.toml", cwd=here).stderr


def test_every_option_is_in_the_profile(sbx: Sbx, here: str) -> None:
    for name in ("in", "out", "lib"):
        os.mkdir(f"{here}/{name}", 0o777)
    write(f"{here}/in/secret", "s")
    options = ["-r", "in", "-w", "out", "-x", "lib", "-d", "in/secret", "--network", "host"]
    more = ["--pass", "LC_*", "--pass", "TERM", "--terminal", "auto", "-e", "service"]
    done = sbx("init", *options, *more, "-o", "own.toml", "--", "true", cwd=here)
    assert done.returncode == 0, done.stderr
    profile = load(f"{here}/own.toml", cwd="/", environ={"HOME": "/"}).profile
    files = profile.filesystem
    assert f"{here}/in" in files.read
    assert f"{here}/out" in files.write
    assert f"{here}/lib" in files.execute
    assert files.deny == (f"{here}/in/secret",)
    assert profile.network.mode == "host"
    assert profile.environment.pass_ == ("LC_*", "TERM")
    assert profile.process.terminal == "auto"
    assert profile.profile.extends == "service"
    assert profile.process.cwd == here


def test_a_program_that_is_the_bases_own_keeps_its_arguments(sbx: Sbx, here: str) -> None:
    """Who says nginx alone means it as the profile made for it runs it."""
    text = "schema = 1\n[profile]\nextends = 'minimal'\n[process]\ncommand = ['echo', 'a', 'b']\n"
    write(f"{here}/base.toml", text)
    for words, out in ((["echo"], "a b\n"), (["echo", "c"], "c\n")):
        done = sbx("init", "--force", "-e", "./base.toml", "-o", "a.toml", "--", *words, cwd=here)
        assert done.returncode == 0
        assert sbx("run", "-p", "a.toml", cwd=here).stdout == out


def test_what_the_base_leaves_to_choose_is_shown_and_set(sbx: Sbx, here: str) -> None:
    base = (
        "schema = 1\n[profile]\nextends = 'minimal'\n[vars]\nfrom = '${home}/in'\nword = 'x$$y'\n"
    )
    write(f"{here}/base.toml", base + "[filesystem]\nread = ['${from}']\n")
    done = sbx("init", "-e", "./base.toml", "-o", "a.toml", "--", "true", cwd=here)
    assert done.returncode == 0
    assert f"'{sbx.home}/in' isn't there yet" in done.stderr
    text = Path(f"{here}/a.toml").read_text(encoding="utf-8")
    assert '# from = "${home}/in"\n# word = "x$$y"\n' in text
    os.mkdir(f"{here}/data")
    words = ["init", "-e", "./base.toml", "--set", "from=./data", "--set", "word=a$b"]
    done = sbx(*words, "-o", "b.toml", "--", "true", cwd=here)
    assert (done.returncode, done.stderr) == (0, "")
    assert made(here, "b.toml")["vars"] == {"from": "${profile_dir}/data", "word": "a$$b"}
    assert sbx("run", "-p", "b.toml", cwd=here).returncode == 0


@pytest.mark.parametrize("name", shipped_names())
@pytest.mark.parametrize("reach", ("none", "loopback", "host"))
def test_every_shipped_profile_can_be_started_from(
    name: str, reach: str, capsys: Output, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "-e", name, "--network", reach, "-o", "-", "--", "true"]) == 0
    text, err = capsys.readouterr()
    assert err == ""
    assert tomllib.loads(text)["profile"]["extends"] == name
    assert os.listdir(tmp_path) == []


def test_a_directory_that_the_base_mounts_is_granted_by_its_variable(sbx: Sbx, here: str) -> None:
    """It holds from wherever the profile is used, though the base means where sbx is started."""
    write(f"{here}/in.csv", "a,b\n1,2\n")
    words = ["sqlite3", "db", ".import --csv in.csv t", "select a + b from t"]
    assert sbx("init", "-w", ".", "-o", "db.toml", "--", *words, cwd=here).returncode == 0
    profile = made(here, "db.toml")
    assert profile["profile"] == {"description": "Runs sqlite3.", "extends": "sqlite"}
    assert profile["vars"] == {"directory": "${profile_dir}"}
    assert profile["filesystem"] == {}


def test_a_base_keeps_what_it_mounts_and_gets_the_rest(sbx: Sbx, here: str) -> None:
    for name in ("in", "other"):
        os.mkdir(f"{here}/{name}")
    base = write(
        f"{here}/base.toml",
        "schema = 1\n[profile]\nextends = 'minimal'\n[vars]\nplace = '${profile_dir}/in'\n"
        "[[mounts]]\ntype = 'bind'\nsource = '${place}'\ntarget = '${place}'\n",
    )
    cases: tuple[tuple[list[str], dict[str, object], dict[str, object]], ...] = (
        (["-r", "in"], {"place": "${profile_dir}/in"}, {}),
        (["-r", "other"], {}, {"read": ["${profile_dir}/other"]}),
        (["-r", "in/below"], {}, {"read": ["${profile_dir}/in/below"]}),
        (
            ["-r", "in", "-r", "other"],
            {"place": "${profile_dir}/in"},
            {"read": ["${profile_dir}/other"]},
        ),
        (["-r", "other", "--set", "place=./other"], {"place": "${profile_dir}/other"}, {}),
        (
            ["-r", "in", "--set", "place=./other"],
            {"place": "${profile_dir}/other"},
            {"read": ["${profile_dir}/in"]},
        ),
    )
    for options, variables, files in cases:
        words = ["init", "--force", "-e", base, *options, "-o", "x.toml", "--", "true"]
        done = sbx(*words, cwd=here)
        assert done.returncode == 0, done.stderr
        profile = made(here, "x.toml")
        assert (profile["vars"], profile["filesystem"]) == (variables, files)
    refused = sbx("init", "-e", base, "-w", "in", "-o", "-", "--", "true", cwd=here)
    assert (refused.returncode, refused.stdout) == (EXIT_SANDBOX, "")
    assert "is taken by mounts[" in refused.stderr


def test_a_program_without_any_file_is_told_how_to_get_some(sbx: Sbx, here: str) -> None:
    hint = "hint: it sees none of your files; --read . or --write . shows this directory\n"
    assert sbx("init", "--", "true", cwd=here).stderr == hint
    for options in (["-r", "."], ["-x", "."], ["-e", "minimal"], ["-e", "project"]):
        assert sbx("init", "--force", *options, "--", "true", cwd=here).stderr == ""


def test_a_profile_of_ones_own_is_named_from_the_new_file(sbx: Sbx, here: str) -> None:
    write(f"{here}/base.toml", "schema = 1\n[profile]\nextends = 'minimal'\n")
    os.mkdir(f"{here}/sub")
    words = ["init", "-e", "base.toml", "-e", "service", "-o", "sub/app.toml", "--", "true"]
    done = sbx(*words, cwd=here)
    assert done.returncode == 0, done.stderr
    assert made(here, "sub/app.toml")["profile"]["extends"] == ["../base.toml", "service"]  # type: ignore[index]
    assert sbx("run", "-p", "sub/app.toml", cwd=here).returncode == 0


# --- What it refuses, and what it warns of --------------------------------------------------------


def test_nothing_is_replaced_without_force(sbx: Sbx, here: str) -> None:
    write(f"{here}/sort.toml", "mine")
    done = sbx("init", "--", "sort", cwd=here)
    assert (done.returncode, done.stdout) == (EXIT_SANDBOX, "")
    assert done.stderr == (
        "sbx: error: 'sort.toml' exists already\n"
        "hint: --force replaces it, and -o names another file\n"
    )
    assert Path(f"{here}/sort.toml").read_text(encoding="utf-8") == "mine"
    assert sbx("init", "--force", "--", "sort", cwd=here).returncode == 0
    assert made(here, "sort.toml")["schema"] == 1


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    (
        ([], "there is no command to write a profile for", "sbx init -- COMMAND"),
        (["--", "no-such-program"], "there is no program 'no-such-program' in PATH", "install"),
        (["--", "./nothing"], "'./nothing' can't be run: No such file or directory", ""),
        (["--", "./plain"], "'./plain' isn't executable", "chmod +x it"),
        (["--", "./orphan"], "the interpreter '/no/such' of ", "mend the first line"),
        (["--", "/"], "'/' is a directory, not a program", ""),
        (["-e", "minmal", "--", "true"], "no shipped profile is named 'minmal'", "'minimal'?"),
        (["-o", "no/such/x.toml", "--", "true"], "nothing can be written to 'no/such'", "-o -"),
        (["--read", "\udcff", "--", "true"], "holds bytes that aren't UTF-8", "rename it"),
        (["--read", "", "--", "true"], "an empty path", "'.'"),
        (["--force", "-o", "fifo", "--", "true"], "fifo' is no regular file", "-o -"),
        (["--force", "-o", "/dev/null", "--", "true"], "'/dev/null' is no regular file", "-o -"),
        (["--pass", "*", "--", "true"], "would pass the caller's whole environment", "name what"),
    ),
)
def test_what_cannot_be_is_said_and_nothing_is_written(
    sbx: Sbx, here: str, words: list[str], error: str, hint: str
) -> None:
    write(f"{here}/plain", "x")
    os.mkfifo(f"{here}/fifo")
    write(f"{here}/orphan", "#!/no/such\n", 0o755)
    before = sorted(os.listdir(here))
    done = sbx("init", *words, cwd=here)
    assert (done.returncode, done.stdout) == (EXIT_SANDBOX, "")
    assert error in done.stderr
    assert hint in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(os.listdir(here)) == before


def test_a_link_stays_one_and_what_it_leads_to_is_replaced(sbx: Sbx, here: str) -> None:
    write(f"{here}/real.toml", "old")
    os.symlink("real.toml", f"{here}/link.toml")
    assert sbx("init", "-o", "link.toml", "--", "true", cwd=here).returncode == EXIT_SANDBOX
    assert sbx("init", "--force", "-o", "link.toml", "--", "true", cwd=here).returncode == 0
    assert os.readlink(f"{here}/link.toml") == "real.toml"
    assert made(here, "real.toml")["schema"] == 1


def test_a_removed_working_directory_is_named(sbx: Sbx, here: str) -> None:
    script = f'cd "{here}" && rmdir "{here}" && exec "{sbx.path}" init -- true'
    done = subprocess.run(
        ["sh", "-c", script], env=sbx.environment({}), capture_output=True, text=True, check=False
    )
    assert done.returncode == EXIT_SANDBOX
    assert done.stderr.startswith("sbx: error: the working directory doesn't exist any more\n")


def test_what_a_base_seals_stays_as_it_is(sbx: Sbx, here: str) -> None:
    text = "schema = 1\n[profile]\nextends = 'minimal'\nsealed = ['network']\n"
    write(f"{here}/house.toml", text)
    words = ["init", "-e", "./house.toml", "--network", "host", "-o", "app.toml", "--", "true"]
    done = sbx(*words, cwd=here)
    assert done.returncode == EXIT_SANDBOX
    assert "app.toml:" in done.stderr
    assert "house.toml seals network, so it cannot be changed" in done.stderr
    assert "Nothing was written." in done.stderr
    assert os.listdir(here) == ["house.toml"]


def test_what_is_not_there_yet_is_warned_of(sbx: Sbx, here: str) -> None:
    done = sbx("init", "--write", "out", "--", "true", cwd=here)
    assert done.returncode == 0
    assert f"sbx: warning: '{here}/out' isn't there yet" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="the tests don't run as root")
def test_root_is_told_who_writes(sbx: Sbx, here: str) -> None:
    for name, mode in (("closed", 0o755), ("open", 0o777)):
        os.mkdir(f"{here}/{name}")
        os.chmod(f"{here}/{name}", mode)
    done = sbx("init", "-w", "closed", "-w", "open", "--", "true", cwd=here)
    assert done.returncode == 0
    assert f"'{here}/closed' may not be writable inside" in done.stderr
    assert f"'{here}/open'" not in done.stderr


def test_a_root_of_its_own_is_not_looked_into(sbx: Sbx, here: str) -> None:
    """In another tree this host's programs say nothing."""
    write(f"{here}/tree.toml", f"schema = 1\n[rootfs]\ntype = 'directory'\npath = '{here}'\n")
    done = sbx("init", "-e", "./tree.toml", "-o", "-", "--", "no-such-program-here", cwd=here)
    assert done.returncode == 0, done.stderr
    assert tomllib.loads(done.stdout)["process"]["command"] == ["no-such-program-here"]


# --- Questions ------------------------------------------------------------------------------------


class Talk(NamedTuple):
    status: int
    shown: str


def talk(sbx: Sbx, here: str, answers: Sequence[str], *arguments: str) -> Talk:
    """Run `sbx init` at a terminal and answer each question as it comes."""
    ours, theirs = pty.openpty()
    environ = sbx.environment({"TERM": "dumb"})
    child = subprocess.Popen(
        [sbx.path, "init", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=here,
        env=environ,
        start_new_session=True,
    )
    os.close(theirs)
    shown, seen, left = "", 0, list(answers)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if not select.select([ours], [], [], 1)[0]:
            continue
        try:
            piece = os.read(ours, 4096)
        except OSError:
            break
        shown += piece.decode()
        # A prompt ends with ": " and no line behind it.
        if left and shown[seen:].endswith(": "):
            seen = len(shown)
            os.write(ours, left.pop(0).encode())
    os.close(ours)
    return Talk(child.wait(timeout=60), shown)


def test_questions_can_all_be_answered_with_return(sbx: Sbx, here: str) -> None:
    write(f"{here}/input.txt", "b\na\n")
    done = talk(sbx, here, ["sort input.txt\n", *["\n"] * 8])
    assert done.status == 0, done.shown
    for word in ("Command", "Start from [minimal]", "Read [input.txt]", "Network [none]"):
        assert word in done.shown
    assert sbx("run", "-p", "sort.toml", cwd=here).stdout == "a\nb\n"


def test_a_wrong_answer_is_asked_again(sbx: Sbx, here: str) -> None:
    os.mkdir(f"{here}/a b")
    answers = [
        "no-such-program\n", "sort 'open\n", "sort\n", "minmal\n", "\n", "'a b'\n", "\n", "-\n",
        "hots\n", "host\n", "LANG\n", "\n", "own.toml\n",
    ]  # fmt: skip
    done = talk(sbx, here, answers)
    assert done.status == 0, done.shown
    for said in (
        "no program 'no-such-program'",
        "No closing quotation",
        "neither a name",
        "one of",
    ):
        assert said in done.shown
    profile = made(here, "own.toml")
    assert profile["filesystem"] == {"read": ["${profile_dir}/a b"]}
    assert profile["network"] == {"mode": "host"}
    assert profile["environment"] == {"pass": ["LANG"]}


def test_what_an_option_says_is_not_asked(sbx: Sbx, here: str) -> None:
    options = ["-e", "service", "-r", ".", "-w", "/srv", "-d", "/srv/x", "--network", "none"]
    more = ["--pass", "LANG", "--terminal", "never", "-o", "x.toml", "--", "true"]
    done = talk(sbx, here, [], *options, *more)
    assert done.status == 0, done.shown
    assert "[" not in done.shown
    assert talk(sbx, here, [], "--yes", "--", "true").status == 0


def test_a_question_can_be_left_with_a_key(sbx: Sbx, here: str) -> None:
    assert talk(sbx, here, ["sort\n", "\x04"]).status == 130
    assert os.listdir(here) == []
