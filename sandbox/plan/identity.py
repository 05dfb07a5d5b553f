"""Who the payload is: the maps of its user namespace, its ids, and the accounts it reads about."""

import hashlib
from typing import Final, Literal

import msgspec

from sandbox.plan.inputs import Inputs
from sandbox.plan.ops import MapBy, MapIds
from sandbox.plan.record import Step
from sandbox.profile.model import Account

# systemd's range for containers (UIDS-GIDS.md): 65536 ids from each multiple of 65536.
RANGE_FIRST: Final = 524288
RANGE_LAST: Final = 1879048191
SLOT: Final = 65536
# Who a payload of root's is when nothing else is said: user 0 is for those who ask for it.
ORDINARY_ID: Final = 1000

_SUBORDINATE_FILES: Final = ("/etc/subuid", "/etc/subgid", "/etc/passwd")
_HELPERS: Final = ("/usr/bin/newuidmap", "/usr/bin/newgidmap")


class IdMap(msgspec.Struct, frozen=True):
    """Segments (first inside, first outside, count), sorted."""

    segments: tuple[tuple[int, int, int], ...]

    def text(self) -> str:
        """As /proc/PID/uid_map takes it."""
        return "\n".join(" ".join(map(str, segment)) for segment in self.segments)

    def outside(self, inside: int) -> int | None:
        """What an id inside is outside; None if it isn't mapped."""
        for first, base, count in self.segments:
            if first <= inside < first + count:
                return base + inside - first
        return None


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """The payload's ids inside and, by the caller's count, outside; without maps the same ones."""

    uid: int
    gid: int
    outer_uid: int
    outer_gid: int
    maps: tuple[IdMap, IdMap] | None
    by: MapBy = MapBy.SELF
    keeps_setgroups: bool = False
    starts_as_root: bool = False
    """The first process isn't in the map and becomes root inside before anything else."""

    def root_outside(self) -> tuple[int, int]:
        """The outer ids of user 0 and group 0 inside, or of the only ones that are mapped."""
        if self.maps is None:
            return 0, 0
        uid, gid = (ids.outside(0) for ids in self.maps)
        return self.outer_uid if uid is None else uid, self.outer_gid if gid is None else gid

    def map_steps(self) -> list[Step]:
        if self.maps is None:
            return []
        uids, gids = (part.text() for part in self.maps)
        op = MapIds(by=self.by, uid_map=uids, gid_map=gids, setgroups=int(self.keeps_setgroups))
        return [Step(op, ("identity", "map"))]


def resolve(inputs: Inputs) -> Identity:
    """Decides the map and the ids. Raises UnsupportedError; conflicts are left in `inputs`."""
    identity, host = inputs.profile.identity, inputs.host
    kind = _map_kind(inputs)
    if kind == "host":
        return _unmapped(inputs)
    if not host.mapped:
        inputs.lacks(
            ("namespaces", "user"),
            "the caller's user or group id isn't mapped in its user namespace, and the kernel lets "
            "nobody without an id make another one",
            "map it (unshare --map-current-user), or start sbx outside of that namespace",
        )
    if not host.user_namespaces:
        inputs.lacks(
            ("namespaces", "user"),
            "this host lets the caller make no user namespace",
            "`sbx doctor` names the setting and how to change it",
        )
    if kind == "range":
        return _range(inputs)
    own = 0 if kind == "root" else None
    uid = _single(inputs, "user", identity.user, own, host.uid)
    gid = _single(inputs, "group", identity.group, own, host.gid)
    # From outside, setgroups(2) can stay allowed and the caller's groups be dropped.
    outside = host.setgroups and {"CAP_SETUID", "CAP_SETGID"} <= host.capabilities
    return Identity(
        uid=uid,
        gid=gid,
        outer_uid=host.uid,
        outer_gid=host.gid,
        maps=(IdMap(((uid, host.uid, 1),)), IdMap(((gid, host.gid, 1),))),
        by=MapBy.SUPERVISOR if outside else MapBy.SELF,
        keeps_setgroups=outside,
    )


