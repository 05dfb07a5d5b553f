"""Where the limits of [resources] would be held on this host, for this caller, and by what."""

import os
from collections.abc import Iterable
from typing import Final, NamedTuple

from sandbox import _cgroups
from sandbox.doctor import remedies, trials
from sandbox.host import Host

WANTED: Final = ("cpu", "cpuset", "io", "memory", "pids")
"""The controllers that keys of [resources] need."""
_V1: Final = {"io": "blkio"}


class Place(NamedTuple):
    """Where limits would be held; no `directory` where none could be."""

    directory: str
    words: str
    controllers: frozenset[str]


class Finding(NamedTuple):
    """`works` is False where no limit can be held; `commands` may widen what works, too."""

    works: bool
    detail: str
    commands: tuple[str, ...] = ()


def judge(host: Host) -> Finding:
    """Tries it: a cgroup is made and removed wherever sbx itself would make one."""
    if host.cgroups.version == "none":
        return _refused(remedies.no_cgroups(host))
    if not host.cgroups.controllers.issuperset(WANTED[3:]):
        return _version_1(host)
    own = _cgroups.own(host.cgroups.mounts)
    if own is None:
        return Finding(works=False, detail="/proc/self/cgroup doesn't tell where this process is")
    if own.delegated:
        return _tried(host, Place(own.directory, "its own cgroup, delegated", own.controllers))
    if host.uid == 0:
        if own.service:
            return _refused(remedies.undelegated_service(host, own.service))
        top = host.cgroups.mounts[_cgroups.UNIFIED]
        return _tried(host, Place(top, "cgroups of root's own", host.cgroups.controllers))
    if not _cgroups.user_bus(os.environ, host.uid):
        return _refused(remedies.no_user_manager(host))
    return _scope(host, own)


def _tried(host: Host, place: Place) -> Finding:
    outcome = trials.cgroup_child(place.directory)
    if not outcome.ok:
        remedy = remedies.cgroup_refuses(host, place.directory, outcome)
        return Finding(works=False, detail=f"{outcome}; {remedy.reason}", commands=remedy.commands)
    where = f"limits are held below {place.directory} ({place.words})"
    return _with_controllers(host, where, place.controllers)


def _scope(host: Host, own: _cgroups.Own) -> Finding:
    """The user's systemd hands on what it has itself."""
    top = host.cgroups.mounts[_cgroups.UNIFIED]
    name = f"user@{host.uid}.service"
    before, found, _ = own.directory.partition(f"/{name}")
    manager = f"{before if found else f'{top}/user.slice/user-{host.uid}.slice'}/{name}"
    where = (
        f"limits are held in a scope that sbx asks of the user's systemd ({name}), since "
        f"{own.directory} isn't delegated"
    )
    return _with_controllers(host, where, _cgroups.controllers_of(manager))


def _with_controllers(host: Host, where: str, controllers: Iterable[str]) -> Finding:
    has = [name for name in WANTED if name in controllers]
    lacking = [name for name in WANTED if name not in has]
    if not has:
        return _refused(remedies.no_controllers(host, lacking))
    detail = f"{where} by {', '.join(has)}"
    if not lacking:
        return Finding(works=True, detail=detail)
    remedy = remedies.no_controllers(host, lacking)
    return Finding(True, f"{detail}; {remedy.reason}", remedy.commands)


def _version_1(host: Host) -> Finding:
    """Limits nest below where the caller is in each hierarchy."""
    mounts, paths = host.cgroups.mounts, _cgroups.own_paths()
    here = {n: _V1.get(n, n) for n in WANTED if _V1.get(n, n) in mounts}
    directories = {
        mounts[controller] + paths[controller].rstrip("/")
        for controller in here.values()
        if controller in paths
    }
    for directory in sorted(directories):
        outcome = trials.cgroup_child(directory)
        if not outcome.ok:
            remedy = remedies.cgroup_refuses(host, directory, outcome)
            return Finding(False, f"{outcome}; {remedy.reason}", remedy.commands)
    if not directories:
        return _refused(remedies.no_controllers(host, WANTED))
    missing = [name for name in WANTED if name not in here]
    without = f", without {', '.join(missing)}" if missing else ""
    names = ", ".join(here.values())
    detail = f"limits are held below the caller's own cgroups of version 1 by {names}{without}"
    return Finding(works=True, detail=f"{detail}; memory_high needs version 2")


def _refused(remedy: remedies.Remedy) -> Finding:
    return Finding(works=False, detail=remedy.reason, commands=remedy.commands)
