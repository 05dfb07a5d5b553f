"""The command lines in the head of a shipped profile, run as they stand there."""

import os
import re
import subprocess
from collections.abc import Mapping
from typing import Any, Final

from sandbox.profile.names import shipped_path
from tests.kernel.harness import Sandbox

_EXAMPLE: Final = re.compile(r"#     ((?:sbx run|psql|redis-cli) .*)")


def examples(profile: str) -> list[str]:
    """What the comments of a shipped profile tell its user to type; a profile has at least one."""
    with open(shipped_path(profile), encoding="utf-8") as file:
        found = [match[1] for line in file if (match := _EXAMPLE.fullmatch(line.rstrip("\n")))]
    assert found, f"{profile} has no example"
    return found


def run_example(
    sandbox: Sandbox, command: str, *, places: Mapping[str, str] | None = None, **how: Any
) -> subprocess.CompletedProcess[str]:
    """Has the caller's shell run an example, with its `places` (such as /srv/in) at other paths."""
    for shown, real in (places or {}).items():
        command = command.replace(shown, real)
    path = f"{os.path.dirname(sandbox.launcher)}:{sandbox.environment['PATH']}"
    env = {**sandbox.environment, **how.pop("env", {}), "PATH": path}
    return sandbox.program(["/bin/sh", "-c", command], env=env, **how)
