"""`sbx exec`: another program in a live sandbox.

The native launcher does it by itself where no terminal is to be relayed, and comes here otherwise.
"""

import os
from collections.abc import Mapping
from typing import Final

import click

from sandbox.cli.arguments import ASSIGNMENT
from sandbox.cli.help import Verb
from sandbox.errors import EXIT_SIGNAL_BASE, SandboxError
from sandbox.live.records import is_name, runtime
from sandbox.plan import codec
from sandbox.plan.record import Plan, PlanFlag
from sandbox.process import join
from sandbox.process.failure import located_error
from sandbox.process.launch import LaunchFailedError
from sandbox.process.terminal import Signals, attend, streams_on_terminal

_RECORD_MAX: Final = 64 << 10


@click.command(cls=Verb, context_settings={"allow_interspersed_args": False})
@click.option(
    "--env",
    "-e",
    "variables",
    multiple=True,
    type=ASSIGNMENT,
    metavar="NAME=VALUE",
    help="Set a variable beside those that the sandbox's own program has.",
)
@click.option(
    "--cwd",
    metavar="DIRECTORY",
    default="",
    help="Where it starts, by default as the profile has it.",
)
@click.argument("name")
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] COMMAND...")
def command(variables: tuple[str, ...], cwd: str, name: str, words: tuple[str, ...]) -> int:
    """Run COMMAND in the live sandbox that is called NAME.

    It is confined as the sandbox's own program is, by every layer, and has its variables. It ends
    with that program, and with this command. The exit status is the command's, as of sbx run.
    """
    if cwd and not cwd.startswith("/"):
        raise SandboxError(
            "--cwd: the directory must be given from the root, as inside", hint=f"--cwd /{cwd}"
        )
    place = os.path.join(runtime(), name)
    if not is_name(name):
        raise _unknown(name)
    record = _record(place, name)
    plan = _plan(record)
    words = words[1:] if words[0] == "--" else words
    wanted = plan.flags & (PlanFlag.TERMINAL_AUTO | PlanFlag.TERMINAL_ALWAYS) if plan else 0
    streams = streams_on_terminal() if wanted else 0
    environ = dict(variable.split("=", 1) for variable in variables)
    try:
        with Signals() as signals:
            joined = join.join(
                place, words, environ, cwd=cwd, terminal=streams if streams & 1 else 0
            )
            try:
                status = attend(joined, streams if streams & 1 else 0, signals)
            finally:
                joined.close()
    except LaunchFailedError as failed:
        if plan is None:
            raise SandboxError(
                f"'{words[0]}' can't be run: {os.strerror(failed.failure.error)}"
            ) from None
        raise located_error(plan, failed.failure, words[0], None) from None
    except OSError as error:
        raise SandboxError(
            f"the supervisor of '{name}' doesn't answer: {error.strerror}",
            hint="it is starting or ending; 'sbx ps' lists what lives",
        ) from None
    if os.WIFSIGNALED(status):
        return EXIT_SIGNAL_BASE + os.WTERMSIG(status)
    return os.waitstatus_to_exitcode(status)


def _record(place: str, name: str) -> Mapping[str, str]:
    try:
        with open(
            os.path.join(place, "record"), encoding="utf-8", errors="surrogateescape"
        ) as file:
            lines = file.read(_RECORD_MAX).split("\0")
    except (OSError, ValueError):
        raise _unknown(name) from None
    record = dict(line.split("=", 1) for line in lines if "=" in line)
    if record.get("has_init") != "1":
        raise SandboxError(
            f"'{name}' can't be joined: without an init nothing in it could start another program",
            hint="set process.init = true",
        )
    return record


def _unknown(name: str) -> SandboxError:
    return SandboxError(f"there is no live sandbox '{name}'", hint="'sbx ps' lists them")


def _plan(record: Mapping[str, str]) -> Plan | None:
    """What its supervisor carried out, as far as this user may read it.

    Of a dead sandbox the number may be another process's by now, which may hold anything there.
    """
    try:
        path = f"/proc/{record['supervisor']}/fd/{record['plan_fd']}"
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            return codec.decode(file.read(codec.MAX_SIZE) or b"")
    except (KeyError, OSError, SandboxError, ValueError):
        return None
