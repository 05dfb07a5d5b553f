"""`sbx systemd`: a profile as a service of systemd."""

import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import click
from click.shell_completion import CompletionItem

from sandbox._paths import launcher_path, working_directory
from sandbox.cli import output
from sandbox.cli.arguments import ASSIGNMENT, PROFILE
from sandbox.cli.help import VerbGroup
from sandbox.errors import SandboxError

if TYPE_CHECKING:
    from sandbox.profile import ResolvedProfile
    from sandbox.systemd.files import Step
    from sandbox.systemd.unit import UnitFile, Wish


class Installed(click.ParamType[str]):
    """The name of a service whose unit `sbx systemd install` has written."""

    name = "name"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from sandbox.systemd.files import directory, services

        where = directory("user" if ctx.params.get("user") else "system", os.environ)
        return [CompletionItem(name) for name in services(where) if name.startswith(incomplete)]


_Command = TypeVar("_Command", bound=Callable[..., Any])

_USER: Final = click.option(
    "--user", is_flag=True, help="For the manager of the calling user, not the system's."
)
_UNIT_OPTIONS: Final = (
    _USER,
    click.option(
        "--name", metavar="NAME", help="What the service is called; by default like the profile."
    ),
    click.option(
        "--run-as",
        "account",
        default="",
        metavar="USER",
        help="Who a service of the system runs as; root by default.",
    ),
    click.option(
        "--set",
        "variables",
        multiple=True,
        type=ASSIGNMENT,
        metavar="NAME=VALUE",
        help="Give a variable of the profile's [vars] another value.",
    ),
    click.option(
        "--setenv",
        "environment",
        multiple=True,
        metavar="NAME=VALUE",
        help="Set a variable in the service's environment, for what the profile takes from there.",
    ),
    click.option(
        "--listen",
        multiple=True,
        metavar="NAME=ADDRESS",
        help="Where a socket of service.sockets listens, as ListenStream= of systemd.socket(5).",
    ),
    click.option(
        "--credential",
        "credentials",
        multiple=True,
        metavar="NAME=PATH",
        help="The file of a credential that a secret comes from; by default systemd looks for it.",
    ),
    click.option(
        "--systemd-version",
        "version",
        type=click.IntRange(1),
        metavar="NUMBER",
        help="The systemd that the unit is for; by default this host's.",
    ),
    click.argument("profile", type=PROFILE),
)


def _for_a_unit(command: _Command) -> _Command:
    for option in reversed(_UNIT_OPTIONS):
        command = option(command)
    return command


@click.group(cls=VerbGroup, name="systemd", short_help="Make a service of systemd from a profile.")
def command() -> None:
    """Make a service of systemd from a profile.

    sbx is the service's main process: it hands on signals, sockets and what the program tells
    systemd. sbx-systemd(1) says what each line of a unit comes from.
    """


@command.command(short_help="Print the unit of a profile.")
@_for_a_unit
@click.option("--json", "as_json", is_flag=True, help="Print a list with name and text instead.")
def unit(*, as_json: bool, **options: Any) -> None:
    """Print the unit that runs PROFILE, and those of its sockets."""
    wish, _, files = _units(**options)
    if as_json:
        output.say(json.dumps([file._asdict() for file in files], indent=2))
        return
    where = _directory(wish.manager)
    for number, file in enumerate(files):
        if len(files) > 1:
            blank = "\n" if number else ""
            output.say(f"{blank}# {output.printable(os.path.join(where, file.name))}")
        click.echo(file.text, nl=False)


