"""The directory of a project: the nearest one, from the working directory upward, that holds a name."""

import os
import stat
from collections.abc import Mapping
from types import MappingProxyType

import msgspec


class Found(msgspec.Struct, frozen=True):
    """A directory, and each path that decided about it: whether it is the one that was found.

    `marker` is what was found, if it is a directory.
    """

    directory: str
    looked_at: Mapping[str, bool]
    marker: str = ""


def search(name: str, cwd: str) -> Found:
    """The nearest directory that holds `name`; `cwd` itself if none does.

    A file of somebody else's doesn't count: whoever may write in a directory above could widen
    what is granted (as with CVE-2022-24765 of git).
    """
    looked_at: dict[str, bool] = {}
    directory = cwd
    while True:
        path = os.path.join(directory, name)
        marker = ""
        try:
            state = os.lstat(path)
            found = state.st_uid == os.geteuid()
            marker = path if stat.S_ISDIR(state.st_mode) else ""
        except (FileNotFoundError, NotADirectoryError):
            found = False
        except OSError:  # nothing above can be looked at either, or the name is too long
            break
        looked_at[path] = found
        if found:
            return Found(directory, MappingProxyType(looked_at), marker)
        if directory == os.path.dirname(directory):
            break
        directory = os.path.dirname(directory)
    return Found(cwd, MappingProxyType(looked_at))
