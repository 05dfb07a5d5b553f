"""`run` and `run_async`, which sandboxes and pools have alike."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, Unpack, overload

from sandbox.library.launching import Word
from sandbox.library.options import Options, RunOptions, run_options
from sandbox.library.result import Result


class Runner(ABC):
    """Something that runs programs to their ends."""

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
        return self._run(argv, run_options(text, input, **options))

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
        """The same for asyncio: the event loop goes on meanwhile, without a thread.

        If the task is cancelled, everything in the sandbox is killed.
        """
        return await self._run_async(argv, run_options(text, input, **options))

    @abstractmethod
    def _run(self, argv: Sequence[Word], options: Options) -> Result[Any]: ...

    @abstractmethod
    async def _run_async(self, argv: Sequence[Word], options: Options) -> Result[Any]: ...
