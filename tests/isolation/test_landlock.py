"""Landlock by itself: what the mounts don't look at."""

import msgspec

from sandbox.plan.kernel import Access
from sandbox.plan.ops import AllowPath
from sandbox.plan.record import Op
from tests.kernel.harness import Sandbox, edited, outcomes
from tests.kernel.test_two_layers import unlandlocked

RNDGETENTCNT = 0x80045200


def test_devices_take_no_commands_under_landlock_alone(sandbox: Sandbox) -> None:
    """Without that right a device can be read and takes no ioctl(2) of its own."""
    plan = sandbox.plan("")

    def without_commands(op: Op) -> Op:
        if not isinstance(op, AllowPath):
            return op
        return msgspec.structs.replace(op, access=op.access & ~Access.IOCTL_DEV)

    tries = (("open", "/dev/urandom", "r"), ("ioctlof", "/dev/urandom", RNDGETENTCNT))
    less = edited(plan, without_commands)
    assert outcomes(sandbox.attempts_under(less, *tries)) == ["ok", "EACCES"]
    assert outcomes(sandbox.attempts_under(unlandlocked(plan), *tries)) == ["ok", "ok"]
