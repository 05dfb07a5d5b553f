"""The words for what fails with the sandbox's control groups: `csrc/cgroup*.c` give numbers only."""

import errno
import os
from typing import Final

from sandbox.plan import ops
from sandbox.plan.kernel import size_words
from sandbox.plan.record import Op, Plan
from sandbox.process.launch import Failure
from sandbox.process.words import Words

DETAIL_NO_HIERARCHY: Final = 16
DETAIL_NOT_DELEGATED: Final = 17
DETAIL_CGROUP_READ_ONLY: Final = 18
DETAIL_NO_CONTROLLER: Final = 19
DETAIL_CGROUP_BUSY: Final = 20
DETAIL_BELOW_USE: Final = 21
DETAIL_VALUE_REFUSED: Final = 22
DETAIL_CGROUP_MADE: Final = 23
DETAIL_CGROUP_ENTERED: Final = 24
DETAIL_MEMORY_LIMIT: Final = 25
DETAIL_PIDS_LIMIT: Final = 26

MEMORY_FILES: Final = ("memory.max", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
PIDS_FILES: Final = ("pids.max",)


def limit_index(plan: Plan, files: tuple[str, ...]) -> int | None:
    """The first op of the plan that writes to one of these files of its cgroup."""
    return next(
        (i for i, op in enumerate(plan.ops) if isinstance(op, ops.SetCgroup) and op.file in files),
        None,
    )


def blamed(plan: Plan, failure: Failure) -> Failure:
    """The same failure, of the limit that is why another op failed."""
    files = {DETAIL_MEMORY_LIMIT: MEMORY_FILES, DETAIL_PIDS_LIMIT: PIDS_FILES}.get(failure.detail)
    index = limit_index(plan, files) if files else None
    return failure if index is None else failure._replace(op=index)


def value_words(op: ops.SetCgroup) -> str:
    """A limit for a person: `64 MiB`, `20 processes`."""
    if op.file in MEMORY_FILES and op.value.isdecimal():
        return size_words(int(op.value))
    return op.value


def cgroup_words(op: Op, failure: Failure) -> Words | None:
    """Reason and remedy; None for a failure that isn't of a cgroup."""
    if failure.detail in (DETAIL_MEMORY_LIMIT, DETAIL_PIDS_LIMIT):
        return _own_limit(op, failure.detail)
    if not isinstance(op, ops.CreateCgroup | ops.SetCgroup):
        return None
    hierarchy = op.hierarchy if isinstance(op, ops.SetCgroup) else "/sys/fs/cgroup"
    version_2 = "" in own_cgroups() and os.path.exists(f"{hierarchy}/cgroup.controllers")
    if failure.detail == DETAIL_NO_HIERARCHY:
        return Words(
            f"limits can't be set: no control groups of the kind that they need are at {hierarchy}",
            "mount them: mount -t cgroup2 cgroup2 /sys/fs/cgroup; in a container: podman run "
            "--cgroupns=private --privileged",
        )
    if failure.detail == DETAIL_NOT_DELEGATED:
        return _not_delegated(version_2=version_2)
    if failure.detail == DETAIL_CGROUP_READ_ONLY:
        return Words(
            f"limits can't be set: {hierarchy} is mounted read-only around sbx",
            f"mount it writable: mount -o remount,rw {hierarchy}; a container gets it so with "
            "podman run --security-opt unmask=/sys/fs/cgroup, or docker run --privileged",
        )
    if isinstance(op, ops.SetCgroup) and failure.detail == DETAIL_NO_CONTROLLER:
        return _no_controller(op, version_2=version_2)
    if failure.detail == DETAIL_CGROUP_BUSY:
        return Words(
            f"limits can't be set: other processes are in sbx's own cgroup {own_cgroups().get('', '/')}, "
            "and the kernel shares out resources only below cgroups without any",
            "in a unit: Delegate=yes and DelegateSubgroup=supervisor; from a shell: systemd-run "
            "--user --scope -p Delegate=yes sbx run ...",
        )
    if isinstance(op, ops.SetCgroup) and failure.detail in (DETAIL_BELOW_USE, DETAIL_VALUE_REFUSED):
        return _value(op, failure)
    if failure.detail == DETAIL_CGROUP_MADE:
        return _not_made(failure.error)
    if failure.detail == DETAIL_CGROUP_ENTERED:
        return _not_entered(failure.error)
    return None


def _own_limit(op: Op, detail: int) -> Words:
    limit = value_words(op) if isinstance(op, ops.SetCgroup) else ""
    if detail == DETAIL_MEMORY_LIMIT:
        if not limit:
            return Words(
                "the sandbox was killed for want of memory before it could start the program",
                "the host or the unit around sbx has too little: MemoryMax=, 'dmesg'",
            )
        return Words(
            f"the sandbox was killed for memory before it could start the program: limit {limit}",
            "raise resources.memory_max",
        )
    return Words(
        f"no more than {limit or 'the limit of'} processes may be in the sandbox, and sbx needs one "
        "for its init and one for the program",
        "raise resources.pids_max",
    )


def _not_delegated(*, version_2: bool) -> Words:
    own = own_cgroups().get("", "")
    unit = next((p for p in reversed(own.split("/")) if p.endswith((".service", ".scope"))), "")
    if not version_2:
        return Words(
            "limits can't be set: this user may make no control groups of version 1",
            "run sbx as root, or boot with cgroup v2 (systemd.unified_cgroup_hierarchy=1), where a "
            "user's systemd gives them",
        )
    if unit.endswith(".service"):
        return Words(
            f"limits can't be set: systemd doesn't leave the control groups of {unit} to it",
            f"set Delegate=yes and DelegateSubgroup=supervisor in its [Service]: systemctl edit {unit}",
        )
    return Words(
        f"limits can't be set: the control group {own or '/'} isn't this user's",
        "start it in a scope of the user's systemd: systemd-run --user --scope -p Delegate=yes "
        "sbx run ...; or in a service with Delegate=yes",
    )


def _no_controller(op: ops.SetCgroup, *, version_2: bool) -> Words:
    if version_2 and op.controller in _words_of(f"{op.hierarchy}/cgroup.controllers"):
        own = own_cgroups().get("", "/")
        enabled = op.controller in _words_of(f"{op.hierarchy}{own}/cgroup.controllers")
        if not enabled:
            return Words(
                f"limits can't be set: the controller '{op.controller}' isn't given to {own}",
                f"give it to the unit: Delegate=yes, or Delegate={op.controller} with the others; for "
                "users: Delegate= in user@.service",
            )
    return Words(
        f"limits can't be set: this kernel has no '{op.file}' (controller '{op.controller}')",
        "look whether it was built in and is on: /proc/cgroups, cgroup_disable= and swapaccount= in "
        "/proc/cmdline; or take the limit out of the profile",
    )


def _value(op: ops.SetCgroup, failure: Failure) -> Words:
    what = f"{op.file} = {op.value}"
    if failure.detail == DETAIL_BELOW_USE:
        return Words(
            f"the limit {what} is below what is in use already: {os.strerror(failure.error)}",
            "raise it, or end what uses so much",
        )
    if op.controller == "cpuset":
        return Words(
            f"the processors or memory nodes of {what} aren't all there for sbx",
            "'nproc' and /sys/fs/cgroup tell which are: cpuset.cpus.effective",
        )
    if op.controller in ("io", "blkio") and failure.error == errno.ENODEV:
        return Words(
            f"there is no such block device for {what}",
            "'lsblk' lists whole disks, which is what the kernel limits",
        )
    if failure.error == errno.ENOTBLK:
        return Words(f"what {what} names is no block device", "'lsblk' lists those that are")
    return Words(
        f"the kernel refuses {what}: {os.strerror(failure.error)}",
        "a cgroup around sbx may allow less, or the value is out of the kernel's range",
    )


def _not_made(error: int) -> Words:
    if error == errno.EAGAIN:
        return Words(
            "no more control groups may be made (cgroup.max.descendants or cgroup.max.depth)",
            "raise it in the cgroup above, or remove what is left of others: sbx gc",
        )
    if error in (errno.ENOSPC, errno.ENOMEM):
        return Words(
            f"the kernel can't make another control group: {os.strerror(error)}",
            "/proc/cgroups tells how many there are; remove what is left of others: sbx gc",
        )
    return Words(f"the control group can't be made: {os.strerror(error)}")


def _not_entered(error: int) -> Words:
    reasons = {
        errno.E2BIG: "the kernel is older than 5.7, and can't start a process in one of version 2",
        errno.EOPNOTSUPP: "it is below a threaded one, which can't hold whole processes",
        errno.EBUSY: "it has cgroups below it that share out its resources",
        errno.ENODEV: "somebody has removed it",
        errno.EAGAIN: "no more processes may be started there",
        errno.ENOSPC: "its cpuset is empty",
    }
    return Words(
        f"the sandbox can't be put into its control group: {reasons.get(error, os.strerror(error))}",
        "'sbx doctor' says what this host lacks and the command that mends it",
    )


def own_cgroups() -> dict[str, str]:
    """This process's cgroup by controller; version 2's is under the empty name."""
    found = {}
    try:
        with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                _, names, path = line.rstrip("\n").split(":", 2)
                found.update(dict.fromkeys(names.split(","), path))
    except OSError:
        pass
    return found


def _words_of(path: str) -> list[str]:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().split()
    except OSError:
        return []
