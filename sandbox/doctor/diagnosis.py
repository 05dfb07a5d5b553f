"""The checks of a host: what each finds, and whether the default profile needs it."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from sandbox._paths import launcher_path
from sandbox.doctor import apparmor, cgroups, remedies, trials
from sandbox.doctor.child import Outcome
from sandbox.doctor.remedies import Remedy
from sandbox.host import NAMESPACES, Host

State = Literal["ok", "missing", "broken"]
# What identity.map = "range" gives a payload (sbx.toml(5)).
RANGE_SIZE = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that sbx needs of a host, and how it stands."""

    name: str
    state: State
    """missing: the host doesn't have it; broken: it does, but using it fails."""
    required: bool
    """The default profile can't be enforced without it."""
    detail: str
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    host: Host
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """The default profile can be enforced."""
        return all(check.state == "ok" or not check.required for check in self.checks)


def diagnose(host: Host) -> Diagnosis:
    """Try on this host everything a sandbox is made of. `host` is what `probe()` says of it."""
    return Diagnosis(host=host, checks=tuple(_checks(host)))


def _checks(host: Host) -> Iterator[Check]:
    yield from _calls(host)
    user = _tried(
        "user namespace",
        trials.user_namespace(),
        lambda outcome: remedies.user_namespace(host, outcome),
        missing=not host.user_namespaces,
    )
    yield user
    if user.state == "ok":
        yield from _namespaces(host)
        yield from _mounts(host)
    else:
        for name in ("other namespaces", "mounts", "new proc", "private devices"):
            detail = "not tried: needs a user namespace"
            yield Check(name=name, state="broken", required=True, detail=detail)
    yield from _filters(host)
    yield from _optional(host, usable=user.state == "ok")


def _calls(host: Host) -> Iterator[Check]:
    for name in ("clone3", "openat2", "open_tree", "mount_setattr", "pidfd_open"):
        if getattr(host, name):
            yield Check(name=name, state="ok", required=True, detail="answers")
        else:
            yield _missing(name, remedies.kernel_lacks(host, name), required=True)


def _namespaces(host: Host) -> Iterator[Check]:
    for kind in NAMESPACES:
        if kind != "user":
            yield _tried(
                f"{kind} namespace",
                trials.namespace(kind),
                lambda outcome, kind=kind: remedies.namespace(host, kind, outcome),  # type: ignore[misc]
                missing=kind not in host.namespaces or host.namespace_limits[kind] == 0,
            )


def _mounts(host: Host) -> Iterator[Check]:
    def refused(outcome: Outcome) -> Remedy:
        return remedies.refused(host, outcome)

    yield _tried("read-only root", trials.read_only_root(), refused)
    yield _tried("tmpfs", trials.tmpfs(), refused)
    yield _tried("new proc", trials.proc(), lambda outcome: remedies.covered_proc(host, outcome))
    yield _tried("private devices", trials.devices(), refused)
    yield _tried(
        "loopback", trials.loopback(), lambda outcome: remedies.namespace(host, "net", outcome)
    )


def _filters(host: Host) -> Iterator[Check]:
    yield _tried(
        "system call filter",
        trials.filter_calls(host.machine),
        lambda outcome: remedies.refused(host, outcome),
        missing=not host.seccomp_actions,
    )
    if host.landlock_abi == 0:
        yield _missing("landlock", remedies.no_landlock(host), required=True)
        return
    yield _tried(
        "landlock",
        trials.landlock(),
        lambda outcome: remedies.refused(host, outcome),
        works=f"works, ABI {host.landlock_abi}",
    )
    if host.landlock_abi >= remedies.SCOPES_ABI:
        yield Check(name="landlock scopes", state="ok", required=False, detail="known")
    else:
        remedy = remedies.kernel_lacks(host, "landlock-scopes")
        yield _missing("landlock scopes", remedy, required=False)