def _map_kind(inputs: Inputs) -> Literal["self", "root", "range", "host"]:
    profile, host = inputs.profile, inputs.host
    wanted = profile.identity.map
    if not profile.namespaces.user:
        if wanted not in {"auto", "host"}:
            inputs.conflict(
                ("identity", "map"),
                f"'{wanted}' needs a user namespace, and namespaces.user is false",
                'leave identity.map out, or set it to "host"',
            )
        return "host"
    if wanted != "auto":
        return wanted
    # Root of a namespace can't know which ids outside are free.
    return "range" if host.uid == 0 and host.privileged else "self"


def _unmapped(inputs: Inputs) -> Identity:
    identity, host = inputs.profile.identity, inputs.host
    if "CAP_SYS_ADMIN" not in host.capabilities:
        inputs.lacks(
            ("identity", "map") if identity.map == "host" else ("namespaces", "user"),
            "a sandbox without a user namespace can only be made by root",
            "leave the user namespace on, or run sbx as root",
        )
    uid, gid = _number(identity.user, host.uid), _number(identity.group, host.gid)
    return Identity(
        uid=uid,
        gid=gid,
        outer_uid=uid,
        outer_gid=gid,
        maps=None,
        keeps_setgroups=host.setgroups and "CAP_SETGID" in host.capabilities,
    )


def _number(account: Account, own: int) -> int:
    if isinstance(account, int):
        return account
    return 0 if account == "root" else own


def _single(
    inputs: Inputs, key: Literal["user", "group"], account: Account, fixed: int | None, own: int
) -> int:
    """The one id that a map of one id holds: with `fixed` that one, else whichever is asked for."""
    if fixed is None:
        return _number(account, own)
    if account not in {"self", "root", fixed}:
        inputs.conflict(
            ("identity", key),
            f"{account} isn't mapped: the map 'root' holds {fixed} alone",
            'use identity.map = "self" or "range"',
        )
    return fixed


def _range(inputs: Inputs) -> Identity:
    host = inputs.host
    if host.privileged and {"CAP_SETUID", "CAP_SETGID"} <= host.capabilities:
        return _range_of_root(inputs)
    return _subordinate_range(inputs)


