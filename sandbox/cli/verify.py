"""`sbx verify`: whether a live sandbox still is what its plan promised."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from sandbox.cli import output
from sandbox.cli.arguments import LIVE
from sandbox.cli.help import Verb
from sandbox.cli.table import plain_json, table

if TYPE_CHECKING:
    from sandbox.verify.report import Report


@click.command(cls=Verb, short_help="Compare a live sandbox with what its plan promised.")
@click.argument("name", type=LIVE, metavar="NAME")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(name: str, *, as_json: bool) -> None:
    """Compare every thread and every mount of the live sandbox NAME with its plan.

    What isn't as the plan promised is listed by thread, and the status is 1. What you may not see,
    and what the kernel tells nobody, is listed apart and is never taken as passed.
    """
    from sandbox.live.records import find, runtime
    from sandbox.verify.report import as_fields, verify

    report = verify(find(runtime(), name))
    if as_json:
        print(plain_json(as_fields(report)))
    else:
        for line in _lines(report):
            output.say(line)
    if report.findings:
        sys.exit(1)


def _lines(report: "Report") -> Iterator[str]:
    if report.findings:
        rows = [
            (_number(each.tid), each.thread, each.item, each.promised, each.found)
            for each in report.findings
        ]
        heads = ("TID", "THREAD", "ITEM", "PROMISED", "FOUND")
        yield from table(heads, rows, right={"TID"})
        yield ""
    # Threads of which the same can't be seen are one line.
    hidden: dict[tuple[str, str], int] = {}
    for each in report.unseen:
        key = (each.item, each.why)
        hidden[key] = hidden.get(key, 0) + 1
    if hidden:
        rows_ = [(item, why, str(count)) for (item, why), count in hidden.items()]
        yield from table(("NOT SEEN", "WHY", "THREADS"), rows_, right={"THREADS"})
        yield ""
    told = [(item, _short(promised)) for item, promised in report.untold]
    yield from table(("NOT TOLD BY THE KERNEL", "PROMISED"), told)
    yield ""
    yield _summary(report)


def _short(promised: str) -> str:
    first, *rest = promised.split("\n")
    if not rest:
        return first
    return f"{first.removesuffix(', except:')}, but for {_count(len(rest), 'rule')}"


def _count(number: int, word: str) -> str:
    plural = f"{word}es" if word.endswith("s") else f"{word}s"
    return f"{number} {word if number == 1 else plural}"


def _number(tid: int) -> str:
    return str(tid) if tid else "-"


def _summary(report: "Report") -> str:
    looked = (
        f"{report.live.name}: {_count(report.processes, 'process')}, "
        f"{_count(report.threads, 'thread')}, {_count(report.mounts, 'mount')}"
    )
    count = len(report.findings)
    if count:
        return f"{looked}: {_count(count, 'thing')} not as promised"
    seen = "all that was seen is" if report.unseen else "all is"
    return f"{looked}: {seen} as promised"
