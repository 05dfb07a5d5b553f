"""Every attempt of the catalogue, by every door, as root and as a user; and each control."""

import pytest

from tests.isolation import catalogue
from tests.isolation.doors import DOORS, Door, Results

ALL = catalogue.chosen()


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("tried", ALL, ids=str)
def test_an_attempt_is_stopped(results: Results, door: Door, tried: catalogue.Tried) -> None:
    found = results.at(door, tried)
    assert found.outcome in tried.attempt.outcomes, found


@pytest.mark.parametrize("tried", ALL, ids=str)
def test_an_attempt_succeeds_where_nothing_stops_it(
    results: Results, tried: catalogue.Tried
) -> None:
    """Or this kernel lacks what it takes, and it fails for that very reason."""
    control = tried.attempt.control
    if results.caller not in control.callers:
        return
    found = results.under_control(tried)
    may_lack = control.lacking and (not catalogue.COMPLETE or control.never)
    lacking = control.lacking[0] if control.lacking and may_lack else control.shows
    assert found.outcome in (control.shows, lacking), found
