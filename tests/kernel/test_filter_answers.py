"""Who answers a call: the kernel by the filter alone, never somebody who can be deceived."""

import struct

import pytest

from sandbox.plan.ops import InstallFilter
from tests.bpf import ALLOW, ERRNO, KILL_PROCESS, LOG
from tests.kernel.harness import Sandbox

RETURN = 0x06
DATA = 0xFFFF
USER_NOTIF = 0x7FC00000


def answers(program: bytes) -> set[int]:
    """What a filter can say, without the errno that comes with it."""
    code = struct.iter_unpack("<HBBI", program)
    return {k & ~DATA if k & ~DATA == ERRNO else k for opcode, _, _, k in code if opcode == RETURN}


@pytest.mark.parametrize("more", ("", '[seccomp]\nallow = ["@all"]', "[seccomp]\nlog = true"))
def test_no_filter_leaves_the_answer_to_somebody_else(as_user: Sandbox, more: str) -> None:
    """A supervisor that reads a call's memory can be shown another path than the kernel then sees."""
    filters = [op.program for op in as_user.plan(more).ops if isinstance(op, InstallFilter)]
    assert filters
    for program in filters:
        assert answers(program) <= {ALLOW, ERRNO, KILL_PROCESS, LOG}
    asking = struct.pack("<HBBI", RETURN, 0, 0, USER_NOTIF)
    assert answers(asking) == {USER_NOTIF}