def _optional(host: Host, *, usable: bool) -> Iterator[Check]:
    """What only some profiles ask for."""
    if not host.overlay_in_userns:
        yield _missing("overlay", _no_overlay(host), required=False)
    elif usable:
        outcome = trials.overlay()
        yield _tried(
            "overlay", outcome, lambda tried: remedies.refused(host, tried), required=False
        )
    if usable:
        yield _id_range(host)
    if host.idmapped_mounts:
        no_idmap = Remedy("the file system at / can't be id-mapped by this kernel")
        yield _tried(
            "id-mapped mounts of /", trials.idmapped_mount("/"), lambda _: no_idmap, required=False
        )
    else:
        remedy = Remedy("only root, outside of containers, may id-map what the machine mounted")
        if host.release_tuple < remedies.SINCE["idmap"]:
            remedy = remedies.kernel_lacks(host, "idmap")
        yield _missing("id-mapped mounts of /", remedy, required=False)
    if "user_notif" in host.seccomp_actions:
        yield Check(name="call broker", state="ok", required=False, detail="known")
    else:
        yield _missing("call broker", remedies.kernel_lacks(host, "seccomp-notify"), required=False)
    if usable:
        yield _tried(
            "tracing", trials.trace(), lambda tried: remedies.no_trace(host, tried), required=False
        )
    yield _cgroup(host)
    if host.apparmor_restricts_userns:
        yield _apparmor(host)


def _apparmor(host: Host) -> Check:
    """Whether AppArmor's restriction of user namespaces has an exception for sbx."""
    label = apparmor.current()
    name = "AppArmor profile"
    if label.partition(" ")[0] not in {"", "unconfined"}:
        return Check(
            name=name, state="ok", required=False, detail=f"this process runs under {label}"
        )
    return Check(
        name=name,
        state="missing",
        required=False,
        detail="user namespaces are restricted here, and sbx has no profile that allows them",
        commands=apparmor.commands(launcher_path(), "" if host.uid == 0 else "sudo "),
    )


def _no_overlay(host: Host) -> Remedy:
    if host.overlay:
        return remedies.kernel_lacks(host, "overlay")
    return Remedy("this kernel has no overlay file system, built in or as a module")


def _id_range(host: Host) -> Check:
    """Several ids in one sandbox: written by root itself, else by newuidmap."""
    name = "range of ids"
    uids = next((pair for pair in host.subuids if pair[1] >= RANGE_SIZE), None)
    gids = next((pair for pair in host.subgids if pair[1] >= RANGE_SIZE), None)
    if host.privileged:
        first_uid, first_gid = (uids or (RANGE_SIZE, 0))[0], (gids or (RANGE_SIZE, 0))[0]
        outcome = trials.id_range(first_uid, first_gid, RANGE_SIZE)
        return _tried(name, outcome, lambda tried: remedies.refused(host, tried))
    if uids is None or gids is None:
        lines = [line for path in ("/etc/subuid", "/etc/subgid") for line in _lines(path)]
        return _missing(name, remedies.subordinate_ids(host, lines), required=False)
    if host.newuidmap is None or host.newgidmap is None:
        return _missing(name, remedies.no_newuidmap(host), required=False)
    outcome = trials.subordinate_ids(host.newuidmap, host.newgidmap, uids, gids)
    return _tried(name, outcome, lambda _: remedies.newuidmap_refuses(host), required=False)


def _cgroup(host: Host) -> Check:
    """Limits need a cgroup that the caller may divide."""
    found = cgroups.judge(host)
    name = f"cgroup ({host.cgroups.version})" if host.cgroups.version != "none" else "cgroup"
    state: State = "ok" if found.works else "missing" if name == "cgroup" else "broken"
    return Check(
        name=name, state=state, required=False, detail=found.detail, commands=found.commands
    )


def _tried(
    name: str,
    outcome: Outcome,
    mend: Callable[[Outcome], Remedy],
    *,
    works: str = "works",
    missing: bool = False,
    required: bool = True,
) -> Check:
    if outcome.ok:
        return Check(name=name, state="ok", required=required, detail=works)
    remedy = mend(outcome)
    return Check(
        name=name,
        state="missing" if missing else "broken",
        required=required,
        detail=f"{outcome}; {remedy.reason}",
        commands=remedy.commands,
    )


def _missing(name: str, remedy: Remedy, *, required: bool) -> Check:
    return Check(
        name=name,
        state="missing",
        required=required,
        detail=remedy.reason,
        commands=remedy.commands,
    )


def _lines(path: str) -> list[str]:
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read().splitlines()
