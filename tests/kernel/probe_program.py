"""Makes the program that tests have run in a sandbox."""

import os
import shutil
import subprocess

_HERE = os.path.dirname(os.path.abspath(__file__))
_SOURCES = ("probe.c", "probe_self.c")
_FLAGS = ("-std=gnu17", "-D_GNU_SOURCE", "-O1", "-static", "-Wall", "-Wextra", "-Werror")


def build_probe(directory: str) -> str:
    """Compiles the probe, linked statically, and returns its path in the directory."""
    path = os.path.join(directory, "probe")
    sources = (os.path.join(_HERE, name) for name in _SOURCES)
    compiler = os.environ.get("CC", "cc").split()
    subprocess.run([*compiler, *_FLAGS, "-o", path, *sources], check=True)
    return path


def ready_probe(directory: str) -> str:
    """The probe in the directory: a copy of SBX_TEST_PROBE where a machine has no compiler."""
    made = os.environ.get("SBX_TEST_PROBE")
    return shutil.copy(made, directory) if made else build_probe(directory)
