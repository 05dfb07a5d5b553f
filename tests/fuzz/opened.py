"""What C says of a plan's bytes."""

from sandbox._core import ffi, lib


def opens_in_c(data: bytes) -> int:
    """What plan_open() answers: 0, or a negative errno."""
    buffer = ffi.new("uint64_t[]", -(-len(data) // 8) or 1)
    ffi.memmove(buffer, data, len(data))
    return int(lib.plan_open(buffer, len(data), ffi.new("struct plan *")))
