"""A line of the user's file with a mark under what is meant, as compilers show it."""

from sandbox.cli.output import printable
from sandbox.errors import Problem

SHOWN_WIDTH = 100


def marked(problem: Problem) -> tuple[str, str]:
    """The line of a problem, and below it a mark under what is meant."""
    start = max(0, problem.column - SHOWN_WIDTH // 2) if len(problem.source) > SHOWN_WIDTH else 0
    shown = problem.source[start : start + SHOWN_WIDTH].replace("\t", " ")
    at = problem.column - 1 - start
    before, meant = shown[:at], shown[at : at + problem.width]
    mark = " " * _cells(before) + "^" * max(_cells(meant), 1)
    return printable(shown), mark


def _cells(text: str) -> int:
    """How many columns of a terminal `text` takes."""
    printed = printable(text)
    if printed.isascii():
        return len(printed)
    import unicodedata

    wide = sum(unicodedata.east_asian_width(c) in {"W", "F"} for c in printed)
    return len(printed) + wide - sum(unicodedata.combining(c) > 0 for c in printed)
