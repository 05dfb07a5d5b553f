"""Warnings of what a sound profile lets its payload do to sbx itself."""

import os
import sys
from collections.abc import Mapping

from sandbox.cli import output
from sandbox.host import Host
from sandbox.profile.resolved import ResolvedProfile


def warn_of_hazards(
    resolved: ResolvedProfile, host: Host, environ: Mapping[str, str], launcher: str
) -> None:
    """Told where a profile is checked and where it is compiled, not at every launch."""
    from sandbox.plan.hazards import hazards

    programs = (os.path.realpath(launcher), os.path.realpath(sys.executable))
    for problem in hazards(
        resolved, environ, os.geteuid(), landlock=host.landlock_abi > 0, programs=programs
    ):
        output.warn(f"{problem.text()}; {problem.hint}")
