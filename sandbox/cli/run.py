"""`sbx run`: a command in the sandbox that a profile describes.

The native launcher runs a cached plan by itself and comes here for everything else: no plan yet,
a stale one, a terminal of the sandbox's own.
"""

import os
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

import click
import msgspec

from sandbox._paths import working_directory
from sandbox.cli import output
from sandbox.cli.arguments import ASSIGNMENT, PROFILE, WORD
from sandbox.cli.hazards import warn_of_hazards
from sandbox.cli.help import Verb
from sandbox.cli.hint import give_hint
from sandbox.errors import SandboxError
from sandbox.plan.record import Plan, PlanFlag
from sandbox.process.failure import located_error
from sandbox.profile.resolved import Overrides, ResolvedProfile

LAUNCHER_VARIABLE: Final = "SBX_LAUNCHER"


@click.command(cls=Verb, context_settings={"allow_interspersed_args": False})
@click.option(
    "--profile", "-p", required=True, type=PROFILE, help="A file, or the name of a shipped profile."
)
@click.option(
    "--set",
    "variables",
    multiple=True,
    type=ASSIGNMENT,
    metavar="NAME=VALUE",
    help="Give a variable of the profile's [vars] another value.",
)
@click.option("--name", metavar="NAME", help="What others know this sandbox by: sbx ps, sbx stop.")
@click.option(
    "--report",
    metavar="FILE",
    type=click.Path(),
    help="Write how it ended, and what it has used, into FILE as one JSON object.",
)
@click.option(
    "--detach",
    "-d",
    is_flag=True,
    help="Leave it running in the background once it is ready; print its name.",
)
@click.option("--timing", is_flag=True, help="Print where the launch spent its time.")
@click.option("--explain", is_flag=True, help="Say at the end what was refused, and why.")
@click.option("--json", "as_json", is_flag=True, help="With --explain: as one JSON object.")
@click.option(
    "--explain-to",
    "target",
    metavar="FILE",
    type=click.Path(),
    help="As --explain, into FILE in place of standard error.",
)
@click.argument("words", nargs=-1, type=WORD, metavar="[--] [COMMAND...]")
def command(
    profile: str,
    variables: tuple[str, ...],
    name: str | None,
    report: str | None,
    detach: bool,
    timing: bool,
    explain: bool,
    as_json: bool,
    target: str | None,
    words: tuple[str, ...],
) -> int:
    """Run COMMAND, or the profile's own, in the sandbox that the profile describes.

    The exit status is the command's; 128 and the signal's number if one ended it; 124 if a time of
    [service] was up or its checks failed; 125 if sbx itself failed, 126 if the command can't be executed, 127 if there is none.
    """
    asked = _Asked(name, report, detach, timing, explain or target is not None, as_json, target)
    _agree(asked)
    try:
        return _run(profile, variables, asked, words)
    except SandboxError as error:
        if report is not None:
            from sandbox.cli.ending import open_report, tell_failure

            tell_failure(error, None, name=name or "", words=words, report=open_report(report))
        raise


class _Asked(NamedTuple):
    """The options of one run."""

    name: str | None
    report: str | None
    detach: bool
    timing: bool
    explain: bool
    as_json: bool
    target: str | None


def _run(profile: str, variables: tuple[str, ...], asked: _Asked, words: tuple[str, ...]) -> int:
    from sandbox.host import probe
    from sandbox.plan import codec
    from sandbox.plan.compile import compile as compile_plan
    from sandbox.plan.record import SetStamp
    from sandbox.process.failure_words import NO_COMMAND
    from sandbox.profile.load import load

    started_ns = time.time_ns()
    # An entry without a name came in by execve(2), and os.execve refuses to pass it on.
    environ = {name: value for name, value in os.environ.items() if name}
    cwd = working_directory()
    launcher = environ.pop(LAUNCHER_VARIABLE, "") or _launcher()
    sets = dict(map(_assignment, variables))
    resolved = load(profile, cwd=cwd, environ=environ, overrides=Overrides(vars=sets))
    if not words and not resolved.profile.process.command:
        raise SandboxError(NO_COMMAND.reason, hint=NO_COMMAND.hint, origin="process.command")
    if asked.detach:
        from sandbox.cli.detach import in_background

        resolved = in_background(resolved)
    host = probe()
    plan = compile_plan(resolved, host)
    stamps = (SetStamp(name=name, value=value) for name, value in sets.items())
    plan = msgspec.structs.replace(plan, stamps=(*plan.stamps, *stamps))
    data = codec.encode(plan)
    warn_of_hazards(resolved, host, environ, launcher)
    if not asked.detach:
        _keep(plan, profile, variables, cwd, environ, started_ns, launcher)
    streams = _terminal(plan)
    _find_cgroup(plan, environ)
    if asked.detach:
        from sandbox.cli.detach import run_detached

        return run_detached(launcher, plan, data, words, environ, asked.name, asked.report)
    if asked.explain:
        from sandbox.cli.explain import run_explained

        _warn_of_gaps(plan)
        return run_explained(
            plan,
            resolved,
            host,
            words,
            environ,
            streams=streams,
            as_json=asked.as_json,
            path=asked.target,
            report=asked.report,
            name=asked.name,
        )
    if streams and not asked.timing:
        return _run_with_terminal(data, plan, resolved, words, environ, streams, asked)
    return _hand_over(launcher, data, words, environ, asked)


