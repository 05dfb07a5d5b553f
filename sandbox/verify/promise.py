"""What a plan promises of every thread of its sandbox. Pure: made of the plan's ops alone."""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple, TypeVar

import msgspec

from sandbox.capabilities import capability_mask
from sandbox.plan import ops
from sandbox.plan.bpf_check import decode, run
from sandbox.plan.kernel import NAMESPACES, Attr, Secure
from sandbox.plan.record import FileStamp, NameStamp, Op, Plan
from sandbox.plan.syscalls import AUDIT_ARCH, MACHINES, numbers
from sandbox.verify.mount_promises import MountPromise, mounts_of

_CLONE_NEWUSER: Final = NAMESPACES["user"][0]
_ACTION: Final = 0xFFFF0000
_ALLOWED: Final = frozenset({0x7FFF0000, 0x7FFC0000})  # SECCOMP_RET_ALLOW, SECCOMP_RET_LOG
_ALL: Final = 2**64 - 1

_T = TypeVar("_T", bound=Op)


class Capabilities(NamedTuple):
    """The five sets as bit masks."""

    inheritable: int = 0
    permitted: int = 0
    effective: int = 0
    bounding: int = 0
    ambient: int = 0


class Rows(NamedTuple):
    """An id map: (inside, outside, count)."""

    rows: tuple[tuple[int, int, int], ...]

    def outside(self, inside: int) -> int | None:
        """What an id inside is outside; None where it isn't mapped."""
        for first, base, count in self.rows:
            if first <= inside < first + count:
                return base + inside - first
        return None

    def holds(self, outside: int) -> bool:
        """Whether an id outside is one of the sandbox's."""
        return any(base <= outside < base + count for _, base, count in self.rows)


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. Ids are as numbered outside, as the kernel tells them there."""

    own: frozenset[str]
    """The kinds of namespaces that are the sandbox's; the others are its supervisor's."""
    uid: int
    gid: int
    uids: Rows | None
    """None: the host's."""
    gids: Rows | None
    changes_uid: bool
    """The program keeps the right to become any mapped user."""
    changes_gid: bool
    drops_groups: bool
    sets_groups: bool
    """setgroups(2) is left to who has the capability for it in the user namespace."""
    is_closed: bool
    """The first process isn't dumpable: nobody in the sandbox can look into it."""
    settings: tuple[str, ...]
    """What it sets of the kernel's in its namespaces, in the plan's words: only who is in them sees it."""
    first: Capabilities
    """Of the first process, and of the command before its program starts."""
    command: Capabilities
    """Of the command once its program has started: the most that any can have."""
    no_new_privs: bool
    filters: int
    """So many beyond the supervisor's own."""
    has_init: bool
    nests: bool
    """A program can make namespaces of its own within."""
    chroots: bool
    rlimits: Mapping[int, tuple[int, int]]
    """Soft and hard, by number; all others are the supervisor's."""
    raises_limits: bool
    umask: int | None
    """None: the caller's."""
    securebits: int
    death_signal: int
    """Of the command."""
    set: Mapping[str, str]
    """Variables of the environment that the plan sets."""
    passed: tuple[str, ...]
    """Names of those that are the caller's; a final * makes a prefix."""
    service: bool
    descriptors: frozenset[int]
    """Numbers of those that are declared."""
    survives: bool
    landlock: tuple[str, ...]
    """What it denies and allows, in the plan's words: the kernel tells nobody of it."""
    writes_proc: bool
    cgroup: int
    """The version of its own control groups; 0: it has none."""
    limits: tuple[ops.SetCgroup, ...]
    mounts: tuple[MountPromise, ...]
    profiles: tuple[FileStamp, ...]
    """The state of the profile's files when the plan was made."""


