"""What Python sees of the C core: cffi's API mode over every file but the launcher's.

setup.py adds the flags and the limited API.
"""

import glob

import cffi

CDEF = """
"""

ffibuilder = cffi.FFI()
ffibuilder.cdef(CDEF)
ffibuilder.set_source(
    "sandbox._core",
    '#include "plan.h"\n',
    sources=sorted(set(glob.glob("csrc/*.c")) - {"csrc/launcher.c"}),
)
