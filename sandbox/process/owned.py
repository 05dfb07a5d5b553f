"""Descriptors that are closed with the object that owns them, whatever interrupts this process.

A handler of a signal, as Ctrl-C's, may raise behind each call. A number that a call has returned
would then be lost, and one that was closed a moment before be closed again, as another thread's
maybe. An `io.FileIO` owns its descriptor from its own call on, and closes it once.
"""

import fcntl
import io
import itertools
import operator
import os
import socket
import struct
from typing import Final

_NUMBER: Final = struct.Struct("=i")


def pipe() -> tuple[io.FileIO, io.FileIO]:
    """A pipe's ends, to read from and to write to; neither has the number of a standard stream."""
    # One step: the iterators are C, and no handler runs until there are owners.
    pairs = itertools.starmap(os.pipe2, ((os.O_CLOEXEC,),))
    reader, writer = tuple(map(io.FileIO, itertools.chain.from_iterable(pairs), ("rb", "wb")))
    return above_standard(reader), above_standard(writer)


def null() -> io.FileIO:
    """Nothing to read, and nobody who reads."""
    return above_standard(io.FileIO(os.devnull, "r+"))


def duplicate(fd: int, mode: str) -> io.FileIO:
    """Another descriptor of the same file, in one step as well."""
    return above_standard(next(map(io.FileIO, map(os.dup, (fd,)), (mode,))))


def receive(connection: socket.socket) -> io.FileIO | None:
    """The descriptor that comes with the next message, whose bytes are dropped."""
    space = socket.CMSG_SPACE(_NUMBER.size)
    messages = itertools.starmap(connection.recvmsg, ((1, space, socket.MSG_CMSG_CLOEXEC),))
    parts = itertools.chain.from_iterable(map(operator.itemgetter(1), messages))
    numbers = map(_NUMBER.unpack, map(operator.itemgetter(2), parts))
    file = next(itertools.starmap(io.FileIO, numbers), None)
    return None if file is None else above_standard(file)


def above_standard(file: io.FileIO) -> io.FileIO:
    """The same with a number that is no standard stream's.

    Where this process has one of those closed, something of sbx's would get its number, and be
    passed on as this process's own standard stream.
    """
    if file.fileno() > 2:
        return file
    with file:
        return io.FileIO(fcntl.fcntl(file.fileno(), fcntl.F_DUPFD_CLOEXEC, 3), file.mode)
