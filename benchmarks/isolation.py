"""What is stopped: the attempts of tests/isolation, made in sbx and in its peers with comparable intents, in one run.

An attempt is stopped if the attacker gains nothing by it; how (an errno, a signal) is kept. One that
came to no end in its time is not stopped, whoever's it is. The profiles that sbx runs them in, and
each peer's whole command line, are in the record.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from benchmarks import building, places, records
from benchmarks.common import BenchmarkError, Figure
from benchmarks.contenders import Contender, contenders
from benchmarks.outcomes import is_stopped
from benchmarks.places import OWN_MOUNTS
from tests.isolation import catalogue, scene, surroundings
from tests.isolation.build import build_probe
from tests.isolation.checks.identity import EXECUTE, NO_SET_ID
from tests.isolation.checks.network import HOST
from tests.isolation.checks.resources import LIMITS, SMALL
from tests.isolation.doors import joined, read_answers

PATIENCE_S: Final = 900
BATCH: Final = 20
"""Attempts of one launch: firejail takes no more than 128 words."""

COMPARED: Final = {
    "": "",
    # The peers are called as ever: they run what may be read, and have no option against set-id files.
    EXECUTE: "programs among what may be read",
    NO_SET_ID: "in sbx by the shipped profile no-set-id",
    HOST: "on the host's network",
}
"""What an attempt's own profile means to a reader; the peers' options change with the network alone."""
_NO_LIMITS: Final = "limits are numbers that a caller gives; half of the peers have no such option"
NOT_COMPARED: Final = {LIMITS: _NO_LIMITS, SMALL: _NO_LIMITS}


def measure(sbx: str | None, rounds: int) -> dict[str, Any]:
    """`rounds` is of no meaning here: an attempt is stopped or not."""
    del rounds
    if os.geteuid() != 0:
        raise BenchmarkError("some of the peers need root")
    groups = {
        profile: [each for each in catalogue.attempts() if each.attempt.profile == profile]
        for profile in COMPARED
    }
    # Some put an empty directory over /var/tmp, where the scratch one is.
    with (
        places.scratch_directory() as scratch,
        tempfile.TemporaryDirectory(prefix="sbx-benchmark-", dir="/srv") as directory,
        surroundings.servers() as port,
        surroundings.local_servers(directory) as local,
        surroundings.shared_memory() as shared,
    ):
        subject = _scene(directory)
        subject.around.update(local, **shared, port=port)
        absent: dict[str, str] = {}
        commands: dict[str, dict[str, str]] = {}
        notes: dict[str, str] = {}
        results: dict[str, Any] = {}
        for profile, tried in groups.items():
            path = _profile(scratch, subject, profile)
            for one in contenders(subject, scratch, sbx, path, network=profile == HOST):
                if one.name in absent:
                    continue
                words = " ".join(one.command(["PROBE"]))
                words = words.replace(directory, "SCENE").replace(scratch, "SCRATCH")
                answer = _run(one, subject, scratch, tried)
                if isinstance(answer, str):
                    absent[one.name] = answer
                    continue
                commands.setdefault(COMPARED[profile], {})[one.name] = words
                notes[one.name] = one.note
                for each, outcome in zip(tried, answer, strict=True):
                    row = results.setdefault(_key(each), _row(each))
                    row["outcomes"][one.name] = outcome
    if sbx and "sbx" in absent:
        raise BenchmarkError(f"sbx: {absent['sbx']}")
    return {
        "benchmark": "isolation",
        "facts": records.facts(sbx),
        "profiles": {COMPARED[profile]: profile or _as_written() for profile in COMPARED},
        "commands": commands,
        "notes": notes,
        "absent": absent,
        "not compared": [
            {
                "attempt": each.attempt.words,
                "check": each.check.number,
                "why": NOT_COMPARED[each.attempt.profile],
            }
            for each in catalogue.attempts()
            if each.attempt.profile not in COMPARED
        ],
        "results": results,
        "figures": [
            Figure(
                name=f"attempts that {name} stops, of all",
                value=_share(results, name),
                reach=1.0,
                at_least=True,
            )
            for name in ("sbx", "sbx, a normal user")
            if sbx and name not in absent
        ],
    }


def _as_written() -> str:
    """The subject's profile with its names, as a reader writes it."""
    return scene.SUBJECT.replace("{{", "{").replace("}}", "}")


