"""A plan's binary form, as csrc/plan.h lays it down: header, op records, stamp records, data."""

import struct
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from sandbox.plan.ops import OPS, SkipFeature
from sandbox.plan.record import STAMPS, Op, Plan, Record
from sandbox.profile.resolved import KeyPath

MAGIC: Final = b"SBXPLAN\0"
VERSION: Final = 4
MAX_SIZE: Final = 4 << 20
MAX_OPS: Final = 8192
MAX_STAMPS: Final = 1024
MAX_READ: Final = 64 << 20
"""Bytes of all strings and blobs, once for each reference to them, with STRING_COST more for a string."""
STRING_COST: Final = 16

_HEADER: Final = struct.Struct("<8sIIQ10I")
_SUMMED_FROM: Final = 24
_HEAD: Final = struct.Struct("<HHIII")
_REF: Final = struct.Struct("<II")
_NUMBER: Final = struct.Struct("<Q")


class BadPlanError(ValueError):
    """Bytes that aren't a plan, or one that is too large to write."""


def checksum(data: bytes) -> int:
    """plan_checksum() of csrc/plan.c: 64 bits over little-endian words, the last one padded."""
    padded = data + bytes(-len(data) % 8)
    total = 0xCBF29CE484222325
    for (word,) in _NUMBER.iter_unpack(padded):
        total = ((total ^ word) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
        total ^= total >> 32
    return total


def encode(plan: Plan) -> bytes:
    """The plan's bytes; the same plan always gives the same ones. Raises BadPlanError."""
    if len(plan.ops) > MAX_OPS or len(plan.stamps) > MAX_STAMPS:
        raise BadPlanError("the plan has more parts than its format allows")
    data = _Data()
    ops = b"".join(
        data.record(op, _origin_text(origin))
        for op, origin in zip(plan.ops, plan.origins, strict=True)
    )
    stamps = b"".join(data.record(stamp, "") for stamp in plan.stamps)
    ops_at = _HEADER.size
    stamps_at = ops_at + len(ops)
    data_at = stamps_at + len(stamps)
    size = data_at + len(data.bytes)
    if data.read > MAX_READ:
        raise BadPlanError("its texts are too much together")
    if size > MAX_SIZE:
        raise BadPlanError(f"the plan is {size} bytes long; its format allows {MAX_SIZE}")
    counts = (
        *(size, len(plan.ops), ops_at, len(ops)),
        *(len(plan.stamps), stamps_at, len(stamps)),
        *(data_at, len(data.bytes), plan.flags),
    )
    whole = _HEADER.pack(MAGIC, VERSION, 0, 0, *counts) + ops + stamps + data.bytes
    return whole[:16] + _NUMBER.pack(checksum(whole[_SUMMED_FROM:])) + whole[_SUMMED_FROM:]


def decode(data: bytes) -> Plan:
    """The plan that `encode` wrote. Raises BadPlanError for anything else."""
    if len(data) < _HEADER.size or len(data) > MAX_SIZE:
        raise BadPlanError("not of a plan's size")
    magic, version, reserved, total, *counts = _HEADER.unpack_from(data)
    (
        size,
        op_count,
        ops_at,
        ops_size,
        stamp_count,
        stamps_at,
        stamps_size,
        data_at,
        data_size,
        flags,
    ) = counts
    if magic != MAGIC or reserved != 0:
        raise BadPlanError("not a plan")
    if version != VERSION:
        raise BadPlanError(f"a plan of format {version}; this sbx reads {VERSION}")
    if size != len(data) or total != checksum(data[_SUMMED_FROM:]):
        raise BadPlanError("the plan is damaged")
    bounds = ((ops_at, ops_size), (stamps_at, stamps_size), (data_at, data_size))
    sound = all(at % 8 == 0 and at + length <= size for at, length in bounds)
    if not sound or op_count > MAX_OPS or stamp_count > MAX_STAMPS:
        raise BadPlanError("the plan's counts are out of bounds")
    reader = _Reader(data[data_at : data_at + data_size])
    ops = reader.records(data, ops_at, ops_size, op_count, OPS)
    stamps = reader.records(data, stamps_at, stamps_size, stamp_count, STAMPS)
    return Plan(
        ops=tuple(record for record, _ in ops if isinstance(record, Op)),
        origins=tuple(_origin_path(origin) for _, origin in ops),
        flags=flags,
        stamps=tuple(record for record, _ in stamps),
        not_enforced=tuple(op.feature for op, _ in ops if isinstance(op, SkipFeature)),
    )


class _Data:
    """The data part as it grows; what is in it already is not added again."""

    def __init__(self) -> None:
        self.bytes = bytearray()
        self.read = 0
        self._strings: dict[str, bytes] = {}
        self._blobs: dict[bytes, bytes] = {}

    def record(self, record: Record, origin: str) -> bytes:
        slots = b"".join(self._slot(getattr(record, name)) for name in record.__struct_fields__)
        head = (record.KIND, 0, _HEAD.size + len(slots))
        return struct.pack("<HHI", *head) + self._string(origin) + slots

    def _slot(self, value: Any) -> bytes:
        if isinstance(value, int):
            return _NUMBER.pack(value)
        if isinstance(value, str):
            return self._string(value)
        if isinstance(value, bytes):
            self.read += len(value)
            return self._blob(value, len(value))
        entries = b"".join(self._string(entry) for entry in value)
        return self._blob(entries, len(value))

    def _string(self, text: str) -> bytes:
        ref = self._strings.get(text)
        if ref is None:
            encoded = text.encode("utf-8", "surrogateescape")
            if b"\0" in encoded:
                raise BadPlanError("a text holds a NUL character")
            ref = self._strings[text] = _REF.pack(len(self.bytes), len(encoded))
            self.bytes += encoded + b"\0"
        self.read += int.from_bytes(ref[4:], "little") + STRING_COST
        return ref

    def _blob(self, content: bytes, length: int) -> bytes:
        ref = self._blobs.get(content)
        if ref is None:
            self.bytes += bytes(-len(self.bytes) % 8)
            ref = self._blobs[content] = _NUMBER.pack(len(self.bytes))[:4]
            self.bytes += content
        return ref + struct.pack("<I", length)


class _Reader:
    """Follows refs into the data part."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = MAX_READ

    def records(
        self, whole: bytes, at: int, size: int, count: int, kinds: Mapping[int, type[Record]]
    ) -> list[tuple[Record, str]]:
        found: list[tuple[Record, str]] = []
        end = at + size
        for _ in range(count):
            if at + _HEAD.size > end:
                raise BadPlanError("a record is out of bounds")
            kind, _, length, offset, origin_length = _HEAD.unpack_from(whole, at)
            record_type = kinds.get(kind)
            layout = record_type.layout() if record_type else ""
            if record_type is None or length != _HEAD.size + 8 * len(layout) or at + length > end:
                raise BadPlanError(f"a record of kind {kind} is malformed")
            slots = (whole[at + i : at + i + 8] for i in range(_HEAD.size, length, 8))
            values = [self._value(letter, slot) for letter, slot in zip(layout, slots, strict=True)]
            fields = dict(zip(record_type.__struct_fields__, values, strict=True))
            found.append((record_type(**fields), self._string(offset, origin_length)))
            at += length
        if at != end:
            raise BadPlanError("records don't fill their part")
        return found

    def _value(self, letter: str, slot: bytes) -> Any:
        if letter == "u":
            return _NUMBER.unpack(slot)[0]
        offset, length = _REF.unpack(slot)
        if letter == "s":
            return self._string(offset, length)
        if offset % (8 if letter == "b" else 4):
            raise BadPlanError("a reference is out of line")
        if letter == "b":
            self._spend(length)
            return self._bytes(offset, length)
        entries = self._bytes(offset, 8 * length)
        return tuple(self._string(*ref) for ref in _REF.iter_unpack(entries))

    def _bytes(self, offset: int, length: int) -> bytes:
        if offset + length > len(self._data):
            raise BadPlanError("a reference is out of bounds")
        return self._data[offset : offset + length]

    def _spend(self, size: int) -> None:
        """Many references may lead to the same bytes: what is read counts each time."""
        self._left -= size
        if self._left < 0:
            raise BadPlanError("its texts are too much together")

    def _string(self, offset: int, length: int) -> str:
        self._spend(length + STRING_COST)
        text = self._bytes(offset, length + 1)
        if text[-1:] != b"\0" or b"\0" in text[:-1]:
            raise BadPlanError("a text isn't closed by a NUL character")
        return text[:-1].decode("utf-8", "surrogateescape")


def _origin_text(origin: KeyPath) -> str:
    """A key path as a JSON list: unlike the written form it can be read back in every case."""
    return msgspec.json.encode(origin).decode() if origin else ""


def _origin_path(text: str) -> KeyPath:
    try:
        return msgspec.json.decode(text, type=tuple[str | int, ...]) if text else ()
    except (msgspec.MsgspecError, UnicodeEncodeError) as error:
        raise BadPlanError("an op's origin is malformed") from error
