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


def left(sandbox: Sandbox) -> dict[int, str]:
    """Processes whose command line names something of this test's or its caller's, by their id."""
    ours = tuple(os.fsencode(path) for path in (sandbox.directory, sandbox.place))
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with contextlib.suppress(OSError), open(f"/proc/{name}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
                if any(word.startswith(ours) for word in words):
                    found[int(name)] = b" ".join(words).decode()
    return found


def vanished(sandbox: Sandbox, seconds: float = 5) -> bool:
    """Waits until no process of this test's is left."""
    until = time.monotonic() + seconds
    while left(sandbox):
        if time.monotonic() > until:
            return False
        time.sleep(0.002)
    return True
