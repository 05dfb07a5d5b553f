"""Kinds of arguments that several verbs take."""

import click
from click.shell_completion import CompletionItem


class ProfileName(click.ParamType[str]):
    """A profile's file or a shipped profile's name; the shell completes both."""

    name = "profile"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from sandbox.profile.names import shipped_names

        names = [CompletionItem(n) for n in shipped_names() if n.startswith(incomplete)]
        return [*names, CompletionItem(incomplete, type="file")]


PROFILE = ProfileName()
