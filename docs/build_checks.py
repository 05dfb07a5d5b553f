# ruff: noqa: INP001 - a script beside the documents that it makes
"""Writes docs/checks.md from tests/isolation/catalogue.py: `PYTHONPATH=. python docs/build_checks.py`.

A test compares the file with what would be written.
"""

import os
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from tests.isolation import catalogue
from tests.isolation.check import Check

PAGE: Final = os.path.join(os.path.dirname(os.path.abspath(__file__)), "checks.md")
_HEAD: Final = """\
# The checks

What is tried against sbx, by number; [isolation.md](isolation.md) shows what comes of the same attempts in other tools.
This page is made from tests/isolation/catalogue.py by docs/build_checks.py.

An *attempt* is made inside a sandbox by a program that knows of none: as root and as an account without privilege, by
a cold launch, a warm one without Python, and the library. Each names the errno that it has to end with, and has a
*control*: a scene in which what withstands it is away, by a change of the profile that takes just that, or outside of any
sandbox; there it succeeds. A *test* is for what isn't an attempt of the payload's, such as a name that the set-up
follows, and has its controls within.

    ./dev test tests/isolation         # all of it
    ./dev test tests/isolation -k 44-  # the attempts of one check
    ./dev test tests/vm/test_isolation.py
    ./dev faults races                 # the races of check 13 with 2000 launches each; the tests make 200

"""


def page() -> str:
    return "".join((_HEAD, *_table(), *_tests(), *_lacking()))


def _table() -> Iterator[str]:
    yield "| Check | What is tried | Weakness | Known cases | Attempts | Tests |\n"
    yield "| ---: | --- | --- | --- | ---: | ---: |\n"
    for check in catalogue.checks():
        cells = (
            str(check.number),
            check.title,
            check.weakness,
            ", ".join(check.cves),
            str(len(check.attempts) or ""),
            str(len(check.tests) or ""),
        )
        yield f"| {' | '.join(cells)} |\n"
    attempts = sum(len(check.attempts) for check in catalogue.checks())
    tests = len({name for check in catalogue.checks() for name in check.tests})
    yield f"\n{attempts} attempts, each by three doors and two callers, and {tests} tests.\n\n"


def _tests() -> Iterator[str]:
    yield "## Checks without an attempt of the payload's\n\n"
    for check in catalogue.checks():
        if not check.attempts:
            yield f"- {check.number}, {check.title}: {'; '.join(map(_place, check.tests))}\n"
    yield "\n"


def _place(node: str) -> str:
    path, _, name = node.partition("::")
    return f"`{name}` in {path}"


def _lacking() -> Iterator[str]:
    """Controls by the feature that a kernel may lack."""
    found: dict[tuple[str, str], list[tuple[Check, str]]] = defaultdict(list)
    for check, attempt in catalogue.attempts():
        if attempt.control.lacking:
            key = (attempt.control.lacking[1], attempt.control.never)
            found[key].append((check, attempt.words))
    yield """\
## Controls that take a feature of the kernel's

Where the kernel lacks it, the attempt has to fail for that very reason without sbx as well. The emulated machine
(tests/vm/test_isolation.py, Linux 6.12 of Debian's) has the feature: there these attempts are made again, stopped in sbx
and successful without it.

| Feature | Attempts | In the emulated machine |
| --- | --- | --- |
"""
    for (reason, never), attempts in found.items():
        words = ", ".join(f"`{words}` ({check.number})" for check, words in attempts)
        yield f"| {reason} | {words} | {never or 'shown'} |\n"


def main() -> None:
    new = page()
    with open(PAGE, "w", encoding="utf-8") as out:
        out.write(new)


if __name__ == "__main__":
    main()
