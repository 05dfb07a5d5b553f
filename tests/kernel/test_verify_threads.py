"""`sbx verify`: no thread is passed over, and what the first process is made to do is found."""

import os
import platform
import struct
from collections.abc import Callable

import pytest

from tests.kernel import inject
from tests.kernel.harness import Sandbox, await_line
from tests.kernel.verifying import children_of, first_of, live, started_from_another, verify

PYTHON = "[filesystem]\nexecute = ['/usr']\nread = ['/']\n"
CAPABLE = "[capabilities]\nkeep = ['CAP_NET_BIND_SERVICE']\nambient = true\n"

# The main thread gives up its capabilities; another thread, a child, and what that executes don't.
KEEPING = """\
import ctypes, os, subprocess, threading, time
libc = ctypes.CDLL(None)
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
if os.fork() == 0:
    time.sleep(60)
subprocess.Popen(["sleep", "60"])
assert libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()) == 0
print("ready", flush=True)
time.sleep(60)
"""


def test_every_thread_of_every_process_is_looked_at(sandbox: Sandbox) -> None:
    """Credentials are a thread's own: that the first one is as promised says nothing of others."""
    promised, done = sandbox.plan(PYTHON), sandbox.plan(PYTHON + CAPABLE)
    words = ("python3", "-c", KEEPING)
    with started_from_another(sandbox, promised, done, *words) as process:
        await_line(process)
        main = children_of(first_of(sandbox))[0]
        threads = {int(tid) for tid in os.listdir(f"/proc/{main}/task")}
        children = set(children_of(main))
        found = verify(sandbox, "it").content["findings"]
    keepers = {e["tid"] for e in found if e["item"] == "CapPrm" and e["thread"][:4] != "init"}
    assert len(threads) == len(children) == 2
    assert keepers == (threads - {main}) | children
    # What none has given up is found in each.
    bounded = {e["tid"] for e in found if e["item"] == "CapBnd"}
    assert bounded == threads | children | {first_of_all(found)}


def first_of_all(found: list[dict[str, object]]) -> object:
    return next(e["tid"] for e in found if str(e["thread"]).startswith("init "))


def test_who_traces_a_thread_is_found(as_root: Sandbox) -> None:
    with live(as_root):
        command = children_of(first_of(as_root))[0]
        with inject.traced(command):
            found = verify(as_root, "it").findings
    assert found.keys() == {"tracer"}
    assert found["tracer"]["found"] == f"process {os.getpid()}"


IGNORE, CATCH = 1, 0x1000
SA_RESTORER = 0x04000000
PROCMASK, ACTION, UMASK, OPENAT = 14, 13, 95, 257
SIGUSR1 = 10


def _action(handler: int) -> Callable[[int], int]:
    data = struct.pack("<QQQQ", handler, SA_RESTORER, handler, 0)
    return lambda pid: inject.call(pid, ACTION, SIGUSR1, inject.HERE, 0, 8, data=data)


@pytest.mark.parametrize(
    ("act", "item"),
    (
        (_action(IGNORE), "ignored signals"),
        (_action(CATCH), "handled signals"),
        (lambda pid: inject.call(pid, UMASK, 0o777), "umask"),
        (lambda pid: inject.call(pid, OPENAT, 0, inject.HERE, 0, data=b"/proc\0"), "descriptor"),
    ),
    ids=("ignored", "handled", "umask", "descriptor"),
)
def test_what_the_first_process_was_made_to_do_is_found(
    as_root: Sandbox, act: Callable[[int], int], item: str
) -> None:
    if platform.machine() != "x86_64":
        return  # tests/unit/verify/test_compare.py has the same without a kernel
    with live(as_root, "[process]\numask = '0027'"):
        first = first_of(as_root)
        act(first)
        found = verify(as_root, "it").content["findings"]
    assert [(e["pid"], e["item"].rstrip(" 0123456789")) for e in found] == [(first, item)]
