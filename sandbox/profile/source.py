"""Reading a profile's file. Beside `upward`, only this part of the layer touches the file system."""

import itertools
import os
import stat
import tomllib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sandbox.errors import Problem, ProfileError
from sandbox.profile.resolved import KeyPath, Origin, Stamp, key_text

if TYPE_CHECKING:
    from sandbox.profile.positions import Positions, Span

MAXIMUM_SIZE = 1024 * 1024
MAXIMUM_DEPTH = 16
MAXIMUM_PROBLEMS = 100
_MAXIMUM_DOTS = 32


class SourceFile:
    """One file of a profile: its text, what it says, and where it says it.

    `path` is where it was read, `shown` how the user knows it.
    """

    __slots__ = ("_lines", "_positions", "data", "path", "shown", "stamp", "text")

    def __init__(self, *, path: str, shown: str, text: str, stamp: Stamp) -> None:
        self.path = path
        self.shown = shown
        self.text = text
        self.stamp = stamp
        self.data: dict[str, Any] = {}
        self._lines: list[str] = []
        self._positions: Positions | None = None

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode: two names of one file are one file."""
        return self.stamp.device, self.stamp.inode

    @property
    def directory(self) -> str:
        """Where relative names in this file start from."""
        return os.path.dirname(self.path)

    def origin(self, path: KeyPath) -> Origin:
        """The place of a statement, or of the nearest one above it."""
        line, column, width = self._place(path, on_key=False)
        return Origin(self.shown, line, column, self.line(line), width)

    def problem(
        self, path: KeyPath, reason: str, hint: str = "", *, on_key: bool = False
    ) -> Problem:
        """A problem with the value at `path`, or with its key."""
        line, column, width = self._place(path, on_key=on_key)
        text = self.line(line)
        return Problem(self.shown, line, column, key_text(path), reason, hint, text, width)

    def problem_at(self, line: int, column: int, reason: str, hint: str = "") -> Problem:
        """A problem with the text itself; `line` and `column` count from 1."""
        return Problem(self.shown, line, column, "", reason, hint, self.line(line))

    def line(self, number: int) -> str:
        """The text of a line, counted from 1; empty for one that doesn't exist."""
        self._lines = self._lines or self.text.split("\n")
        lines = self._lines
        return lines[number - 1].removesuffix("\r") if 0 < number <= len(lines) else ""

    @property
    def is_file(self) -> bool:
        """Whether it was read from a file, and not given by a program."""
        return self.stamp.device >= 0

    def _place(self, path: KeyPath, *, on_key: bool) -> tuple[int, int, int]:
        if not self.text:
            return 0, 0, 1
        if self._positions is None:
            from sandbox.profile.positions import find_positions

            self._positions = find_positions(self.text)
        keys, values = self._positions
        tables = (keys, values) if on_key else (values, keys)
        for length in range(len(path), 0, -1):
            for table in tables:
                span = table.get(path[:length])
                if span is not None:
                    return self._characters(span)
        return 0, 0, 1

    def _characters(self, span: "Span") -> tuple[int, int, int]:
        line = self.line(span.row + 1).encode()
        before = len(line[: span.column].decode())
        width = len(line[span.column : span.end].decode())
        return span.row + 1, before + 1, max(width, 1)


def parse_source(source: SourceFile) -> SourceFile:
    """Read what the text says into `data`. Raises ProfileError with the lines that are wrong."""
    check_text(source)
    source.data = _parse(source)
    return source


_given = itertools.count(1)


def text_source(text: str, *, shown: str, directory: str) -> SourceFile:
    """A profile's text that comes from a program. Raises ProfileError with the lines that are wrong.

    `directory` is where relative names in it start from.
    """
    if len(text.encode(errors="surrogatepass")) > MAXIMUM_SIZE:
        raise _too_large(shown, len(text))
    return parse_source(_given_source(text, shown, directory))


def data_source(data: dict[str, Any], *, shown: str, directory: str) -> SourceFile:
    """The same for tables that a program has made. Raises ProfileError if they nest too deeply."""
    source = _given_source("", shown, directory)
    _check_depth(source, data)
    source.data = data
    return source


def _given_source(text: str, shown: str, directory: str) -> SourceFile:
    stamp = Stamp(-1, next(_given), 0, 0, 0)
    return SourceFile(path=os.path.join(directory, ""), shown=shown, text=text, stamp=stamp)


