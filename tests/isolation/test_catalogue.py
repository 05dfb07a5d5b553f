"""The catalogue itself: complete, without doubles, and every test that it names exists."""

import ast
import os
import re

import pytest

from tests.conftest import TREE
from tests.isolation import catalogue
from tests.isolation.check import Check


def functions(path: str) -> set[str]:
    """The tests of a file."""
    with open(os.path.join(TREE, path), encoding="utf-8") as file:
        tree = ast.parse(file.read())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("check", list(catalogue.checks()), ids=lambda c: str(c.number))
def test_a_check_names_tests_that_exist(check: Check) -> None:
    assert check.attempts or check.tests
    for node in check.tests:
        path, _, name = node.partition("::")
        assert name in functions(path), node


def test_every_check_is_there_once() -> None:
    assert [check.number for check in catalogue.checks()] == list(range(1, catalogue.COUNT + 1))


def test_a_case_has_a_number_and_a_check() -> None:
    for case in catalogue.cases():
        assert re.fullmatch(r"CVE-\d{4}-\d{4,}", case.cve), case
        assert case.checks


def test_no_attempt_is_there_twice() -> None:
    """Results are kept by the words of an attempt and its profile."""
    keys = [(tried.attempt.words, tried.attempt.profile) for tried in catalogue.attempts()]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("tried", list(catalogue.attempts()), ids=str)
def test_more_than_one_outcome_has_a_reason(tried: catalogue.Tried) -> None:
    assert len(tried.attempt.outcomes) == 1 or tried.attempt.because
    assert tried.attempt.outcomes
    assert "succeeded" not in tried.attempt.outcomes