def _agree(asked: _Asked) -> None:
    if asked.detach and (asked.timing or asked.explain):
        raise SandboxError("--detach goes with neither --timing nor --explain")
    if asked.as_json and not asked.explain:
        raise SandboxError("--json goes with --explain or --explain-to")
    if asked.timing and asked.explain:
        raise SandboxError(
            "--timing and --explain don't go together", hint="what is followed takes longer"
        )
    if asked.timing and asked.report is not None:
        raise SandboxError("--timing and --report don't go together", hint="run it twice")


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise SandboxError(f"--set: '{text}' is not NAME=VALUE")
    return name, value


def _keep(
    plan: Plan,
    profile: str,
    sets: Sequence[str],
    cwd: str,
    environ: dict[str, str],
    started_ns: int,
    launcher: str,
) -> None:
    """The next launch needs no Python; one that can't be kept is only slower."""
    from sandbox.plan import cache

    reason = cache.store(
        plan,
        profile=profile,
        sets=sets,
        cwd=cwd,
        environ=environ,
        started_ns=started_ns,
        launcher=launcher,
    )
    if reason:
        output.warn(f"the compiled plan is not kept, so each launch compiles it anew: {reason}")


def _terminal(plan: Plan) -> int:
    """The standard streams that become the sandbox's own terminal, as bits."""
    from sandbox.process.terminal import streams_on_terminal

    streams = streams_on_terminal()
    if plan.flags & PlanFlag.TERMINAL_ALWAYS and not streams:
        raise SandboxError(
            'process.terminal = "always", but none of the standard streams is a terminal',
            hint='run sbx from a terminal, or set process.terminal = "auto"',
        )
    wanted = plan.flags & (PlanFlag.TERMINAL_AUTO | PlanFlag.TERMINAL_ALWAYS)
    return streams if wanted and (streams & 1 or plan.flags & PlanFlag.TERMINAL_ALWAYS) else 0


def _run_with_terminal(
    data: bytes,
    plan: Plan,
    resolved: ResolvedProfile,
    words: Sequence[str],
    environ: dict[str, str],
    streams: int,
    asked: _Asked,
) -> int:
    from sandbox.cli.ending import open_report, tell_end
    from sandbox.process.ending import end_of
    from sandbox.process.launch import LaunchFailedError, start
    from sandbox.process.terminal import Signals, attend

    _warn_of_gaps(plan)
    report = open_report(asked.report) if asked.report is not None else -1
    try:
        with Signals() as signals:
            child = start(data, argv=words, environ=environ, terminal=streams, name=asked.name)
            try:
                child.announce()
                attend(child, streams, signals)
            finally:
                child.close()
    except LaunchFailedError as failed:
        raise located_error(plan, failed.failure, words[0] if words else None, resolved) from None
    end = end_of(child.end)
    tell_end(end, plan, resolved, name=child.name, words=words, report=report)
    if not end.is_told:
        give_hint(end.status)
    return end.exit_status


def _find_cgroup(plan: Plan, environ: dict[str, str]) -> None:
    """A user's limits may need a scope of the user's systemd, which this process then is in."""
    from sandbox.plan.ops import CreateCgroup, Identify

    if any(isinstance(op, CreateCgroup) for op in plan.ops):
        from sandbox.process import scope

        scope.enter(plan, next(op.stem for op in plan.ops if isinstance(op, Identify)), environ)


def _warn_of_gaps(plan: Plan) -> None:
    """Where the launcher runs a plan, it says so itself."""
    from sandbox.plan.ops import SkipFeature

    for op in plan.ops:
        if isinstance(op, SkipFeature) and op.warn:
            output.warn(f"not enforced on this host, and optional: {op.feature}")


def _launcher() -> str:
    """The native program, where sbx was started without it."""
    import sysconfig

    return os.path.join(sysconfig.get_path("scripts"), "sbx")


def _hand_over(
    launcher: str, data: bytes, words: Sequence[str], environ: dict[str, str], asked: _Asked
) -> int:
    """This process becomes the launcher: a supervisor that waits needs no interpreter."""
    fd = os.memfd_create("sbx-plan", 0)
    os.set_inheritable(fd, True)
    os.write(fd, data)
    options = ["--timing"] if asked.timing else []
    if asked.name is not None:
        options += ["--name", asked.name]
    if asked.report is not None:
        options += ["--report", asked.report]
    arguments = [launcher, "run", "--plan-fd", str(fd), *options, "--", *words]
    try:
        os.execve(launcher, arguments, environ)
    except OSError as error:
        raise SandboxError(
            f"the launcher {launcher} can't be run: {error.strerror}",
            hint="install sbx anew with pip; it belongs beside Python's scripts",
        ) from None
