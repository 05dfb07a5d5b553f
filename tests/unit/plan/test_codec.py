"""The binary form: what Python writes is what C reads, and nothing damaged is read."""

import errno
import struct
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox._core import ffi, lib
from sandbox.plan import codec
from sandbox.plan.ops import OPS, Execute, InstallFilter, SetEnvironment, SetHostname
from sandbox.plan.record import STAMPS, HostStamp, Op, Plan, Record
from tests.fuzz.opened import opens_in_c
from tests.plans import compiled

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
SLOTS: dict[str, st.SearchStrategy[Any]] = {
    "u": st.integers(0, 2**64 - 1),
    "s": TEXT,
    "b": st.binary(max_size=40),
    "l": st.lists(TEXT, max_size=4).map(tuple),
}
ORIGINS = st.lists(TEXT | st.integers(0, 9), max_size=4).map(tuple)


def records(kinds: dict[int, Any]) -> st.SearchStrategy[Any]:
    return st.sampled_from(list(kinds.values())).flatmap(
        lambda kind: st.builds(
            kind,
            **dict(zip(kind.__struct_fields__, map(SLOTS.__getitem__, kind.layout()), strict=True)),
        )
    )


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    ops = tuple(draw(st.lists(records(dict(OPS)), max_size=12)))
    return Plan(
        ops=ops,
        origins=tuple(draw(ORIGINS) for _ in ops),
        flags=draw(st.integers(0, 15)),
        stamps=tuple(draw(st.lists(records(dict(STAMPS)), max_size=5))),
        not_enforced=tuple(op.feature for op in ops if type(op).__name__ == "SkipFeature"),
    )


def plan_of(*ops: Op) -> Plan:
    return Plan(ops=ops, origins=tuple(() for _ in ops))


@given(plans())
def test_a_plan_that_is_written_and_read_is_the_same(plan: Plan) -> None:
    data = codec.encode(plan)
    assert codec.decode(data) == plan
    assert codec.encode(codec.decode(data)) == data
    assert opens_in_c(data) == 0


def test_every_op_has_the_number_name_and_layout_that_c_has() -> None:
    assert {kind: (op.__name__, op.layout()) for kind, op in OPS.items()} == {
        kind: (
            ffi.string(lib.plan_op_name(kind)).decode(),
            ffi.string(lib.plan_op_layout(kind)).decode(),
        )
        for kind in range(1, 1000)
        if lib.plan_op_layout(kind)
    }


def test_every_stamp_has_the_layout_that_c_has() -> None:
    assert {kind: stamp.layout() for kind, stamp in STAMPS.items()} == {
        kind: ffi.string(lib.plan_stamp_layout(kind)).decode()
        for kind in range(1, 1000)
        if lib.plan_stamp_layout(kind)
    }


@given(st.binary(max_size=200))
def test_the_checksum_is_c_s(data: bytes) -> None:
    assert codec.checksum(data) == lib.plan_checksum(data, len(data))


def test_every_op_describes_itself_in_one_line() -> None:
    values = {"u": 1, "s": "text", "b": b"", "l": ("a", "b")}
    for op in OPS.values():
        fields = {n: values[k] for n, k in zip(op.__struct_fields__, op.layout(), strict=True)}
        if op.__name__ == "MapIds":
            fields |= {"uid_map": "0 100000 65536", "gid_map": "0 1000 1"}
        text = op(**fields).describe()
        assert text, op
        assert "\n" not in text


def test_a_damaged_byte_is_noticed_in_both_languages() -> None:
    data = codec.encode(compiled())
    assert opens_in_c(data) == 0
    for at in range(0, len(data), 7):
        damaged = data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]
        assert opens_in_c(damaged) < 0, at
        with pytest.raises(codec.BadPlanError):
            codec.decode(damaged)


def test_a_truncated_or_longer_plan_is_noticed_in_both_languages() -> None:
    data = codec.encode(plan_of(SetHostname(name="box")))
    for wrong in (b"", data[:8], data[:63], data[:-1], data + b"\0"):
        assert opens_in_c(wrong) < 0
        with pytest.raises(codec.BadPlanError):
            codec.decode(wrong)


def with_checksum(data: bytes) -> bytes:
    return data[:16] + struct.pack("<Q", codec.checksum(data[24:])) + data[24:]


@pytest.mark.parametrize("at", range(24, 60, 4))  # the field at 60 is reserved
def test_offsets_and_counts_out_of_bounds_are_refused_whatever_the_checksum(at: int) -> None:
    data = codec.encode(plan_of(SetHostname(name="box"), Execute(argv=("true",))))
    wrong = with_checksum(data[:at] + b"\xf0\xff\xff\x7f" + data[at + 4 :])
    assert opens_in_c(wrong) < 0
    with pytest.raises(codec.BadPlanError):
        codec.decode(wrong)


