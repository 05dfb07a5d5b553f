"""Makes attempts by every way into a sandbox, all of one profile in one launch, and keeps what came of them."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from typing import Literal, NamedTuple

from sandbox.plan import cache
from tests.isolation import catalogue, scene
from tests.isolation.by_library import PROGRAM
from tests.isolation.check import Bare, Caller
from tests.kernel.harness import Sandbox

Door = Literal["cold", "warm", "library"]
DOORS: tuple[Door, ...] = ("cold", "warm", "library")


class Outcome(NamedTuple):
    """What came of an attempt."""

    outcome: str
    detail: str


def read_answers(text: str) -> list[Outcome]:
    """The probe's lines."""
    lines = (json.loads(line) for line in text.splitlines())
    return [Outcome(line["outcome"], line["detail"]) for line in lines]


def joined(tries: Sequence[str]) -> list[str]:
    """The probe's command line for several attempts."""
    words: list[str] = []
    for one in tries:
        words += ["+"] * bool(words) + shlex.split(one)
    return words


class Results:
    """What came of every attempt for one caller; each launch is made when it is first asked for."""

    def __init__(self, caller: Caller, sandbox: Sandbox, place: scene.Scene) -> None:
        self.caller: Caller = caller
        self.sandbox = sandbox
        self.scene = place
        self._kept: dict[tuple[str, str | Bare], dict[str, Outcome]] = {}
        sandbox.write("subject.toml", place.subject)

    def at(self, door: Door, tried: catalogue.Tried) -> Outcome:
        """What came of an attempt that was made by one of the doors."""
        profile = tried.attempt.profile
        key = (door, profile)
        if key not in self._kept:
            tries = [t.attempt.words for t in catalogue.chosen() if t.attempt.profile == profile]
            self._kept[key] = self._answered(tries, self._launched(door, profile, tries))
        return self._kept[key][tried.attempt.words]

    def under_control(self, tried: catalogue.Tried) -> Outcome:
        """What came of it where what withstands it is away."""
        how = tried.attempt.control.how
        text = how if isinstance(how, Bare) else f"{tried.attempt.profile}\n{how}"
        key = ("control", text)
        if key not in self._kept:
            tries = [
                t.attempt.control.words or t.attempt.words
                for t in catalogue.chosen()
                if t.attempt.control.how == how
                and self.caller in t.attempt.control.callers
                and (isinstance(how, Bare) or t.attempt.profile == tried.attempt.profile)
            ]
            tries = list(dict.fromkeys(tries))
            done = self._bare(text, tries) if isinstance(text, Bare) else self._run(text, tries)
            self._kept[key] = self._answered(tries, done)
        return self._kept[key][tried.attempt.control.words or tried.attempt.words]

    # ---- Launches ----

    def _answered(
        self, tries: list[str], done: subprocess.CompletedProcess[str]
    ) -> dict[str, Outcome]:
        assert (done.returncode, done.stderr) == (0, ""), done
        found = read_answers(done.stdout)
        assert len(found) == len(tries), done
        return dict(zip(tries, found, strict=True))

    def _words(self, tries: list[str]) -> list[str]:
        return [self.scene.probe, *map(self.scene.fill, joined(tries))]

    def _profile(self, text: str) -> str:
        if not text:
            return self.sandbox.path("subject.toml")
        return self.sandbox.write(f"{abs(hash(text)):x}.toml", self.scene.derived(text))

    def _launched(
        self, door: Door, profile: str, tries: list[str]
    ) -> subprocess.CompletedProcess[str]:
        path, words = self._profile(profile), self._words(tries)
        if door == "library":
            return self._program([sys.executable, "-c", PROGRAM, path, *words])
        plan = os.path.join(
            self.sandbox.cache, cache.file_name(cache.key(path, "/", for_cwd=False))
        )
        if door == "cold":
            if os.path.exists(plan):
                os.unlink(plan)
            return self._program(self.sandbox.shipped_arguments(path, *words))
        if not os.path.exists(plan):
            self._program(self.sandbox.shipped_arguments(path, self.scene.probe))
        return self._program(self.sandbox.shipped_arguments(path, *words), warm=True)

    def _run(self, text: str, tries: list[str]) -> subprocess.CompletedProcess[str]:
        return self._program(
            self.sandbox.shipped_arguments(self._profile(text), *self._words(tries))
        )

    def _bare(self, how: Bare, tries: list[str]) -> subprocess.CompletedProcess[str]:
        if how is Bare.ROOTED:
            tries = [f"rooted {one}" for one in tries]
        return self._program(self._words(tries))

    def _program(
        self, arguments: list[str], *, warm: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Runs it as a caller that has left descriptors open and has variables of all kinds."""
        with scene.careless() as many:
            return self.sandbox.program(
                arguments,
                stage=self.sandbox.without_python() if warm else None,
                before=lambda: scene.leave_open(many),
                close_fds=False,
                env={**self.sandbox.environment, **scene.VARIABLES},
            )
