"""Just enough of PNG and PPM to look at single pixels."""

import struct
import zlib
from typing import NamedTuple

Pixel = tuple[int, int, int]


class Picture(NamedTuple):
    """Rows of pixels of three bytes each: red, green, blue."""

    width: int
    height: int
    data: bytes

    def at(self, x: int, y: int) -> Pixel:
        assert 0 <= x < self.width, x
        assert 0 <= y < self.height, y
        start = 3 * (y * self.width + x)
        red, green, blue = self.data[start : start + 3]
        return red, green, blue


def read_png(path: str) -> Picture:
    """A PNG of eight bits a channel, with or without alpha (which is dropped), not interlaced."""
    with open(path, "rb") as file:
        assert file.read(8) == b"\x89PNG\r\n\x1a\n"
        packed = b""
        head = b""
        while (chunk := file.read(8)) != b"":
            length, kind = struct.unpack(">I4s", chunk)
            content = file.read(length)
            assert zlib.crc32(kind + content) == struct.unpack(">I", file.read(4))[0]
            if kind == b"IHDR":
                head = content
            elif kind == b"IDAT":
                packed += content
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", head)
    assert (depth, interlaced) == (8, 0)
    channels = {2: 3, 6: 4}[colour]
    rows = _unfiltered(zlib.decompress(packed), width * channels, height, channels)
    if channels == 4:
        rows = b"".join(rows[at : at + 3] for at in range(0, len(rows), 4))
    return Picture(width, height, rows)


def _unfiltered(data: bytes, stride: int, height: int, step: int) -> bytes:
    """Each row is told as differences from its neighbours (PNG, 9.2)."""
    assert len(data) == (stride + 1) * height
    above = bytes(stride)
    rows = bytearray()
    for start in range(0, len(data), stride + 1):
        kind, row = data[start], bytearray(data[start + 1 : start + 1 + stride])
        for at in range(stride):
            left = row[at - step] if at >= step else 0
            corner = above[at - step] if at >= step else 0
            guesses = (0, left, above[at], (left + above[at]) // 2, paeth(left, above[at], corner))
            row[at] = (row[at] + guesses[kind]) & 0xFF
        above = bytes(row)
        rows += row
    return bytes(rows)


def paeth(left: int, above: int, corner: int) -> int:
    """The neighbour that is nearest to left + above - corner (PNG, 9.4)."""
    estimate = left + above - corner
    return min((left, above, corner), key=lambda value: abs(estimate - value))


def read_ppm(path: str) -> Picture:
    """A raw PPM of eight bits, without comments."""
    with open(path, "rb") as file:
        magic, width, height, maximum, data = file.read().split(maxsplit=4)
    assert (magic, maximum) == (b"P6", b"255")
    return picture(int(width), int(height), data)


def picture(width: int, height: int, data: bytes) -> Picture:
    """A picture of raw pixels, as many as its size says."""
    assert len(data) == 3 * width * height
    return Picture(width, height, data)
