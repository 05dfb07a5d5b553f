"""The kernel's own account of what a system call filter has killed, where this user may read it."""

import os
import re
import time
from typing import Final, NamedTuple

_KILLED: Final = re.compile(
    rb"type=1326 audit\((\d+)\.(\d+):\d+\):.* sig=31 arch=([0-9a-f]+) syscall=(-?\d+) "
)
_RECORD: Final = 8192
"""Bytes of a record at most (CONSOLE_EXT_LOG_MAX)."""
_SLACK: Final = 0.05
"""Seconds: the log's clock is the coarse one."""


class KilledCall(NamedTuple):
    """A call that a process was killed for: AUDIT_ARCH_* and number."""

    arch: int
    number: int


def killed_calls(seconds: float) -> frozenset[KilledCall]:
    """What filters have killed for in the last `seconds`, of all processes of this machine.

    Nothing where the kernel doesn't say (no audit, or a daemon of its own takes its records) or
    this user may not read it (kernel.dmesg_restrict).
    """
    since = time.time() - seconds - _SLACK
    try:
        log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return frozenset()
    found = set()
    try:
        while True:
            try:
                line = os.read(log, _RECORD)
            except BrokenPipeError:  # overwritten while it was read
                continue
            except OSError:
                break
            entry = _KILLED.search(line)
            if entry and float(b"%s.%s" % (entry[1], entry[2])) >= since:
                found.add(KilledCall(int(entry[3], 16), int(entry[4])))
    finally:
        os.close(log)
    return frozenset(found)