def open_source(path: str, *, shown: str) -> SourceFile:
    """Take in a file's text. Raises ProfileError, without a line if it can't be read at all."""

    def fail(reason: str, hint: str = "") -> ProfileError:
        return ProfileError((Problem(shown, 0, 0, "", reason, hint),))

    try:
        # A FIFO without a writer would hang an open that waits.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise fail(f"cannot be read: {error.strerror}", _open_hint(path, shown, error)) from None
    except ValueError:
        raise fail("a file's name cannot hold a NUL character") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise fail(
                f"is {_kind(status.st_mode)}, not a regular file", _kind_hint(status.st_mode)
            )
        if status.st_size > MAXIMUM_SIZE:
            raise _too_large(shown, status.st_size)
        content = b""
        # Some file systems give a regular file's size as 0, and a file can grow meanwhile.
        while len(content) <= MAXIMUM_SIZE:
            piece = os.read(descriptor, MAXIMUM_SIZE + 1 - len(content))
            if not piece:
                break
            content += piece
    except OSError as error:
        raise fail(f"cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
    if len(content) > MAXIMUM_SIZE:
        raise _too_large(shown, len(content))
    stamp = Stamp(
        status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    )
    return SourceFile(path=path, shown=shown, text=_decode(content, shown), stamp=stamp)


def _decode(content: bytes, shown: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode()) + 1
        reason = f"byte 0x{content[error.start]:02x} isn't UTF-8"
        hint = "save the file as UTF-8"
        raise ProfileError((Problem(shown, line, column, "", reason, hint),)) from None


def check_text(source: SourceFile) -> None:
    """Refuse what a reader cannot see, and nesting that would take long to parse.

    Raises ProfileError with every line that is wrong.
    """
    problems: list[Problem] = []
    text = source.text
    # Most files are settled here, without a look at each line.
    plain = text.isascii() and text.replace("\n", "").replace("\t", "").isprintable()
    dotted = text.count(".") > _MAXIMUM_DOTS
    if plain and not dotted:
        return
    for number, line in enumerate(text.split("\n"), 1):
        if len(problems) >= MAXIMUM_PROBLEMS:
            break
        if not plain:
            seen = _invisible(line.removesuffix("\r"))
            if seen is not None:
                column, name = seen
                problem = source.problem_at(
                    number,
                    column,
                    f"invisible character {name}",
                    "remove it, or write it as an escape such as \\u202e in a string",
                )
                problems.append(problem)
        if dotted and line.count(".") > _MAXIMUM_DOTS and _dots_in_keys(line) > _MAXIMUM_DOTS:
            problems.append(source.problem_at(number, 1, "a key with too many dots"))
    if problems:
        raise ProfileError(tuple(problems))


def _invisible(line: str) -> tuple[int, str] | None:
    """Column from 1 and name of the first character of a line that cannot be seen."""
    if line.isprintable() and line.isascii():
        return None
    import unicodedata

    for column, character in enumerate(line, 1):
        if character != "\t" and is_hidden(character):
            name = unicodedata.name(character, "")
            return column, f"U+{ord(character):04X}" + (f" ({name})" if name else "")
    return None


def is_hidden(character: str) -> bool:
    """Whether a reader can't see the character, or sees another one."""
    if character.isascii():
        return not character.isprintable()
    import unicodedata

    category = unicodedata.category(character)
    # Controls, bidirectional and other formats, surrogates, private and unassigned ones, line
    # separators, odd spaces, and letters and marks that Unicode itself calls ignorable.
    return (
        category[0] == "C"
        or category in {"Zl", "Zp", "Zs"}
        or character in "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
        or "\ufe00" <= character <= "\ufe0f"
        or "\U000e0100" <= character <= "\U000e01ef"
    )


def _dots_in_keys(line: str) -> int:
    """How many dots stand outside one-line strings and comments.

    tomllib's time grows with the square of a key's parts, so they are bounded before it runs.
    """
    dots = 0
    quote = ""
    escaped = False
    for character in line:
        if quote:
            if escaped:
                escaped = False
            elif character == "\\" and quote == '"':
                escaped = True
            elif character == quote:
                quote = ""
        elif character in "\"'":
            quote = character
        elif character == "#":
            break
        elif character == ".":
            dots += 1
    return dots


def _parse(source: SourceFile) -> dict[str, Any]:
    try:
        data = tomllib.loads(source.text)
    except tomllib.TOMLDecodeError as error:
        line, column, reason = _parse_error_place(source, str(error))
        raise ProfileError((source.problem_at(line, column, reason),)) from None
    except RecursionError:
        raise ProfileError((source.problem_at(0, 0, "nested too deeply"),)) from None
    except ValueError as error:
        # A number with more digits than Python converts.
        raise ProfileError((source.problem_at(0, 0, f"not readable as TOML: {error}"),)) from None
    _check_depth(source, data)
    return data


def _parse_error_place(source: SourceFile, message: str) -> tuple[int, int, str]:
    """The place that tomllib puts into its words: `... (at line 3, column 5)`."""
    reason, _, place = message.removesuffix(")").rpartition(" (at ")
    if not reason:
        return 0, 0, f"not TOML: {message}"
    words = place.replace(",", "").split()
    if words[:1] == ["line"] and len(words) == 4:
        line, column = int(words[1]), int(words[3])
    else:
        stripped = source.text.rstrip()
        line = stripped.count("\n") + 1
        column = len(stripped) - (stripped.rfind("\n") + 1) + 1
        reason += ", but the file ends"
    return line, column, f"not TOML: {reason[:1].lower()}{reason[1:]}"


def _check_depth(source: SourceFile, data: Mapping[str, Any]) -> None:
    """What comes after may recurse into values, and the deepest table of a profile is at five."""
    stack: list[tuple[Any, int]] = [(data, 0)]
    while stack:
        value, depth = stack.pop()
        if depth > MAXIMUM_DEPTH:
            raise ProfileError((source.problem_at(0, 0, "nested too deeply"),))
        if isinstance(value, dict):
            stack.extend((child, depth + 1) for child in value.values())
        elif isinstance(value, list):
            stack.extend((child, depth + 1) for child in value)


def _too_large(shown: str, size: int) -> ProfileError:
    reason = f"has {size} bytes; a profile may have {MAXIMUM_SIZE}"
    return ProfileError((Problem(shown, 0, 0, "", reason, "is this the right file?"),))


def _kind_hint(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "write what comes from it to a file first: a launch may read a profile several times"
    return ""


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a directory",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a character device",
        stat.S_IFBLK: "a block device",
    }
    return kinds.get(stat.S_IFMT(mode), "a special file")


def _open_hint(path: str, shown: str, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"that is {path}" if path != shown else ""
    if isinstance(error, PermissionError):
        return "its permissions, or those of a directory above it, keep this user out"
    return ""
