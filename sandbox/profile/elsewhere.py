"""What of the host a statement shows at another path, where no statement about its own path holds."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from sandbox.profile.resolved import KeyPath

_IN_MEMORY = frozenset({"none", "tmpfs"})


class Shown(NamedTuple):
    """`source` of the host appears at `target`."""

    source: str
    target: str
    writable: bool

    def place_of(self, path: str) -> str | None:
        """Where `path` of the host appears through this, None if it doesn't or is at home there."""
        if is_within(self.source, path):
            return None if self.source == self.target else self.target
        if not is_within(path, self.source):
            return None
        place = self.target.rstrip("/") + path[len(self.source.rstrip("/")) :]
        return None if place == path else place


def shown_elsewhere(key: KeyPath, value: Any) -> Iterator[Shown]:
    """What a statement shows by a mount or by choosing the root."""
    if key == ("mounts",) and isinstance(value, dict):
        target = value["target"]
        if value.get("source"):
            yield Shown(value["source"], target, bool(value.get("writable")))
        for layer in value.get("lower", ()):
            yield Shown(layer, target, writable=False)
        if value.get("upper"):
            yield Shown(_layer(value["upper"]), target, writable=True)
    elif key == ("rootfs", "path") and value:
        yield Shown(value, "/", writable=True)
    elif key == ("rootfs", "overlay") and value not in _IN_MEMORY:
        yield Shown(_layer(value), "/", writable=True)


def is_within(path: str, directory: str) -> bool:
    """Whether `path` is `directory` or beneath it."""
    return path == directory or path.startswith(f"{directory.rstrip('/')}/")


def _layer(directory: str) -> str:
    """Where an overlay keeps what is written; the same in sandbox/plan/mounts.py."""
    return f"{directory.rstrip('/')}/upper"
