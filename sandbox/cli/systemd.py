"""`sbx systemd`: a profile as a service of systemd."""

import contextlib
import json
import os
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import click
from click.shell_completion import CompletionItem

from sandbox._paths import launcher_path
from sandbox.cli import output
from sandbox.cli.help import VerbGroup
from sandbox.cli.unit_options import USER, for_a_unit, units
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


@click.group(cls=VerbGroup, name="systemd", short_help="Make a service of systemd from a profile.")
def command() -> None:
    """Make a service of systemd from a profile.

    sbx is the service's main process: it hands on signals, sockets and what the program tells
    systemd. sbx-systemd(1) says what each line of a unit comes from.
    """


@command.command(short_help="Print the unit of a profile.")
@for_a_unit
@click.option("--json", "as_json", is_flag=True, help="Print a list with name and text instead.")
def unit(*, as_json: bool, **options: Any) -> None:
    """Print the unit that runs PROFILE, and those of its sockets."""
    wish, _, files, _ = units(**options)
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
@for_a_unit
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

    wish, resolved, files, made = units(**options)
    _may_install(wish.manager)
    control = Control(wish.manager == "user")
    control.require()
    where = _directory(wish.manager)
    _refuse_others(control, where, files)
    _try_out(wish, resolved, made)
    steps = put(where, files, dry=dry_run)
    commands = _commands(files, steps, control, enable=enable, now=now)
    if not dry_run:
        for words in commands:
            control.run(*words)
    _report(steps, [control.words(*words) for words in commands], dry=dry_run, as_json=as_json)
    if not dry_run and not as_json:
        _say_more(wish, control, enable=enable, now=now)


@command.command(short_help="Stop a service and take its unit away.")
@USER
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
        _take_back(control, name)
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


def _take_back(control: Any, name: str) -> None:
    """What has outlived its supervisor (service.survive) ends properly only under another one."""
    from sandbox.live.records import read, runtime

    def orphaned() -> bool:
        live = read(runtime(), name)
        return live is not None and live.state == "orphaned"

    if orphaned():
        with contextlib.suppress(SandboxError):
            control.run("start", f"{name}.service")
        if orphaned():
            output.warn(
                f"'{name}' runs on without a supervisor, and can't be taken over; "
                f"'sbx kill {name}' ends it"
            )


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


def _try_out(wish: "Wish", resolved: "ResolvedProfile", made: frozenset[str]) -> None:
    from sandbox.systemd import trial
    from sandbox.systemd.hardening import hardening
    from sandbox.systemd.places import missing

    settings = dict(hardening(resolved.profile, wish.manager, wish.account, wish.own))
    kept = settings.get("CapabilityBoundingSet")
    is_root = wish.manager == "system" and not wish.account
    words = ["--profile", wish.profile]
    for text in wish.variables:
        words += ["--set", text]
    good, said = trial.prepare(
        wish.launcher,
        words,
        environ=trial.environment(wish.manager, wish.account, wish.environment),
        owner=trial.account_of(wish.account) if wish.account else None,
        bounding=frozenset(kept.split()) if is_root and kept is not None else None,
        no_new_privileges="NoNewPrivileges" in settings,
    )
    sys.stderr.write(said)
    if not good:
        whose = wish.account or ("this user" if wish.manager == "user" else "root")
        raise SandboxError(
            f"nothing was written: the service, which runs as {whose}, couldn't start so"
        )
    service = resolved.profile.service
    if service.survive and service.restart == "no":
        output.warn(
            "service.survive without service.restart: when sbx is killed the program runs on, and "
            "nobody takes it over before the next start; set service.restart = 'on-failure'"
        )
    for path in missing(resolved.profile, made):
        output.warn(f"'{path}' isn't there yet; without it the service won't start")


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