@command.command(short_help="Write it to where systemd finds it.")
@_for_a_unit
@click.option("--enable", is_flag=True, help="Start it at boot too, or at the user's login.")
@click.option("--now", is_flag=True, help="Start it now, or again if it runs with an older unit.")
@click.option("--dry-run", is_flag=True, help="Change nothing; say what would be done.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of lines.")
def install(*, enable: bool, now: bool, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Write the unit that runs PROFILE to where systemd finds it.

    The profile is compiled as the service's user first, and nothing is written if that fails.
    """
    from sandbox.systemd.files import put
    from sandbox.systemd.manager import Control

    wish, resolved, files = _units(**options)
    _may_install(wish.manager)
    control = Control(wish.manager == "user")
    control.require()
    where = _directory(wish.manager)
    _refuse_others(control, where, files)
    _try_out(wish, resolved)
    steps = put(where, files, dry=dry_run)
    commands = _commands(files, steps, control, enable=enable, now=now)
    if not dry_run:
        for words in commands:
            control.run(*words)
    _report(steps, [control.words(*words) for words in commands], dry=dry_run, as_json=as_json)
    if not dry_run and not as_json:
        _say_more(wish, control, enable=enable, now=now)


@command.command(short_help="Stop a service and take its unit away.")
@_USER
@click.option("--dry-run", is_flag=True, help="Change nothing; say what would be done.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of lines.")
@click.argument("name", type=Installed())
def remove(*, user: bool, dry_run: bool, as_json: bool, name: str) -> None:
    """Stop and disable the service NAME, and take away the units that sbx has written for it.

    What the service has written, and drop-ins of yours, stay.
    """
    from sandbox.systemd.files import Step, written
    from sandbox.systemd.manager import Control

    manager: Literal["system", "user"] = "user" if user else "system"
    where = _directory(manager)
    name = name.removesuffix(".service")
    paths = written(where, name)
    if not paths:
        raise SandboxError(
            f"{where} has no unit of '{name}' that sbx has written",
            hint="--user looks among the calling user's own" if not user else "",
        )
    _may_install(manager)
    control = Control(user)
    control.require()
    names = [os.path.basename(path) for path in paths]
    before, after = ("disable", "--now", *names), ("daemon-reload",)
    if not dry_run:
        control.run(*before)
        for path in paths:
            os.unlink(path)
        control.run(*after)
        control.forget(names)
    steps = tuple(Step(path, "removed") for path in paths)
    _report(steps, [control.words(*before), control.words(*after)], dry=dry_run, as_json=as_json)
    for path in paths:
        if os.path.isdir(f"{path}.d"):
            output.warn(f"{path}.d has drop-ins, which stay")


@command.command(short_help="Print the template sbx@.service.")
def template() -> None:
    """Print the template sbx@.service, whose instances run profiles of sbx's directory.

    `systemctl start sbx@app` runs /etc/sbx/app.toml, `systemctl --user start sbx@app` the user's
    ~/.config/sbx/app.toml.
    """
    from sandbox.systemd.manager import version
    from sandbox.systemd.template import template_text
    from sandbox.systemd.words import NEWEST

    click.echo(template_text(launcher_path(), version() or NEWEST), nl=False)


def _units(
    *,
    user: bool,
    name: str | None,
    account: str,
    variables: tuple[str, ...],
    environment: tuple[str, ...],
    listen: tuple[str, ...],
    credentials: tuple[str, ...],
    version: int | None,
    profile: str,
) -> "tuple[Wish, ResolvedProfile, tuple[UnitFile, ...]]":
    from sandbox.profile import Overrides, load
    from sandbox.profile.names import is_path
    from sandbox.systemd import manager, trial
    from sandbox.systemd.places import Owner, Places, places
    from sandbox.systemd.unit import Wish, units_of
    from sandbox.systemd.words import NEWEST

    if user and account:
        raise SandboxError("--run-as is for services of the system, not with --user")
    for text in environment:
        _pair("--setenv", text)
    addresses: dict[str, tuple[str, ...]] = {}
    for text in listen:
        key, address = _pair("--listen", text)
        addresses[key] = (*addresses.get(key, ()), address)
    path = os.path.abspath(os.path.join(working_directory(), profile))
    whose: Literal["system", "user"] = "user" if user else "system"
    environ = trial.environment(whose, account, environment)
    overrides = Overrides(vars=dict(_pair("--set", text) for text in variables))
    resolved = load(
        path if is_path(profile) else profile,
        cwd=environ.get("HOME", "/") if user else "/",
        environ=environ,
        overrides=overrides,
    )
    if not resolved.profile.process.command:
        raise SandboxError(
            "the profile has no command that a service could run",
            hint="set process.command in a profile that extends it",
            origin=resolved.files[0],
        )
    wish = Wish(
        name=_name(name or resolved.profile.profile.name),
        manager=whose,
        profile=path if is_path(profile) else profile,
        launcher=os.path.abspath(launcher_path()),
        systemd=version or manager.version() or NEWEST,
        own=(*_own_files(account), *resolved.files),
        account=account,
        variables=variables,
        environment=environment,
        listen=addresses,
        credentials=dict(_pair("--credential", text) for text in credentials),
    )
    if user:
        found = Places()
    else:
        owner = trial.account_of(account) if account else Owner(uid=0, gid=0, home="/root")
        found = places(resolved.profile, owner)
    return wish, resolved, units_of(resolved.profile, wish, found)


def _own_files(account: str) -> tuple[str, ...]:
    """What sbx consists of, and where a service keeps its compiled plans."""
    from sandbox.systemd.trial import account_of

    kept = (os.path.join(account_of(account).home, ".cache"),) if account else ()
    return (launcher_path(), sys.prefix, os.path.dirname(os.path.abspath(__file__)), *kept)


def _pair(option: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise SandboxError(f"{option}: '{text}' is not NAME=VALUE")
    return name, value


def _name(name: str) -> str:
    """A name that a unit and a sandbox can have."""
    plain = name.isascii() and name.replace("_", "a").replace("-", "a").replace(".", "a").isalnum()
    if not plain or not name[0].isalnum() or len(name) > 64:
        raise SandboxError(
            f"'{name}' is no name for a service",
            hint="give it one with --name: letters, digits, '_', '.' and '-', at most 64",
        )
    return name


def _directory(manager: str) -> str:
    from sandbox.systemd.files import directory

    return directory(manager, os.environ)


def _may_install(manager: str) -> None:
    if manager == "system" and os.geteuid():
        raise SandboxError(
            "services of the system are root's to install",
            hint="add --user for one of your own, or run it as root",
        )


def _refuse_others(control: Any, where: str, files: "Sequence[UnitFile]") -> None:
    """A unit of the distribution would be hidden by one of the same name."""
    for file in files:
        there = control.property(file.name, "FragmentPath")
        if there and there != os.path.join(where, file.name):
            raise SandboxError(
                f"there is a unit {file.name} already: {there}",
                hint="choose another name: --name NAME",
            )


def _try_out(wish: "Wish", resolved: "ResolvedProfile") -> None:
    from sandbox.systemd import trial
    from sandbox.systemd.hardening import hardening

    settings = dict(hardening(resolved.profile, wish.manager, wish.account, wish.own))
    kept = settings.get("CapabilityBoundingSet")
    is_root = wish.manager == "system" and not wish.account
    words = ["--profile", wish.profile]
    for text in wish.variables:
        words += ["--set", text]
    said = trial.prepare(
        wish.launcher,
        words,
        environ=trial.environment(wish.manager, wish.account, wish.environment),
        owner=trial.account_of(wish.account) if wish.account else None,
        bounding=frozenset(kept.split()) if is_root and kept is not None else None,
        no_new_privileges="NoNewPrivileges" in settings,
    )
    sys.stderr.write(said)


def _commands(
    files: "Sequence[UnitFile]",
    steps: "Sequence[Step]",
    control: Any,
    *,
    enable: bool,
    now: bool,
) -> list[tuple[str, ...]]:
    """What systemctl does once the files are there. Sockets start their service themselves."""
    service, *sockets = (file.name for file in files)
    commands: list[tuple[str, ...]] = []
    changed = any(step.action == "written" for step in steps)
    if changed:
        commands.append(("daemon-reload",))
    if enable:
        commands.append(("enable", service, *sockets))
    if now:
        running = control.property(service, "ActiveState") in {"active", "reloading"}
        if running and changed:
            commands.append(("restart", *sockets, service))
        else:
            commands.append(("start", *(sockets or [service])))
    return commands


def _report(
    steps: "Sequence[Step]", commands: Sequence[Sequence[str]], *, dry: bool, as_json: bool
) -> None:
    """JSON keys: files (path, action), commands (lists of words), dry_run."""
    if as_json:
        content = {"files": [step._asdict() for step in steps], "commands": commands}
        output.say(json.dumps({**content, "dry_run": dry}, indent=2))
        return
    for step in steps:
        action = f"would be {step.action}" if dry and step.action != "unchanged" else step.action
        output.say(f"{output.printable(step.path)}: {output.paint(action, 'good', sys.stdout)}")
    for words in commands:
        output.say(f"{'would run' if dry else 'done'}: {output.printable(shlex.join(words))}")


def _say_more(wish: "Wish", control: Any, *, enable: bool, now: bool) -> None:
    from sandbox.systemd.manager import lingers

    name = wish.name
    first = f"{name}.service"
    todo = [] if now else [(control.words("start", first), "start it")]
    todo += [] if enable else [(control.words("enable", first), "start it at boot")]
    journal = ["journalctl", *(["--user"] if wish.manager == "user" else []), "-u", name]
    todo.append((journal, "see what it says"))
    for words, what in todo:
        output.say(f"  {shlex.join(words)}  # {what}")
    if wish.manager == "user" and not lingers():
        output.warn("your services end with your last login; 'loginctl enable-linger' keeps them")
