"""All checks by class: data for the tests, for the comparison with other tools, and for the docs."""

import os
from collections.abc import Iterator
from typing import NamedTuple

from tests.isolation.check import Attempt, Check
from tests.isolation.checks import (
    calls,
    descriptors,
    identity,
    landlock,
    mounts,
    network,
    paths,
    peers,
    proc,
    resources,
    supervisor,
)

COUNT = 60

CLASSES: dict[str, tuple[Check, ...]] = {
    "File descriptors": descriptors.CHECKS,
    "/proc": proc.CHECKS,
    "Paths at set-up": paths.CHECKS,
    "Mounts": mounts.CHECKS,
    "Identity and privilege": identity.CHECKS,
    "System calls": calls.CHECKS,
    "Network": network.CHECKS,
    "Control groups and resources": resources.CHECKS,
    "Peers, devices, time": peers.CHECKS,
    "Landlock alone": landlock.CHECKS,
    "Supervisor": supervisor.CHECKS,
}


class Tried(NamedTuple):
    """An attempt with the check that it belongs to."""

    check: Check
    attempt: Attempt

    def __str__(self) -> str:
        return f"{self.check.number}-{self.attempt.words.replace(' ', '_')}"


def checks() -> Iterator[Check]:
    """All checks in the order of their numbers."""
    yield from sorted((c for group in CLASSES.values() for c in group), key=lambda c: c.number)


class Case(NamedTuple):
    """A published weakness, and the checks that try its like."""

    cve: str
    checks: tuple[Check, ...]


def cases() -> list[Case]:
    """Every CVE that a check names, in the order of their numbers."""
    names = {cve for check in checks() for cve in check.cves}
    in_order = sorted(names, key=lambda name: tuple(map(int, name.split("-")[1:])))
    return [Case(cve, tuple(c for c in checks() if cve in c.cves)) for cve in in_order]


def attempts() -> Iterator[Tried]:
    """All attempts of all checks."""
    for check in checks():
        for one in check.attempts:
            yield Tried(check, one)


COMPLETE = "SBX_TEST_COMPLETE_KERNEL" in os.environ
"""Whether this kernel has what others lack: then only those attempts are made that show it."""


def chosen() -> list[Tried]:
    """The attempts to make on this kernel."""
    return [tried for tried in attempts() if tried.attempt.control.lacking or not COMPLETE]
