"""What `sbx systemd install` asks another sbx for: a profile's plan, as a unit's user makes it."""

import os
import time

import click
import msgspec

from sandbox._paths import launcher_path, working_directory
from sandbox.cli import output


@click.command(hidden=True)
@click.option("--profile", required=True)
@click.option("--set", "variables", multiple=True)
def command(profile: str, variables: tuple[str, ...]) -> None:
    """Compile a profile and keep the plan; to start nothing."""
    from sandbox.cli.run import LAUNCHER_VARIABLE
    from sandbox.host import probe
    from sandbox.plan import cache
    from sandbox.plan.compile import compile as compile_plan
    from sandbox.plan.record import SetStamp
    from sandbox.profile import Overrides, load

    started_ns = time.time_ns()
    environ = dict(os.environ)
    launcher = environ.pop(LAUNCHER_VARIABLE, "") or launcher_path()
    sets = dict(text.split("=", 1) for text in variables)
    cwd = working_directory()
    resolved = load(profile, cwd=cwd, environ=environ, overrides=Overrides(vars=sets))
    plan = compile_plan(resolved, probe())
    stamps = (SetStamp(name=name, value=value) for name, value in sets.items())
    reason = cache.store(
        msgspec.structs.replace(plan, stamps=(*plan.stamps, *stamps)),
        profile=profile,
        sets=variables,
        cwd=cwd,
        environ=environ,
        started_ns=started_ns,
        launcher=launcher,
    )
    if reason:
        output.warn(f"the compiled plan is not kept, so each start compiles it anew: {reason}")
