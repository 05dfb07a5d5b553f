"""What a launch could leave behind: processes, and changes of the host's files."""

import contextlib
import os
import time

from tests.kernel.harness import Sandbox

State = tuple[int, int, int, int]


def snapshot(*directories: str) -> dict[str, State]:
    """Every entry below the directories, with what would tell that it was changed."""
    found: dict[str, State] = {}
    for top in directories:
        for above, names, files in os.walk(top):
            for name in (*names, *files, "."):
                path = os.path.join(above, name)
                with contextlib.suppress(FileNotFoundError):
                    state = os.lstat(path)
                    found[path] = (state.st_mode, state.st_uid, state.st_size, state.st_mtime_ns)
    return found


INIT = b"sbx-init"
"""All that the command line of a sandbox's first process says."""


def left(sandbox: Sandbox) -> dict[int, str]:
    """Processes whose command line names something of this test's or its caller's, by their id.

    A sandbox's first process hides it: that is known by the variables that it was started with.
    """
    ours = tuple(os.fsencode(path) for path in (sandbox.directory, sandbox.place))
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with contextlib.suppress(OSError):
                words = _strings(name, "cmdline")
                known = words if words[0] != INIT else _variables(name)
                if any(word.startswith(ours) for word in known):
                    found[int(name)] = b" ".join(words).decode()
    return found


def _strings(pid: str, file: str) -> list[bytes]:
    with open(f"/proc/{pid}/{file}", "rb") as opened:
        return opened.read().split(b"\0")


def _variables(pid: str) -> list[bytes]:
    """The values. Only root may read them of a process that nobody is to look into; for others it
    is theirs where its parent's words can be read."""
    if os.geteuid() == 0:
        return [value.partition(b"=")[2] for value in _strings(pid, "environ")]
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="surrogateescape") as file:
        return _strings(file.read().rpartition(")")[2].split()[1], "cmdline")


def vanished(sandbox: Sandbox, seconds: float = 5) -> bool:
    """Waits until no process of this test's is left."""
    until = time.monotonic() + seconds
    while left(sandbox):
        if time.monotonic() > until:
            return False
        time.sleep(0.002)
    return True
