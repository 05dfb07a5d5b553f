"""A plan's bytes, read in Python: sound for both languages or for neither.

Size and checksum are put right first, or no mutation would get past them.
"""

import struct

from sandbox.plan import codec
from tests.fuzz.opened import opens_in_c

SIZE, CHECKSUM, SUMMED = 24, 16, 24


def one_input(data: bytes) -> None:
    """Raises AssertionError, or whatever the bytes led to, where the law doesn't hold."""
    if len(data) >= SIZE + 4:
        data = data[:SIZE] + struct.pack("<I", len(data)) + data[SIZE + 4 :]
        data = data[:CHECKSUM] + struct.pack("<Q", codec.checksum(data[SUMMED:])) + data[SUMMED:]
    sound = opens_in_c(data) == 0
    try:
        plan = codec.decode(data)
    except codec.BadPlanError as error:
        # C has no use for an op's origin.
        if sound and "origin" not in str(error):
            raise
        return
    assert sound, "a plan that C refuses"
    assert codec.decode(codec.encode(plan)) == plan, "written as another plan"
