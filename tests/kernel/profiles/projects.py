"""A caller's home with secrets, a project in it, and a thief in the project.

The thief is a script that an application is made to run by what it works on: a hook, a recipe, an
install script. It notes what it got, so a test can tell a sandbox from none.
"""

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tests.applications import SYSTEM_PATH
from tests.kernel.harness import Running, Sandbox
from tests.kernel.profiles import attempts
from tests.kernel.profiles.examples import examples, run_example

SECRETS: Final = (
    ".ssh/id_ed25519",
    ".aws/credentials",
    ".config/gh/hosts.yml",
    ".git-credentials",
    ".netrc",
    ".npmrc",
)


class Home:
    """A new home of the caller's: secrets, a project with a space in its name, another project."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.path = sandbox.mkdir("home", 0o711)
        self.project = sandbox.mkdir("home/the project")
        self.other = sandbox.mkdir("home/other")
        self.secrets = [sandbox.path("home", name) for name in SECRETS]
        self.settings = sandbox.write("home/.bashrc", "# mine\n")
        for name in SECRETS:
            sandbox.write(f"home/{name}", "a secret\n", 0o600)
        for name in (".ssh", ".aws", ".config", ".config/gh"):
            sandbox.own(sandbox.path("home", name))
        self._loot = os.path.join(self.project, "loot")
        self.thief = self.write("thief.sh", self._script(), 0o755)

    @property
    def environment(self) -> dict[str, str]:
        return {**self.sandbox.environment, "HOME": self.path, "PATH": SYSTEM_PATH}

    def write(self, name: str, text: str, mode: int = 0o644) -> str:
        """A file of the project's."""
        path = os.path.relpath(os.path.join(self.project, name), self.sandbox.directory)
        written = self.sandbox.write(path, text, mode)
        self.sandbox.own(os.path.dirname(written))
        return written

    def read(self, *names: str) -> str:
        """A file of the project's."""
        with open(os.path.join(self.project, *names), encoding="utf-8") as file:
            return file.read()

    # ---- Running ----

    def run(
        self, profile: str, *words: str, status: int | None = 0, **how: Any
    ) -> subprocess.CompletedProcess[str]:
        """Runs words in the project, in a shipped profile; they have to end with `status`, or any but 0."""
        done = self.sandbox.shipped(profile, *words, **self._how(how))
        assert done.returncode == status if status is not None else done.returncode, done
        return done

    def start(self, profile: str, *words: str, **how: Any) -> Running:
        """The same in the background."""
        return self.sandbox.start_shipped(profile, *words, **self._how(how))

    def run_warm(self, profile: str, *words: str) -> subprocess.CompletedProcess[str]:
        """The same for the second time and without Python: everything is in the cache."""
        self.run(profile, *words)
        return self.run(profile, *words, stage=self.sandbox.without_python())

    def outside(self, *words: str, **how: Any) -> subprocess.CompletedProcess[str]:
        """The same words of the same caller without a sandbox."""
        done = self.sandbox.program(words, **self._how(how))
        assert done.returncode == 0, done
        return done

    def _how(self, how: dict[str, Any]) -> dict[str, Any]:
        return {"env": self.environment, "cwd": self.project, "timeout": 90, **how}

    def run_examples(
        self, profile: str, replaced: Mapping[str, str] | None = None
    ) -> list[subprocess.CompletedProcess[str]]:
        """The command lines in the head of a shipped profile, with other words in some places."""
        places = {old: shlex.quote(new) for old, new in (replaced or {}).items()}
        return [self._example(line, places) for line in examples(profile)]

    def _example(self, line: str, places: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        done = run_example(self.sandbox, line, places=places, **self._how({}))
        assert done.returncode == 0, done
        return done

    # ---- Attacks ----

    def assert_refused(
        self, profile: str, *, network: bool = False, unchangeable: Sequence[str] = ()
    ) -> None:
        """Neither the secrets nor anything else that no profile shows is in reach."""
        attempts.assert_refused(
            self.sandbox,
            profile,
            granted=[attempts.HOST_LOOPBACK] if network else [],
            unreadable=self.secrets,
            unchangeable=[self.settings, self.other, *unchangeable],
            env=self.environment,
            cwd=self.project,
        )

    def assert_thief_gets(self, everything: bool) -> None:
        """The thief has run since the last time, and got everything or nothing."""
        with open(self._loot, encoding="utf-8") as file:
            got = set(file.read().splitlines())
        os.remove(self._loot)
        wanted = {"ran", *self.secrets} if everything else {"ran"}
        assert got == wanted, got
        # Inside it may have written into a /tmp of its own: what counts is what the host has.
        assert bool(os.listdir(self.other)) == everything
        with open(self.settings, encoding="utf-8") as file:
            assert ("planted" in file.read()) == everything
        if everything:
            os.remove(os.path.join(self.other, "planted"))
            self.sandbox.write("home/.bashrc", "# mine\n")

    def _script(self) -> str:
        loot = shlex.quote(self._loot)
        places = (self.settings, os.path.join(self.other, "planted"))
        read = (f"cat {path} > /dev/null 2>&1 && echo {path} >> {loot}" for path in self.secrets)
        write = (f"(echo planted >> {path}) 2> /dev/null" for path in places)
        return "\n".join(["#!/bin/sh", f"echo ran >> {loot}", *read, *write, "exit 0", ""])

    def assert_owned(self, *above: str) -> None:
        """Everything in the project (or these directories) is the caller's on the host."""
        wrong = []
        for top in above or (self.project,):
            for directory, directories, files in os.walk(top):
                for name in (".", *directories, *files):
                    path = os.path.join(directory, name)
                    state = os.lstat(path)
                    if (state.st_uid, state.st_gid) != (self.sandbox.uid, self.sandbox.uid):
                        wrong.append((path, state.st_uid, state.st_gid))
        assert not wrong