@given(st.data())
def test_c_and_python_agree_on_what_is_a_plan(data: st.DataObject) -> None:
    """Bytes changed at random behind a right checksum: sound for both or for neither."""
    plan = plan_of(
        SetHostname(name="box"),
        SetEnvironment(set=("A=1", "B=2"), passed=("TERM",)),
        InstallFilter(program=bytes(16), flags=0),
    )
    whole = bytearray(codec.encode(plan))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(24, len(whole) - 1))] = data.draw(st.integers(0, 255))
    changed = with_checksum(bytes(whole))
    if opens_in_c(changed) == 0:
        try:
            codec.decode(changed)
        except codec.BadPlanError as error:
            # C has no use for an op's origin.
            assert "origin" in str(error)  # noqa: PT017
    else:
        with pytest.raises(codec.BadPlanError):
            codec.decode(changed)


def test_a_text_with_a_nul_is_refused() -> None:
    with pytest.raises(codec.BadPlanError, match="NUL"):
        codec.encode(plan_of(SetHostname(name="a\0b")))


def test_bytes_that_are_no_utf_8_survive() -> None:
    plan = plan_of(SetHostname(name="caf\udce9"))
    assert codec.decode(codec.encode(plan)) == plan


def test_an_origin_that_is_no_utf_8_is_refused() -> None:
    data = codec.encode(Plan(ops=(SetHostname(name="box"),), origins=(("key",),)))
    damaged = with_checksum(data.replace(b'["key"]', b'["k\xe7y"]'))
    with pytest.raises(codec.BadPlanError, match="origin"):
        codec.decode(damaged)


def hostile(entries: int, *, lists: int) -> bytes:
    """A sound header, and lists whose entries are all one text of half the plan's size."""
    text = b"x" * (2 << 20) + b"\0"
    text += bytes(-len(text) % 8)
    data = text + struct.pack("<II", 0, 2 << 20) * entries
    record = struct.pack("<HHIIIII", Execute.KIND, 0, 24, len(text) - 1, 0, len(text), entries)
    ops = record * lists
    counts = (0, lists, 64, len(ops), 0, 64 + len(ops), 0, 64 + len(ops), len(data), 0)
    whole = struct.pack("<8sIIQ10I", codec.MAGIC, codec.VERSION, 0, 0, *counts) + ops + data
    whole = whole[:24] + struct.pack("<I", len(whole)) + whole[28:]
    return whole[:16] + struct.pack("<Q", codec.checksum(whole[24:])) + whole[24:]


def test_a_plan_that_reads_the_same_bytes_again_and_again_is_refused() -> None:
    """Else one of 4 MiB would keep its reader busy for days, and take all memory of Python's."""
    assert opens_in_c(hostile(3, lists=2)) == 0
    assert len(codec.decode(hostile(3, lists=2)).ops) == 2
    for plan in (hostile(250_000, lists=1), hostile(100, lists=1), hostile(8, lists=8)):
        begun = time.process_time()
        assert opens_in_c(plan) == -errno.EBADMSG
        with pytest.raises(codec.BadPlanError, match="too much together"):
            codec.decode(plan)
        assert time.process_time() - begun < 5


def test_such_a_plan_is_not_written_either() -> None:
    with pytest.raises(codec.BadPlanError, match="too much together"):
        codec.encode(plan_of(Execute(argv=("x" * (1 << 20),) * 65)))


def test_a_plan_of_another_version_is_named_as_such() -> None:
    data = bytearray(codec.encode(plan_of()))
    data[8] += 1
    with pytest.raises(codec.BadPlanError, match=f"format {codec.VERSION + 1}"):
        codec.decode(bytes(data))


def test_equal_texts_are_kept_once() -> None:
    once = codec.encode(plan_of(Execute(argv=("a" * 1000,))))
    twice = codec.encode(plan_of(Execute(argv=("a" * 1000, "a" * 1000))))
    assert len(twice) < len(once) + 100


def test_too_many_parts_or_bytes_are_refused() -> None:
    with pytest.raises(codec.BadPlanError):
        codec.encode(plan_of(*[Execute(argv=())] * (codec.MAX_OPS + 1)))
    with pytest.raises(codec.BadPlanError):
        codec.encode(plan_of(Execute(argv=("a" * codec.MAX_SIZE,))))
    stamp: Record = HostStamp(release="", version="", uid=0, gid=0, capabilities=0)
    with pytest.raises(codec.BadPlanError):
        codec.encode(msgspec.structs.replace(plan_of(), stamps=(stamp,) * (codec.MAX_STAMPS + 1)))
