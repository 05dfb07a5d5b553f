# ruff: noqa: INP001 - a script beside the documents that it makes
"""Writes the list of groups in docs/seccomp.md from sandbox/plan/seccomp_groups.py.

`PYTHONPATH=. python docs/build_seccomp.py` writes it; a test compares.

The prose around it is written by hand.
"""

import os
from collections.abc import Iterator
from typing import Final

from sandbox.plan.seccomp import condition_text
from sandbox.plan.seccomp_groups import CONDITIONS, GROUPS, MEANINGS
from sandbox.plan.seccomp_policy import condition_arg

PAGE: Final = os.path.join(os.path.dirname(os.path.abspath(__file__)), "seccomp.md")
START, END = "<!-- groups: made by docs/build_seccomp.py -->", "<!-- end of groups -->"
COMPOSED: Final = ("program", "service", "privileged", "all")


def page(text: str) -> str:
    """The document with the list of today's groups in its place."""
    before, _, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{PAGE} has no place for the groups")
    return f"{before}{START}\n\n{''.join(groups())}{END}{after}"


def groups() -> Iterator[str]:
    for name in (*COMPOSED, *(name for name in GROUPS if name not in COMPOSED)):
        for version, members in GROUPS[name].items():
            yield f"### @{name}/{version}\n\n{MEANINGS[name][0].upper()}{MEANINGS[name][1:]}.\n\n"
            words = [word.partition("?")[0] for word in members.split()]
            yield f"{' '.join(f'`{word}`' for word in words)}\n\n"
            yield from conditions([word for word in members.split() if "?" in word])


def conditions(words: list[str]) -> Iterator[str]:
    """What of a conditional call is granted: one of the lines has to hold."""
    for word in words:
        call = word.partition("?")[0]
        for conjunction in CONDITIONS[word]:
            texts = [condition_text(condition_arg(*one)) for one in conjunction]
            yield f"- `{call}` where `{' and '.join(texts)}`\n"
    if words:
        yield "\n"


def main() -> None:
    with open(PAGE, encoding="utf-8") as file:
        new = page(file.read())
    with open(PAGE, "w", encoding="utf-8") as out:
        out.write(new)


if __name__ == "__main__":
    main()
