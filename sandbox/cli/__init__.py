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
from sandbox._paths import working_directory
from sandbox.cli import output
from sandbox.cli.verbs import INTERNAL, VERBS
from sandbox.errors import EXIT_SANDBOX, EXIT_SIGNAL_BASE, SandboxError

PROGRAM = "sbx"
# The native launcher hides under this prefix what Python itself would heed.
KEPT = "SBX_KEPT_"
COMPLETE_VARIABLE = "_SBX_COMPLETE"
EXIT_INTERRUPTED = EXIT_SIGNAL_BASE + 2
EXIT_BROKEN_PIPE = EXIT_SIGNAL_BASE + 13


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
            from sandbox.cli.advice import unknown_verb

            raise unknown_verb(args[0])
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from sandbox.cli.help import SECTIONS

        width = max(map(len, VERBS))
        for title, names in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:<{width}}", VERBS[name]) for name in names])

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from sandbox.cli.help import START, write_examples

        write_examples(formatter, "Start here", START)
        self.format_commands(ctx, formatter)
        click.Command.format_options(self, ctx, formatter)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        verbs = [CompletionItem(v, help=h) for v, h in VERBS.items() if v.startswith(incomplete)]
        return [*verbs, *click.Command.shell_complete(self, ctx, incomplete)]


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
    for name in [name for name in os.environ if name.startswith(KEPT)]:
        os.environ[name.removeprefix(KEPT)] = os.environ.pop(name)
    try:
        status = _dispatch(list(sys.argv[1:] if args is None else args))
        sys.stdout.flush()
    except SandboxError as error:
        output.report_error(error)
        return error.exit_code
    except click.ClickException as error:
        from sandbox.cli.advice import usage_lines

        output.report(usage_lines(error))
        return EXIT_SANDBOX
    except (KeyboardInterrupt, click.Abort):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _discard_stdout()
        return EXIT_BROKEN_PIPE
    except OSError as error:
        _discard_stdout()
        output.report(_os_error(error))
        return EXIT_SANDBOX
    except Exception as error:  # noqa: BLE001 - 1, Python's own status, would pass for the payload's
        output.report_bug(error)
        return EXIT_SANDBOX
    return status


def _os_error(error: OSError) -> list[str]:
    """What the system has to say; a removed working directory has no name that it could say."""
    if isinstance(error, FileNotFoundError) and not error.filename and not working_directory():
        return ["the working directory doesn't exist any more", "hint: change to another directory"]
    return [": ".join(str(p) for p in (error.filename, error.strerror) if p)]


def _dispatch(args: list[str]) -> int:
    if instruction := os.environ.get(COMPLETE_VARIABLE):
        return shell_complete(group, {}, PROGRAM, COMPLETE_VARIABLE, instruction)
    try:
        with group.make_context(PROGRAM, args) as ctx:
            return group.invoke(ctx) or 0
    except click.exceptions.Exit as end:
        return end.exit_code


def _discard_stdout() -> None:
    """Keep the interpreter's last flush from failing a second time."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
