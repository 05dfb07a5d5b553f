"""The command line as a whole: help, versions, errors, completion and how it ends."""

import importlib
import os
import pty
import re
import subprocess
import sys

import click
import pytest

from sandbox import __version__, cli
from sandbox.cli import output
from sandbox.cli.help import EXAMPLES, SECTIONS
from sandbox.cli.verbs import VERBS
from sandbox.errors import Problem, ProfileError, SetupError, UnsupportedError

MISSING = "missing option '--profile' / '-p'"


def python_sbx(*args: str, **more: object) -> subprocess.CompletedProcess[str]:
    """The Python side of sbx, without the launcher before it."""
    options = {"capture_output": True, "stdin": subprocess.DEVNULL, **more}
    done: subprocess.CompletedProcess[str] = subprocess.run(  # type: ignore[call-overload]
        [sys.executable, "-I", "-m", "sandbox", *args],
        text=True,
        timeout=60,
        check=False,
        **options,
    )
    return done


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_in_the_help_is_there(verb: str) -> None:
    """Each verb of the table has its module, a command of that name and help of its own."""
    command = importlib.import_module(f"sandbox.cli.{verb}").command
    assert isinstance(command, click.Command)
    assert python_sbx(verb, "--help").stdout.startswith(f"Usage: sbx {verb} ")


def test_help_names_every_verb_without_importing_one() -> None:
    """`sbx --help` costs no more than click itself."""
    code = (
        "import sys; from sandbox.cli.verbs import VERBS; from sandbox.cli import main; main(['--help'])\n"
        "print(*(v for v in VERBS if f'sandbox.cli.{v}' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *help_lines, imported = done.stdout.splitlines()
    assert imported == ""
    for verb, summary in VERBS.items():
        assert any(line.split()[:2] == [verb, summary.split()[0]] for line in help_lines)


def test_listing_what_lives_imports_next_to_nothing_beside_click() -> None:
    """Most of what sbx ps costs is Python's start; shutil alone would bring three compressors along."""
    code = (
        "import sys, click, locale\n"
        "before = set(sys.modules)\n"
        "import sandbox.cli\n"
        "sys.argv = ['sbx', 'ps', '--quiet']\n"
        "try:\n"
        "    sandbox.cli.main()\n"
        "finally:\n"
        "    print(*(m for m in set(sys.modules) - before if not m.startswith('sandbox')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False
    )
    found = set(done.stdout.splitlines()[-1].split())
    assert found <= {"fcntl", "struct", "_struct", "click.shell_completion"}


def test_every_verb_is_in_one_group_and_has_examples() -> None:
    """A new verb needs its place in the help and lines that show what it is for."""
    grouped = [name for names in SECTIONS.values() for name in names]
    assert sorted(grouped) == sorted(VERBS)
    assert set(EXAMPLES) == set(VERBS)
    for verb, examples in EXAMPLES.items():
        text = python_sbx(verb, "--help").stdout
        assert "\nExamples:\n" in text
        for line, what in examples:
            assert f"sbx {verb}" in line
            assert re.search(rf"(?m)^  {re.escape(line)} +# {re.escape(what)}$", text)


def test_without_a_verb_the_help_is_printed() -> None:
    """A first look at sbx shows what it can do, and is no error."""
    done = python_sbx()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == python_sbx("--help").stdout


def test_version() -> None:
    """The version is one line on standard output."""
    assert python_sbx("--version").stdout == f"sbx {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    (
        (["chekc"], "there is no verb 'chekc'", "did you mean 'check'?"),
        (["qqq"], "there is no verb 'qqq'", "'sbx --help' lists the verbs"),
        (["--versoin"], "there is no option '--versoin'", "did you mean '--version'?"),
        (["completion", "--halp"], "there is no option '--halp'", "did you mean '--help'?"),
        (
            ["completion"],
            "missing argument 'SHELL'. Choose from: bash, zsh, fish",
            "'sbx completion --help' tells what there is",
        ),
        (
            ["completion", "tcsh"],
            "invalid value for 'SHELL': 'tcsh' is not one of 'bash', 'zsh', 'fish'",
            "'sbx completion --help' tells what there is",
        ),
        (
            ["completion", "fsh"],
            "invalid value for 'SHELL': 'fsh' is not one of 'bash', 'zsh', 'fish'",
            "did you mean 'fish' or 'zsh'?",
        ),
        (["--profile"], "there is no option '--profile'", "'sbx run' has it"),
        (["run", "--resolved"], "there is no option '--resolved'", "'sbx show' has it"),
        (["minimal"], "there is no verb 'minimal'", "'sbx run --profile minimal' runs it"),
        (["run", "--version"], "there is no option '--version'", "'sbx --version' prints it"),
        (["run"], MISSING, "'sbx run --help' tells what there is"),
        (["run", "minimal"], MISSING, "'sbx run --profile minimal' runs it"),
        (
            ["run", "--", "ls", "-l"],
            MISSING,
            "name one: sbx run --profile minimal -- COMMAND; 'sbx profiles' lists what is shipped",
        ),
    ),
)
def test_a_wrong_command_line_is_told_what_would_be_right(
    arguments: list[str], error: str, hint: str
) -> None:
    """Usage errors have the form and the exit status of all errors of sbx."""
    done = python_sbx(*arguments)
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr == f"sbx: error: {error}\nhint: {hint}\n"


