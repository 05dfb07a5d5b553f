"""The library's door: the same caller's launches, made by a program that uses sbx from Python."""

import sys
from collections.abc import Mapping, Sequence
from typing import Final

from tests.kernel.harness import Sandbox

PROGRAM: Final = """\
import sys
from sandbox import Profile, Sandbox, SandboxError
try:
    done = Sandbox(Profile.load(sys.argv[1])).run(sys.argv[2:])
except SandboxError as error:
    print(error, file=sys.stderr)
    sys.exit(125)
sys.stdout.buffer.write(done.stdout)
sys.stderr.buffer.write(done.stderr)
sys.exit(done.returncode if done.returncode >= 0 else 128 - done.returncode)
"""
"""Its arguments are a profile and a command; it ends as `sbx run` does."""


class LibrarySandbox(Sandbox):
    """A caller who makes each launch with the library."""

    def arguments(self, text: str, words: Sequence[str], options: Sequence[str] = ()) -> list[str]:
        assert not options, "options are for the command line"
        return self.shipped_arguments(self.profile(text), *words)

    def shipped_arguments(
        self, profile: str, *words: str, variables: Mapping[str, str] | None = None
    ) -> list[str]:
        assert not variables
        return [sys.executable, "-c", PROGRAM, profile, *words]
