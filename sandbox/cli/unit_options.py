"""What `sbx systemd unit` and `sbx systemd install` are told, and the units that come of it."""

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import click

from sandbox._paths import launcher_path, working_directory
from sandbox.cli.arguments import ASSIGNMENT, PROFILE
from sandbox.errors import SandboxError

if TYPE_CHECKING:
    from sandbox.profile import ResolvedProfile
    from sandbox.systemd.unit import UnitFile, Wish

_Command = TypeVar("_Command", bound=Callable[..., Any])

USER: Final = click.option(
    "--user", is_flag=True, help="For the manager of the calling user, not the system's."
)
_UNIT_OPTIONS: Final = (
    USER,
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


def for_a_unit(command: _Command) -> _Command:
    """The options of a verb that makes a unit."""
    for option in reversed(_UNIT_OPTIONS):
        command = option(command)
    return command


def units(
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
) -> "tuple[Wish, ResolvedProfile, tuple[UnitFile, ...], frozenset[str]]":
    """What is wished for, the profile, its units, and the directories that these make."""
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
    files = units_of(resolved.profile, wish, found)
    return wish, resolved, files, found.directories()


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
