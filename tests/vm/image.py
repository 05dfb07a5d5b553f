"""Keeps the emulated machine's images, one for each recipe.

What is kept in one directory of the cache, named by the recipe's key: vmlinuz, initrd, disk and
state, with their sizes in `files`, which is written last. It is made beside that and renamed when
it is whole, by one process at a time.
"""

import contextlib
import fcntl
import glob
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Final

from tests.vm import builder, host, recipe

SYSTEM_CACHE: Final = "/var/cache/sbx-tests"

# Images of other recipes that are kept, and for how long an unused one is none the less, seconds.
_KEPT: Final = 2
_KEPT_FOR: Final = 3600

Say = Callable[[str], None]


def cache_directory() -> str:
    """Where this user keeps images and wheels."""
    base = os.environ.get("XDG_CACHE_HOME")
    if base and os.path.isabs(base):
        return os.path.join(base, "sbx-tests")
    if os.geteuid() == 0:
        return SYSTEM_CACHE
    return os.path.expanduser("~/.cache/sbx-tests")


def provide(say: Say) -> str:
    """The directory of the image; makes it, in about a minute, where there is none yet.

    Raises host.UnavailableError or host.BuildError.
    """
    host.check_tools((recipe.QEMU, "qemu-system-x86"), ("setpriv", "util-linux"))
    key = recipe.key()
    found = _find(key)
    if found:
        return found
    builder.check_builder()
    cache = cache_directory()
    os.makedirs(cache, exist_ok=True)
    with _locked(os.path.join(cache, "lock")):
        found = _find(key)
        if found:
            return found
        for stale in glob.glob(os.path.join(cache, "partial-*")):
            shutil.rmtree(stale)
        target = os.path.join(cache, f"machine-{key}")
        say(f"making the emulated machine's image in {target}; it takes about a minute")
        with tempfile.TemporaryDirectory(prefix="partial-", dir=cache) as partial:
            os.chmod(partial, 0o755)
            builder.build(partial)
            _list_files(partial)
            if os.path.lexists(target):  # not whole
                shutil.rmtree(target)
            os.rename(partial, target)
            os.mkdir(partial)  # for the context to remove
        _forget_others(cache, target)
        return target


def _find(key: str) -> str | None:
    """A whole image, of this user's or of root's."""
    for cache in (cache_directory(), SYSTEM_CACHE):
        path = os.path.join(cache, f"machine-{key}")
        if _is_whole(path):
            with contextlib.suppress(PermissionError):
                os.utime(path)  # see _forget_others
            return path
    return None


def _is_whole(path: str) -> bool:
    try:
        with open(os.path.join(path, "files"), encoding="ascii") as file:
            lines = [line.split() for line in file]
        return bool(lines) and all(
            os.path.getsize(os.path.join(path, name)) == int(size) for name, size in lines
        )
    except FileNotFoundError:
        return False


def _list_files(path: str) -> None:
    with open(os.path.join(path, "files"), "w", encoding="ascii") as file:
        file.writelines(
            f"{name} {os.path.getsize(os.path.join(path, name))}\n" for name in builder.FILES
        )


def _forget_others(cache: str, kept: str) -> None:
    others = [path for path in glob.glob(os.path.join(cache, "machine-*")) if path != kept]
    others.sort(key=os.path.getmtime, reverse=True)
    for path in others[_KEPT:]:
        if os.path.getmtime(path) < time.time() - _KEPT_FOR:
            shutil.rmtree(path)


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    with open(path, "w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
