"""`Sandbox`: programs in sandboxes of one profile, from Python."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from sandbox.library import calls
from sandbox.library.launching import Compiled, Word
from sandbox.library.options import Options, StartOptions, start_options
from sandbox.library.profile import Profile
from sandbox.library.result import Result
from sandbox.library.runner import Runner
from sandbox.library.running import Process

if TYPE_CHECKING:
    from sandbox.library.aio import AsyncProcess


class Sandbox(Runner):
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

    def __repr__(self) -> str:
        return f"<Sandbox of {self.profile!r}>"

    @property
    def not_enforced(self) -> tuple[str, ...]:
        """The features of `profile.optional` that this host lacks, and that don't hold."""
        return self.compiled.plan.not_enforced

    @property
    def steps(self) -> tuple[str, ...]:
        """What each launch does, in words, as `sbx plan` prints it."""
        return tuple(op.describe() for op in self.compiled.plan.ops)

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

    async def start_async(
        self, argv: Sequence[Word] = (), **options: Unpack[StartOptions]
    ) -> "AsyncProcess":
        """The same as `start` for asyncio; streams carry bytes.

        Use the process in an `async with` block: leaving it ends the program.
        """
        from sandbox.library import aio

        return await aio.start(self.compiled, argv, start_options(text=False, **options))

    def _run(self, argv: Sequence[Word], options: Options) -> Result[Any]:
        return calls.run(self.compiled, argv, options, self.compiled.launch)

    async def _run_async(self, argv: Sequence[Word], options: Options) -> Result[Any]:
        from sandbox.library import aio

        return await aio.run(self.compiled, argv, options)
