"""A new profile is looked at as `sbx check` does, and only then put in its place."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import TypeAlias

from sandbox.errors import Problem, SandboxError

Check: TypeAlias = Callable[[str], tuple[Problem, ...]]
"""All problems of the profile at a path."""


@contextlib.contextmanager
def unplaced(text: str) -> Iterator[str]:
    """A path by which a profile can be read that lies in no directory."""
    descriptor = os.memfd_create("profile.toml", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "w", encoding="utf-8", closefd=False) as file:
            file.write(text)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def try_out(text: str, *, check: Check, shown: str) -> tuple[Problem, ...]:
    """The problems of a profile that lies nowhere yet, named as `shown`."""
    with unplaced(text) as path:
        return tuple(_named(problem, path, shown) for problem in check(path))


def put(text: str, path: str, *, check: Check, replace: bool) -> tuple[Problem, ...]:
    """Write a profile to `path` if it has no problems, all of it or nothing.

    An existing file is kept unless `replace`; where it is a link, what it leads to is replaced.
    Raises SandboxError where it can't be written.
    """
    if replace:
        path = os.path.realpath(path)
        if os.path.lexists(path) and not os.path.isfile(path):
            raise SandboxError(
                f"'{path}' is no regular file", hint="'-o -' prints the profile on standard output"
            )
    directory, name = os.path.split(path)
    try:
        descriptor, draft = tempfile.mkstemp(
            dir=directory or ".", prefix=f".{name[:200]}.", suffix=".toml"
        )
    except OSError as error:
        raise SandboxError(
            f"nothing can be written to '{directory or '.'}': {error.strerror}",
            hint="-o names another file, and '-o -' prints the profile",
        ) from None
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, 0o666 & ~_umask())
            file.write(text)
        problems = tuple(_named(problem, draft, path) for problem in check(draft))
        if not problems:
            _place(draft, path, replace=replace)
        return problems
    finally:
        if os.path.lexists(draft):
            os.unlink(draft)


def _place(draft: str, path: str, *, replace: bool) -> None:
    if replace:
        os.replace(draft, path)
        return
    try:
        # Not rename(2): that would take the place of a file that came in between.
        os.link(draft, path)
    except FileExistsError:
        raise exists(path) from None


def exists(path: str) -> SandboxError:
    return SandboxError(
        f"'{path}' exists already", hint="--force replaces it, and -o names another file"
    )


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _named(problem: Problem, path: str, shown: str) -> Problem:
    ours = os.path.normpath(problem.file) == os.path.normpath(path)
    return problem._replace(file=shown) if ours else problem
