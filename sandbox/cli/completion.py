"""`sbx completion`: the completion script of a shell."""

import click
from click.shell_completion import get_completion_class

from sandbox.cli import COMPLETE_VARIABLE, PROGRAM


@click.command(short_help="Print the completion script of a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), metavar="SHELL")
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script that completes sbx's verbs, options and files in SHELL: bash, zsh or fish.

    \b
    bash: sbx completion bash > ~/.local/share/bash-completion/completions/sbx
    zsh:  sbx completion zsh > DIR/_sbx       (DIR from $fpath)
    fish: sbx completion fish > ~/.config/fish/completions/sbx.fish
    """  # noqa: D301 - click takes the backspace as "leave these lines as they are"
    kind = get_completion_class(shell)
    if kind is None:
        raise click.BadParameter(f"click knows no completion for {shell}", ctx)
    script = kind(ctx.find_root().command, {}, PROGRAM, COMPLETE_VARIABLE)
    # Not script.source(): for bash that starts one to ask its version.
    click.echo(script.source_template % script.source_vars())
