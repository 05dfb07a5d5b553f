"""Bytes or text on the streams of a program."""

import io
from typing import IO, Any


class Text:
    """How bytes become text: `encoding` None leaves them bytes."""

    def __init__(self, encoding: str | None, errors: str) -> None:
        self.encoding = encoding
        self.errors = errors

    def decode(self, data: bytes) -> Any:
        return data if self.encoding is None else data.decode(self.encoding, self.errors)

    def encode(self, data: str | bytes | None) -> bytes:
        if data is None:
            return b""
        if isinstance(data, str):
            if self.encoding is None:
                raise TypeError("input is text: give bytes, or text=True")
            return data.encode(self.encoding, self.errors)
        if self.encoding is not None:
            raise TypeError("input is bytes: give text, or leave out text=True")
        return bytes(data)

    def file(self, raw: io.FileIO) -> IO[Any]:
        """A buffered file on one's end of a pipe, as subprocess makes it."""
        is_written = raw.writable()
        file = io.BufferedWriter(raw) if is_written else io.BufferedReader(raw)
        if self.encoding is None:
            return file
        return io.TextIOWrapper(
            file, encoding=self.encoding, errors=self.errors, write_through=is_written
        )
