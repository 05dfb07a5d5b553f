"""Tables for people, JSON for machines, and figures as both read them."""

import sys
from collections.abc import Collection, Iterator, Sequence

from sandbox.cli import output

_UNITS = ("B", "K", "M", "G", "T", "P")


def table(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Collection[str] = (),
    width: int = 0,
    coloured: bool = True,
) -> Iterator[str]:
    """Lines of aligned columns; on a terminal of `width` columns the last one is cut to fit.

    Cells may hold anything: what a terminal would obey is written as an escape.
    """
    clean = [[output.printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *clean, strict=True)]
    head = _line(heads, heads, widths, right, width)
    yield output.paint(head, "strong", sys.stdout) if coloured else head
    for row in clean:
        yield _line(row, heads, widths, right, width)


def _line(
    cells: Sequence[str],
    heads: Sequence[str],
    widths: Sequence[int],
    right: Collection[str],
    limit: int,
) -> str:
    padded = [
        cell.rjust(width) if head in right else cell.ljust(width)
        for cell, head, width in zip(cells, heads, widths, strict=True)
    ]
    line = "  ".join(padded).rstrip()
    return line if not limit or len(line) <= limit else line[: limit - 1] + "…"


def plain_json(content: object) -> str:
    """JSON in which whatever a terminal might obey is an escape."""
    import json

    return json.dumps(content, indent=2, ensure_ascii=True)


def age(nanoseconds: int) -> str:
    """A time in its two largest units: 3d4h, 2h5m, 1m10s, 12s."""
    seconds = max(nanoseconds, 0) // 1_000_000_000
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d{hour}h"
    if hours:
        return f"{hours}h{minute}m"
    return f"{minutes}m{second}s" if minutes else f"{second}s"


def size(number: float | None) -> str:
    """Bytes in powers of 1024: 512B, 1.5M, 23G."""
    if number is None:
        return "-"
    index = 0
    while number >= 1024 and index < len(_UNITS) - 1:
        number /= 1024
        index += 1
    digits = 1 if index and number < 10 else 0
    return f"{number:.{digits}f}{_UNITS[index]}"
