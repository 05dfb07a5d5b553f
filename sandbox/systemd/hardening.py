"""What of systemd's sandboxing the supervisor bears, beneath a payload that has its own.

The payload inherits all of it. So nothing stands here that would take away what a profile grants,
and nothing that keeps sbx from making namespaces (RestrictNamespaces=, ProtectHostname=), from
mounting /proc in one (ProtectKernelTunables=, ProtectKernelLogs=, ProcSubset=), or from its cgroups
(ProtectControlGroups=).
"""

import os
from collections.abc import Iterator
from typing import Final

from sandbox.plan import seccomp
from sandbox.plan.seccomp_policy import ALLOW, LOG, resolve
from sandbox.profile.model import Profile

# What root needs to make namespaces, map ids and mounts, and to end what it started.
_CAPABILITIES: Final = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_KILL",
    "CAP_NET_ADMIN",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_ADMIN",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RESOURCE",
)

# Groups of systemd's (systemd-analyze syscall-filter) and the calls in them that both machines have.
_CALLS: Final = {
    "@clock": "adjtimex clock_adjtime clock_settime settimeofday",
    "@cpu-emulation": "modify_ldt",
    "@module": "delete_module finit_module init_module",
    "@obsolete": "_sysctl afs_syscall create_module get_kernel_syms getpmsg putpmsg query_module "
    "security sysfs tuxcall uselib ustat vserver",
    "@raw-io": "ioperm iopl",
    "@reboot": "kexec_file_load kexec_load reboot",
    "@swap": "swapoff swapon",
}


def hardening(profile: Profile, manager: str, account: str) -> Iterator[tuple[str, str]]:
    """The settings that this profile leaves room for."""
    is_root = manager == "system" and not account
    # newuidmap is setuid, which no_new_privs forbids; what filters calls needs no_new_privs.
    if not is_root and profile.identity.map == "range":
        return
    yield "NoNewPrivileges", "yes"
    if manager == "system":
        yield from _mounts(profile)
    if is_root:
        kept = {*_CAPABILITIES, *profile.capabilities.keep}
        yield "CapabilityBoundingSet", " ".join(sorted(kept))
    elif manager == "system":
        yield "CapabilityBoundingSet", ""
        yield "AmbientCapabilities", ""
    if profile.seccomp.enabled:
        yield from _calls(profile)


def _mounts(profile: Profile) -> Iterator[tuple[str, str]]:
    yield "ProtectSystem", "strict"
    yield "ProtectKernelModules", "yes"
    if not profile.devices.allow:
        yield "PrivateDevices", "yes"


def _calls(profile: Profile) -> Iterator[tuple[str, str]]:
    policy = seccomp.policy_from_profile(profile.seccomp)
    reached = {
        decision.call
        for decision in resolve(policy, os.uname().machine)
        if decision.action in (ALLOW, LOG) or decision.cases
    }
    denied = [group for group, calls in _CALLS.items() if not reached & set(calls.split())]
    yield "SystemCallArchitectures", "native"
    yield "SystemCallFilter", f"~{' '.join(denied)}"
    yield "SystemCallErrorNumber", "EPERM"
    ruled = {rule.call for rule in profile.seccomp.rules}
    if "personality" not in {*ruled, *profile.seccomp.allow}:
        yield "LockPersonality", "yes"
    if profile.rlimits.rtprio is None:
        yield "RestrictRealtime", "yes"
