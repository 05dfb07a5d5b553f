"""`sbx events`: what befalls sandboxes."""

import datetime as dt
import json
import sys
from typing import Any

import click

from sandbox.cli import output
from sandbox.cli.arguments import LIVE
from sandbox.cli.help import Verb


@click.command(cls=Verb, short_help="Print what befalls sandboxes.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until interrupted.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each event.")
@click.argument("names", nargs=-1, type=LIVE, metavar="[NAME...]")
def command(*, follow: bool, as_json: bool, names: tuple[str, ...]) -> None:
    """Print the events of all recorded sandboxes of the caller, or of those that are named.

    They are: started, adopted, ready, reloading, stopping, healthy, unhealthy and exited, with the cause.
    Those of a service are its own words and its supervisor's checks.
    """
    from sandbox.live.events import events

    for event in events(follow=follow):
        if names and event["name"] not in names:
            continue
        output.say(json.dumps(event) if as_json else output.printable(_line(event)))
        sys.stdout.flush()


def _line(event: dict[str, Any]) -> str:
    when = dt.datetime.fromtimestamp(float(event["time"]), dt.UTC).astimezone()
    rest = "".join(
        f" {key}={value}" for key, value in event.items() if key not in {"time", "name", "event"}
    )
    return f"{when:%Y-%m-%d %H:%M:%S} {event['name']} {event['event']}{rest}"
