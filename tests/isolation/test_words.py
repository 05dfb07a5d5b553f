"""Words of a command: they are the payload's, whatever they look like."""

import pytest

from tests.kernel.harness import Sandbox


@pytest.mark.parametrize("word", ("--help", "--profile", "--set=x=y", "-p", "--", "--bind"))
def test_words_of_a_command_are_never_options(sandbox: Sandbox, word: str) -> None:
    """CVE-2024-32462: a program whose name is an option's is looked for, and isn't there."""
    done = sandbox.run("", word, "/etc", "/etc")
    # The library raises what the command line says with 127.
    assert done.returncode in (125, 127), done
    assert done.stdout == ""
    assert f"'{word}'" in done.stderr or f" {word}" in done.stderr, done
    assert "Usage" not in done.stderr


def test_before_the_command_the_same_words_are_options(by_command: Sandbox) -> None:
    """The control."""
    done = by_command.program([by_command.launcher, "run", "--help"])
    assert done.returncode == 0
    assert "Usage" in done.stdout
