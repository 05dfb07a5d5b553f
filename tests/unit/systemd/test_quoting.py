"""What is written into a unit is what systemd reads there: a reader by the rules of its manual."""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sandbox.errors import SandboxError
from sandbox.systemd import quoting
from sandbox.units import UNLIMITED

SIMPLE = {
    "a": 7,
    "b": 8,
    "f": 12,
    "n": 10,
    "r": 13,
    "t": 9,
    "v": 11,
    "\\": 92,
    '"': 34,
    "'": 39,
    "s": 32,
}


def words(line: str, *, escapes: bool = True) -> list[bytes]:
    """The words of a setting as systemd.syntax(7) says; without `escapes` as paths are read."""
    found: list[bytes] = []
    word, quote, at, started = b"", "", 0, False
    while at < len(line):
        c = line[at]
        at += 1
        if c == "\\" and escapes:
            following = line[at]
            if following == "x":
                word += bytes([int(line[at + 1 : at + 3], 16)])
                at += 3
            else:
                word += bytes([SIMPLE[following]])
                at += 1
            started = True
        elif quote:
            if c == quote:
                quote = ""
            else:
                word += c.encode()
        elif c in "\"'" and not word:
            quote, started = c, True
        elif c in " \t\n\r":
            if started:
                found.append(word)
            word, started = b"", False
        else:
            word, started = word + c.encode(), True
    assert not quote
    return [*found, word] if started else found


def without_specifiers(line: str) -> str:
    """`%%` is a plain percent sign, and nothing else may stand there."""
    assert "%" not in line.replace("%%", "")
    return line.replace("%%", "%")


def without_variables(line: str) -> str:
    """`$$` is a plain dollar sign, and nothing else may stand there."""
    assert "$" not in line.replace("$$", "")
    return line.replace("$$", "$")


any_text = st.text(
    st.characters(exclude_characters="\0", codec=None) | st.sampled_from(string.punctuation + " "),
    max_size=40,
)


@given(st.lists(any_text, min_size=1, max_size=5))
@example(["", ";", "$HOME", "${HOME}", "%h", "a\\", "a b", "\n", "#", "é", "\udcff", "'", '"'])
def test_arguments_come_back_as_they_were(texts: list[str]) -> None:
    texts = [t.encode(errors="replace").decode() if _is_pair(t) else t for t in texts]
    line = " ".join(map(quoting.argument, texts))
    assert line.isprintable()
    read = words(without_variables(without_specifiers(line)))
    assert read == [text.encode(errors="surrogateescape") for text in texts]


def _is_pair(text: str) -> bool:
    """Surrogates that stand for no byte can't come from outside."""
    try:
        text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return True
    return False


@given(any_text)
def test_a_value_keeps_its_dollars(text: str) -> None:
    if not _is_pair(text):
        read = words(without_specifiers(quoting.value(text)))
        assert read == [text.encode(errors="surrogateescape")]


@given(any_text)
def test_a_path_comes_back_or_is_refused(text: str) -> None:
    path = f"/{text}"
    try:
        line = quoting.path(path)
    except SandboxError:
        assert not path.isprintable() or {'"', "'"} <= set(path) or path.endswith("\\")
        return
    assert words(without_specifiers(line), escapes=False) == [path.encode()]


@given(any_text)
def test_a_line_stays_one_line(text: str) -> None:
    line = quoting.line(text)
    assert not line or line.isprintable()
    assert not line.endswith("\\")
    without_specifiers(line)


@pytest.mark.parametrize("path", ("/a'b/sbx", '/a"b/sbx', "/a\\b/sbx", "/a\tb/sbx", "/a\nb/sbx"))
def test_a_program_that_systemd_would_refuse_is_refused(path: str) -> None:
    with pytest.raises(SandboxError):
        quoting.program(path)


def test_a_program_is_no_place_for_doubled_dollars() -> None:
    """systemd takes a program's path as it is, but for specifiers."""
    assert quoting.program("/opt/a b$c%d/sbx") == '"/opt/a b$c%%d/sbx"'


@pytest.mark.parametrize(
    ("microseconds", "text"),
    ((0, "0s"), (90_000_000, "90s"), (1_500_000, "1500ms"), (7, "7us"), (UNLIMITED, "infinity")),
)
def test_spans_are_systemds(microseconds: int, text: str) -> None:
    assert quoting.span(microseconds) == text
