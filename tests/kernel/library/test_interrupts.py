"""Ctrl-C at any instruction of the library leaves no descriptor behind."""

import gc
import os
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from sandbox import PIPE, Sandbox
from tests.kernel.library.conftest import open_descriptors

# What the standard library does between two instructions of its own isn't looked at.
OURS = (f"{os.sep}library{os.sep}", f"{os.sep}process{os.sep}")
STEP = 43


class Interrupt:
    """Raises KeyboardInterrupt before the instruction of this number."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        if not any(part in frame.f_code.co_filename for part in OURS):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.left -= 1
            if self.left == 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return self


def run(box: Sandbox) -> None:
    box.run(["true"], input=b"x")


def start(box: Sandbox) -> None:
    with box.start(["true"], stdin=PIPE, stdout=PIPE) as process:
        process.communicate(b"x")


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("call", (run, start))
def test_an_interrupt_at_any_instruction_leaves_no_descriptor(
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
        assert open_descriptors() == before, f"interrupted at instruction {number}"
    assert interrupted > 20
