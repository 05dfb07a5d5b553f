"""The rule that what several processes report together is what one would have reported."""

import os
import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

CONFTEST = """
import os, time
from pathlib import Path
import pytest
from tests import processes

pytest_addoption = processes.add_option
pytest_configure = processes.configure

@pytest.fixture
def two(tmp_path_factory):
    \"""Comes back when two processes are at work.\"""
    Path(f"pid-{os.getpid()}").touch()
    end = time.monotonic() + 60
    while len(list(Path().glob("pid-*"))) < 2:
        assert time.monotonic() < end
        time.sleep(0.01)
"""
# A process takes its next file when it comes to the last test of one.
MEETING = "def test_meets(two): pass\ndef test_goes_on(): pass\n"
# The one that was started by the other.
HELPER = "'processes.py' in __import__('sys').argv[0]"
ENDS = """
import pytest
def test_passes(): pass
def test_fails(): assert 'sun' == 'moon'
def test_is_skipped(): pytest.skip('needs a star')
@pytest.mark.xfail(strict=True)
def test_is_expected_to_fail(): assert False
@pytest.fixture
def broken():
    yield
    assert False
def test_cannot_clean_up(broken): pass
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTHONPATH", TREE)
    pytester.makeconftest(CONFTEST)
    pytester.makeini("[pytest]\nmarkers = alone: as in the tree\n")
    pytester.makepyfile(test_one=MEETING, test_two=MEETING)
    return pytester


def test_every_end_is_counted_once(suite: pytest.Pytester) -> None:
    """Two files that meet are in two processes; whoever has the others, the words are the same."""
    files = [f"test_{n}" for n in ("one", "two", *range(4))]
    suite.makepyfile(**dict.fromkeys(files[:2], MEETING + ENDS))
    suite.makepyfile(**dict.fromkeys(files[2:], ENDS))
    result = suite.runpytest_subprocess("--processes=2", "--junitxml=all.xml", "-ra")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=4 + 6 * 2, failed=6, skipped=6, xfailed=6, errors=6)
    said = "\n".join(result.outlines)
    for name in files:
        assert re.search(rf"SKIPPED \[1\] {name}.py:[0-9]+: needs a star\n", said)
        assert f"FAILED {name}.py::test_fails - AssertionError: assert 'sun' == 'moon'\n" in said
        assert f"ERROR {name}.py::test_cannot_clean_up - assert False\n" in said
    assert Path("all.xml").read_text(encoding="utf-8").count("<testcase ") == 4 + 6 * 5


def test_who_is_alone_comes_last_and_has_nobody_beside(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        test_alone="""
        import os, pytest
        from pathlib import Path
        @pytest.mark.alone
        def test():
            pids = {int(path.name[4:]) for path in Path().glob("pid-*")}
            assert len(pids) == 2
            assert not any(os.path.exists(f"/proc/{pid}") for pid in pids - {os.getpid()})
        """
    )
    suite.runpytest_subprocess("--processes=2").assert_outcomes(passed=5)


@pytest.mark.parametrize("end", ("os._exit(0)", "os.kill(os.getpid(), 9)"))
def test_a_process_that_is_lost_is_a_failure(suite: pytest.Pytester, end: str) -> None:
    lost = f"import os\n{MEETING}def test():\n    if {HELPER}: {end}\ndef test_more(): pass\n"
    suite.makepyfile(test_one=lost, test_two=lost)
    result = suite.runpytest_subprocess("--processes=2")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*hasn't come to its end*"])


def test_other_tests_in_another_process_are_a_failure(suite: pytest.Pytester) -> None:
    suite.makepyfile(test_two=f"if {HELPER}:\n    def test_more(): pass\ndef test(): pass\n")
    Path("test_one.py").unlink()
    result = suite.runpytest_subprocess("--processes=2")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*hasn't come to its end*"])
    result.stderr.fnmatch_lines(["*has collected other tests than the first one"])
