"""The standard streams and other descriptors of a call: pipes, files, what is inherited."""

import fcntl
import io
import subprocess
from collections.abc import Mapping
from typing import Final, Protocol, TypeAlias

from sandbox.process import owned
from sandbox.process.server import WITNESS

PIPE: Final = subprocess.PIPE
"""A pipe to the program, as in subprocess."""
STDOUT: Final = subprocess.STDOUT
"""For stderr: where stdout goes."""
DEVNULL: Final = subprocess.DEVNULL
"""Nothing to read, and nobody who reads."""


class HasFileno(Protocol):
    """A file, a socket, or anything else that has a descriptor."""

    def fileno(self) -> int:
        """The descriptor."""


Stream: TypeAlias = int | HasFileno | None
Descriptors: TypeAlias = Mapping[int, int | HasFileno]
NAMES: Final = ("stdin", "stdout", "stderr")


class Streams:
    """What a call passes, and this side's ends of its pipes, which don't block.

    `pairs` maps numbers inside to descriptors of this process. `close_passed` closes those that
    were opened for the call; the pipes' ends in `ends` belong to whoever takes them out.
    """

    def __init__(self) -> None:
        self.pairs: list[tuple[int, int]] = []
        self.ends: dict[int, io.FileIO] = {}
        self.witness: io.FileIO | None = None
        self._opened: list[io.FileIO] = []
        self._kept: list[object] = []

    def add(self, number: int, stream: Stream) -> None:
        """A standard stream: PIPE, DEVNULL, STDOUT, None for this process's own, or a file."""
        if stream is None:
            self._inherit(number)
        elif isinstance(stream, int) and stream == PIPE:
            self._pipe(number)
        elif isinstance(stream, int) and stream == DEVNULL:
            self._null(number)
        elif isinstance(stream, int) and stream == STDOUT:
            if number != 2:
                raise ValueError(f"{NAMES[number]} can't be STDOUT")
            self.pairs.append((2, dict(self.pairs)[1]))
        else:
            self._file(number, stream)

    def add_files(self, descriptors: Descriptors) -> None:
        """Other descriptors, from 3 on."""
        for number, file in descriptors.items():
            if number < 3:
                raise ValueError(f"descriptor {number} is {NAMES[number]}: use that argument")
            self._file(number, file)

    def add_witness(self) -> None:
        """A pipe whose end tells that the program has been executed, or can't be."""
        self.witness, theirs = owned.pipe()
        self._opened.append(theirs)
        self.pairs.append((WITNESS, theirs.fileno()))

    def _file(self, number: int, file: int | HasFileno) -> None:
        fd = file if isinstance(file, int) else file.fileno()
        if fd < 0:
            raise ValueError(f"descriptor {number}: {fd} is not a descriptor")
        # Garbage collection must not close it before it is passed.
        self._kept.append(file)
        self.pairs.append((number, fd))

    def _pipe(self, number: int) -> None:
        reader, writer = owned.pipe()
        ours, theirs = (writer, reader) if number == 0 else (reader, writer)
        self.ends[number] = ours
        self._opened.append(theirs)
        self.pairs.append((number, theirs.fileno()))

    def _null(self, number: int) -> None:
        # One of its own for each: flags of an open file are shared by all who have it.
        file = owned.null()
        self._opened.append(file)
        self.pairs.append((number, file.fileno()))

    def _inherit(self, number: int) -> None:
        try:
            fcntl.fcntl(number, fcntl.F_GETFD)
        except OSError:
            self._null(number)
        else:
            self.pairs.append((number, number))

    def take(self) -> dict[int, io.FileIO]:
        """This side's ends, which are the caller's now; what only the sandbox needs is closed."""
        self.close_passed()
        ends, self.ends = self.ends, {}
        return ends

    def close_passed(self) -> None:
        """Gives up what only the sandbox needs."""
        for file in self._opened:
            file.close()
        self._opened.clear()
        self._kept.clear()

    def close(self) -> None:
        """Gives up everything that was opened and not taken."""
        self.close_passed()
        for file in self.ends.values():
            file.close()
        self.ends.clear()
        if self.witness is not None:
            self.witness.close()
            self.witness = None
