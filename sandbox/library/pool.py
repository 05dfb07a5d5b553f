"""Sandboxes that are ready before they are needed."""

import collections
import os
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from sandbox.errors import SandboxError
from sandbox.library import calls
from sandbox.library.launching import Word
from sandbox.library.options import Options
from sandbox.library.profile import Profile
from sandbox.library.result import Result
from sandbox.library.runner import Runner
from sandbox.library.sandbox import Sandbox
from sandbox.library.watch import Watch


class Pool(Runner):
    """Keeps `size` sandboxes of one profile ready, for short calls.

    Each is built as far as it can be before it is known what will run, and then waits. It serves
    one call and ends with it, so nothing passes from one call to the next; while a call runs,
    another sandbox is made ready in the background. Calls beyond those that are ready start
    sandboxes of their own, as `Sandbox.run` does.

    Use it in a `with` block. Raises ProfileError, UnsupportedError, and SetupError if the profile's
    sandbox can't be built.
    """

    def __init__(self, sandbox: Sandbox | Profile | str | os.PathLike[str], size: int = 4) -> None:
        if size < 1:
            raise ValueError("a pool holds at least one sandbox")
        self.sandbox = sandbox if isinstance(sandbox, Sandbox) else Sandbox(sandbox)
        self.size = size
        self._waiting: collections.deque[Watch] = collections.deque()
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._closed = False
        try:
            self._waiting.append(self.sandbox.compiled.launch())
            self._fill()
            first = self._waiting[0]
            first.wait(None, ready=True)
            self.sandbox.compiled.check_started(first, ("",))
        except BaseException:
            self.close()
            raise

    @property
    def ready(self) -> int:
        """How many sandboxes wait for a call right now."""
        self._settle()
        with self._lock:
            waiting = list(self._waiting)
            for watch in waiting:
                watch.read()
            return sum(watch.ready and not watch.over for watch in waiting)

    def _run(self, argv: Sequence[Word], options: Options) -> Result[Any]:
        try:
            return calls.run(self.sandbox.compiled, argv, options, self._take, self._fill)
        finally:
            self._fill()

    async def _run_async(self, argv: Sequence[Word], options: Options) -> Result[Any]:
        from sandbox.library import aio

        try:
            return await aio.run(self.sandbox.compiled, argv, options, self._take, self._fill)
        finally:
            self._fill()

    def _take(self) -> Watch:
        """The sandbox that has waited longest and still lives, or a new one."""
        self._settle()
        with self._lock:
            if self._closed:
                raise SandboxError("the pool is closed")
            self._drop_dead()
            if self._waiting:
                return self._waiting.popleft()
        return self.sandbox.compiled.launch()

    def _fill(self) -> None:
        """Has as many made as are missing; they become ready without anybody's help."""
        self._settle()
        with self._lock:
            self._drop_dead()
            while not self._closed and len(self._waiting) < self.size:
                try:
                    self._waiting.append(self.sandbox.compiled.launch(wait=False, later=True))
                except (BlockingIOError, SandboxError):
                    return  # the server has enough to do, or there is none: the next call says so

    def _drop_dead(self) -> None:
        """Lets go of those that were killed, or that could not be built."""
        for watch in list(self._waiting):
            watch.read()
            if watch.over or watch.failure is not None:
                self._waiting.remove(watch)
                watch.drop()

    def _settle(self) -> None:
        """A fork starts with none ready: those that wait are its parent's, and so is the lock."""
        if self._owner == os.getpid():
            return
        self._owner = os.getpid()
        self._lock = threading.Lock()
        for watch in self._waiting:
            watch.release()
        self._waiting = collections.deque()

    def close(self) -> None:
        """Ends the sandboxes that wait. Calls that run go on to their end."""
        self._settle()
        with self._lock:
            self._closed = True
            waiting, self._waiting = self._waiting, collections.deque()
        for watch in waiting:
            watch.kill()
        for watch in waiting:
            watch.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        for watch in getattr(self, "_waiting", ()):
            watch.drop()

    def __repr__(self) -> str:
        return f"<Pool of {self.size}: {self.sandbox.profile!r}>"