def expect(plan: Plan) -> Promise:
    """What the plan promises."""
    ids = _only(plan, ops.SetIds)
    maps = _only(plan, ops.MapIds)
    uids, gids = (None, None) if maps is None else (_rows(maps.uid_map), _rows(maps.gid_map))
    capabilities = _only(plan, ops.SetCapabilities)
    bounding = _only(plan, ops.LimitCapabilities)
    kept = 0 if capabilities is None else capabilities.permitted
    limit = _ALL if bounding is None else bounding.bounding
    first = Capabilities(
        inheritable=0 if capabilities is None else capabilities.inheritable,
        permitted=kept,
        effective=kept,
        bounding=limit,
        ambient=0 if capabilities is None else capabilities.ambient,
    )
    secure = _only(plan, ops.SetSecurebits)
    securebits = 0 if secure is None else secure.bits
    is_root = ids is not None and ids.uid == 0 and not securebits & Secure.NOROOT
    command = _after_exec(first, is_root=is_root)
    namespaces = _only(plan, ops.CreateNamespaces)
    flags = 0 if namespaces is None else namespaces.flags
    umask = _only(plan, ops.SetUmask)
    environment = _only(plan, ops.SetEnvironment)
    proc = _only(plan, ops.AttachProc)
    cgroup = _only(plan, ops.CreateCgroup)
    uid, gid = (0, 0) if ids is None else (ids.uid, ids.gid)
    has_init = _only(plan, ops.StartInit) is not None
    return Promise(
        own=frozenset(kind for kind, (flag, _) in NAMESPACES.items() if flags & flag),
        uid=_outside(uids, uid),
        gid=_outside(gids, gid),
        uids=uids,
        gids=gids,
        changes_uid=_keeps(command, "CAP_SETUID"),
        changes_gid=_keeps(command, "CAP_SETGID"),
        drops_groups=_only(plan, ops.SetGroups) is not None,
        sets_groups=maps is None or bool(maps.setgroups),
        is_closed=_only(plan, ops.ProtectProcess) is not None,
        settings=tuple(_settings(plan)),
        first=first,
        command=command,
        no_new_privs=_only(plan, ops.SetNoNewPrivileges) is not None,
        filters=sum(isinstance(op, ops.InstallFilter) for op in plan.ops),
        has_init=has_init,
        nests=_keeps(command, "CAP_SYS_ADMIN") or makes_user_namespaces(plan),
        chroots=_keeps(command, "CAP_SYS_CHROOT"),
        rlimits={op.resource: (op.soft, op.hard) for op in _all(plan, ops.SetRlimit)},
        raises_limits=maps is None and _keeps(command, "CAP_SYS_RESOURCE"),
        umask=None if umask is None or umask.mask == ops.CALLERS_UMASK else umask.mask,
        securebits=securebits,
        death_signal=_death_signal(plan, has_init=has_init),
        set=dict(_pair(entry) for entry in environment.set) if environment else {},
        passed=environment.passed if environment else (),
        service=_only(plan, ops.RunService) is not None,
        descriptors=frozenset(op.number for op in _all(plan, ops.KeepDescriptor)),
        survives=_only(plan, ops.Survive) is not None,
        landlock=tuple(_landlock(plan)),
        writes_proc=proc is None or not proc.attributes & Attr.RDONLY,
        cgroup=0 if cgroup is None else cgroup.version,
        limits=tuple(_all(plan, ops.SetCgroup)),
        mounts=mounts_of(plan),
        profiles=tuple(_profiles(plan)),
    )


def _all(plan: Plan, kind: type[_T]) -> Iterator[_T]:
    return (op for op in plan.ops if isinstance(op, kind))


def _only(plan: Plan, kind: type[_T]) -> _T | None:
    """The last one of a kind: ids, for one, are set twice."""
    found = None
    for op in _all(plan, kind):
        found = op
    return found


def _rows(text: str) -> Rows:
    rows = (tuple(map(int, line.split())) for line in text.splitlines())
    return Rows(tuple((row[0], row[1], row[2]) for row in rows))


def _outside(rows: Rows | None, inside: int) -> int:
    found = inside if rows is None else rows.outside(inside)
    return inside if found is None else found


def _keeps(sets: Capabilities, name: str) -> bool:
    return bool(sets.permitted & capability_mask([name]))


def _after_exec(before: Capabilities, *, is_root: bool) -> Capabilities:
    """What execve(2) makes of the sets, for a file without capabilities of its own (capabilities(7))."""
    permitted = before.ambient
    if is_root:
        permitted |= before.inheritable | before.bounding
    return before._replace(permitted=permitted, effective=permitted)


def makes_user_namespaces(plan: Plan) -> bool:
    """Whether a program can: neither the limit of its namespace nor the filters forbid it."""
    for op in _all(plan, ops.SetSysctl):
        if op.path == "user/max_user_namespaces" and op.value == "0":
            return False
    programs = [decode(op.program) for op in _all(plan, ops.InstallFilter)]
    for machine in MACHINES:
        known = numbers(machine)
        calls = (("unshare", _CLONE_NEWUSER), ("clone", _CLONE_NEWUSER), ("clone3", 0))
        for name, flags in calls:
            # struct seccomp_data: number, architecture, address, six arguments of 64 bits.
            words = (known[name], AUDIT_ARCH[machine], 0, 0, flags, *[0] * 11)
            if all(run(program, words) & _ACTION in _ALLOWED for program in programs):
                return True
    return False


def _death_signal(plan: Plan, *, has_init: bool) -> int:
    """Of the payload: a new process has none, whatever its parent's is."""
    signal = 0
    for op in plan.ops:
        if isinstance(op, ops.SetDeathSignal):
            signal = op.signal
        elif isinstance(op, ops.StartInit) and has_init:
            signal = 0
    return signal


def _pair(entry: str) -> tuple[str, str]:
    name, _, value = entry.partition("=")
    return name, value


def _landlock(plan: Plan) -> Iterator[str]:
    kinds = (ops.CreateLandlockRuleset, ops.AllowPath, ops.AllowPort)
    return (op.describe() for op in plan.ops if isinstance(op, kinds))


def _settings(plan: Plan) -> Iterator[str]:
    kinds = (ops.SetHostname, ops.SetSysctl, ops.BringUpLoopback)
    return (op.describe() for op in plan.ops if isinstance(op, kinds))


def _profiles(plan: Plan) -> Iterator[FileStamp]:
    """The profile's own come before the name that the cache knows it by; all others after that."""
    for stamp in plan.stamps:
        if isinstance(stamp, NameStamp):
            return
        if isinstance(stamp, FileStamp):
            yield stamp
