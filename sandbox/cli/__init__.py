"""The command line: one module per verb, imported when its verb is used.

A verb's module has a `command`, whose callback returns the exit status or None for 0.
"""

import importlib
import os
import sys
from collections.abc import Sequence

import click
from click.shell_completion import CompletionItem, shell_complete

from sandbox import __version__
from sandbox.cli import output
from sandbox.errors import EXIT_SANDBOX, EXIT_SIGNAL_BASE, SandboxError

PROGRAM = "sbx"
COMPLETE_VARIABLE = "_SBX_COMPLETE"
EXIT_INTERRUPTED = EXIT_SIGNAL_BASE + 2
EXIT_BROKEN_PIPE = EXIT_SIGNAL_BASE + 13

# Name and summary stand here so that neither help nor completion imports a verb.
VERBS = {
    "run": "Run a command in the sandbox that a profile describes.",
    "init": "Write a first profile for a program.",
    "check": "Say everything that is wrong with profiles.",
    "show": "Print a profile as it takes effect, with the origin of each rule.",
    "plan": "Print what a launch would do, step by step.",
    "doctor": "Say what this host can and cannot enforce, and how to mend it.",
    "schema": "Print the JSON Schema of profiles, for editors.",
    "completion": "Print the completion script of a shell.",
}

# What the native launcher turns to Python for; nobody types these.
INTERNAL = {"_failure": "failure", "_timing": "timing"}


class Verbs(click.Group):
    """A group whose commands are modules of this package."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = INTERNAL.get(cmd_name, cmd_name if cmd_name in VERBS else None)
        if module is None:
            return None
        command = importlib.import_module(f"sandbox.cli.{module}").command
        if not isinstance(command, click.Command):
            raise TypeError(f"sandbox.cli.{cmd_name}.command is no click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in VERBS and args[0] not in INTERNAL and not ctx.resilient_parsing:
            hint = _did_you_mean(args[0]) or "'sbx --help' lists the verbs"
            raise SandboxError(f"there is no verb '{args[0]}'", hint=hint)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        verbs = [CompletionItem(v, help=h) for v, h in VERBS.items() if v.startswith(incomplete)]
        return [*verbs, *click.Command.shell_complete(self, ctx, incomplete)]


def _did_you_mean(word: str) -> str:
    import difflib

    return _suggest(difflib.get_close_matches(word, VERBS))


def _suggest(words: Sequence[str]) -> str:
    return f"did you mean {' or '.join(repr(word) for word in words)}?" if words else ""


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    invoke_without_command=True,
    subcommand_metavar="VERB ...",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def group(ctx: click.Context) -> None:
    """Run programs in sandboxes that profiles describe.

    `sbx VERB --help` tells about one verb; sbx(1) and sbx.toml(5) tell everything.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line `args` (by default the process's own) and return its exit status."""
    try:
        status = _dispatch(list(sys.argv[1:] if args is None else args))
        sys.stdout.flush()
    except SandboxError as error:
        output.report(error.lines())
        return error.exit_code
    except click.ClickException as error:
        output.report(_usage_lines(error))
        return EXIT_SANDBOX
    except (KeyboardInterrupt, click.Abort):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _discard_stdout()
        return EXIT_BROKEN_PIPE
    except OSError as error:
        _discard_stdout()
        output.report([": ".join(str(p) for p in (error.filename, error.strerror) if p)])
        return EXIT_SANDBOX
    except Exception as error:  # noqa: BLE001 - 1, Python's own status, would pass for the payload's
        output.report_bug(error)
        return EXIT_SANDBOX
    return status


def _dispatch(args: list[str]) -> int:
    if instruction := os.environ.get(COMPLETE_VARIABLE):
        return shell_complete(group, {}, PROGRAM, COMPLETE_VARIABLE, instruction)
    try:
        with group.make_context(PROGRAM, args) as ctx:
            return group.invoke(ctx) or 0
    except click.exceptions.Exit as end:
        return end.exit_code


def _usage_lines(error: click.ClickException) -> list[str]:
    """What click has to say, in the shape of our errors."""
    hint = ""
    if isinstance(error, click.NoSuchOption):
        message = f"there is no option '{error.option_name}'"
        hint = _suggest(error.possibilities or [])
    else:
        message = " ".join(error.format_message().split())
        message = message[:1].lower() + message[1:].rstrip(".")
    if not hint and isinstance(error, click.UsageError) and error.ctx:
        hint = f"'{error.ctx.command_path} --help' tells what there is"
    return [message, f"hint: {hint}"] if hint else [message]


def _discard_stdout() -> None:
    """Keep the interpreter's last flush from failing a second time."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
