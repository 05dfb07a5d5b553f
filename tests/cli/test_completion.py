"""Completion: what sbx answers, and what real shells make of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.profile.names import shipped_names
from tests.applications import application
from tests.conftest import Sbx


def answer(words: list[str], cwd: str = "/", **more: str) -> set[str]:
    """What a shell is offered for the last of the words."""
    env = {
        "_SBX_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
        **more,
    }
    done = subprocess.run(
        [sys.executable, "-I", "-m", "sandbox"],
        env=env,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    return {line.partition(",")[2] for line in done.stdout.splitlines()}


@pytest.mark.parametrize(
    ("words", "expected"),
    (
        (["sbx", "pr"], {"profiles"}),
        (["sbx", "completion", ""], {"bash", "zsh", "fish"}),
        (["sbx", "--ver"], {"--version"}),
        (["sbx", "run", "--pro"], {"--profile"}),
        (["sbx", "run", "-p", "mini"], {"minimal"}),
        (["sbx", "check", "servi"], {"service"}),
        (["sbx", "show", "--key", "network"], {"network", "network.mode"}),
        (["sbx", "run", "-p", "python-service", "--set", "p"], {"port="}),
        (["sbx", "run", "-p", "no-such-profile", "--set", "p"], {""}),
        (["sbx", "init", "--network", ""], {"none", "loopback", "host"}),
        (["sbx", "init", "--pass", "SPECI"], {"SPECIAL"}),
    ),
)
def test_what_is_offered(words: list[str], expected: set[str]) -> None:
    """Verbs, options, choices, profiles, keys and variables; no word at all where there is nothing."""
    assert answer(words, SPECIAL="x") == expected


def test_profiles_of_the_directory_and_other_files_are_offered(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").touch()
    (tmp_path / "mine.txt").touch()
    assert answer(["sbx", "run", "-p", "mi"], str(tmp_path)) == {"mine.toml", "minimal"}
    # One word and of the type file: the shell then looks by itself.
    assert answer(["sbx", "run", "-p", "./mi"], str(tmp_path)) == {"./mi"}


def test_a_commands_first_word_is_a_program_and_the_others_are_files(tmp_path: Path) -> None:
    for name, mode in (("tool-a", 0o755), ("tool-b", 0o755), ("tool-text", 0o644)):
        (tmp_path / name).touch(mode)
    path = f"{tmp_path}:/no/such/directory"
    for verb in (["run", "-p", "minimal", "--"], ["init", "--"], ["plan", "minimal", "--"]):
        words = ["sbx", *verb]
        assert answer([*words, "tool-"], PATH=path) == {"tool-a", "tool-b"}
        # One word and of the type file: the shell then looks by itself.
        for more in (["./to"], ["/us"], ["nosuch"], ["tool-a", "tool-"]):
            assert answer([*words, *more], PATH=path) == {more[-1]}


def test_every_shipped_profile_is_offered() -> None:
    assert set(shipped_names()) <= answer(["sbx", "run", "-p", ""])


def test_every_option_of_every_verb_is_offered() -> None:
    """Also those of verbs that come later: the library takes them from the commands."""
    import importlib

    import click

    from sandbox.cli.verbs import VERBS

    for verb in VERBS:
        command = importlib.import_module(f"sandbox.cli.{verb}").command
        options = {o for p in command.params if isinstance(p, click.Option) for o in p.opts}
        assert {o for o in options if o.startswith("--")} <= answer(["sbx", verb, "--"])


@pytest.mark.parametrize("shell", ("bash", "zsh", "fish"))
def test_a_script_asks_sbx(sbx: Sbx, shell: str) -> None:
    done = sbx("completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"_SBX_COMPLETE={shell}_complete" in done.stdout


def typed(sbx: Sbx, command: list[str], **more: str) -> str:
    path = f"{os.path.dirname(sbx.path)}:/usr/bin:/bin"
    done = subprocess.run(
        command,
        env=sbx.environment({"PATH": path, **more}),
        cwd=sbx.home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout


def test_bash_completes(sbx: Sbx) -> None:
    """A real bash loads the script and completes a verb and a name with the installed sbx."""
    script = """
        eval "$(sbx completion bash)"
        COMP_WORDS=(sbx doc); COMP_CWORD=1; _sbx_completion sbx; echo "${COMPREPLY[@]}"
        COMPREPLY=(); COMP_WORDS=(sbx run -p inter); COMP_CWORD=3; _sbx_completion sbx; echo "${COMPREPLY[@]}"
    """
    assert typed(sbx, ["bash", "--norc", "-c", script]) == "doctor\ninteractive\n"


def test_fish_completes(sbx: Sbx) -> None:
    """A real fish loads the script and offers verbs with their summaries."""
    fish = application("fish")
    script = "sbx completion fish | source; complete -C 'sbx doc'; complete -C 'sbx run -p inter'"
    lines = typed(sbx, [fish, "--no-config", "-c", script]).splitlines()
    # The library's script for fish ends a summary at its first comma.
    assert lines[0] == "doctor\tSay what this host can and cannot enforce"
    assert "interactive" in lines


def test_zsh_completes(sbx: Sbx) -> None:
    """A real zsh at a terminal of its own completes a verb and a profile's name on Tab."""
    zsh = application("zsh")
    script = f"""
        zmodload zsh/zpty
        zpty inner {zsh} -f -i
        zpty -w inner 'PROMPT=; autoload -Uz compinit; compinit -u -D; eval "$(sbx completion zsh)"'
        zpty -w inner 'echo rea''dy'
        zpty -r -m inner line '*ready*'
        zpty -n -w inner $'sbx doc\\t'
        zpty -r -m inner line '*doctor*'
        print -r -- "$line"
        zpty -n -w inner $' --jso\\t\\C-a: \\nsbx run -p inter\\t'
        zpty -r -m inner line '*interactive*'
        print -r -- "$line"
        zpty -d inner
    """
    shown = typed(sbx, [zsh, "-f", "-c", script], TERM="dumb")
    assert "doctor" in shown
    assert "interactive" in shown
