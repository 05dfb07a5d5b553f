"""`sbx ps`: the sandboxes that live. Imports little: its start is most of what it costs."""

import os
import sys
from collections.abc import Sequence

import click

from sandbox.cli import output
from sandbox.cli.help import Verb
from sandbox.cli.table import age, plain_json, size, table
from sandbox.live.records import Live, all_live, others, runtime


@click.command(cls=Verb, short_help="List live sandboxes.")
@click.option("--quiet", "-q", is_flag=True, help="Print names only.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--all-users", is_flag=True, help="Those of all users, for root.")
def command(*, quiet: bool, as_json: bool, all_users: bool) -> None:
    """List your live sandboxes, with what they run and for how long.

    A sandbox is listed once its program has been started; one that ends within 50 milliseconds and
    was given no name never is.
    """
    found = _of_all_users() if all_users else all_live(runtime())
    if quiet:
        for live in found:
            print(live.name)
    elif as_json:
        print(plain_json([_fields(live) for live in found]))
    else:
        _print(found, with_user=all_users)


def _of_all_users() -> list[Live]:
    from sandbox.errors import SandboxError

    if os.geteuid() != 0:
        raise SandboxError(
            "--all-users is for root: the records of others can't be read",
            hint="sudo sbx ps --all-users",
        )
    places = dict.fromkeys([runtime(), *others(0)])
    return [live for place in places for live in all_live(place)]


def _fields(live: Live) -> dict[str, object]:
    """Keys: name, profile, command, state, uid, supervisor, first, started_ns, memory."""
    return {
        "name": live.name,
        "profile": live.profile,
        "command": list(live.argv),
        "state": live.state,
        "uid": live.uid,
        "supervisor": live.supervisor,
        "first": live.first,
        "started_ns": live.started_ns,
        "memory": _memory(live),
    }


def _memory(live: Live) -> int | None:
    if not live.cgroups:
        return None
    from sandbox.live.cgroups import memory_of

    return memory_of(live.cgroups)


def _print(found: Sequence[Live], *, with_user: bool) -> None:
    heads = ["NAME", "PROFILE", "PID", "UP", "MEMORY", "STATE", "COMMAND"]
    rows = []
    for live in found:
        memory = _memory(live)
        row = [
            live.name,
            os.path.basename(live.profile).removesuffix(".toml"),
            str(live.supervisor),
            age(live.age_ns),
            "-" if memory is None else size(memory),
            live.state,
            " ".join(live.argv),
        ]
        rows.append([*row[:1], _user(live.uid), *row[1:]] if with_user else row)
    if with_user:
        heads.insert(1, "USER")
    for line in table(heads, rows, right={"PID", "UP", "MEMORY"}, width=_width()):
        output.say(line)


def _width() -> int:
    """Of the terminal; 0 where there is none."""
    if not sys.stdout.isatty():
        return 0
    import shutil

    return shutil.get_terminal_size((0, 0)).columns


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
