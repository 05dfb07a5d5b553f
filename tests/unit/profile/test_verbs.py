"""sbx check, sbx show and sbx schema."""

import json
import os
import tomllib
from pathlib import Path

import pytest

from sandbox.cli import main
from sandbox.cli.excerpt import marked
from sandbox.errors import EXIT_SANDBOX, Problem
from sandbox.profile.names import shipped_names
from sandbox.profile.schema import schema_text
from tests.unit.profile.conftest import Write


@pytest.fixture(autouse=True)
def in_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


Output = pytest.CaptureFixture[str]


def test_check_says_which_files_are_well(write: Write, capsys: Output) -> None:
    write("")
    assert main(["check", "app.toml", "minimal"]) == 0
    assert capsys.readouterr() == ("app.toml: ok\nminimal: ok\n", "")


def test_check_reports_all_problems_of_all_files(write: Write, capsys: Output) -> None:
    write("[process]\numsk = 1\ncwd = 'x'")
    write("[network]\nmode = 'hst'", "other")
    write("", "good")
    assert main(["check", "app.toml", "other.toml", "good.toml", "nope.toml"]) == EXIT_SANDBOX
    out, err = capsys.readouterr()
    assert out == "good.toml: ok\n"
    assert [line for line in err.splitlines() if " | " not in line] == [
        "sbx: error: app.toml:3: process.umsk: there is no such key",
        "hint: did you mean 'umask'?",
        "sbx: error: app.toml:4: process.cwd: 'x' isn't an absolute path",
        "hint: did you mean '/x'? or start it with ${profile_dir} or ${cwd}",
        "sbx: error: other.toml:3: network.mode: 'hst' isn't 'none' or 'host'",
        "hint: did you mean 'host'?",
        "sbx: error: nope.toml: cannot be read: No such file or directory",
        f"hint: that is {os.getcwd()}/nope.toml",
    ]


def test_check_reports_a_common_base_once(write: Write, capsys: Output) -> None:
    write("[oops]", "base")
    for name in "ab":
        write("[profile]\nextends = 'base.toml'", name)
    assert main(["check", "a.toml", "b.toml"]) == EXIT_SANDBOX
    assert capsys.readouterr().err.count("there is no such key") == 1


def test_check_knows_the_names_of_system_calls(write: Write, capsys: Output) -> None:
    write("[seccomp]\nallow = ['read', 'raed', '@servce']", "base")
    write("[profile]\nextends = 'base.toml'")
    assert main(["check", "app.toml"]) == EXIT_SANDBOX
    err = capsys.readouterr().err
    assert "base.toml:3: seccomp.allow[1]: there is no system call 'raed'" in err
    assert "base.toml:3: seccomp.allow[2]: there is no group '@servce'" in err


def test_check_prints_json(write: Write, capsys: Output) -> None:
    write("[process]\numsk = 1")
    assert main(["check", "--json", "app.toml"]) == EXIT_SANDBOX
    out, err = capsys.readouterr()
    assert err == ""
    problem = {
        "file": "app.toml",
        "line": 3,
        "column": 1,
        "key": "process.umsk",
        "reason": "there is no such key",
        "hint": "did you mean 'umask'?",
    }
    assert json.loads(out) == {"ok": False, "problems": [problem]}
    write("")
    assert main(["check", "--json", "app.toml"]) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "problems": []}


