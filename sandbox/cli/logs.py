"""`sbx logs`: what a service has written, kept by `service.log = "file"`."""

import datetime as dt
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from sandbox.cli.arguments import LIVE
from sandbox.cli.help import Verb
from sandbox.errors import SandboxError

if TYPE_CHECKING:
    from sandbox.live.log import Entry

_TIME_WIDTH = len("2026-01-31T12:00:00.123456789Z")


@click.command(cls=Verb, short_help="Print what a service has written.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what it writes until it ends.")
@click.option(
    "--lines",
    "-n",
    "count",
    type=click.IntRange(min=0),
    metavar="N",
    help="The newest N lines only.",
)
@click.option(
    "--since",
    metavar="TIME",
    help="What is newer: a time such as '2026-01-31 12:00', or how long ago, such as 10min.",
)
@click.option("--timestamps", "-t", is_flag=True, help="Print the time in front of each line.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each line.")
@click.option("--raw", is_flag=True, help="Print control characters as they are.")
@click.argument("name", type=LIVE, metavar="NAME")
def command(
    name: str,
    *,
    follow: bool,
    count: int | None,
    since: str | None,
    timestamps: bool,
    as_json: bool,
    raw: bool,
) -> None:
    """Print the log of the sandbox NAME, which need not live any more.

    Control characters are printed as escapes, so that no program can write to your terminal what
    that obeys.
    """
    from sandbox.live.log import Log

    if raw and as_json:
        raise SandboxError("--raw and --json don't go together")
    log = Log(name)
    first = "" if since is None else _moment(since)
    entries: Iterable[Entry] = log.entries() if count is None else log.last(count)
    if follow:
        entries = _followed(name, count)
    newer = (entry for entry in entries if entry.time >= first)
    _print(newer, timestamps=timestamps, as_json=as_json, raw=raw)


def _followed(name: str, count: int | None) -> Iterator["Entry"]:
    from sandbox.live.log import Log
    from sandbox.live.records import read, runtime

    place = runtime()
    log = Log(name)
    if count is not None:
        yield from log.last(count)
    yield from log.follow(since_start=count is None, lives=lambda: read(place, name) is not None)


def _moment(text: str) -> str:
    """A time as the log has it."""
    from sandbox import units

    try:
        ago = units.duration(int(text) if text.isdecimal() else text)
        when = dt.datetime.now(dt.UTC) - dt.timedelta(microseconds=ago)
    except ValueError:
        try:
            when = dt.datetime.fromisoformat(text).astimezone(dt.UTC)
        except ValueError:
            raise SandboxError(
                f"--since: '{text}' is no time",
                hint="write it as '2026-01-31 12:00', or as how long ago: 90s, 10min, 2h",
            ) from None
    return when.strftime("%Y-%m-%dT%H:%M:%S.%f")


def _print(entries: Iterable["Entry"], *, timestamps: bool, as_json: bool, raw: bool) -> None:
    out = sys.stdout.buffer
    open_stream = ""
    for entry in entries:
        if as_json:
            out.write(_json(entry))
        else:
            if open_stream not in ("", entry.stream):
                out.write(b"\n")
            begins = open_stream != entry.stream
            head = f"{entry.time:<{_TIME_WIDTH}} ".encode() if timestamps and begins else b""
            out.write(head + (entry.text if raw else harmless(entry.text).encode()))
            out.write(b"\n" if entry.ends else b"")
        open_stream = "" if entry.ends else entry.stream
        out.flush()
    if open_stream and not as_json:
        out.write(b"\n")
    out.flush()


def _json(entry: "Entry") -> bytes:
    import json

    fields = {
        "time": entry.time,
        "stream": entry.stream,
        "text": entry.text.decode("utf-8", "backslashreplace"),
        "partial": not entry.ends,
    }
    return json.dumps(fields).encode() + b"\n"


def harmless(text: bytes) -> str:
    """Text in which nothing is left that a terminal would obey; tabs stay."""
    decoded = text.decode("utf-8", "backslashreplace")
    if decoded.isprintable():
        return decoded
    return "".join(c if c.isprintable() or c in "\t\u00a0" else ascii(c)[1:-1] for c in decoded)
