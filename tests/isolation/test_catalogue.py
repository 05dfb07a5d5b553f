"""The catalogue itself: complete, without doubles, and every test that it names exists."""

import ast
import os
import platform
import re

import pytest

from benchmarks import isolation
from docs import build_checks
from tests.conftest import TREE
from tests.isolation import catalogue, doors
from tests.isolation.check import BOTH, Check


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


def test_the_document_lists_these_checks() -> None:
    """After a change: PYTHONPATH=. python docs/build_checks.py. Its numbers are those of x86-64."""
    if platform.machine() != "x86_64":
        return
    with open(build_checks.PAGE, encoding="utf-8") as file:
        assert file.read() == build_checks.page()


def test_every_attempt_is_made_by_every_door_and_caller() -> None:
    assert set(doors.DOORS) == {"cold", "warm", "library"}
    for check in catalogue.checks():
        assert check.attempts or check.tests
        for one in check.attempts:
            assert one.control.callers, one
            assert set(one.control.callers) <= set(BOTH)


@pytest.mark.parametrize("tried", list(catalogue.attempts()), ids=str)
def test_a_control_that_may_lack_something_says_what(tried: catalogue.Tried) -> None:
    """And which outcome tells it, which isn't one of sbx's own or another way to fail."""
    control = tried.attempt.control
    assert control.lacking or not control.never
    if control.lacking:
        outcome, reason = control.lacking
        assert reason
        assert outcome != control.shows
    # What is stopped and what shows that it could be otherwise have to differ.
    assert control.shows not in tried.attempt.outcomes


@pytest.mark.parametrize("profile", sorted({t.attempt.profile for t in catalogue.attempts()}))
def test_an_attempt_is_compared_or_has_a_reason_why_not(profile: str) -> None:
    assert (profile in isolation.COMPARED) != (profile in isolation.NOT_COMPARED)


@pytest.mark.parametrize("tried", list(catalogue.attempts()), ids=str)
def test_more_than_one_outcome_has_a_reason(tried: catalogue.Tried) -> None:
    assert len(tried.attempt.outcomes) == 1 or tried.attempt.because
    assert tried.attempt.outcomes
    assert "succeeded" not in tried.attempt.outcomes
