"""`sbx events`: what befalls sandboxes."""

import datetime as dt
import json
import re
import sys
import time
from typing import Any

import click

from sandbox.cli import output
from sandbox.cli.arguments import LIVE
from sandbox.cli.help import Verb
from sandbox.errors import SandboxError


@click.command(cls=Verb, short_help="Print what befalls sandboxes.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until interrupted.")
@click.option("--since", metavar="TIME", help="From then on: 10min (ago), or 2026-05-01T12:00.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each event.")
@click.argument("names", nargs=-1, type=LIVE, metavar="[NAME...]")
def command(*, follow: bool, since: str | None, as_json: bool, names: tuple[str, ...]) -> None:
    """Print the events of all recorded sandboxes of the caller, or of those that are named.

    They are: started, adopted, ready, reloading, stopping, paused, resumed, healthy, unhealthy (with
    the reason), limit (of memory or pids, with how often it was hit so far) and exited, with the
    cause.
    Those of a service are its own words and its supervisor's checks.
    """
    from sandbox.live import events
    from sandbox.live.records import runtime

    place, moment = runtime(), 0.0 if since is None else _moment(since)
    idle = sys.stdout.flush
    for event in events.follow(place, moment, idle) if follow else events.kept(place, moment):
        if not names or event["name"] in names:
            output.say(json.dumps(event) if as_json else output.printable(_line(event)))


def _moment(text: str) -> float:
    """Seconds since the epoch."""
    from sandbox import units

    if re.match(r"\d{4}-", text):
        try:
            return dt.datetime.fromisoformat(text).timestamp()
        except ValueError:
            raise SandboxError(f"--since: '{text}' is no moment such as 2026-05-01T12:00") from None
    try:
        return time.time() - units.duration(int(text) if text.isdecimal() else text) / 1e6
    except ValueError as error:
        raise SandboxError(f"--since: {error}") from None


def _line(event: dict[str, Any]) -> str:
    try:
        when = f"{dt.datetime.fromtimestamp(event['time'], dt.UTC).astimezone():%Y-%m-%d %H:%M:%S}"
    except (OverflowError, OSError, ValueError):
        when = "? ?"
    rest = "".join(
        f" {key}={value}" for key, value in event.items() if key not in {"time", "name", "event"}
    )
    return f"{when} {event['name']} {event['event']}{rest}"
