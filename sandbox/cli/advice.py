"""What would have been right, where the command line is wrong."""

import difflib
import importlib
import os
import re
from collections.abc import Iterable, Iterator

import click

from sandbox.cli.verbs import VERBS
from sandbox.errors import SandboxError


def unknown_verb(word: str) -> SandboxError:
    """The error for a first word that is no verb."""
    hint = did_you_mean(word, VERBS)
    if not hint and _is_profile(word):
        hint = f"'sbx run --profile {word}' runs it"
    return SandboxError(f"there is no verb '{word}'", hint=hint or "'sbx --help' lists the verbs")


def usage_lines(error: click.ClickException) -> list[str]:
    """What click has to say, in the shape of our errors."""
    hint = ""
    if isinstance(error, click.NoSuchOption):
        message = f"there is no option '{error.option_name}'"
        hint = _other_option(error)
    else:
        message = " ".join(error.format_message().split())
        message = message[:1].lower() + message[1:].rstrip(".")
        hint = _other_value(error, message) or _profile_for(error)
    if not hint and isinstance(error, click.UsageError) and error.ctx:
        hint = f"'{error.ctx.command_path} --help' tells what there is"
    return [message, f"hint: {hint}"] if hint else [message]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A question with the known words that are close; nothing where none is."""
    close = difflib.get_close_matches(word, list(known))
    return f"did you mean {' or '.join(repr(each) for each in close)}?" if close else ""


def _is_profile(word: str) -> bool:
    from sandbox.profile.names import is_path, shipped_names

    return os.path.isfile(word) if is_path(word) else word in shipped_names()


def _other_option(error: click.NoSuchOption) -> str:
    """The verb whose option it is, else one of the same verb that is close."""
    if error.option_name == "--version":
        return "'sbx --version' prints it"
    verb = error.ctx.info_name if error.ctx else ""
    having = [f"'sbx {n}'" for n in VERBS if n != verb and error.option_name in _options(n)]
    if having:
        return f"{' and '.join(having)} {'have' if len(having) > 1 else 'has'} it"
    return did_you_mean(error.option_name, error.possibilities or [])


def _options(verb: str) -> Iterator[str]:
    for param in importlib.import_module(f"sandbox.cli.{verb}").command.params:
        if isinstance(param, click.Option):
            yield from (*param.opts, *param.secondary_opts)


def _profile_for(error: click.ClickException) -> str:
    """A profile for the command that stands there without one."""
    param = error.param if isinstance(error, click.MissingParameter) else None
    words = (
        error.ctx.params.get("words") if isinstance(error, click.UsageError) and error.ctx else ()
    )
    if param is None or param.name != "profile" or not words:
        return ""
    if _is_profile(words[0]):
        return f"'sbx run --profile {words[0]}' runs it"
    return "name one: sbx run --profile minimal -- COMMAND; 'sbx profiles' lists what is shipped"


def _other_value(error: click.ClickException, message: str) -> str:
    """The choice that is close to what was given."""
    param = error.param if isinstance(error, click.BadParameter) else None
    given = re.search(r": '(.*)' is not one of ", message)
    if param and given and isinstance(param.type, click.Choice):
        return did_you_mean(given[1], [str(choice) for choice in param.type.choices])
    return ""
