"""`Sandbox`: programs in sandboxes of one profile, from Python."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from sandbox.library import calls
from sandbox.library.launching import Compiled, Word
from sandbox.library.options import RunOptions, StartOptions, run_options, start_options
from sandbox.library.profile import Profile
from sandbox.library.result import Result
from sandbox.library.running import Process

if TYPE_CHECKING:
    from sandbox.library.aio import AsyncProcess


class Sandbox:
    """Runs programs, each call in a new sandbox of the same profile.

    The profile is compiled once, for this host and the current user; after that a call costs
    little. An object may be used by many threads and tasks at once. `profile` may be a Profile,
    or what `Profile.load` takes.

    What a call passes (input, variables, descriptors, a directory) is granted, whatever the
    profile says of it: it comes from the one who wrote both. Everything else is the profile's.

    Raises ProfileError and UnsupportedError.
    """

    def __init__(self, profile: Profile | str | os.PathLike[str]) -> None:
        self.profile = profile if isinstance(profile, Profile) else Profile.load(profile)
        self.compiled = Compiled(self.profile)

    @property
    def not_enforced(self) -> tuple[str, ...]:
        """The features of `profile.optional` that this host lacks, and that don't hold."""
        return self.compiled.plan.not_enforced

    @property
    def steps(self) -> tuple[str, ...]:
        """What each launch does, in words, as `sbx plan` prints it."""
        return tuple(op.describe() for op in self.compiled.plan.ops)

    @overload
    def run(
        self,
        argv: Sequence[Word] = (),
        *,
        input: bytes | None = None,
        text: Literal[False] = False,
        **options: Unpack[RunOptions],
    ) -> Result[bytes]: ...

    @overload
    def run(
        self,
        argv: Sequence[Word] = (),
        *,
        input: str | None = None,
        text: Literal[True],
        **options: Unpack[RunOptions],
    ) -> Result[str]: ...

    def run(
        self,
        argv: Sequence[Word] = (),
        *,
        input: str | bytes | None = None,  # noqa: A002 - subprocess's name
        text: bool = False,
        **options: Unpack[RunOptions],
    ) -> Result[Any]:
        """Runs a program to its end.

        `argv` is the program and its arguments, the profile's own command if it is empty. `input`
        is written to its standard input, which is empty otherwise. `text` means str in place of
        bytes. The other options: timeout, max_output, env, cwd, descriptors, stdin, stdout,
        stderr, encoding, errors (see `RunOptions`). However it ends, the result says so.

        Raises SetupError if the program can't be started.
        """
        checked = run_options(text, input, **options)
        return calls.run(self.compiled, argv, checked, self.compiled.launch)

    @overload
    def start(
        self,
        argv: Sequence[Word] = (),
        *,
        text: Literal[False] = False,
        **options: Unpack[StartOptions],
    ) -> Process[bytes]: ...

    @overload
    def start(
        self, argv: Sequence[Word] = (), *, text: Literal[True], **options: Unpack[StartOptions]
    ) -> Process[str]: ...

    def start(
        self,
        argv: Sequence[Word] = (),
        *,
        text: bool = False,
        **options: Unpack[StartOptions],
    ) -> Process[Any]:
        """Starts a program and returns when it runs.

        The options: stdin, stdout, stderr, env, cwd, descriptors, encoding, errors (see
        `StartOptions`). Use the process in a `with` block: leaving it ends the program.

        Raises SetupError if the program can't be started.
        """
        return calls.start(self.compiled, argv, start_options(text, **options))

    @overload
    async def run_async(
        self,
        argv: Sequence[Word] = (),
        *,
        input: bytes | None = None,
        text: Literal[False] = False,
        **options: Unpack[RunOptions],
    ) -> Result[bytes]: ...

    @overload
    async def run_async(
        self,
        argv: Sequence[Word] = (),
        *,
        input: str | None = None,
        text: Literal[True],
        **options: Unpack[RunOptions],
    ) -> Result[str]: ...

    async def run_async(
        self,
        argv: Sequence[Word] = (),
        *,
        input: str | bytes | None = None,  # noqa: A002 - subprocess's name
        text: bool = False,
        **options: Unpack[RunOptions],
    ) -> Result[Any]:
        """The same as `run` for asyncio: the event loop goes on meanwhile, without a thread.

        If the task is cancelled, everything in the sandbox is killed.
        """
        from sandbox.library import aio

        checked = run_options(text, input, **options)
        return await aio.run(self.compiled, argv, checked)

    async def start_async(
        self, argv: Sequence[Word] = (), **options: Unpack[StartOptions]
    ) -> "AsyncProcess":
        """The same as `start` for asyncio; streams carry bytes.

        Use the process in an `async with` block: leaving it ends the program.
        """
        from sandbox.library import aio

        return await aio.start(self.compiled, argv, start_options(text=False, **options))
