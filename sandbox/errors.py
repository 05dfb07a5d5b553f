"""What can go wrong before a sandbox runs. How its payload ends is a result, not an error."""

from typing import NamedTuple

EXIT_ENDED = 124
EXIT_SANDBOX = 125
EXIT_NOT_EXECUTABLE = 126
EXIT_NOT_FOUND = 127
EXIT_SIGNAL_BASE = 128


class Problem(NamedTuple):
    """One thing that is wrong in one file.

    `line` and `column` count from 1, columns in characters; 0 means that the place is not known.
    `key` is the written key path, as in `filesystem.read[2]`, or empty. `source` is the text of
    the line, of which `width` characters from `column` on are meant.
    """

    file: str
    line: int
    column: int
    key: str
    reason: str
    hint: str = ""
    source: str = ""
    width: int = 1

    def where(self) -> str:
        """`app.toml:12`, or the file alone where no line is known."""
        return f"{self.file}:{self.line}" if self.line else self.file

    def text(self) -> str:
        """`app.toml:12: filesystem.read[2]: '/x' ...` without the hint."""
        return ": ".join(part for part in (self.where(), self.key, self.reason) if part)


class SandboxError(Exception):
    """sbx cannot do what was asked of it.

    `origin` says where the user asked, as in `app.toml:12`; `hint` says what to do about it.
    """

    exit_code = EXIT_SANDBOX
    problems: tuple[Problem, ...] = ()
    """The same with its places in the user's files, where there are any."""

    def __init__(self, message: str, *, hint: str = "", origin: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.origin = origin

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """The error as lines for a person; a line that starts with `hint: ` is advice."""
        lines = [f"{self.origin}: {self.message}" if self.origin else self.message]
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return lines


class ProfileError(SandboxError):
    """The user's files are wrong; carries everything that is wrong with them."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        if not problems:
            raise ValueError("a ProfileError without a problem")
        first = problems[0]
        super().__init__(first.reason, hint=first.hint, origin=first.where())
        self.problems = problems

    def lines(self) -> list[str]:
        """Each problem's line, followed by its hint."""
        lines = []
        for problem in self.problems:
            lines.append(problem.text())
            if problem.hint:
                lines.append(f"hint: {problem.hint}")
        return lines


class UnsupportedError(SandboxError):
    """This host lacks something that the profile asks for."""


class SetupError(SandboxError):
    """An operation failed while the sandbox was being set up.

    `exit_code` is 126 or 127 when it was the command itself that could not be run. `operation`
    says which one failed, as `sbx plan` prints it, and `errno` with which error.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        origin: str = "",
        exit_code: int = EXIT_SANDBOX,
        operation: str = "",
        errno: int = 0,
    ) -> None:
        super().__init__(message, hint=hint, origin=origin)
        self.exit_code = exit_code
        self.operation = operation
        self.errno = errno
