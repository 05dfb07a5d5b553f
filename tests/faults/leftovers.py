"""What a launch could leave behind on the host."""

import glob
import os

from sandbox import _cgroups
from tests.faults.launches import Place

_KEPT = ("run", "tmp", "log", "var-cache", "home")


class Traces:
    """Mounts, control groups and files, as they were before the first launch with a fault."""

    def __init__(self, place: Place) -> None:
        self.place = place
        found = {f"{mount}/**/sbx" for mount in _cgroups.read().mounts.values()}
        self._parents = [path for pattern in found for path in glob.glob(pattern, recursive=True)]
        self._before = self._all()

    def _groups(self) -> set[str]:
        """Of the launches at hand: other sandboxes of this machine aren't of interest."""
        names = ((parent, name) for parent in self._parents for name in os.listdir(parent))
        return {os.path.join(*pair) for pair in names if pair[1].startswith(self.place.unique)}

    def _files(self) -> set[str]:
        found: set[str] = set()
        for top in _KEPT:
            for where, directories, files in os.walk(self.place.path(top)):
                found.update(os.path.join(where, name) for name in (*directories, *files))
        # The log of events stays, as the manual says.
        return found - {self.place.path("run/.events")}

    def _all(self) -> set[str]:
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            mounts = {f"mount {line.strip()}" for line in file}
        return mounts | self._groups() | self._files()

    def left(self) -> set[str]:
        """What is there and wasn't; a plan that was compiled again has its old name."""
        return self._all() - self._before

    def collect(self) -> str:
        """Has `sbx gc` remove what is left, and says what isn't; empty where nothing is."""
        for path in self._groups():  # those of the last minute may be a launch's at work
            os.utime(path, (0, 0))
        done = self.place.run([self.place.launcher, "gc"])
        left = self.left()
        if left or done.returncode != 0:
            return f"gc leaves {sorted(left)}: {done.stdout}{done.stderr}"
        return ""
