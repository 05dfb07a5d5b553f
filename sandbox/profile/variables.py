"""`${name}` in the strings of a profile."""

from collections.abc import Mapping

from sandbox.profile.names import suggestion
from sandbox.profile.upward import Found, search

MAXIMUM_LENGTH = 64 * 1024
MAXIMUM_DEPTH = 32
UNSET = "the environment variable"
NO_DIRECTORY = "the working directory doesn't exist any more"
BUILT_IN = ("home", "cwd", "profile_dir")


class InvalidError(Exception):
    """A value that isn't right: why, and what to do about it."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


class Definition:
    """A variable's text and the directory of the file that defines it, None for a literal one."""

    __slots__ = ("directory", "text")

    def __init__(self, text: str, directory: str | None) -> None:
        self.text = text
        self.directory = directory

    def __eq__(self, other: object) -> bool:
        """The same text means the same, but for one that the file's place is part of."""
        if not isinstance(other, Definition) or self.text != other.text:
            return False
        return self.directory == other.directory or "profile_dir" not in names_in(self.text)

    def __hash__(self) -> int:
        return hash(self.text)


class Variables:
    """Puts values into strings, and remembers which of the caller's state they came from."""

    def __init__(
        self, definitions: Mapping[str, Definition], *, environ: Mapping[str, str], cwd: str
    ) -> None:
        self._definitions = definitions
        self._environ = environ
        self._cwd = cwd
        self._values: dict[str, str] = {}
        self._depths: dict[str, int] = {}
        self._open: list[str] = []
        self.environment: dict[str, str | None] = {}
        self.uses_cwd = False
        self._found: dict[str, Found] = {}

    def of_caller(self, name: str) -> str | None:
        """A variable of the caller's, without the profile coming to depend on it."""
        return self._environ.get(name)

    @property
    def looked_at(self) -> Mapping[str, bool]:
        """The paths that were looked at for ${up:NAME}; true for those that were found."""
        return {
            path: is_it for found in self._found.values() for path, is_it in found.looked_at.items()
        }

    @property
    def markers(self) -> tuple[str, ...]:
        """The directories that were found for ${up:NAME}."""
        return tuple(sorted(found.marker for found in self._found.values() if found.marker))

    def expand(self, text: str, directory: str) -> str:
        """`text` with every variable replaced. Raises InvalidError."""
        pieces = []
        for literal, name in split(text):
            pieces.append(literal)
            if name is not None:
                pieces.append(self._value(name, directory))
        expanded = "".join(pieces)
        if len(expanded) > MAXIMUM_LENGTH:
            raise InvalidError(f"longer than {MAXIMUM_LENGTH} characters once its variables are in")
        return expanded

    def _value(self, name: str, directory: str) -> str:
        if name == "profile_dir":
            return directory
        if name == "cwd":
            self.uses_cwd = True
            if not self._cwd:
                raise InvalidError(NO_DIRECTORY, "change to another directory")
            return self._cwd
        if name == "home":
            home = self._environment("HOME", None, "${home} is taken from HOME")
            if not home.startswith("/"):
                raise InvalidError(f"HOME is '{home}', which isn't an absolute path")
            return home
        if name.startswith("up:"):
            return self._upward(name[3:])
        if name.startswith("env:"):
            variable, with_default, default = name[4:].partition(":-")
            return self._environment(
                variable, default if with_default else None, f"or write ${{env:{variable}:-value}}"
            )
        return self._defined(name)

    def _upward(self, name: str) -> str:
        if not name or "/" in name or name in {".", ".."}:
            raise InvalidError(f"'{name[:64]}' isn't the name of one file", "such as ${up:.git}")
        self.uses_cwd = True
        if name not in self._found:
            self._found[name] = search(name, self._cwd)
        return self._found[name].directory

    def _environment(self, variable: str, default: str | None, hint: str) -> str:
        if not variable or "=" in variable:
            raise InvalidError(f"'{variable}' isn't the name of an environment variable")
        value = self._environ.get(variable)
        self.environment[variable] = value
        if value is None:
            if default is None:
                raise InvalidError(f"{UNSET} {variable} isn't set", f"set it; {hint}")
            return default
        return value

    def _defined(self, name: str) -> str:
        if name in self._values:
            return self._values[name]
        definition = self._definitions.get(name)
        if definition is None:
            raise InvalidError(f"there is no variable '{name[:64]}'", self._unknown_hint(name))
        if definition.directory is None:
            return definition.text
        if name in self._open:
            chain = " -> ".join([*self._open[self._open.index(name) :], name])
            raise InvalidError(f"the variables refer to each other: {chain}")
        self._open.append(name)
        try:
            # The first keeps the recursion short, the second the same whatever was looked up before.
            _check_depth(len(self._open))
            value = self.expand(definition.text, definition.directory)
            below = (self._depths.get(inner, 0) for inner in names_in(definition.text))
            self._depths[name] = 1 + max(below, default=0)
            _check_depth(self._depths[name])
        finally:
            self._open.pop()
        self._values[name] = value
        return value

    def _unknown_hint(self, name: str) -> str:
        close = suggestion(name, [*self._definitions, *BUILT_IN])
        if close:
            return close
        if name.isupper():
            return f"an environment variable is ${{env:{name[:64]}}}"
        return "define it in [vars]; a plain $ is written $$"


def _check_depth(depth: int) -> None:
    if depth > MAXIMUM_DEPTH:
        raise InvalidError(f"more than {MAXIMUM_DEPTH} variables one within the other")


def split(text: str) -> list[tuple[str, str | None]]:
    """Literal text and the name of the variable behind it, in turn. Raises InvalidError."""
    pieces: list[tuple[str, str | None]] = []
    literal, position = "", 0
    while True:
        dollar = text.find("$", position)
        if dollar < 0:
            pieces.append((literal + text[position:], None))
            return pieces
        literal += text[position:dollar]
        follows = text[dollar + 1 : dollar + 2]
        if follows == "$":
            literal, position = literal + "$", dollar + 2
        elif follows == "{":
            end = text.find("}", dollar)
            if end < 0:
                raise InvalidError("'${' without '}'", "a plain $ is written $$")
            pieces.append((literal, text[dollar + 2 : end]))
            literal, position = "", end + 1
        else:
            raise InvalidError(
                "'$' without '{'", "a variable is written ${name}, a plain $ is written $$"
            )


def names_in(text: str) -> set[str]:
    """The names of variables that `text` mentions; none for text that isn't well formed."""
    if "$" not in text:
        return set()
    try:
        return {name for _, name in split(text) if name is not None}
    except InvalidError:
        return set()
