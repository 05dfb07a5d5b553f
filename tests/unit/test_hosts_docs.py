"""docs/hosts.md: every row has its test, and what it quotes is what sbx says."""

import ast
import glob
import os
import re
from typing import NamedTuple

from tests.kernel.hosts.test_containers import IN_CONTAINER

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAGE = "docs/hosts.md"
HOSTS = os.path.join(TREE, "tests", "kernel", "hosts")


class Row(NamedTuple):
    host: str
    happens: str
    advice: str
    test: str


def page() -> str:
    with open(os.path.join(TREE, PAGE), encoding="utf-8") as file:
        return file.read()


def rows() -> list[Row]:
    lines = (line for line in page().splitlines() if line.startswith("| ") and "| ---" not in line)
    cells = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return [Row(*found) for found in cells if found[3] != "Test"]


def tried() -> set[str]:
    """file::function of every test of odd hosts."""
    found = set()
    for path in glob.glob(os.path.join(HOSTS, "test_*.py")):
        with open(path, encoding="utf-8") as file:
            tree = ast.parse(file.read())
        names = (node.name for node in tree.body if isinstance(node, ast.FunctionDef))
        found |= {f"{os.path.basename(path)}::{name}" for name in names if name.startswith("test_")}
    return found


def sources() -> str:
    """What sbx can say, without the breaks between the pieces of a string."""
    texts = []
    for path in (
        *glob.glob(os.path.join(TREE, "sandbox", "**", "*.py"), recursive=True),
        *glob.glob(os.path.join(TREE, "csrc", "*.c")),
    ):
        with open(path, encoding="utf-8") as file:
            texts.append(re.sub(r'"\s*\n\s*f?"', "", file.read()))
    return "\n".join(texts)


def test_every_row_names_a_test_that_is_there() -> None:
    known = tried()
    assert len(rows()) > 60
    assert [row for row in rows() if row.test.strip("`") not in known] == []


def test_every_kind_of_host_that_is_tested_has_its_row() -> None:
    """But for the controls: tests of what sbx must not say, and of its remedies."""
    controls = {
        "test_missing.py::test_the_remedy_works",
        "test_planting.py::test_the_remedy_keeps_the_payload_out",
        "test_planting.py::test_what_leaves_the_cache_alone_is_not_warned_of",
        "test_planting.py::test_a_cover_whose_name_can_be_moved_away_is_none",
        "test_planting.py::test_roots_payload_owns_no_cache",
        "test_planting.py::test_a_home_that_is_covered_is_not_warned_of",
    }
    assert tried() - {row.test.strip("`") for row in rows()} == controls


def test_every_row_says_what_happens() -> None:
    starts = ("works", "refused", "126", "127")
    assert [row for row in rows() if not row.happens.startswith(starts)] == []


def test_what_is_quoted_is_what_sbx_says() -> None:
    said = sources()
    quoted = [
        text
        for row in rows()
        for text in re.findall(r'"([^"]{6,})"', re.sub("`[^`]*`", "", row.happens))
    ]
    assert len(quoted) > 30
    assert [text for text in quoted if text not in said] == []


def test_the_profile_for_containers_is_the_one_that_is_tried() -> None:
    for line in IN_CONTAINER.strip().splitlines():
        assert line.removeprefix("profile.") in page()
