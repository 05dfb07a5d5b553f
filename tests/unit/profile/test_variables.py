"""`${name}` in strings."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.errors import ProfileError
from sandbox.profile import Overrides, load
from sandbox.profile.variables import (
    NO_DIRECTORY,
    Definition,
    InvalidError,
    Variables,
    names_in,
    split,
)
from tests.unit.profile.conftest import Load, Problems


def command(load_text: Load, text: str, **more: object) -> str:
    return load_text(text, **more).profile.process.command[0]


@pytest.mark.parametrize(
    ("written", "value"),
    (
        ("${a}", "x"),
        ("-${a}${a}-", "-xx-"),
        ("${b}", "<x>"),
        ("$$", "$"),
        ("$${a}", "${a}"),
        ("$$${a}", "$x"),
        ("${env:USER}", "alice"),
        ("${env:NOPE:-d:-e}", "d:-e"),
        ("${env:EMPTY:-d}", ""),
        ("${home}", "/home/alice"),
    ),
)
def test_a_variable_stands_for_its_value(load_text: Load, written: str, value: str) -> None:
    text = f"[vars]\na = 'x'\nb = '<${{a}}>'\n[process]\ncommand = ['{written}']"
    environ = {"USER": "alice", "HOME": "/home/alice", "EMPTY": ""}
    assert command(load_text, text, environ=environ) == value


def test_values_are_not_expanded_a_second_time(load_text: Load) -> None:
    text = "[process]\ncommand = ['${env:X}']"
    assert command(load_text, text, environ={"X": "${home} $ $$"}) == "${home} $ $$"


def test_directories_are_those_of_the_caller_and_of_the_file(load_text: Load) -> None:
    resolved = load_text("[filesystem]\nread = ['${profile_dir}/a', '${cwd}/b']")
    assert resolved.profile.filesystem.read == (f"{resolved.cwd}/a", f"{resolved.cwd}/b")
    assert resolved.uses_cwd
    assert not load_text("[filesystem]\nread = ['${profile_dir}/a']").uses_cwd


def test_what_was_looked_up_in_the_environment_is_recorded(load_text: Load) -> None:
    text = "[process]\ncommand = ['${env:A}', '${env:B:-}', '${home}']"
    resolved = load_text(text, environ={"A": "1", "HOME": "/h", "C": "2"})
    assert resolved.environment == {"A": "1", "B": None, "HOME": "/h"}


def test_what_isnt_set_is_one_problem_however_often_it_is_used(problems: Problems) -> None:
    text = "[process]\ncommand = ['${home}', '${home}/x', '${env:NOPE}', '${env:NOPE}', '${z}']"
    assert [problem.key for problem in problems(text)] == [
        "process.command[0]",
        "process.command[2]",
        "process.command[4]",
    ]


@pytest.mark.parametrize(
    ("written", "reason", "hint"),
    (
        ("$HOME", "'$' without '{'", "a plain $ is written $$"),
        ("a$", "'$' without '{'", "a plain $ is written $$"),
        ("${a", "'${' without '}'", "a plain $ is written $$"),
        ("${}", "there is no variable ''", ""),
        ("${dat}", "there is no variable 'dat'", "did you mean 'data'?"),
        ("${USER}", "there is no variable 'USER'", "${env:USER}"),
        ("${env:NOPE}", "the environment variable NOPE isn't set", "${env:NOPE:-value}"),
        ("${env:}", "'' isn't the name of an environment variable", ""),
        ("${home}", "the environment variable HOME isn't set", "HOME"),
    ),
)
def test_what_has_no_value_is_an_error(
    problems: Problems, written: str, reason: str, hint: str
) -> None:
    (problem,) = problems(f"[vars]\ndata = '/d'\n[process]\ncommand = ['{written}']")
    assert problem.key == "process.command[0]"
    assert problem.reason == reason
    assert hint in problem.hint


def test_a_home_that_is_no_path_is_an_error(problems: Problems) -> None:
    (problem,) = problems("[filesystem]\nread = ['${home}/x']", environ={"HOME": "home"})
    assert problem.reason == "HOME is 'home', which isn't an absolute path"


@pytest.mark.parametrize(
    ("table", "chain"),
    (("a = '${a}'", "a -> a"), ("a = '${b}'\nb = '${c}'\nc = '${a}'", "a -> b -> c -> a")),
)
def test_variables_that_refer_to_each_other_are_an_error(
    problems: Problems, table: str, chain: str
) -> None:
    found = problems(f"[vars]\n{table}")
    assert found[0].key == "vars.a"
    assert found[0].reason == f"the variables refer to each other: {chain}"


def test_values_that_double_each_time_stop_at_a_limit(problems: Problems) -> None:
    table = "\n".join(f"a{i} = '${{a{i + 1}}}${{a{i + 1}}}'" for i in range(30))
    found = problems(f"[vars]\n{table}\na30 = 'x'")
    assert "longer than 65536 characters" in found[0].reason


def chain(length: int) -> str:
    lines = [f"a{i:04} = '${{a{i + 1:04}}}'" for i in range(length - 1)]
    return "\n".join([*lines, f"a{length - 1:04} = 'x'"])


def test_a_long_chain_of_variables_is_an_error_and_no_crash(problems: Problems) -> None:
    found = problems(f"[vars]\n{chain(5000)}")
    assert len(found) == 100
    assert found[0].reason == "more than 32 variables one within the other"


@pytest.mark.parametrize("first", (True, False))
def test_how_long_a_chain_may_be_does_not_depend_on_what_is_looked_up_first(first: bool) -> None:
    texts = [line.split(" = ") for line in chain(33).split("\n")]
    definitions = {name: Definition(text[1:-1], "/") for name, text in texts}
    variables = Variables(definitions, environ={}, cwd="/")
    names = list(definitions) if first else list(reversed(definitions))
    failed = []
    for name in names:
        try:
            variables.expand(f"${{{name}}}", "/")
        except InvalidError:
            failed.append(name)
    assert failed == ["a0000"]


def test_a_path_is_judged_with_its_variables_in(problems: Problems) -> None:
    (problem,) = problems("[vars]\na = '..'\n[filesystem]\nread = ['/x/${a}/y']")
    assert problem.reason == "'/x/../y' holds '..'"
    (problem,) = problems("[vars]\na = 'x'\n[filesystem]\nread = ['${a}/y']")
    assert problem.reason == "'x/y' isn't an absolute path"


def test_a_variable_may_not_bring_in_a_nul(problems: Problems) -> None:
    found = problems('[vars]\na = "\\u0000"\n[process]\ncommand = ["${a}"]')
    assert [problem.key for problem in found] == ["vars.a", "process.command[0]"]
    assert {problem.reason for problem in found} == {"holds a NUL character"}


def test_what_comes_from_outside_has_to_be_text(problems: Problems) -> None:
    for text in ("[process]\ncommand = ['${env:X}']", "[filesystem]\nread = ['/${env:X}']"):
        (problem,) = problems(text, environ={"X": "\udcff"})
        assert problem.reason == "holds bytes that aren't UTF-8"


def test_the_command_line_sets_variables_literally(load_text: Load) -> None:
    text = "[vars]\na = 'x'\n[process]\ncommand = ['${a}']"
    over = Overrides(vars={"a": "$x ${home} $$"})
    resolved = load_text(text, overrides=over)
    assert resolved.profile.process.command == ("$x ${home} $$",)
    assert resolved.profile.vars == {"a": "$x ${home} $$"}
    assert str(resolved.origin(("vars", "a"))) == "command line"


def test_the_command_line_cannot_set_what_the_profile_does_not_know(problems: Problems) -> None:
    (problem,) = problems("[vars]\nport = '1'", overrides=Overrides(vars={"prt": "2"}))
    assert problem.text() == "command line: vars.prt: the profile has no variable 'prt'"
    assert problem.hint == "did you mean 'port'?"
    over = Overrides(vars={"qqqq": "2"})
    (problem,) = problems("[vars]\nport = '1'\nhost = 'x'", overrides=over)
    assert problem.hint == "it has host, port"


def test_the_command_line_replaces_the_command_literally(load_text: Load) -> None:
    resolved = load_text("[process]\ncommand = ['a', 'b']", overrides=Overrides(command=("$c",)))
    assert resolved.profile.process.command == ("$c",)


@given(st.text())
def test_any_text_survives_when_its_dollars_are_doubled(text: str) -> None:
    variables = Variables({}, environ={}, cwd="/")
    assert variables.expand(text.replace("$", "$$"), "/") == text


@given(st.text(alphabet="a${}:", max_size=12))
def test_any_text_expands_or_is_an_error(text: str) -> None:
    """Nothing but the one error gets out, and what is found by name is what is put in."""
    definitions = {"a": Definition("A", "/"), "aa": Definition("${a}", "/")}
    variables = Variables(definitions, environ={}, cwd="/")
    try:
        expanded = variables.expand(text, "/")
    except InvalidError:
        return
    assert names_in(text) <= {"a", "aa"}
    literal = "".join(piece for piece, _ in split(text))
    assert len(expanded) == len(literal) + sum(name is not None for _, name in split(text))


@pytest.mark.parametrize(
    ("given", "meant"),
    (
        (".", "$PWD"),
        ("./www/", "$PWD/www"),
        ("a b/c", "$PWD/a b/c"),
        ("", "$PWD"),
        ("~", "$HOME"),
        ("~/site", "$HOME/site"),
        ('"$(x)', "$PWD/..."),
    ),
)
def test_a_relative_path_of_the_command_lines_is_told_as_the_shell_takes_it(
    problems: Problems, given: str, meant: str
) -> None:
    text = "[vars]\nd = '/srv'\nmode = 'none'\n[filesystem]\nread = ['${d}']\n"
    (problem,) = problems(text, overrides=Overrides(vars={"d": given}))
    assert problem.key == "filesystem.read[0]"
    assert problem.hint == f'did you mean --set d="{meant}"?'
    (other,) = problems(
        text + "[network]\nmode = '${mode}'", overrides=Overrides(vars={"mode": "on"})
    )
    assert "--set" not in other.hint


def test_a_working_directory_that_is_gone_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "app.toml"
    path.write_text(
        "schema = 1\n[filesystem]\nread = ['${cwd}', '${cwd}/a']\nwrite = ['${cwd}/b']\n"
    )
    with pytest.raises(ProfileError) as caught:
        load(str(path), cwd="", environ={})
    (problem,) = caught.value.problems
    assert (problem.key, problem.reason) == ("filesystem.read[0]", NO_DIRECTORY)
