"""The commands that are compared, and their turns."""

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from benchmarks.common import BenchmarkError, Times, times
from benchmarks.places import PLAIN, Place, Spawner


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One command to measure."""

    name: str
    argv: Sequence[str]
    place: Place = PLAIN
    before: Callable[[Spawner], None] | None = None
    """Done before every launch, outside of its time."""


class Bench:
    """The subjects that work here, each in its place."""

    def __init__(self, subjects: Sequence[Subject], scratch: str) -> None:
        self.spawners: dict[str, Spawner] = {}
        self.index: dict[str, int] = {}
        self.subjects: dict[str, Subject] = {}
        self.absent: dict[str, str] = {}
        self.first: dict[str, float] = {}
        for place in {subject.place.name: subject.place for subject in subjects}.values():
            here = [subject for subject in subjects if subject.place.name == place.name]
            if not place.available:
                self.absent |= {subject.name: "needs root" for subject in here}
                continue
            try:
                spawner = Spawner(place, [each.argv for each in here], scratch)
            except BenchmarkError as error:
                self.absent |= {subject.name: str(error) for subject in here}
                continue
            self.spawners[place.name] = spawner
            for index, subject in enumerate(here):
                self._admit(subject, index)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def need(self, *names: str) -> None:
        """Raises BenchmarkError where one of these can't be measured here; without a name: any of all."""
        for name in names or self.absent:
            if name in self.absent:
                raise BenchmarkError(f"{name}: {self.absent[name]}")

    def _admit(self, subject: Subject, index: int) -> None:
        program = subject.argv[0]
        if not os.access(program, os.X_OK):
            self.absent[subject.name] = f"{program} is not installed"
            return
        self.index[subject.name] = index
        self.subjects[subject.name] = subject
        try:
            self.first[subject.name] = min(self.run(subject.name) for _ in range(3))
        except BenchmarkError as error:
            self.absent[subject.name] = str(error)
            del self.subjects[subject.name]

    def run(self, name: str) -> float:
        subject = self.subjects[name]
        spawner = self.spawners[subject.place.name]
        if subject.before is not None:
            subject.before(spawner)
        return spawner.run(self.index[name])

    def rate(self, name: str, workers: int, milliseconds: int) -> float:
        spawner = self.spawners[self.subjects[name].place.name]
        return spawner.rate(self.index[name], workers, milliseconds)

    def interleave(self, rounds: int, slow_ms: float = 20.0) -> dict[str, Times]:
        """Run every subject once a round, each round in another order.

        A subject slower than `slow_ms` takes part in every fifth round only.
        """
        samples: dict[str, list[float]] = {name: [] for name in self.subjects}
        slow = {name for name in self.subjects if self.first[name] > slow_ms}
        dice = random.Random()
        for number in range(rounds):
            order = [name for name in self.subjects if name not in slow or number % 5 == 0]
            dice.shuffle(order)
            for name in order:
                samples[name].append(self.run(name))
        return {name: times(values) for name, values in samples.items()}

    def pid(self, place: Place) -> int:
        return self.spawners[place.name].process.pid

    def close(self) -> None:
        for spawner in self.spawners.values():
            spawner.close()
