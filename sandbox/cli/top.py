"""`sbx top`: live sandboxes on a full screen.

Drawn with curses: it is in the standard library, which a table and six keys don't justify to leave,
and is loaded here only.
"""

import contextlib
import curses
import sys
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import click

from sandbox.cli.arguments import DURATION
from sandbox.cli.help import Verb
from sandbox.cli.output import printable
from sandbox.cli.stats import HEADS, row_of
from sandbox.cli.table import table
from sandbox.errors import SandboxError
from sandbox.live.records import all_live, runtime
from sandbox.live.sampling import Sample, Sampler

KEYS: Final = "up/down choose   s sort   k kill   t stop   p pause or resume   q quit"
_ESCAPE: Final = 27


class Order(NamedTuple):
    """One way to sort."""

    name: str
    key: Callable[[Sample], Any]


ORDERS: Final = (
    Order("processor", lambda sample: -(sample.cpu_percent or 0)),
    Order("memory", lambda sample: -(sample.usage.memory or 0)),
    Order("processes", lambda sample: -(sample.usage.pids or 0)),
    Order("age", lambda sample: sample.live.started_ns),
    Order("name", lambda sample: sample.live.name),
)


@click.command(cls=Verb, short_help="Show live sandboxes on a full screen.")
@click.option("--interval", type=DURATION, default="1", metavar="TIME", help="By default 1.")
def command(*, interval: int) -> int:
    """Show what your live sandboxes use, sorted, on a full screen.

    Keys: up and down choose one; s sorts by something else; k kills, t stops, p pauses or resumes
    the chosen one; q quits.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise SandboxError("sbx top needs a terminal", hint="'sbx stats' prints a table anywhere")
    place = runtime()
    try:
        curses.wrapper(lambda screen: _Screen(screen, place, max(interval / 1e6, 0.1)).run())
    except curses.error as error:
        raise SandboxError(
            f"this terminal can't show it: {error}", hint="set TERM, or use 'sbx stats'"
        ) from None
    except KeyboardInterrupt:
        pass
    return 0


class _Screen:
    def __init__(self, screen: "curses.window", place: str, seconds: float) -> None:
        self._screen = screen
        self._place = place
        self._seconds = seconds
        self._sampler = Sampler()
        self._samples: list[Sample] = []
        self._order = 0
        self._chosen = ""
        self._message = ""

    def run(self) -> None:
        """Until q."""
        self._screen.keypad(True)
        with contextlib.suppress(curses.error):  # not every terminal can
            curses.curs_set(0)
        due = 0.0
        while True:
            if time.monotonic() >= due:
                self._samples = self._sampler.take(all_live(self._place))
                due = time.monotonic() + self._seconds
            self._draw()
            self._screen.timeout(max(int((due - time.monotonic()) * 1000), 1))
            key = self._screen.getch()
            if key in {ord("q"), ord("Q"), _ESCAPE}:
                return
            if key >= 0:
                self._message = ""
                self._heed(key)

    def _sorted(self) -> list[Sample]:
        return sorted(self._samples, key=ORDERS[self._order].key)

    def _heed(self, key: int) -> None:
        names = [sample.live.name for sample in self._sorted()]
        at = names.index(self._chosen) if self._chosen in names else 0
        if key == ord("s"):
            self._order = (self._order + 1) % len(ORDERS)
        elif key in {curses.KEY_UP, curses.KEY_DOWN} and names:
            step = 1 if key == curses.KEY_DOWN else -1
            self._chosen = names[(at + step) % len(names)]
        elif chr(key) in "ktp" and names:
            self._act(chr(key), names[at])

    def _act(self, key: str, name: str) -> None:
        word = {"k": "kill", "t": "stop", "p": "pause or resume"}[key]
        if not self._confirm(f"{word} {name}? y/n"):
            return
        try:
            self._message = _do(self._place, key, name)
        except SandboxError as error:
            self._message = "; ".join(error.lines())

    def _confirm(self, question: str) -> bool:
        self._message = question
        self._draw()
        self._screen.timeout(-1)
        self._message = ""
        return self._screen.getch() in {ord("y"), ord("Y")}

    def _draw(self) -> None:
        height, width = self._screen.getmaxyx()
        samples = self._sorted()
        names = [sample.live.name for sample in samples]
        if names and self._chosen not in names:
            self._chosen = names[0]
        head = f"{len(samples)} live, by {ORDERS[self._order].name}"
        heads = [*HEADS[:1], "STATE", *HEADS[1:]]
        rows = [
            [row[0], sample.live.state, *row[1:]] for sample in samples for row in [row_of(sample)]
        ]
        lines = list(table(heads, rows, right={*HEADS[1:-1]}, coloured=False))
        room = max(height - 3, 1)
        at = names.index(self._chosen) if names else 0
        top = max(0, at - room + 2)
        self._screen.erase()
        self._put(0, head, width, curses.A_BOLD)
        self._put(1, lines[0], width, curses.A_REVERSE)
        for number, line in enumerate(lines[1 + top : room + top]):
            chosen = top + number == at
            self._put(2 + number, line, width, curses.A_BOLD if chosen else 0, chosen=chosen)
        self._put(height - 1, printable(self._message) or KEYS, width, curses.A_DIM)
        self._screen.refresh()

    def _put(self, row: int, text: str, width: int, look: int, *, chosen: bool = False) -> None:
        line = f"{'>' if chosen else ' '} {text}"[: max(width - 1, 0)]
        with contextlib.suppress(curses.error):  # the window has just become smaller
            self._screen.addstr(row, 0, line, look)


def _do(place: str, key: str, name: str) -> str:
    import signal

    from sandbox.live import ending, freezer
    from sandbox.live.records import find

    live = find(place, name)
    if key == "k":
        ending.kill(live, signal.SIGKILL)
        return f"{name} is killed"
    if key == "p" and live.state == "paused":
        freezer.resume(live)
        return f"{name} goes on"
    if key == "p":
        freezer.pause(live)
        return f"{name} is paused"
    for ended in ending.stop([live], number=0, milliseconds=None):
        if ended.error is not None:
            raise ended.error
    return f"{name} has ended"