def test_names_that_are_no_text_are_shown_as_escapes(
    tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = os.fsencode(tmp_path) + b"/\xff"
    os.mkdir(directory)
    monkeypatch.chdir(os.fsdecode(directory))
    path = os.fsdecode(b"\xfe.toml")
    with open(path, "w", encoding="utf-8") as file:
        file.write("schema = 1\n[filesystem]\nread = ['${cwd}/x']\n")
    assert main(["check", path]) == EXIT_SANDBOX
    assert capsys.readouterr().err.splitlines() == [
        "sbx: error: \\udcfe.toml:3: filesystem.read[0]: holds bytes that aren't UTF-8",
        "  3 | read = ['${cwd}/x']",
        "    |         ^^^^^^^^^^",
        "hint: what a profile names is text: rename it, or bind it to another name",
    ]
    assert main(["check", "--json", path]) == EXIT_SANDBOX
    assert json.loads(capsys.readouterr().out)["problems"][0]["file"] == "\\udcfe.toml"
    with open(path, "w", encoding="utf-8") as file:
        file.write("schema = 1\n")
    assert main(["check", path]) == 0
    for options in ([], ["--json"], ["--resolved"], ["--resolved", "--json"]):
        assert main(["show", *options, path]) == 0
    capsys.readouterr()


@pytest.mark.parametrize("verb", (["check"], ["show"], ["plan"], ["run", "-p"]))
def test_the_place_is_marked_in_the_line(write: Write, capsys: Output, verb: list[str]) -> None:
    write("[process]\nterminal = 'sometimes'")
    assert main([*verb, "app.toml"]) == EXIT_SANDBOX
    assert capsys.readouterr().err.splitlines() == [
        "sbx: error: app.toml:3: process.terminal: 'sometimes' isn't 'never' or 'auto' or 'always'",
        "  3 | terminal = 'sometimes'",
        "    |            ^^^^^^^^^^^",
    ]


def test_the_mark_is_coloured_where_colour_is_wanted(
    write: Write, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("[process]\numsk = '1'")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert main(["check", "app.toml"]) == EXIT_SANDBOX
    err = capsys.readouterr().err
    assert "\x1b[1;31m^^^^\x1b[0m" in err
    assert "\x1b[1;36mhint:\x1b[0m did you mean 'umask'?" in err


def test_no_line_of_a_profile_can_command_the_terminal(write: Write, capsys: Output) -> None:
    """A tab is one cell wide, and what can't be seen is shown as an escape."""
    write("[process]\n\tcwd = 'x' # \u202e")
    assert main(["check", "app.toml"]) == EXIT_SANDBOX
    err = capsys.readouterr().err
    assert "\u202e" not in err
    assert "  3 |  cwd = 'x' # \\u202e\n" in err


@pytest.mark.parametrize(
    ("source", "column", "width", "mark"),
    (
        ("a = 1", 5, 1, "    ^"),
        ("\ta = 1", 6, 1, "     ^"),
        ("日本 = 1", 6, 1, "       ^"),
        ("é = 12", 5, 2, "    ^^"),
        ("# \u202e", 3, 1, "  ^^^^^^"),
        ("x", 9, 3, " ^"),
    ),
)
def test_the_mark_is_under_what_is_meant(source: str, column: int, width: int, mark: str) -> None:
    problem = Problem("app.toml", 1, column, "", "reason", source=source, width=width)
    assert marked(problem)[1] == mark


def test_a_long_line_is_cut_around_the_mark() -> None:
    source = "x" * 5000 + "!" + "y" * 5000
    line, mark = marked(Problem("app.toml", 1, 5001, "", "reason", source=source))
    assert len(line) == 100
    assert line[len(mark) - 1] == "!"


def test_show_prints_one_profile_that_stands_for_itself(write: Write, capsys: Output) -> None:
    write("[profile]\nextends = 'minimal'\n[filesystem]\nread = ['/etc/hosts']")
    assert main(["show", "app.toml"]) == 0
    text = capsys.readouterr().out
    shown = tomllib.loads(text)
    assert "extends" not in shown["profile"]
    assert shown["filesystem"]["read"] == ["/etc/hosts"]
    assert "/usr" in shown["filesystem"]["execute"]


def test_show_resolved_names_the_file_and_line_of_each_rule(write: Write, capsys: Output) -> None:
    write("[filesystem]\nread = ['/b']", "base")
    write("[profile]\nextends = 'base.toml'\n[filesystem]\nread = ['/a']")
    assert main(["show", "--resolved", "app.toml"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["filesystem.read", '"/a"', "app.toml:5"] in rows
    assert ["filesystem.read", '"/b"', "base.toml:3"] in rows
    assert ["network.mode", '"none"', "default"] in rows
    assert main(["show", "--resolved", "--json", "app.toml"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert {
        "key": "filesystem.read",
        "value": "/b",
        "file": "base.toml",
        "line": 3,
        "column": 9,
    } in entries
    assert {
        "key": "network.mode",
        "value": "none",
        "file": None,
        "line": None,
        "column": None,
    } in entries


def test_show_key_prints_the_rules_of_a_table_or_a_key(write: Write, capsys: Output) -> None:
    write("[filesystem]\nread = ['/a']\n[network]\nmode = 'host'")
    assert main(["show", "--key", "filesystem.read", "--key", "network", "app.toml"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows == [
        ["filesystem.read", '"/a"', "app.toml:3"],
        ["network.mode", '"host"', "app.toml:5"],
    ]
    assert main(["show", "--key", "filesystem.write", "app.toml"]) == 0
    out, err = capsys.readouterr()
    assert (out, "filesystem.write" in err) == ("", True)
    assert main(["show", "--key", "filesystem.write", "--json", "app.toml"]) == 0
    assert capsys.readouterr() == ("[]\n", "")
    assert main(["show", "--key", "netwrok", "app.toml"]) == EXIT_SANDBOX
    assert "did you mean 'network'?" in capsys.readouterr().err


def test_profiles_lists_what_is_shipped(capsys: Output) -> None:
    assert main(["profiles", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [profile["name"] for profile in listed] == list(shipped_names())
    assert all(profile["description"] for profile in listed)
    interactive = next(profile for profile in listed if profile["name"] == "interactive")
    assert interactive["extends"] == ["minimal"]
    assert interactive["command"] == ["/bin/sh"]
    assert main(["profiles"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for profile in listed:
        assert f"{profile['name']} {' '.join(profile['description'].split())}" in text


def test_show_names_a_shipped_profile_without_the_place_of_its_installation(
    write: Write, capsys: Output
) -> None:
    write("[profile]\nextends = 'minimal'\n[network]\nmode = 'host'")
    assert main(["show", "--key", "filesystem.proc", "--key", "network", "app.toml"]) == 0
    places = [line.split()[-1].partition(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert places == ["minimal.toml", "app.toml"]
    assert main(["show", "--key", "filesystem.proc", "--json", "app.toml"]) == 0
    (rule,) = json.loads(capsys.readouterr().out)
    assert os.path.isfile(rule["file"])


def test_show_prints_the_profile_as_json(write: Write, capsys: Output) -> None:
    write("[process]\numask = '0077'")
    assert main(["show", "--json", "app.toml"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["process"]["umask"] == "0077"
    assert shown["network"]["mode"] == "none"


def test_show_reports_what_is_wrong(write: Write, capsys: Output) -> None:
    write("[qqqq]")
    assert main(["show", "app.toml"]) == EXIT_SANDBOX
    assert capsys.readouterr() == (
        "",
        "sbx: error: app.toml:2: qqqq: there is no such key\n  2 | [qqqq]\n    |  ^^^^\n",
    )


def test_schema_prints_the_schema(capsys: Output) -> None:
    assert main(["schema"]) == 0
    assert capsys.readouterr().out == schema_text()
