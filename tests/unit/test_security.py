"""SECURITY.md's table of weaknesses: every check, every published case, and only tests that exist."""

import ast
import os
import re
from typing import NamedTuple

import pytest

from tests.conftest import TREE
from tests.isolation import catalogue

CASE = re.compile(r"CVE-\d{4}-\d{4,}")
NODE = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


class Row(NamedTuple):
    """One class of weakness."""

    name: str
    cases: frozenset[str]
    holds: str
    checks: frozenset[int]
    nodes: tuple[tuple[str, str], ...]
    rest: str
    """What stands beside checks and tests, and shouldn't."""


def read() -> str:
    with open(os.path.join(TREE, "SECURITY.md"), encoding="utf-8") as file:
        return file.read()


def rows(text: str) -> list[Row]:
    """The lines of the table."""
    section = text.partition("## Weaknesses and the tests that try them\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [_row(*(cell.strip() for cell in line.strip("|").split(" | "))) for line in lines[1:]]


def _row(name: str, cases: str, holds: str, shown: str) -> Row:
    bare = NODE.sub("", shown)
    return Row(
        name=name,
        cases=frozenset(CASE.findall(cases)),
        holds=holds,
        checks=frozenset(map(int, re.findall(r"\d+", bare))),
        nodes=tuple(NODE.findall(shown)),
        rest=re.sub(r"[\d, ]", "", bare),
    )


def names_of(path: str) -> set[str]:
    """The tests of a file; none where there is no such file."""
    whole = os.path.join(TREE, path)
    if not os.path.exists(whole):
        return set()
    with open(whole, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def missing(text: str) -> list[str]:
    """Tests that the table names and that don't exist."""
    return [
        f"{path}::{name}"
        for row in rows(text)
        for path, name in row.nodes
        if not name.startswith("test_") or name not in names_of(path)
    ]


@pytest.mark.parametrize("row", rows(read()), ids=lambda row: row.name)
def test_a_weakness_is_held_by_something_and_tried_by_something(row: Row) -> None:
    assert row.name
    assert row.holds
    assert row.checks or row.nodes
    assert row.rest == ""


def test_every_check_of_the_catalogue_is_in_the_table() -> None:
    """And no other number."""
    known = {check.number for check in catalogue.checks()}
    assert {number for row in rows(read()) for number in row.checks} == known


@pytest.mark.parametrize("case", catalogue.cases(), ids=lambda case: case.cve)
def test_every_case_of_the_catalogue_stands_beside_its_checks(case: catalogue.Case) -> None:
    named = [row for row in rows(read()) if case.cve in row.cases]
    tried = {number for row in named for number in row.checks}
    assert {check.number for check in case.checks} <= tried


def test_every_test_that_the_table_names_exists() -> None:
    assert missing(read()) == []


def test_a_test_that_does_not_exist_is_found() -> None:
    text = read().replace("::test_no_bytes_lead_it_astray", "::test_nothing_at_all", 1)
    assert missing(text) == ["tests/fuzz/test_fuzzers.py::test_nothing_at_all"]
    assert len(rows(text)) > 30
