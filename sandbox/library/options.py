"""The arguments that calls take, in one place."""

from collections.abc import Mapping
from typing import NamedTuple, TypedDict

from sandbox.library.streams import DEVNULL, PIPE, Descriptors, Stream
from sandbox.library.text import Text


class StartOptions(TypedDict, total=False):
    """How a program is started."""

    stdin: Stream
    """PIPE, DEVNULL (the default), None for this process's own, or a file."""
    stdout: Stream
    """PIPE, DEVNULL, None for this process's own, or a file."""
    stderr: Stream
    """The same, or STDOUT for where stdout goes."""
    env: Mapping[str, str] | None
    """Variables over those of the profile."""
    cwd: str | None
    """Working directory inside, in place of the profile's."""
    descriptors: Descriptors | None
    """Files that the program gets as well, by their numbers there, from 3 on."""
    encoding: str
    """How text is coded, with text=True: utf-8 by default."""
    errors: str
    """What becomes of bytes that are no text: `replace` by default, so decoding never fails."""


class RunOptions(StartOptions, total=False):
    """How a program is run to its end; stdout and stderr are PIPE by default."""

    timeout: float | None
    """Seconds after which everything in the sandbox is killed."""
    max_output: int | None
    """Bytes of stdout and stderr together, beyond which it is killed as well."""


class Options(NamedTuple):
    """The arguments of a call, checked."""

    data: bytes
    text: Text
    timeout: float | None
    max_output: int | None
    env: Mapping[str, str] | None
    cwd: str | None
    descriptors: Descriptors
    standard: tuple[Stream, Stream, Stream]


def start_options(
    text: bool,
    *,
    stdin: Stream = DEVNULL,
    stdout: Stream = None,
    stderr: Stream = None,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    descriptors: Descriptors | None = None,
    encoding: str = "utf-8",
    errors: str = "replace",
) -> Options:
    """The arguments of `start`. Raises ValueError and TypeError."""
    if cwd is not None and not cwd.startswith("/"):
        raise ValueError(f"'{cwd}' isn't an absolute path in the sandbox")
    for name in env or ():
        if not name or "=" in name:
            raise ValueError(f"'{name}' isn't the name of an environment variable")
    how = Text(encoding if text else None, errors)
    return Options(b"", how, None, None, env, cwd, descriptors or {}, (stdin, stdout, stderr))


def run_options(
    text: bool,
    input: str | bytes | None,  # noqa: A002 - subprocess's name
    *,
    stdin: Stream = DEVNULL,
    stdout: Stream = PIPE,
    stderr: Stream = PIPE,
    timeout: float | None = None,
    max_output: int | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    descriptors: Descriptors | None = None,
    encoding: str = "utf-8",
    errors: str = "replace",
) -> Options:
    """The arguments of `run`. Raises ValueError and TypeError."""
    if input is not None:
        if stdin not in (DEVNULL, PIPE):
            raise ValueError("input and stdin exclude each other")
        stdin = PIPE
    if stdin == PIPE and input is None:
        raise ValueError("a pipe as stdin needs input")
    if max_output is not None and max_output < 0:
        raise ValueError("max_output is negative")
    options = start_options(
        text,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=env,
        cwd=cwd,
        descriptors=descriptors,
        encoding=encoding,
        errors=errors,
    )
    data = options.text.encode(input)
    return options._replace(data=data, timeout=timeout, max_output=max_output)
