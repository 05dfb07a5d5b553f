# cffi builds this module from csrc/build_ffi.py; its objects carry no static types.
from typing import Any

ffi: Any
lib: Any
