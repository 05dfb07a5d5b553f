"""`sbx completion`: the completion script of a shell."""

import click
from click.shell_completion import get_completion_class

from sandbox.cli import COMPLETE_VARIABLE, PROGRAM
from sandbox.cli.help import Verb


@click.command(cls=Verb, short_help="Print the completion script of a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), metavar="SHELL")
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script that completes sbx's verbs, options and files in SHELL: bash, zsh or fish.

    The package brings these scripts along; shells find them where it is installed below /usr or
    /usr/local. For an installation elsewhere:
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.BadParameter(f"click knows no completion for {shell}", ctx)
    script = kind(ctx.find_root().command, {}, PROGRAM, COMPLETE_VARIABLE)
    # Not script.source(): for bash that starts one to ask its version.
    click.echo(script.source_template % script.source_vars())
