"""`sbx adopt`: a new supervisor for a sandbox that has outlived its own.

The native launcher does it by itself; what comes here has asked for help, or came past the launcher.
"""

import os

import click

from sandbox.cli.arguments import LIVE
from sandbox.cli.help import Verb
from sandbox.errors import SandboxError
from sandbox.live.records import is_name


@click.command(cls=Verb, short_help="Take over a live sandbox that has lost its supervisor.")
@click.argument("name", type=LIVE, metavar="NAME")
def command(name: str) -> int:
    """Become the supervisor of the sandbox that is called NAME, and stay until it ends.

    Its profile has service.survive = true, and its supervisor was killed. The exit status is the
    command's, as of sbx run; also if it has ended meanwhile.
    """
    if not is_name(name):
        raise SandboxError(f"there is no live sandbox '{name}'", hint="'sbx ps' lists them")
    launcher = os.environ.get("SBX_LAUNCHER", "")
    if not launcher:
        raise SandboxError("the launcher is missing", hint="call 'sbx adopt', which pip installed")
    os.execv(launcher, [launcher, "adopt", name])
