"""Kinds of arguments that several verbs take."""

import os

import click
from click.shell_completion import CompletionItem

from sandbox._paths import working_directory


class ProfileName(click.ParamType[str]):
    """A profile's file or a shipped profile's name; the shell completes both."""

    name = "profile"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from sandbox.profile.names import shipped_names

        # bash shows either words or files, so the profiles of this directory are offered as words.
        here = [name for name in sorted(os.listdir()) if name.endswith(".toml")]
        found = [name for name in (*here, *shipped_names()) if name.startswith(incomplete)]
        words = [CompletionItem(name) for name in found]
        return words or [CompletionItem(incomplete, type="file")]


class Key(click.ParamType[str]):
    """A table or a key of profiles, as in `filesystem` or `network.mode`."""

    name = "key"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(key) for key in known_keys() if key.startswith(incomplete)]

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in known_keys():
            from sandbox.profile.names import suggestion

            hint = suggestion(value, known_keys())
            self.fail(f"profiles have no key '{value}'{f'; {hint}' if hint else ''}", param, ctx)
        return value


class Assignment(click.ParamType[str]):
    """NAME=VALUE for a variable of the profile that the command line names."""

    name = "assignment"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from sandbox.errors import SandboxError
        from sandbox.profile import load

        if not ctx.params.get("profile") or "=" in incomplete:
            return []
        try:
            loaded = load(ctx.params["profile"], cwd=working_directory(), environ=os.environ)
        except SandboxError:  # there is nothing to offer, and nobody to tell why
            return []
        names = sorted(loaded.profile.vars)
        return [CompletionItem(f"{name}=") for name in names if name.startswith(incomplete)]


class CommandWord(click.ParamType[str]):
    """A word of a command: the first is completed as a program of PATH, the others as files."""

    name = "word"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        file = CompletionItem(incomplete, type="file")
        if not incomplete or "/" in incomplete or ctx.params.get(param.name or ""):
            return [file]
        found = {name for where in os.get_exec_path() for name in _programs(where, incomplete)}
        return [CompletionItem(name) for name in sorted(found)] or [file]


def _programs(directory: str, start: str) -> list[str]:
    try:
        names = [name for name in os.listdir(directory) if name.startswith(start)]
    except OSError:  # what isn't there has no programs
        return []
    return [name for name in names if os.access(os.path.join(directory, name), os.X_OK)]


class Variable(click.ParamType[str]):
    """The name of an environment variable."""

    name = "variable"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(name) for name in sorted(os.environ) if name.startswith(incomplete)]


class LiveName(click.ParamType[str]):
    """What a live sandbox is known by."""

    name = "name"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from sandbox.errors import SandboxError
        from sandbox.live.records import all_live, runtime

        try:
            found = all_live(runtime())
        except SandboxError:  # there is nothing to offer, and nobody to tell why
            return []
        given = ctx.params.get(param.name or "") or ()
        names = (live for live in found if live.name.startswith(incomplete))
        return [CompletionItem(live.name) for live in names if live.name not in given]


class SignalName(click.ParamType[int]):
    """A signal by its name, with or without SIG, or by its number."""

    name = "signal"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        import signal

        if isinstance(value, int):
            return value
        number = int(value) if value.isdecimal() else 0
        word = value.upper().removeprefix("SIG")
        named = signal.Signals.__members__.get(f"SIG{word}")
        if named is not None:
            return named.value
        if number not in signal.valid_signals():
            from sandbox.cli.advice import did_you_mean

            hint = did_you_mean(word, _signals())
            self.fail(f"there is no signal '{value}'{f'; {hint}' if hint else ''}", param, ctx)
        return number

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        start = incomplete.upper().removeprefix("SIG")
        return [CompletionItem(name) for name in _signals() if name.startswith(start)]


class Duration(click.ParamType[int]):
    """A time such as 5 (seconds), 500ms or infinity, in microseconds."""

    name = "time"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        from sandbox import units

        if isinstance(value, int):
            return value
        try:
            return units.timeout(int(value) if value.isdecimal() else value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _signals() -> list[str]:
    import signal

    return [name.removeprefix("SIG") for name in signal.Signals.__members__]


def known_keys() -> tuple[str, ...]:
    """Every table of a profile and every key in one, in the order of the model."""
    from sandbox.profile.model import Profile
    from sandbox.profile.shapes import fields

    keys = []
    for table, field in fields(Profile).items():
        keys.append(table)
        if field.shape.struct is not None:
            keys += [f"{table}.{key}" for key in fields(field.shape.struct)]
    return tuple(keys)


PROFILE = ProfileName()
KEY = Key()
ASSIGNMENT = Assignment()
VARIABLE = Variable()
WORD = CommandWord()
LIVE = LiveName()
SIGNAL = SignalName()
DURATION = Duration()