def _profile(scratch: str, subject: scene.Scene, more: str) -> str:
    """The profile that says what is granted, and another that says more."""
    name = "subject.toml" if not more else f"subject-{list(COMPARED).index(more)}.toml"
    path = os.path.join(scratch, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(subject.derived(more) if more else subject.subject)
    return path


def _key(each: catalogue.Tried) -> str:
    label = COMPARED[each.attempt.profile]
    return f"{each} ({label})" if label else str(each)


def _row(each: catalogue.Tried) -> dict[str, Any]:
    return {
        "attempt": each.attempt.words,
        "circumstances": COMPARED[each.attempt.profile],
        "class": _class_of(each),
        "check": each.check.number,
        "title": each.check.title,
        "weakness": each.check.weakness,
        "cves": each.check.cves,
        "outcomes": {},
    }


def _scene(directory: str) -> scene.Scene:
    """The probe is compiled here, or has been: an emulated machine has no compiler."""
    kept = os.path.join(building.BUILD, "attempts")
    os.makedirs(building.BUILD, exist_ok=True)
    if shutil.which(building.compiler()[0]):
        build_probe(building.BUILD)
    if not os.path.exists(kept):
        raise BenchmarkError("there is no compiler for the probe")
    os.chmod(directory, 0o755)
    probe = shutil.copy(kept, os.path.join(directory, "probe"))
    return scene.prepare(probe, directory)


def _run(
    one: Contender, subject: scene.Scene, scratch: str, tried: Sequence[catalogue.Tried]
) -> list[str] | str:
    """What came of each attempt, or why none could be made: beside another sandbox of the same tool's."""
    peer = _command(one, [subject.probe, "stay"])
    if not os.access(one.command(())[0], os.X_OK):
        return f"{one.command(())[0]} is not installed"
    how = one.place.how(scratch)
    how["env"] = {**how["env"], **scene.VARIABLES}
    found: list[str] = []
    try:
        with (
            subprocess.Popen(
                peer,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                **how,
            ) as process,
            surroundings.staying(process) as it,
        ):
            subject.around["peer"] = it
            for at in range(0, len(tried), BATCH):
                answers = _answers(one, subject, tried[at : at + BATCH], how)
                if isinstance(answers, str):
                    return answers
                found += answers
    except AssertionError:
        answers = _answers(one, subject, tried[:1], how)
        return answers if isinstance(answers, str) else "no second one lives beside it"
    return found


def _command(one: Contender, words: Sequence[str]) -> list[str]:
    command = one.command(words)
    if not one.place.setup:
        return command
    inner = f'set -e\n{one.place.setup}\nexec "$@"'
    return [*OWN_MOUNTS, "sh", "-c", inner, "sh", *command]


def _answers(
    one: Contender, subject: scene.Scene, tried: Sequence[catalogue.Tried], how: Mapping[str, Any]
) -> list[str] | str:
    words = [subject.probe, *map(subject.fill, joined([each.attempt.words for each in tried]))]
    with scene.careless() as many:
        try:
            done = subprocess.run(
                _command(one, words),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=PATIENCE_S,
                close_fds=False,
                preexec_fn=lambda: scene.leave_open(many),
                **how,
            )
        except subprocess.TimeoutExpired:
            return f"a launch has taken more than {PATIENCE_S} s"
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if len(lines) != len(tried):
        last = (done.stderr.strip().splitlines() or ["nothing on standard error"])[-1]
        return f"status {done.returncode}, {len(lines)} of {len(tried)} answers: {last}"
    return [each.outcome for each in read_answers("\n".join(lines))]


def _class_of(tried: catalogue.Tried) -> str:
    return next(name for name, checks in catalogue.CLASSES.items() if tried.check in checks)


def _share(results: Mapping[str, Any], name: str) -> float:
    outcomes = [each["outcomes"][name] for each in results.values()]
    return sum(map(is_stopped, outcomes)) / len(outcomes)


def report(content: Mapping[str, Any]) -> str:
    """A row for each class, a column for each sandbox; then what each of them has let through."""
    results = content["results"].values()
    names = [name for name in content["notes"] if name not in content["absent"]]
    totals = Counter(each["class"] for each in results)
    rows = [("attempts stopped", "of", *names)]
    for kind, total in totals.items():
        stopped = [
            sum(is_stopped(each["outcomes"][name]) for each in results if each["class"] == kind)
            for name in names
        ]
        rows.append((kind, str(total), *map(str, stopped)))
    sums = [str(sum(is_stopped(each["outcomes"][name]) for each in results)) for name in names]
    rows.append(("all", str(len(results)), *sums))
    lines = [records.table(rows)]
    for name in names:
        through = [
            key
            for key, each in content["results"].items()
            if not is_stopped(each["outcomes"][name])
        ]
        lines.append(f"{name} lets through: {', '.join(map(shlex.quote, through)) or 'nothing'}")
    return "\n".join([*lines, *records.not_here(content)])


if __name__ == "__main__":
    sys.exit(records.main("isolation", __doc__, measure, report, rounds=1))
