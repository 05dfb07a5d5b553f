"""`sbx inspect`: everything that is known of a live sandbox."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from sandbox.cli import output
from sandbox.cli.arguments import LIVE
from sandbox.cli.help import Verb
from sandbox.cli.table import age, plain_json, size

if TYPE_CHECKING:
    from sandbox.live.health import Health
    from sandbox.live.inspection import Inspection


@click.command(cls=Verb, short_help="Print everything that is known of a live sandbox.")
@click.argument("name", type=LIVE, metavar="NAME")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(name: str, *, as_json: bool) -> None:
    """Print what is known of the live sandbox NAME.

    That is what it runs, its processes, ids and namespaces, its control groups with their limits,
    the layers that are enforced, and the descriptors that its command holds.
    """
    from sandbox.live.inspection import as_fields, inspect
    from sandbox.live.records import find, runtime

    found = inspect(find(runtime(), name))
    if as_json:
        print(plain_json(as_fields(found)))
        return
    for line in _lines(found):
        output.say(line)


def _health(health: "Health | None") -> Iterator[tuple[str, str]]:
    if health is None:
        return
    since = age(time.time_ns() - health.since_ns)
    yield "health", f"{health.state} for {since}"
    if health.reason:
        yield "last check", health.reason


def _lines(found: "Inspection") -> Iterator[str]:
    live = found.live
    yield from _section(
        live.name,
        (
            ("state", live.state),
            ("up", age(live.age_ns)),
            ("profile", live.profile),
            ("command", " ".join(live.argv)),
            ("directory", live.directory),
            *((f"service {key}", value) for key, value in found.service.items() if value),
            *_health(found.health),
        ),
    )
    yield from _section(
        "processes",
        (
            ("supervisor", str(live.supervisor)),
            ("first", f"{live.first}{', its init' if live.has_init else ''}"),
            ("command", str(found.payload)),
            ("together", f"{found.processes} with {found.threads} threads"),
        ),
    )
    yield from _section(
        "identity",
        (
            *found.ids.items(),
            *((name, _map(rows)) for name, rows in found.maps.items()),
        ),
    )
    yield from _section(
        "namespaces",
        (
            (kind, f"{each.inode}{'' if each.own else ', as outside'}")
            for kind, each in found.namespaces.items()
        ),
    )
    yield from _cgroups(found)
    yield from _section("layers", (("", text) for text in found.enforced or ("not known here",)))
    yield from _section("not enforced, and optional", (("", text) for text in found.not_enforced))
    mounts = "not to be seen" if found.mounts is None else str(found.mounts)
    yield from _section("mounts", (("", mounts),))
    yield from _section("descriptors", (found.descriptors or {}).items())


def _cgroups(found: "Inspection") -> Iterator[str]:
    for path, limits in found.cgroups.items():
        yield from _section(f"cgroup {output.printable(path)}", limits.items())
    used = found.usage
    if found.cgroups:
        rows = (
            ("memory", used.memory, size(used.memory)),
            ("memory peak", used.memory_peak, size(used.memory_peak)),
            ("processor time", used.cpu_us, f"{(used.cpu_us or 0) / 1e6:.3f} s"),
            ("throttled", used.throttled_us, f"{(used.throttled_us or 0) / 1e6:.3f} s"),
            ("pids", used.pids, str(used.pids)),
            ("read", used.read_bytes, size(used.read_bytes)),
            ("written", used.write_bytes, size(used.write_bytes)),
        )
        yield from _section(
            "used", ((name, text) for name, value, text in rows if value is not None)
        )


def _map(rows: list[list[int]]) -> str:
    return ", ".join(f"{inside} is {outside} ({count})" for inside, outside, count in rows)


def _section(title: str, rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    lines = [(name, value) for name, value in rows if value]
    if not lines:
        return
    yield output.paint(title, "strong", sys.stdout)
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        shown = output.printable(value).replace("\\n", "; ")
        yield f"  {name:<{width}}  {shown}" if width else f"  {shown}"
