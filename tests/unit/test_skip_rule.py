"""The rule that in CI nothing is skipped unless the reason is known."""

import os

import pytest

pytest_plugins = ["pytester"]

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

SUITE = {
    "test_known": "import pytest\ndef test(): pytest.skip('needs a moon')",
    "test_unknown": "import pytest\ndef test(): pytest.skip('needs a sun')",
    "test_marked": "import pytest\n@pytest.mark.skipif(True, reason='needs a star')\ndef test(): pass",
    "test_module": "import pytest\npytest.skip('needs a sky', allow_module_level=True)",
    "test_passing": "def test(): pass",
}


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTHONPATH", TREE)
    with open(os.path.join(TREE, "tests", "conftest.py"), encoding="utf-8") as conftest:
        text = conftest.read()
    before = "KNOWN_SKIPS: tuple[str, ...] = "
    assert text.count(before) == 1
    pytester.makeconftest(text.replace(before, before + "('needs a m.*n',) + "))
    pytester.makepyfile(**SUITE)
    return pytester


def test_in_ci_an_unknown_skip_fails(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With CI set, skips of a test, by a mark and of a module fail unless the reason is known."""
    monkeypatch.setenv("CI", "true")
    result = suite.runpytest_subprocess("--continue-on-collection-errors")
    result.assert_outcomes(passed=1, skipped=1, failed=1, errors=2)
    result.stdout.fnmatch_lines(["*isn't a known one: needs a sun"])


def test_elsewhere_a_skip_is_a_skip(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without CI set, a developer's machine may lack what it lacks."""
    monkeypatch.delenv("CI", raising=False)
    suite.runpytest_subprocess().assert_outcomes(passed=1, skipped=4)
