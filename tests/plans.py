"""Made-up hosts and profiles: what the compiler takes in, without a machine or a file."""

from dataclasses import replace
from typing import Any, TypeVar

import msgspec

from sandbox._calls import SECCOMP_ACTIONS
from sandbox._cgroups import Cgroups
from sandbox.capabilities import CAPABILITY_NAMES
from sandbox.errors import Problem
from sandbox.host import NAMESPACES, Host
from sandbox.plan.compile import compile as compile_plan
from sandbox.plan.ops import BindMount
from sandbox.plan.record import Op, Plan
from sandbox.profile.model import Profile
from sandbox.profile.resolved import KeyPath, ResolvedProfile, Stamp, key_text

_Op = TypeVar("_Op", bound=Op)

FILE = "/profiles/app.toml"
STAMP = Stamp(device=1, inode=2, size=3, mtime_ns=4, ctime_ns=5)

CGROUP_V2 = Cgroups(
    version="v2",
    mounts={"unified": "/sys/fs/cgroup"},
    controllers=frozenset({"cpuset", "cpu", "io", "memory", "pids"}),
    swap=True,
    io_weights=("io.bfq.weight",),
)
ROOT = Host(
    machine="x86_64",
    release="6.18.0",
    release_tuple=(6, 18, 0),
    uid=0,
    gid=0,
    groups=(0,),
    user_name="root",
    home="/root",
    cwd="/root",
    capabilities=frozenset(CAPABILITY_NAMES),
    last_capability=40,
    no_new_privs=False,
    seccomp_filtered=False,
    first_user_namespace=True,
    namespaces=frozenset(NAMESPACES),
    namespace_limits=dict.fromkeys(NAMESPACES, 1000),
    unprivileged_userns_clone=True,
    apparmor_restricts_userns=False,
    landlock_abi=7,
    seccomp_actions=frozenset(SECCOMP_ACTIONS),
    openat2=True,
    clone3=True,
    open_tree=True,
    mount_setattr=True,
    pidfd_open=True,
    overlay=True,
    cgroups=CGROUP_V2,
    memory=8 << 30,
    cpus=frozenset(range(4)),
    subuids=(),
    subgids=(),
    newuidmap=None,
    newgidmap=None,
    root_links={"/bin": "usr/bin", "/lib": "usr/lib", "/sbin": "usr/sbin"},
    root_directories=("/dev", "/etc", "/home", "/proc", "/usr", "/var"),
    resolv_conf="/etc/resolv.conf",
    stamps=(),
)
USER = replace(
    ROOT,
    uid=1234,
    gid=1235,
    groups=(1235, 27),
    user_name="alice",
    home="/home/alice",
    cwd="/home/alice",
    capabilities=frozenset(),
    subuids=((100000, 65536),),
    subgids=((200000, 65536),),
    newuidmap="/usr/bin/newuidmap",
    newgidmap="/usr/bin/newgidmap",
)


def resolve(tables: dict[str, Any] | None = None, **changes: Any) -> ResolvedProfile:
    """A profile of these tables, as if all of them stood in one file."""
    data = {"schema": 1, "seccomp": {"enabled": False}, **(tables or {})}
    data["profile"] = {"name": "app", **data.get("profile", {})}

    def report(path: KeyPath, reason: str, hint: str) -> Problem:
        return Problem(FILE, 0, 0, key_text(path), reason, hint)

    resolved = ResolvedProfile(
        profile=msgspec.convert(data, Profile),
        known_as=FILE,
        files=(FILE,),
        stamps=(STAMP,),
        environment={},
        uses_cwd=False,
        looked_at={},
        cwd="/work",
        locate=lambda _path: None,
        report=report,
    )
    return msgspec.structs.replace(resolved, **changes) if changes else resolved


def compiled(host: Host = ROOT, /, **tables: Any) -> Plan:
    """The plan for a profile of these tables."""
    return compile_plan(resolve(tables), host)


def ops_of(plan: Plan, kind: type[_Op]) -> list[_Op]:
    """All ops of one kind."""
    return [op for op in plan.ops if isinstance(op, kind)]


def names(plan: Plan) -> list[str]:
    """What the plan does, by the names of its ops."""
    return [type(op).__name__ for op in plan.ops]


def binds(plan: Plan) -> dict[str, int]:
    """Each bound path with the attributes of its mount."""
    return {op.target: op.attributes for op in ops_of(plan, BindMount)}
