"""The host's directories that a service writes to, as its unit names them."""

import os
import stat
from collections.abc import Iterator
from typing import Final

import msgspec

from sandbox._paths import CACHE_OF_ROOT
from sandbox.profile.model import Profile
from sandbox.systemd import quoting

_NAME: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./")
_KINDS: Final = {
    "/var/lib/": "StateDirectory",
    "/var/cache/": "CacheDirectory",
    "/var/log/": "LogsDirectory",
}
_NEW_MODE: Final = 0o700


class Owner(msgspec.Struct, frozen=True):
    """Who a service of the system runs as."""

    uid: int
    gid: int
    home: str


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """What the unit makes at its start, and what it may write to beside that.

    `made` are names below /var/lib, /var/cache and /var/log by the setting for them; `modes` the
    permissions of each of these settings.
    """

    made: dict[str, list[str]] = {}
    modes: dict[str, int] = {}
    written: tuple[str, ...] = ()
    runtime: bool = False

    def directories(self) -> frozenset[str]:
        """The paths of what the unit makes."""
        prefixes = {setting: prefix for prefix, setting in _KINDS.items()}
        return frozenset(
            prefixes[setting] + name for setting, names in self.made.items() for name in names
        )

    def settings(self) -> Iterator[tuple[str, str]]:
        """The lines of the unit."""
        if self.runtime:
            # Where sbx knows its sandboxes from; it outlives this one's.
            yield "RuntimeDirectory", "sbx"
            yield "RuntimeDirectoryMode", "0700"
            yield "RuntimeDirectoryPreserve", "yes"
        for setting, names in self.made.items():
            yield setting, " ".join(names)
            yield f"{setting}Mode", f"{self.modes[setting]:04o}"
        if self.written:
            yield "ReadWritePaths", " ".join(quoting.path(f"-{path}") for path in self.written)


def places(profile: Profile, owner: Owner) -> Places:
    """What the profile writes to, looked at as it is now.

    A directory right below /var/lib, /var/cache or /var/log is the unit's to make if it isn't there
    or belongs to the service's user: systemd would give one of somebody else's to that user.
    """
    made: dict[str, list[str]] = {}
    modes: dict[str, int] = {}
    written = []
    for path in _written(profile):
        setting, name, mode = _own(path, owner)
        if setting and modes.setdefault(setting, mode) == mode:
            made.setdefault(setting, []).append(name)
        else:
            written.append(path)
    if profile.service.log == "file" and owner.uid != 0:
        written.append(f"{owner.home}/.local/state")
    elif (
        profile.service.log == "file" and modes.setdefault("LogsDirectory", _NEW_MODE) == _NEW_MODE
    ):
        made.setdefault("LogsDirectory", []).append("sbx")
    elif profile.service.log == "file":
        written.append("/var/log/sbx")
    if owner.uid == 0:
        written.append(CACHE_OF_ROOT)
    else:
        written += [f"{owner.home}/.cache/sbx", f"/run/user/{owner.uid}", "/tmp"]  # noqa: S108
    return Places(made=made, modes=modes, written=tuple(written), runtime=owner.uid == 0)


def _written(profile: Profile) -> tuple[str, ...]:
    """Every path of the host that the payload may change something at."""
    found = {m.source for m in profile.mounts if m.type == "bind" and m.writable and m.source}
    found |= {m.upper for m in profile.mounts if m.upper and m.upper.startswith("/")}
    rootfs = profile.rootfs
    if rootfs.type == "host":
        found |= set(profile.filesystem.write)
    else:
        found |= {path for path in (rootfs.path, rootfs.overlay) if path and path.startswith("/")}
    return tuple(sorted(found))


def missing(profile: Profile, made: frozenset[str]) -> tuple[str, ...]:
    """What is mounted from the host and neither there nor the unit's to make."""
    sources = {m.source for m in profile.mounts if m.source and not m.optional}
    return tuple(sorted(path for path in sources - made if not os.path.lexists(path)))


def _own(path: str, owner: Owner) -> tuple[str, str, int]:
    """The setting, the name in it and the mode; no setting for what the unit can't make."""
    for prefix, setting in _KINDS.items():
        name = path.removeprefix(prefix)
        if not path.startswith(prefix) or not name or not set(name) <= _NAME:
            continue
        try:
            state = os.lstat(path)
        except FileNotFoundError:
            return setting, name, _NEW_MODE
        except OSError:
            return "", "", 0
        if stat.S_ISDIR(state.st_mode) and (state.st_uid, state.st_gid) == (owner.uid, owner.gid):
            return setting, name, stat.S_IMODE(state.st_mode)
    return "", "", 0