@pytest.mark.parametrize(
    ("error", "status", "text"),
    (
        (
            UnsupportedError("no Landlock", hint="use Linux 5.13", origin="app.toml:3"),
            125,
            "sbx: error: app.toml:3: no Landlock\nhint: use Linux 5.13\n",
        ),
        (SetupError("'x' is not there", exit_code=127), 127, "sbx: error: 'x' is not there\n"),
        (
            ProfileError(
                (
                    Problem("a.toml", 1, 1, "schema", "missing", "add schema = 1"),
                    Problem("a.toml", 2, 1, "process.cwd", "not a path"),
                )
            ),
            125,
            (
                "sbx: error: a.toml:1: schema: missing\nhint: add schema = 1\n"
                "sbx: error: a.toml:2: process.cwd: not a path\n"
            ),
        ),
        (
            SetupError("name \x1b[2J\u202e here"),
            125,
            "sbx: error: name \\x1b[2J\\u202e here\n",
        ),
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(), 141, ""),
        (
            OSError(28, "No space left on device", "/x"),
            125,
            "sbx: error: /x: No space left on device\n",
        ),
    ),
)
def test_what_goes_wrong_in_a_verb_becomes_words_and_a_status(
    error: BaseException,
    status: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Each kind of failure has its exit status; what it quotes can't command the terminal."""

    def dispatch(args: list[str]) -> int:
        raise error

    monkeypatch.setattr(cli, "_dispatch", dispatch)
    monkeypatch.setattr(cli, "_discard_stdout", lambda: None)
    assert cli.main([]) == status
    assert capfd.readouterr().err == text


def test_a_bug_is_reported_as_one(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """An unforeseen exception ends with 125, never with a status that a payload might have."""

    def dispatch(args: list[str]) -> int:
        raise KeyError("x")

    monkeypatch.setattr(cli, "_dispatch", dispatch)
    assert cli.main([]) == 125
    text = capfd.readouterr().err
    assert text.startswith("Traceback ")
    assert "sbx: error: internal error: KeyError: 'x'\nhint: this is a bug in sbx" in text


def test_a_reader_that_leaves_early_is_no_error() -> None:
    """`sbx ... | head -0` ends quietly, as by SIGPIPE."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = python_sbx("--help", capture_output=False, stdout=writing, stderr=subprocess.PIPE)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_output_that_cannot_be_written_is_an_error() -> None:
    """A full disk under standard output doesn't pass for success."""
    with open("/dev/full", "w", encoding="ascii") as full:
        done = python_sbx("--help", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 125
    assert done.stderr == "sbx: error: No space left on device\n"


@pytest.mark.parametrize(
    ("environment", "coloured"),
    (
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "dumb"}, False),
        ({}, False),
        ({"TERM": "xterm", "CLICOLOR": "0"}, False),
        ({"TERM": "xterm", "NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
    ),
)
def test_colour_is_for_terminals_that_want_it(environment: dict[str, str], coloured: bool) -> None:
    """Errors on a terminal are coloured unless NO_COLOR or TERM says otherwise."""
    outside, inside = pty.openpty()
    try:
        python_sbx("nosuchverb", capture_output=False, stderr=inside, env=environment)
        text = os.read(outside, 4096)
    finally:
        os.close(outside)
        os.close(inside)
    assert (b"\x1b[" in text) == coloured
    assert b"there is no verb" in text


def test_colour_is_not_for_pipes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another program reads carries no escape sequences."""
    monkeypatch.setenv("TERM", "xterm")
    assert python_sbx("nosuchverb").stderr.startswith("sbx: error: ")


@pytest.mark.parametrize(
    ("environment", "coloured"),
    (
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "0"}, False),
        ({"CLICOLOR_FORCE": "1"}, True),
        ({"CLICOLOR_FORCE": ""}, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ),
)
@pytest.mark.parametrize("words", (["nosuchverb"], ["profiles"], ["plan", "minimal"]))
def test_colour_can_be_forced(
    words: list[str], environment: dict[str, str], coloured: bool
) -> None:
    """On both streams, as a pager or a log of CI wants it."""
    done = python_sbx(*words, env=environment)
    assert ("\x1b[" in done.stdout + done.stderr) == coloured


@pytest.mark.parametrize("text", ("plain", "grüße", "日本語"))
def test_what_people_write_stays_readable(text: str) -> None:
    """Only characters that act on a terminal are escaped."""
    assert output.printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    (
        ("a\x07b", "a\\x07b"),
        ("a\tb", "a\\tb"),
        ("a\udcffb", "a\\udcffb"),
        ("a\u2066b", "a\\u2066b"),
        ("a\x9bb", "a\\x9bb"),
    ),
)
def test_what_acts_on_a_terminal_is_escaped(text: str, shown: str) -> None:
    """Control, undecodable and bidirectional characters are shown as escapes."""
    assert output.printable(text) == shown