def _range_of_root(inputs: Inputs) -> Identity:
    """A slot of its own for each profile name, so that services can't reach each other's files."""
    identity = inputs.profile.identity
    slots = (RANGE_LAST + 1 - RANGE_FIRST) // SLOT
    needed = -(-identity.range_size // SLOT)
    if needed > slots:
        inputs.conflict(
            ("identity", "range_size"),
            f"above {slots * SLOT}, the number of ids that are set aside for containers",
        )
        needed = slots
    digest = hashlib.sha256(f"sbx id range {_name(inputs)}".encode()).digest()
    base = RANGE_FIRST + int.from_bytes(digest[:8], "little") % (slots - needed + 1) * SLOT
    both = IdMap(((0, base, identity.range_size),))
    ordinary = min(ORDINARY_ID, identity.range_size - 1)
    uid, gid = (_number(a, ordinary) for a in (identity.user, identity.group))
    return Identity(
        uid=uid,
        gid=gid,
        outer_uid=_mapped(inputs, "user", both, uid),
        outer_gid=_mapped(inputs, "group", both, gid),
        maps=(both, both),
        by=MapBy.SUPERVISOR,
        keeps_setgroups=True,
        starts_as_root=True,
    )


def _subordinate_range(inputs: Inputs) -> Identity:
    """The caller's own ids stay what they are; all others inside are subordinate ones."""
    host, identity = inputs.host, inputs.profile.identity
    inputs.watch(*_SUBORDINATE_FILES, *_HELPERS)
    key = ("identity", "map")
    if not host.newuidmap or not host.newgidmap:
        inputs.lacks(
            key,
            "newuidmap and newgidmap aren't installed; they write maps of several ids",
            "install them: `apt install uidmap`, or shadow-utils with dnf and pacman",
        )
    if host.no_new_privs:
        inputs.lacks(
            key,
            "the caller runs under no_new_privs, so newuidmap gains no privileges",
            'start sbx outside of that sandbox, or set identity.map = "self"',
        )
    size = identity.range_size
    uids = keep_id(host.uid, size, host.subuids)
    gids = keep_id(host.gid, size, host.subgids)
    if uids is None or gids is None:
        user = host.user_name or str(host.uid)
        last = 100000 + max(size, SLOT) - 1
        inputs.lacks(
            key,
            f"{user} has no {size} subordinate user and group ids in a row",
            f"`usermod --add-subuids 100000-{last} --add-subgids 100000-{last} {user}` as root, "
            "with ids that are free on this machine",
        )
    uid, gid = _number(identity.user, host.uid), _number(identity.group, host.gid)
    return Identity(
        uid=uid,
        gid=gid,
        outer_uid=_mapped(inputs, "user", uids, uid),
        outer_gid=_mapped(inputs, "group", gids, gid),
        maps=(uids, gids),
        by=MapBy.HELPER,
        keeps_setgroups=True,
    )


def keep_id(own: int, size: int, ranges: tuple[tuple[int, int], ...]) -> IdMap | None:
    """Ids 0 to size-1 from the first range that suffices, but the caller's own as itself."""
    needed = size - 1 if own < size else size
    for first, count in ranges:
        if count < needed:
            continue
        below = min(own, size)
        segments = (
            (0, first, below),
            (own, own, 1),
            (own + 1, first + below, needed - below),
        )
        return IdMap(tuple(segment for segment in segments if segment[2] > 0))
    return None


def _mapped(inputs: Inputs, key: Literal["user", "group"], ids: IdMap, inside: int) -> int:
    outside = ids.outside(inside)
    if outside is not None:
        return outside
    inputs.conflict(
        ("identity", key),
        f"{inside} isn't mapped: the map holds {inputs.profile.identity.range_size} ids",
        "choose a smaller number, or a larger identity.range_size",
    )
    return inside


def _name(inputs: Inputs) -> str:
    """The profile's name, or if it has none, the file it is."""
    return inputs.profile.profile.name or inputs.resolved.known_as


def accounts(inputs: Inputs, identity: Identity) -> dict[str, bytes]:
    """The content of the files in /etc that tell the payload who and where it is, by name."""
    profile = inputs.profile
    host_name = profile.namespaces.hostname
    home = profile.environment.set.get("HOME", "/")
    if ":" in home or "\n" in home:
        home = "/"
    name = "root" if identity.uid == 0 else profile.identity.name
    group = "root" if identity.gid == 0 else profile.identity.name
    users = {
        0: "root:x:0:0:root:/:/usr/sbin/nologin",
        65534: "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin",
    }
    users[identity.uid] = f"{name}:x:{identity.uid}:{identity.gid}:{name}:{home}:/bin/sh"
    groups = {0: "root:x:0:", 65534: "nogroup:x:65534:", identity.gid: f"{group}:x:{identity.gid}:"}
    machine = hashlib.sha256(f"sbx machine id {_name(inputs)}".encode()).hexdigest()[:32]
    return {
        "passwd": _lines(*(line for _, line in sorted(users.items()))),
        "group": _lines(*(line for _, line in sorted(groups.items()))),
        "hosts": _lines(
            "127.0.0.1 localhost", "::1 localhost ip6-localhost", f"127.0.1.1 {host_name}"
        ),
        "hostname": _lines(host_name),
        "machine-id": _lines(machine),
        "nsswitch.conf": _lines(
            "passwd: files", "group: files", "shadow: files", "hosts: files dns",
            "networks: files", "protocols: files", "services: files", "ethers: files", "rpc: files",
        ),
        "resolv.conf": b"",
    }  # fmt: skip


def _lines(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
