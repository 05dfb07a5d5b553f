"""Profiles that build on others."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.errors import Problem, ProfileError
from sandbox.profile import Origin, load
from sandbox.profile.names import shipped_names, shipped_path
from tests.unit.profile.conftest import Load, Problems, Write

FileProblems = Callable[[str], tuple[Problem, ...]]


def extends(*names: str) -> str:
    return f"[profile]\nextends = {list(names)!r}\n"


def test_a_derived_profile_stands_over_its_base(write: Write, load_text: Load) -> None:
    write("[process]\numask = '0077'\ncwd = '/tmp'\n[filesystem]\nread = ['/b']", "base")
    profile = load_text(
        extends("base.toml") + "[process]\numask = '0022'\n[filesystem]\nread = ['/a']"
    ).profile
    assert (profile.process.umask, profile.process.cwd) == ("0022", "/tmp")
    assert profile.filesystem.read == ("/a", "/b")


def test_the_command_is_replaced_and_not_united(write: Write, load_text: Load) -> None:
    write("[process]\ncommand = ['a', 'b']", "base")
    text = extends("base.toml") + "[process]\ncommand = ['c']"
    assert load_text(text).profile.process.command == ("c",)


def test_entries_are_united_by_what_they_are_mounted_on(write: Write, load_text: Load) -> None:
    write(
        "[filesystem]\ntmpfs = [{path = '/t', size = '1M'}, '/u']\n"
        "[[mounts]]\ntype = 'bind'\ntarget = '/m'\nsource = '/a'\nwritable = true",
        "base",
    )
    profile = load_text(
        extends("base.toml") + "[filesystem]\ntmpfs = [{path = '/t', size = '2M'}]\n"
        "[[mounts]]\ntype = 'bind'\ntarget = '/m'\nsource = '/b'\n"
        "[[mounts]]\ntype = 'tmpfs'\ntarget = '/n'"
    ).profile
    tmpfs = [(entry.path, entry.size) for entry in profile.filesystem.tmpfs_entries()]
    assert tmpfs == [("/t", "2M"), ("/u", "64M")]
    assert [(m.target, m.source, m.writable) for m in profile.mounts] == [
        ("/m", "/b", False),
        ("/n", None, False),
    ]


def test_what_a_file_is_called_is_not_inherited(write: Write, load_text: Load) -> None:
    write("[profile]\nname = 'base'\ndescription = 'x'", "base")
    about = load_text(extends("base.toml")).profile.profile
    assert (about.name, about.description) == ("app", "")


def test_variables_of_the_derived_profile_reach_into_the_base(
    write: Write, load_text: Load
) -> None:
    write("[vars]\nd = '/x'\ne = '${d}/e'\n[filesystem]\nread = ['${e}']", "base")
    assert load_text(extends("base.toml")).profile.filesystem.read == ("/x/e",)
    over = extends("base.toml") + "[vars]\nd = '/y'"
    assert load_text(over).profile.filesystem.read == ("/y/e",)


def test_the_directory_of_a_profile_is_that_of_the_file_that_says_it(
    write: Write, load_text: Load, tmp_path: Path
) -> None:
    write("[vars]\nhere = '${profile_dir}'\n[filesystem]\nread = ['${profile_dir}/b']", "sub/base")
    profile = load_text(extends("sub/base.toml") + "[process]\ncommand = ['${here}']").profile
    assert profile.filesystem.read == (f"{tmp_path}/sub/b",)
    assert profile.process.command == (f"{tmp_path}/sub",)


def test_paths_are_relative_to_the_file_that_names_them(
    write: Write, load_text: Load, tmp_path: Path
) -> None:
    write("[process]\numask = '0077'", "common")
    write(extends("../common.toml"), "sub/base")
    resolved = load_text(extends("./sub/base.toml"))
    assert resolved.profile.process.umask == "0077"
    assert resolved.files == (
        f"{tmp_path}/app.toml",
        f"{tmp_path}/sub/base.toml",
        f"{tmp_path}/sub/../common.toml",
    )


def test_a_link_above_is_followed_as_the_kernel_does(
    write: Write, load_text: Load, tmp_path: Path
) -> None:
    write("[process]\numask = '0077'", "real/common")
    (tmp_path / "real/sub").mkdir()
    (tmp_path / "link").symlink_to("real/sub")
    assert load_text(extends("link/../common.toml")).profile.process.umask == "0077"


def test_several_bases_and_levels_are_merged(write: Write, load_text: Load) -> None:
    write("[filesystem]\nread = ['/0']\n[process]\numask = '0000'", "zero")
    write(extends("zero.toml") + "[filesystem]\nread = ['/a']", "a")
    write(extends("zero.toml") + "[process]\numask = '0077'", "b")
    for order in (("a.toml", "b.toml"), ("b.toml", "a.toml"), ("zero.toml", "b.toml", "a.toml")):
        resolved = load_text(extends(*order))
        # What b says stands over what it builds on, though a builds on the same.
        assert resolved.profile.process.umask == "0077"
        assert resolved.profile.filesystem.read == ("/0", "/a")
        assert len(resolved.files) == 4


def test_bases_that_disagree_have_to_be_settled(
    write: Write, problems: Problems, load_text: Load
) -> None:
    write("[process]\numask = '0000'", "a")
    write("[process]\numask = '0077'", "b")
    (problem,) = problems(extends("a.toml", "b.toml"))
    assert problem.key == "process.umask"
    assert "b.toml:3 says otherwise" in problem.reason
    assert "in a profile that extends both" in problem.hint
    settled = extends("a.toml", "b.toml") + "[process]\numask = '0022'"
    assert load_text(settled).profile.process.umask == "0022"


def test_bases_that_disagree_on_a_variable_are_an_error(write: Write, problems: Problems) -> None:
    write("[vars]\nx = '${profile_dir}'", "a/a")
    write("[vars]\nx = '${profile_dir}'", "b/b")
    assert problems(extends("a/a.toml", "b/b.toml"))[0].key == "vars.x"
    write("[vars]\nx = '${profile_dir}'", "a/b")
    assert problems(extends("a/a.toml", "a/b.toml")) == ()


@pytest.mark.parametrize("length", (1, 2, 3))
def test_a_cycle_is_refused_and_named(
    write: Write, file_problems: FileProblems, length: int
) -> None:
    for at in range(length):
        write(extends(f"./p{(at + 1) % length}.toml"), f"p{at}")
    (problem,) = file_problems("p0.toml")
    chain = " -> ".join([*(f"p{at}.toml" for at in range(length)), "p0.toml"])
    assert problem.reason == f"the profile extends itself: {chain}"
    assert (problem.file, problem.line) == (f"p{length - 1}.toml", 3)


def test_a_cycle_through_another_name_of_the_file_is_seen(
    write: Write, file_problems: FileProblems, tmp_path: Path
) -> None:
    write(extends("other.toml"))
    (tmp_path / "other.toml").symlink_to("app.toml")
    (problem,) = file_problems("app.toml")
    assert "extends itself: app.toml -> other.toml" in problem.reason


def test_a_chain_has_a_longest_length(write: Write, file_problems: FileProblems) -> None:
    for at in range(20):
        write(extends(f"./p{at + 1}.toml"), f"p{at}")
    write("", "p20")
    (problem,) = file_problems("p0.toml")
    assert problem.reason == "more than 16 levels of profiles that extend each other"
    assert problem.file == "p15.toml"


def test_a_profile_has_a_largest_number_of_files(write: Write, file_problems: FileProblems) -> None:
    for at in range(80):
        write("", f"p{at}")
    write(extends(*(f"./p{at}.toml" for at in range(80))))
    assert {p.reason for p in file_problems("app.toml")} == {"more than 64 files in one profile"}


def test_a_lattice_of_bases_is_read_once(write: Write, load_text: Load) -> None:
    """Every level extends both of the next: a walk of all ways would take forever."""
    for level in range(14):
        for side in "ab":
            write(extends(f"./a{level + 1}.toml", f"./b{level + 1}.toml"), f"{side}{level}")
    write("", "a14")
    write("", "b14")
    assert len(load_text(extends("./a0.toml", "./b0.toml")).files) == 31


def test_a_base_that_cannot_be_read_is_reported_where_it_is_named(
    write: Write, problems: Problems, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo.toml")
    found = problems(extends("./nope.toml", "fifo.toml"))
    assert [(p.file, p.line, p.key, p.reason) for p in found] == [
        (
            "app.toml",
            3,
            "profile.extends[0]",
            "'nope.toml' cannot be read: No such file or directory",
        ),
        ("app.toml", 3, "profile.extends[1]", "'fifo.toml' is a FIFO, not a regular file"),
    ]


def test_problems_of_all_files_come_at_once(write: Write, problems: Problems) -> None:
    write("[process]\numask = 'x'\n[oops]", "base")
    write("a b", "broken")
    found = problems(extends("base.toml", "broken.toml") + "[process]\ninit = 1")
    assert {(p.file, p.line) for p in found} == {
        ("app.toml", 5),
        ("base.toml", 3),
        ("base.toml", 4),
        ("broken.toml", 2),
    }


def test_shipped_profiles_are_known_by_name(load_text: Load, problems: Problems) -> None:
    resolved = load_text(extends("minimal"))
    assert resolved.files[1] == shipped_path("minimal")
    (problem,) = problems(extends("minmal"))
    assert problem.reason == "no shipped profile is named 'minmal'"
    assert problem.hint.startswith("did you mean 'minimal'?")


@pytest.mark.parametrize("name", ("../minimal", "a.b", "minimal\\u0000", "a b"))
def test_a_name_cannot_lead_elsewhere(problems: Problems, name: str) -> None:
    (problem,) = problems(f'[profile]\nextends = ["{name}"]')
    assert problem.key == "profile.extends[0]"


def test_the_profile_itself_may_be_a_shipped_one(tmp_path: Path) -> None:
    for name in shipped_names():
        resolved = load(name, cwd=str(tmp_path), environ={"HOME": "/home/user"})
        assert resolved.profile.profile.name == name
        assert resolved.files[0] == shipped_path(name)


def test_a_name_without_slash_or_ending_is_not_a_file(tmp_path: Path) -> None:
    (tmp_path / "app").write_text("schema = 1\n")
    with pytest.raises(ProfileError) as caught:
        load("app", cwd=str(tmp_path), environ={})
    assert caught.value.lines() == [
        "no shipped profile is named 'app'",
        "hint: to read the file, write './app'",
    ]
    assert load("./app", cwd=str(tmp_path), environ={}).profile.profile.name == "app"


def test_a_name_that_lacks_only_its_ending_is_told_the_file(tmp_path: Path) -> None:
    (tmp_path / "web.toml").write_text("schema = 1\n")
    (tmp_path / "minima").mkdir()
    for name, hint in (
        ("web", "to read the file, write 'web.toml'"),
        ("minima", "did you mean 'minimal'?"),
    ):
        with pytest.raises(ProfileError) as caught:
            load(name, cwd=str(tmp_path), environ={})
        assert caught.value.hint == hint


def test_every_statement_knows_where_it_stands(write: Write, load_text: Load) -> None:
    write("[filesystem]\nread = ['/z', '/a']\n[environment]\nset = {A = 'x'}", "base")
    resolved = load_text(
        extends("base.toml") + "[filesystem]\nread = ['/m']\n"
        "[[mounts]]\ntype = 'tmpfs'\ntarget = '/t'\nsize = '1M'\n[network]\n"
    )
    assert resolved.profile.filesystem.read == ("/a", "/m", "/z")
    places = [str(resolved.origin(("filesystem", "read", at))) for at in range(3)]
    assert places == ["base.toml:3", "app.toml:5", "base.toml:3"]
    first = resolved.origin(("filesystem", "read", 0))
    assert first == Origin("base.toml", 3, 15, "read = ['/z', '/a']", 4)
    assert str(resolved.origin(("environment", "set", "A"))) == "base.toml:5"
    assert str(resolved.origin(("mounts", 0, "size"))) == "app.toml:9"
    # What isn't stated is placed at the nearest statement around it, if there is one.
    assert resolved.locate(("mounts", 0, "writable")) is None
    assert str(resolved.origin(("mounts", 0, "writable"))) == "app.toml:6"
    assert resolved.origin(("process", "umask")) is None


def test_problems_of_later_stages_are_placed(write: Write, load_text: Load) -> None:
    write("[seccomp]\nallow = ['b', 'x']", "base")
    resolved = load_text(extends("base.toml") + "[seccomp]\nallow = ['c']")
    problem = resolved.problem(("seccomp", "allow", 2), "no such call", "look")
    assert problem.text() == "base.toml:3: seccomp.allow[1]: no such call"
    unplaced = Problem("", 0, 0, "seccomp.allow[1]", "no such call", "look")
    (placed,) = resolved.placed([unplaced])
    assert placed.text() == "app.toml:5: seccomp.allow[0]: no such call"
    default = resolved.problem(("process", "cwd"), "not there")
    assert default.text() == "app.toml: process.cwd: not there"


def test_reading_needs_no_syntax_tree_until_a_place_is_asked_for(tmp_path: Path) -> None:
    """A cold launch doesn't pay for what only an error needs."""
    import subprocess
    import sys

    code = (
        "import sys\nfrom sandbox.profile import load\n"
        "resolved = load('python-service', cwd='/', environ={})\n"
        "assert 'tree_sitter' not in sys.modules\n"
        "assert resolved.origin(('process', 'command'))\n"
        "assert 'tree_sitter' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.returncode == 0
