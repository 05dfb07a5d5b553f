"""The faults' judge sees what is missing: each layer that is switched off shows."""

import os
import subprocess

import pytest

from tests.conftest import UNPRIVILEGED
from tests.faults.judge import (
    BROKEN,
    KILLED,
    NEVER_STARTED,
    NOT_EXECUTABLE,
    REFUSED,
    STOPPED,
    UNTOLD,
    WHOLE,
    Ran,
    judge,
    missing,
    ran,
)
from tests.faults.launches import Launch, Place

EARLY = f"the sandbox was {NEVER_STARTED}"
OFF = {
    "landlock.enabled = false": "+landlock 0",
    "seccomp.enabled = false": "+status Seccomp:\t0",
    "namespaces.uts = false": "the host's uts namespace",
    'network.mode = "host"': "the host's net namespace",
    'environment.set.MORE = "x"': "+variable MORE=x",
    "rlimits.nofile = 99": "+rlimit 7 99",
}


@pytest.fixture
def place(shared_dir: str) -> Place:
    """Of a user; root's cache is the host's."""
    user = UNPRIVILEGED if os.geteuid() == 0 else None
    return Place(shared_dir, Launch(name="judged", user=user))


def told(place: Place) -> Ran:
    return ran(place.run(place.command).stdout)


def test_two_launches_without_a_fault_tell_the_same(place: Place) -> None:
    assert missing(told(place), told(place)) == ""


@pytest.mark.parametrize(("line", "shown"), OFF.items())
def test_what_is_switched_off_shows(place: Place, line: str, shown: str) -> None:
    whole = told(place)
    with open(place.profile, encoding="utf-8") as file:
        text = file.read()
    with open(place.profile, "w", encoding="utf-8") as file:
        file.write(text.replace("[[mounts]]", f"{line}\n[[mounts]]", 1))
    assert shown in missing(told(place), whole)


def done(status: int, output: str = "", messages: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess([], status, output, messages)


@pytest.mark.parametrize(
    ("end", "told_by_injector", "kill", "kind"),
    (
        (done(7, "began\na\n"), "", "", WHOLE),
        (done(7), "", "", BROKEN),
        (done(7, "began\nb\n"), "", "", BROKEN),
        (done(7, "began\na\nb\n"), "", "", BROKEN),
        (done(7, "began\n"), "", "", UNTOLD),
        (done(7, "began\na\n"), "left 12\n", "", BROKEN),
        (done(125, "", "sbx: error: no\n"), "", "", REFUSED),
        (done(125, "", "sbx: error: a step: Unknown error 555\n"), "", "", BROKEN),
        (done(125, "", "sbx: warning: no\n"), "", "", BROKEN),
        (done(126, "", "sbx: error: no\n"), "", "", BROKEN),
        (done(1, "", "sbx: error: no\n"), "", "", BROKEN),
        (done(125, "began\na\n", "sbx: error: no\n"), "", "", STOPPED),
        (done(125, "began\nb\n", "sbx: error: no\n"), "", "", BROKEN),
        (done(125, "began\n", "sbx: error: no\n"), "", "", UNTOLD),
        (done(125, "began\na\n"), "", "", BROKEN),
        (done(125, "began\na\n", f"sbx: error: {EARLY}\n"), "", "", BROKEN),
        (done(125, "", f"sbx: error: {EARLY}\n"), "", "setup", REFUSED),
        (done(125), "", "", BROKEN),
        (done(0), "", "", BROKEN),
        (done(141), "", "", BROKEN),
        (done(137), "", "", BROKEN),
        (done(137), "", "setup", BROKEN),
        (done(137, "began\na\n"), "", "program", KILLED),
        (done(137, "began\n"), "", "program", UNTOLD),
        (done(137, "began\nb\n"), "", "program", BROKEN),
        (done(137), "end 9\n", "supervisor", KILLED),
        (done(137, "began\n"), "end 9\n", "supervisor", UNTOLD),
        (done(137, "began\nb\n"), "end 9\n", "supervisor", BROKEN),
        (done(137), "end 9\nleft 12\n", "supervisor", BROKEN),
        (done(125), "end 32000\n", "supervisor", BROKEN),
    ),
)
def test_what_is_right(
    end: subprocess.CompletedProcess[str], told_by_injector: str, kill: str, kind: str
) -> None:
    whole = Ran(began=True, lines=("a",), namespaces=())
    verdict = judge(end, told_by_injector, whole, kill=kill)
    assert verdict.kind == kind


def test_of_an_exec_that_fails_the_status_is_another() -> None:
    """And only of that."""
    whole = Ran(began=True, lines=("a",), namespaces=())
    refused = done(126, "", "sbx: error: no\n")
    assert judge(refused, "", whole, kill="", status=NOT_EXECUTABLE).kind == REFUSED
