"""`sbx schema`: the JSON Schema of profiles."""

import click

from sandbox.cli.help import Verb


@click.command(cls=Verb, short_help="Print the JSON Schema of profiles, for editors.")
def command() -> None:
    """Print the JSON Schema of profiles.

    An editor with a TOML plugin (Even Better TOML, or taplo's language server) completes and checks
    keys once a profile's first line names the schema:

    \b
    #:schema ./sbx.schema.json
    """  # noqa: D301 - click takes the backspace as "leave these lines as they are"
    from sandbox.profile.schema import schema_text

    click.echo(schema_text(), nl=False)
