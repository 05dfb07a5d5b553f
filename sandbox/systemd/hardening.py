"""What of systemd's sandboxing the supervisor bears, beneath a payload that has its own.

The payload inherits all of it. So nothing stands here that would take away what a profile grants,
and nothing that keeps sbx from making namespaces (RestrictNamespaces=, ProtectHostname=), from
mounting /proc in one (ProtectKernelTunables=, ProtectKernelLogs=, ProcSubset=), or from its cgroups
(ProtectControlGroups=).
"""

import os
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final

from sandbox.plan import seccomp
from sandbox.plan.seccomp_policy import ALLOW, LOG, Arg, Decision, SeccompPolicy, resolve
from sandbox.profile.model import Profile, Seccomp

# What root needs to make namespaces, to map ids, to reach files of others and to end what it started.
# In a user namespace of its own the kernel gives the sandbox's first process all there are.
_CAPABILITIES: Final = frozenset(
    {
        "CAP_DAC_OVERRIDE",
        "CAP_DAC_READ_SEARCH",
        "CAP_KILL",
        "CAP_SETFCAP",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SYS_ADMIN",
    }
)
_WITHOUT_USER_NAMESPACE: Final = frozenset(
    {
        "CAP_CHOWN",
        "CAP_FOWNER",
        "CAP_NET_ADMIN",
        "CAP_SETPCAP",
        "CAP_SYS_CHROOT",
        "CAP_SYS_RESOURCE",
    }
)
_HOMES: Final = ("/home", "/root", "/run/user")

# Groups of systemd's (systemd-analyze syscall-filter) and the calls in them that both machines have,
# and calls that are in no group by themselves.
_CALLS: Final = {
    "@clock": "adjtimex clock_adjtime clock_settime settimeofday",
    "@cpu-emulation": "modify_ldt",
    "@debug": "lookup_dcookie perf_event_open pidfd_getfd ptrace",
    "@module": "delete_module finit_module init_module",
    "@obsolete": "_sysctl afs_syscall create_module get_kernel_syms getpmsg putpmsg query_module "
    "security sysfs tuxcall uselib ustat vserver",
    "@raw-io": "ioperm iopl",
    "@reboot": "kexec_file_load kexec_load reboot",
    "@swap": "swapoff swapon",
    "bpf": "bpf",
    "userfaultfd": "userfaultfd",
}


def hardening(
    profile: Profile, manager: str, account: str, own: Sequence[str] = ()
) -> Iterator[tuple[str, str]]:
    """The settings that this profile leaves room for.

    `own` are sbx's own files, and those of the profile, that have to stay in reach.
    """
    is_root = manager == "system" and not account
    # newuidmap is setuid, which no_new_privs forbids; what filters calls needs no_new_privs.
    if not is_root and profile.identity.map == "range":
        return
    yield "NoNewPrivileges", "yes"
    if profile.process.umask != "inherit":
        yield "UMask", "0077"
    if manager == "system":
        yield from _mounts(profile, own)
    if is_root:
        kept = _CAPABILITIES | set(profile.capabilities.keep)
        if not profile.namespaces.user:
            kept |= _WITHOUT_USER_NAMESPACE
        yield "CapabilityBoundingSet", " ".join(sorted(kept))
    elif manager == "system":
        yield "CapabilityBoundingSet", ""
        yield "AmbientCapabilities", ""
    if profile.seccomp.enabled:
        yield from _calls(profile)


def _mounts(profile: Profile, own: Sequence[str]) -> Iterator[tuple[str, str]]:
    yield "ProtectSystem", "strict"
    yield "ProtectKernelModules", "yes"
    if profile.filesystem.proc != "unmasked":
        yield "ProtectProc", "invisible"
    if not any(_touch(path, home) for path in (*_named(profile), *own) for home in _HOMES):
        yield "ProtectHome", "yes"
    if not profile.devices.allow:
        # Both close all devices but the ordinary ones.
        yield "PrivateDevices", "yes"
        yield "ProtectClock", "yes"


def _named(profile: Profile) -> Iterator[str]:
    """Every path of the host that the profile names."""
    files, rootfs = profile.filesystem, profile.rootfs
    yield from (path for path in (rootfs.path, rootfs.overlay) if path)
    if rootfs.type == "host":
        yield from (*files.read, *files.write, *files.execute)
    for mount in profile.mounts:
        yield from (path for path in (mount.source, mount.upper, *mount.lower) if path)
    yield from (secret.file for secret in profile.secrets.values() if secret.file)


def _touch(path: str, other: str) -> bool:
    """Whether one of two paths lies within the other."""
    return f"{path}/".startswith(f"{other}/") or f"{other}/".startswith(f"{path.rstrip('/')}/")


def _calls(profile: Profile) -> Iterator[tuple[str, str]]:
    machine = os.uname().machine
    policy = seccomp.policy_from_profile(profile.seccomp)
    decisions = {decision.call: decision for decision in resolve(policy, machine)}
    granted = {call for call, decision in decisions.items() if _allowed(decision)}
    denied = [group for group, calls in _CALLS.items() if not granted & set(calls.split())]
    yield "SystemCallArchitectures", "native"
    yield "SystemCallFilter", f"~{' '.join(denied)}"
    yield "SystemCallErrorNumber", "EPERM"
    plain = {decision.call: decision for decision in resolve(_ordinary(), machine)}

    def is_plain(*calls: str) -> bool:
        return all(_allowed(decisions[call]) <= _allowed(plain[call]) for call in calls)

    if is_plain("socket", "socketpair"):
        yield "RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6 AF_NETLINK"
    if is_plain("personality"):
        yield "LockPersonality", "yes"
    if profile.rlimits.rtprio is None:
        yield "RestrictRealtime", "yes"


def _allowed(decision: Decision) -> set[tuple[Arg, ...]]:
    """Under which conditions a call is let through; one that is empty always holds."""
    cases = [(case.conditions, case.action) for case in decision.cases]
    return {held for held, action in (*cases, ((), decision.action)) if action in (ALLOW, LOG)}


@cache
def _ordinary() -> SeccompPolicy:
    """What the groups for ordinary programs let through."""
    return seccomp.policy_from_profile(Seccomp(allow=("@service",)))
