"""Values as unit files take them: systemd.syntax(7), systemd.service(5) under COMMAND LINES."""

from typing import Final

from sandbox.errors import SandboxError

_ESCAPES: Final = {
    "\a": "\\a",
    "\b": "\\b",
    "\t": "\\t",
    "\n": "\\n",
    "\v": "\\v",
    "\f": "\\f",
    "\r": "\\r",
    "\\": "\\\\",
    '"': '\\"',
}
_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./=:,@+")


def argument(text: str) -> str:
    """One word of a command line behind its program: no specifier and no variable in it."""
    return value(text).replace("$", "$$")


def value(text: str) -> str:
    """One word of a setting that takes words with escapes, such as Environment=."""
    if text and set(text) <= _PLAIN:
        return text
    return f'"{"".join(map(_escaped, text))}"'.replace("%", "%%")


def program(path: str) -> str:
    """The first word of a command line. Raises SandboxError for one that systemd can't start."""
    if not path.isprintable() or set(path) & set("\"'\\"):
        raise SandboxError(
            f"systemd starts no program whose path holds quotes, backslashes or control characters:"
            f" {path!r}",
            hint="install sbx elsewhere",
        )
    return value(path)


def path(text: str) -> str:
    """One word of a setting that takes paths, where a backslash stands for itself.

    Raises SandboxError for what can't be said there.
    """
    quote = "'" if '"' in text else '"'
    if not text.isprintable() or quote in text or text.endswith("\\"):
        raise SandboxError(
            f"a unit can't name the path {text!r}",
            hint="rename it; quotes of one kind, spaces and signs are no problem",
        )
    plain = set(text) <= _PLAIN
    return text if plain else f"{quote}{text}{quote}".replace("%", "%%")


def line(text: str) -> str:
    """Text that isn't taken apart, such as Description=, in one line."""
    words = "".join(c if c.isprintable() else " " for c in text).split()
    return " ".join(words).rstrip("\\ ").replace("%", "%%")


def span(microseconds: int) -> str:
    """A duration as systemd.time(7) has it; the greatest number stands for none."""
    from sandbox.units import UNLIMITED

    if microseconds == UNLIMITED:
        return "infinity"
    for unit, length in (("s", 1_000_000), ("ms", 1000)):
        if microseconds % length == 0:
            return f"{microseconds // length}{unit}"
    return f"{microseconds}us"


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    octets = character.encode(errors="surrogateescape")
    return "".join(f"\\x{octet:02x}" for octet in octets)
