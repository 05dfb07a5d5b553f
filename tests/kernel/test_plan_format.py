"""Plans that are handed to the launcher: a damaged one is refused, an odd one crashes nothing."""

import os
import random
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.plan import codec
from sandbox.plan.ops import InstallFilter
from tests.kernel.harness import Sandbox, without
from tests.kernel.traces import left

NO_PLAN = "sbx: error: --plan-fd: no sound plan there\nhint: run 'sbx run --profile PROFILE'\n"
HEADER = 64
# An example is a launch, and the sandbox of the test serves them all.
LAUNCHES = settings(
    max_examples=40, suppress_health_check=(HealthCheck.function_scoped_fixture,), deadline=None
)


@pytest.fixture
def plan(as_user: Sandbox) -> bytes:
    """A sound plan. Without a filter: one changed at random could make the payload wait."""
    text = "[filesystem]\nread = ['/etc']\ntmpfs = ['/tmp']\n[rlimits]\ncore = 0"
    return codec.encode(without(as_user.plan(text), InstallFilter))


def launched(sandbox: Sandbox, plan: bytes) -> tuple[int, str]:
    done = sandbox.run_plan(plan, sandbox.probe, "exit", "3")
    return done.returncode, done.stderr


def with_checksum(plan: bytes) -> bytes:
    return plan[:16] + struct.pack("<Q", codec.checksum(plan[24:])) + plan[24:]


def test_a_sound_plan_runs(as_user: Sandbox, plan: bytes) -> None:
    """The positive control."""
    assert launched(as_user, plan) == (3, "")
    assert with_checksum(plan) == plan


def test_any_changed_bit_is_noticed(as_user: Sandbox, plan: bytes) -> None:
    chosen = random.Random(5)
    places = [*range(HEADER), *(chosen.randrange(HEADER, len(plan)) for _ in range(60))]
    for place in places:
        changed = bytearray(plan)
        changed[place] ^= 1 << chosen.randrange(8)
        assert launched(as_user, bytes(changed)) == (125, NO_PLAN), place


def test_a_part_of_a_plan_is_no_plan(as_user: Sandbox, plan: bytes) -> None:
    for part in (b"", plan[:8], plan[:63], plan[:-1], plan + b"\0", plan * 2, bytes(1 << 23)):
        assert launched(as_user, part) == (125, NO_PLAN)


@pytest.mark.parametrize("at", range(24, 60, 4))
def test_counts_and_offsets_out_of_bounds_are_refused(
    as_user: Sandbox, plan: bytes, at: int
) -> None:
    for value in (0x7FFFFFF0, 0xFFFFFFFF, 1 << 31, len(plan) + 8):
        changed = with_checksum(plan[:at] + struct.pack("<I", value) + plan[at + 4 :])
        if changed != plan:
            assert launched(as_user, changed) == (125, NO_PLAN), value


@LAUNCHES
@given(data=st.data())
def test_changes_behind_a_right_checksum_crash_nothing(
    as_user: Sandbox, plan: bytes, data: st.DataObject
) -> None:
    """Refused, failed as a whole, or carried out: sbx itself never ends by a signal."""
    changed = bytearray(plan)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(24, len(plan) - 1))
        changed[place] = data.draw(st.integers(0, 255))
    status, _ = launched(as_user, with_checksum(bytes(changed)))
    assert status >= 0
    assert left(as_user) == {}


@LAUNCHES
@given(data=st.data())
def test_records_in_any_order_crash_nothing(
    as_user: Sandbox, plan: bytes, data: st.DataObject
) -> None:
    """Ops left out, repeated and exchanged: the executor relies on no order."""
    ops = codec.decode(plan).ops
    indices = data.draw(st.lists(st.sampled_from(range(len(ops))), max_size=len(ops)))
    pieces = list(range(len(ops)))
    for index in indices[:3]:
        pieces.remove(index) if data.draw(st.booleans()) and index in pieces else pieces.append(
            index
        )
    if data.draw(st.booleans()):
        one, two = (data.draw(st.integers(0, len(pieces) - 1)) for _ in range(2))
        pieces[one], pieces[two] = pieces[two], pieces[one]
    changed = codec.decode(plan)
    shuffled: Any = type(changed)(ops=tuple(ops[i] for i in pieces), origins=((),) * len(pieces))
    status, _ = launched(as_user, codec.encode(shuffled))
    assert status >= 0
    assert left(as_user) == {}


def test_a_plan_can_only_come_from_a_file(as_user: Sandbox) -> None:
    reader, writer = os.pipe()
    try:
        descriptors = {"a pipe": reader, "a directory": os.open("/", os.O_RDONLY)}
        for fd in descriptors.values():
            words = [as_user.launcher, "run", "--plan-fd", str(fd), "--", "x"]
            done = as_user.program(words, pass_fds=(fd,))
            assert (done.returncode, done.stderr) == (125, NO_PLAN)
        os.close(descriptors["a directory"])
    finally:
        os.close(reader)
        os.close(writer)
    for number in ("77", "99999"):
        done = as_user.program([as_user.launcher, "run", "--plan-fd", number, "--", "x"])
        assert (done.returncode, done.stderr) == (125, NO_PLAN)
    for odd in ("-1", "x", "", "99999999999999999999"):
        done = as_user.program([as_user.launcher, "run", "--plan-fd", odd, "--", "x"])
        assert done.returncode in {2, 125}
        assert done.stderr != ""


def test_a_plan_without_steps_is_an_error_in_words(sandbox: Sandbox) -> None:
    """It would start nothing, and its failure has no step to name."""
    empty = msgspec.structs.replace(sandbox.plan(""), ops=(), origins=())
    done = sandbox.run_plan(empty, sandbox.probe, "exit", "7")
    assert done.returncode == 125
    assert done.stderr.startswith("sbx: error: the plan is empty or unsound")
    assert "hint: " in done.stderr
