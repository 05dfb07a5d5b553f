"""`sbx stats`: what live sandboxes use."""

import json
import shutil
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from sandbox.cli import output
from sandbox.cli.arguments import DURATION, LIVE
from sandbox.cli.help import Verb
from sandbox.cli.table import plain_json, size, table
from sandbox.errors import EXIT_SANDBOX, SandboxError

if TYPE_CHECKING:
    from sandbox.live.records import Live
    from sandbox.live.sampling import Sample

_SHORT: Final = 0.25
"""Seconds between the two samples that a single table takes."""
_HOME, _CLEAR_LINE, _CLEAR_BELOW = "\033[H", "\033[K", "\033[J"
HEADS: Final = ["NAME", "CPU%", "MEMORY", "PEAK", "LIMIT", "PIDS", "READ", "WRITTEN", "PRESSURE"]


@click.command(cls=Verb, short_help="Tell what live sandboxes use.")
@click.argument("names", type=LIVE, nargs=-1, metavar="[NAME...]")
@click.option("--watch", "-w", is_flag=True, help="Go on; the default on a terminal.")
@click.option("--no-stream", is_flag=True, help="Once; the default elsewhere.")
@click.option(
    "--interval", type=DURATION, default="2", metavar="TIME", help="Between two; by default 2."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON; with --watch an array a line.")
def command(
    names: tuple[str, ...], *, watch: bool, no_stream: bool, interval: int, as_json: bool
) -> int:
    """Print processor, memory, processes, I/O and pressure of each NAME, or of all of yours.

    What a sandbox's control group doesn't count is summed over its processes. Pressure is how much
    of the last ten seconds something in the sandbox has waited for processor, memory and I/O.
    """
    if watch and no_stream:
        raise SandboxError("--watch and --no-stream don't go together")
    on_terminal = sys.stdout.isatty()
    if watch or (on_terminal and not no_stream and not as_json):
        return _go_on(names, max(interval / 1e6, 0.1), as_json=as_json, on_terminal=on_terminal)
    from sandbox.live.sampling import Sampler, as_fields

    found, errors = _chosen(names)
    sampler = Sampler()
    sampler.take(found)
    time.sleep(_SHORT if found else 0)
    samples = sampler.take(found)
    if as_json:
        print(plain_json([as_fields(sample) for sample in samples]))
    else:
        for line in lines_of(samples):
            output.say(line)
    for each in errors:
        output.report_error(each)
    return EXIT_SANDBOX if errors else 0


def _chosen(names: Sequence[str]) -> "tuple[list[Live], list[SandboxError]]":
    from sandbox.live.records import chosen, runtime

    return chosen(runtime(), names, everything=not names)


def _go_on(names: Sequence[str], seconds: float, *, as_json: bool, on_terminal: bool) -> int:
    from sandbox.live.sampling import Sampler, as_fields

    found, errors = _chosen(names)
    if errors:
        raise errors[0]
    sampler = Sampler()
    try:
        while True:
            samples = sampler.take(found)
            if as_json:
                print(json.dumps([as_fields(sample) for sample in samples]), flush=True)
            else:
                _show(samples, on_terminal=on_terminal)
            time.sleep(seconds)
            found, _ = _chosen(names)
            if names and not found:
                return 0
    except KeyboardInterrupt:
        return 0


def _show(samples: "Sequence[Sample]", *, on_terminal: bool) -> None:
    width, height = shutil.get_terminal_size()
    lines = list(lines_of(samples, width if on_terminal else 0))
    if not on_terminal:
        print("\n".join([*lines, ""]), flush=True)
        return
    text = "".join(f"{line}{_CLEAR_LINE}\n" for line in lines[: max(height - 1, 1)])
    print(f"{_HOME}{text}{_CLEAR_BELOW}", end="", flush=True)


def lines_of(samples: "Sequence[Sample]", width: int = 0) -> list[str]:
    """A table of samples."""
    rows = [row_of(sample) for sample in samples]
    return list(table(HEADS, rows, right=set(HEADS[1:-1]), width=width))


def row_of(sample: "Sample") -> list[str]:
    """One line of it, cell by cell."""
    usage = sample.usage
    percent = "-" if sample.cpu_percent is None else f"{sample.cpu_percent:.1f}"
    pids = "-" if usage.pids is None else str(usage.pids)
    pressure = " ".join(
        f"{name} {each.some:.0f}%" for name, each in sample.pressure.items() if each.some >= 0.5
    )
    return [
        sample.live.name,
        percent,
        size(usage.memory),
        size(usage.memory_peak),
        size(usage.memory_max),
        pids if usage.pids_max is None else f"{pids}/{usage.pids_max}",
        size(usage.read_bytes),
        size(usage.write_bytes),
        pressure or "-",
    ]
