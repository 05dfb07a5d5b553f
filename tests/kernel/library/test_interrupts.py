"""Ctrl-C wherever the interpreter takes it in the library leaves no descriptor and no lock behind."""

import concurrent.futures
import dis
import gc
import os
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from sandbox import PIPE, Sandbox
from sandbox.process import server
from tests.kernel.library.conftest import open_descriptors

# What the standard library does between two instructions of its own isn't looked at.
OURS = (f"{os.sep}library{os.sep}", f"{os.sep}process{os.sep}")
STEP = 7
# The interpreter looks for signals after calls, at the start of a function and when it jumps back:
# between the end of a block and the call of its __exit__ none can come.
CHECKPOINTS = ("CALL", "RESUME", "JUMP_BACKWARD")


class Interrupt:
    """Raises KeyboardInterrupt at the checkpoint of this number."""

    def __init__(self, number: int) -> None:
        self.left = number
        self.last: dict[FrameType, str] = {}

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        if not any(part in frame.f_code.co_filename for part in OURS):
            return None
        frame.f_trace_opcodes = True
        if event == "return":
            self.last.pop(frame, None)
        if event == "opcode":
            done = self.last.get(frame, "")
            self.last[frame] = dis.opname[frame.f_code.co_code[frame.f_lasti]]
            self.left -= done.startswith(CHECKPOINTS)
            if self.left == 0:
                self.last.clear()
                sys.settrace(None)
                raise KeyboardInterrupt
        return self


def is_free(lock: Any) -> bool:
    """Whether another thread can have it."""
    with concurrent.futures.ThreadPoolExecutor(1) as threads:

        def taken() -> bool:
            if not lock.acquire(timeout=5):
                return False
            lock.release()
            return True

        return threads.submit(taken).result()


def run(box: Sandbox) -> None:
    box.run(["true"], input=b"x")


def start(box: Sandbox) -> None:
    with box.start(["true"], stdin=PIPE, stdout=PIPE) as process:
        process.communicate(b"x")


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("call", (run, start))
def test_an_interrupt_at_any_checkpoint_leaves_no_descriptor(
    box: Sandbox, call: Callable[[Sandbox], None]
) -> None:
    call(box)
    gc.collect()
    before = open_descriptors()
    number = interrupted = 0
    while True:
        number += STEP
        tracer = sys.gettrace()
        sys.settrace(Interrupt(number))
        try:
            call(box)
        except KeyboardInterrupt:
            interrupted += 1
        else:
            break
        finally:
            sys.settrace(tracer)
        gc.collect()
        assert is_free(server._lock)
        assert open_descriptors() == before, f"interrupted at checkpoint {number}"
    assert interrupted > 20
