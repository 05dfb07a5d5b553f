"""Files that cannot be read, or whose text cannot be trusted."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.errors import Problem, ProfileError
from sandbox.profile import load
from sandbox.profile.source import MAXIMUM_SIZE, open_source, parse_source

FileProblems = Callable[[str], tuple[Problem, ...]]


def test_a_missing_profile_is_named_with_the_reason(file_problems: FileProblems) -> None:
    (problem,) = file_problems("app.toml")
    assert problem.text() == "app.toml: cannot be read: No such file or directory"


def test_an_unreadable_profile_is_named_with_the_reason(
    tmp_path: Path, file_problems: FileProblems, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() == 0:
        # To root everything is readable; a file of another's /proc entry still is not.
        (tmp_path / "app.toml").symlink_to("/proc/self/mem")
        (problem,) = file_problems("app.toml")
        assert "cannot be read: Input/output error" in problem.text()
    else:
        (tmp_path / "app.toml").touch(mode=0)
        (problem,) = file_problems("app.toml")
        assert problem.text() == "app.toml: cannot be read: Permission denied"
        assert "permissions" in problem.hint


def test_a_fifo_is_refused_without_waiting_for_a_writer(
    tmp_path: Path, file_problems: FileProblems
) -> None:
    os.mkfifo(tmp_path / "app.toml")
    (problem,) = file_problems("app.toml")
    assert problem.text() == "app.toml: is a FIFO, not a regular file"
    assert problem.hint.startswith("write what comes from it to a file first")


@pytest.mark.parametrize(
    ("target", "kind"), (("/dev/zero", "a character device"), ("/", "a directory"))
)
def test_only_regular_files_are_read(
    tmp_path: Path, file_problems: FileProblems, target: str, kind: str
) -> None:
    (tmp_path / "app.toml").symlink_to(target)
    (problem,) = file_problems("app.toml")
    assert problem.text() == f"app.toml: is {kind}, not a regular file"


def test_ten_megabytes_of_nested_toml_are_refused_at_once(
    tmp_path: Path, file_problems: FileProblems
) -> None:
    (tmp_path / "app.toml").write_text("a = " + "[" * 5_000_000 + "]" * 5_000_000)
    start = time.process_time()
    (problem,) = file_problems("app.toml")
    assert time.process_time() - start < 1
    assert problem.text() == f"app.toml: has 10000004 bytes; a profile may have {MAXIMUM_SIZE}"


def test_a_file_may_be_as_large_as_the_limit_and_no_larger(tmp_path: Path) -> None:
    path = tmp_path / "app.toml"
    path.write_text("#" * MAXIMUM_SIZE)
    parse_source(open_source(str(path), shown="app.toml"))
    path.write_text("#" * (MAXIMUM_SIZE + 1))
    with pytest.raises(ProfileError, match="has 1048577 bytes"):
        open_source(str(path), shown="app.toml")


# Each would take minutes, or crash, in a parser that takes it as it comes.
DEEP = {
    "arrays": "a = " + "[" * 500_000,
    "closed arrays": "a = " + "[" * 400_000 + "]" * 400_000,
    "tables": "a = " + "{a=" * 300_000,
    "a dotted key": "a" + ".a" * 400_000 + " = 1",
    "a dotted header": "[a" + ".a" * 400_000 + "]",
    "quoted dotted key": '"a"' + '."a"' * 200_000 + " = 1",
    "arrays over lines": "a = " + "[\n" * 400_000,
    "dotted keys in tables": "a = {a.a.a.a.a.a.a.a = " * 40_000,
    "many dotted keys": "".join(f"a{i}{'.a' * 30} = 1\n" for i in range(12_000)),
    "many keys in a deep table": f"[a{'.a' * 31}]\n" + "".join(f"k{i}=1\n" for i in range(100_000)),
    "digits": "a = " + "1" * 900_000,
}


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP.keys())
def test_deep_nesting_is_an_error_and_soon(
    tmp_path: Path, file_problems: FileProblems, text: str
) -> None:
    (tmp_path / "app.toml").write_text(text)
    start = time.process_time()
    assert file_problems("app.toml")[0].file == "app.toml"
    assert time.process_time() - start < 10


def test_nesting_that_a_profile_has_is_read(tmp_path: Path) -> None:
    path = tmp_path / "app.toml"
    path.write_text("z = " + "[" * 12 + "]" * 12 + "\n[" + ".".join("abcdefgh") + "]\n")
    parse_source(open_source(str(path), shown="app.toml"))
    path.write_text("a = " + "[" * 40 + "]" * 40)
    with pytest.raises(ProfileError, match="nested too deeply"):
        parse_source(open_source(str(path), shown="app.toml"))


def test_dots_in_strings_and_comments_are_no_nesting(tmp_path: Path) -> None:
    path = tmp_path / "app.toml"
    path.write_text(f'# {"." * 70}\na = "{".x" * 70}"  # "{"." * 70}\nb = \'{"." * 70}\'\n')
    parse_source(open_source(str(path), shown="app.toml"))


def test_bytes_that_are_not_utf8_are_placed(tmp_path: Path, file_problems: FileProblems) -> None:
    (tmp_path / "app.toml").write_bytes(b'schema = 1\n# gr\xc3\xbcn\na = "\xff"\n')
    (problem,) = file_problems("app.toml")
    assert (problem.line, problem.column) == (3, 6)
    assert problem.text() == "app.toml:3: byte 0xff isn't UTF-8"


@pytest.mark.parametrize(
    ("character", "name"),
    (
        ("\u202e", "U+202E (RIGHT-TO-LEFT OVERRIDE)"),
        ("\u2066", "U+2066 (LEFT-TO-RIGHT ISOLATE)"),
        ("\u200f", "U+200F (RIGHT-TO-LEFT MARK)"),
        ("\u200b", "U+200B (ZERO WIDTH SPACE)"),
        ("\u00ad", "U+00AD (SOFT HYPHEN)"),
        ("\u00a0", "U+00A0 (NO-BREAK SPACE)"),
        ("\u3000", "U+3000 (IDEOGRAPHIC SPACE)"),
        ("\u3164", "U+3164 (HANGUL FILLER)"),
        ("\u2028", "U+2028 (LINE SEPARATOR)"),
        ("\ufeff", "U+FEFF (ZERO WIDTH NO-BREAK SPACE)"),
        ("\ufe0f", "U+FE0F (VARIATION SELECTOR-16)"),
        ("\ue000", "U+E000"),
        ("\x1b", "U+001B"),
        ("\x00", "U+0000"),
        ("\x7f", "U+007F"),
        ("\x85", "U+0085"),
        ("\r", "U+000D"),
    ),
)
@pytest.mark.parametrize("place", ("comment", "string", "key"))
def test_what_cannot_be_seen_is_refused_by_name(
    tmp_path: Path, file_problems: FileProblems, character: str, name: str, place: str
) -> None:
    lines = {
        "comment": f"# ok{character}ok",
        "string": f'a = "{character}b"',
        "key": f'"a{character}" = 1',
    }
    (tmp_path / "app.toml").write_bytes(f"schema = 1\n{lines[place]}\n".encode())
    (problem,) = file_problems("app.toml")
    assert problem.text() == f"app.toml:2: invisible character {name}"
    assert problem.source[problem.column - 1] == character


def test_every_line_with_an_invisible_character_is_reported(
    tmp_path: Path, file_problems: FileProblems
) -> None:
    (tmp_path / "app.toml").write_text("# \u202e\n# fine\n# \u200b\n", encoding="utf-8")
    assert [problem.line for problem in file_problems("app.toml")] == [1, 3]


def test_letters_of_all_scripts_and_windows_line_ends_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "app.toml"
    path.write_bytes("schema = 1\r\n# grün, 日本語, العربية, é, 😀\r\n\t\r\n".encode())
    assert load("app.toml", cwd=str(tmp_path), environ={}).profile.schema == 1


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    (
        ("schema = 1\na b\n", 2, 3, "expected '=' after a key"),
        ("schema = 1\na = \n", 2, 5, "invalid value"),
        ("schema = 1\nschema = 1\n", 2, 11, "cannot overwrite a value"),
        ("[a]\nb = 1\n[a]\n", 3, 3, "cannot declare ('a',) twice"),
        ('a = "x', 1, 7, "but the file ends"),
        ('# ü\nü = """', 2, 6, "invalid"),
    ),
)
def test_what_is_not_toml_is_placed(
    tmp_path: Path,
    file_problems: FileProblems,
    text: str,
    line: int,
    column: int,
    words: str,
) -> None:
    (tmp_path / "app.toml").write_text(text, encoding="utf-8")
    (problem,) = file_problems("app.toml")
    assert words in problem.reason
    if words != "invalid":
        assert (problem.line, problem.column) == (line, column)
    assert problem.reason.startswith("not TOML: ")


def test_the_stamp_is_of_the_file_that_was_read(tmp_path: Path) -> None:
    path = tmp_path / "app.toml"
    path.write_text("schema = 1\n")
    status = path.stat()
    (stamp,) = load("app.toml", cwd=str(tmp_path), environ={}).stamps
    assert stamp == (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
