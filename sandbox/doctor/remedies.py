"""What mends a refusal: the exact commands, from the host's facts and the errno of a trial."""

import errno
import shutil
from collections.abc import Iterable
from typing import NamedTuple

from sandbox._paths import launcher_path
from sandbox.doctor import apparmor
from sandbox.doctor.child import Outcome
from sandbox.host import Host

# The first Linux release with each feature, by the manual page that names it.
SINCE = {
    "clone3": (5, 3),  # clone(2)
    "pidfd_open": (5, 3),  # pidfd_open(2)
    "open_tree": (5, 2),  # open_tree(2)
    "openat2": (5, 6),  # openat2(2)
    "time": (5, 6),  # time_namespaces(7)
    "mount_setattr": (5, 12),  # mount_setattr(2)
    "idmap": (5, 12),  # mount_setattr(2)
    "overlay": (5, 11),  # overlay in a user namespace
    "landlock": (5, 13),  # landlock(7)
    "landlock-scopes": (6, 12),  # landlock(7), ABI 6
    "seccomp-notify": (5, 0),  # seccomp_unotify(2)
    "cgroup": (4, 6),  # cgroup_namespaces(7)
}
SCOPES_ABI = 6


class Remedy(NamedTuple):
    """Why something fails, in words, and what to type against it."""

    reason: str
    commands: tuple[str, ...] = ()


def kernel_lacks(host: Host, feature: str) -> Remedy:
    """For a call that the kernel doesn't know, or that a filter hides."""
    since = SINCE[feature]
    version = ".".join(map(str, since))
    if host.release_tuple < since:
        return Remedy(f"came with Linux {version}; this is {host.release}: boot a newer kernel")
    if host.seccomp_filtered:
        return Remedy(
            f"Linux {host.release} has it, but the filter that this process runs under hides it",
            _unfiltered(),
        )
    return Remedy(f"Linux {version} brought it, but this kernel was built without it")


def no_landlock(host: Host) -> Remedy:
    if host.release_tuple < SINCE["landlock"] or host.seccomp_filtered:
        return kernel_lacks(host, "landlock")
    setting = (
        r"GRUB_CMDLINE_LINUX=\"\$GRUB_CMDLINE_LINUX lsm=landlock,$(cat /sys/kernel/security/lsm)\""
    )
    return Remedy(
        "this kernel didn't enable it at boot (or was built without CONFIG_SECURITY_LANDLOCK)",
        (
            f'echo "{setting}" | {_sudo(host)}tee /etc/default/grub.d/landlock.cfg',
            f"{_sudo(host)}update-grub && {_sudo(host)}reboot",
        ),
    )


def user_namespace(host: Host, outcome: Outcome) -> Remedy:
    """For a user namespace that is refused, or that gives no capabilities."""
    if "user" not in host.namespaces:
        return Remedy("this kernel was built without CONFIG_USER_NS: boot another kernel")
    limit = namespace_limit(host, "user", outcome)
    if limit:
        return limit
    if not host.unprivileged_userns_clone and "CAP_SYS_ADMIN" not in host.capabilities:
        return Remedy(
            "kernel.unprivileged_userns_clone is 0",
            _sysctl(host, "kernel.unprivileged_userns_clone=1"),
        )
    if host.apparmor_restricts_userns:
        return Remedy(
            "AppArmor keeps user namespaces from programs without a profile that allows them "
            "(kernel.apparmor_restrict_unprivileged_userns is 1). Give sbx such a profile, "
            "or, wider, lift the restriction for every program",
            (
                *apparmor.commands(launcher_path(), _sudo(host)),
                *_sysctl(host, "kernel.apparmor_restrict_unprivileged_userns=0"),
            ),
        )
    if outcome.signal or host.seccomp_filtered:
        return Remedy("the filter that this process runs under forbids it", _unfiltered())
    if outcome.errno == errno.EPERM and outcome.step.startswith("unshare(user)"):
        return Remedy(
            "the kernel forbids it to a process inside a chroot (user_namespaces(7)), "
            "and a security module may: start sbx outside the chroot"
        )
    return Remedy("the kernel or a security module refuses it")


def namespace_limit(host: Host, kind: str, outcome: Outcome) -> Remedy | None:
    """ENOSPC from clone and unshare speaks of a limit on namespaces, not of a disk."""
    if outcome.errno not in {errno.ENOSPC, errno.EUSERS}:
        return None
    limit = host.namespace_limits[kind]
    name = f"user.max_{kind}_namespaces"
    if limit > 0:
        why = (
            f"the limit on {kind} namespaces is used up ({name} is {limit} here), "
            "or one around this process is lower, or user namespaces are 32 deep"
        )
        return Remedy(
            why, _sysctl(host, f"{name}={max(2 * limit, 15000)}") if limit < 2**30 else ()
        )
    return Remedy(f"{name} is 0", _sysctl(host, f"{name}=15000"))


def namespace(host: Host, kind: str, outcome: Outcome) -> Remedy:
    limit = namespace_limit(host, kind, outcome)
    if limit:
        return limit
    if kind not in host.namespaces:
        if kind in SINCE:
            return kernel_lacks(host, kind)
        return Remedy(f"this kernel was built without {kind} namespaces: boot another kernel")
    return refused(host, outcome)


def covered_proc(host: Host, outcome: Outcome) -> Remedy:
    if outcome.errno == errno.EPERM and outcome.step == "mount proc":
        return Remedy(
            "parts of the /proc around sbx are covered, as container engines do, and the kernel "
            "then gives no new one. Start the container with /proc uncovered, or set "
            'filesystem.proc = "none" in the profile',
            (
                "docker run --security-opt systempaths=unconfined ...",
                "podman run --security-opt unmask=ALL ...",
                "kubectl: securityContext.procMount: Unmasked (with hostUsers: false)",
            ),
        )
    return namespace(host, "pid", outcome)


def refused(host: Host, outcome: Outcome) -> Remedy:
    """For a call that fails inside a user namespace that could be made."""
    if outcome.signal or (host.seccomp_filtered and outcome.errno in {errno.EPERM, errno.ENOSYS}):
        return Remedy("the filter that this process runs under forbids it", _unfiltered())
    if outcome.errno in {errno.EPERM, errno.EACCES} and host.apparmor_restricts_userns:
        return Remedy(
            "AppArmor takes the capabilities away in user namespaces of programs without a profile",
            apparmor.commands(launcher_path(), _sudo(host)),
        )
    if outcome.errno == errno.ENODEV:
        return Remedy("this kernel was built without that file system, or its module isn't loaded")
    return Remedy("the kernel or a security module refuses it")


def no_trace(host: Host, outcome: Outcome) -> Remedy:
    """For ptrace(2), by which `sbx run --explain` sees what is refused."""
    if outcome.signal or host.seccomp_filtered:
        return Remedy("the filter that this process runs under forbids it", _unfiltered())
    return Remedy(
        "Yama or another security module forbids to trace even one's own processes "
        "(kernel.yama.ptrace_scope is 2 or 3)",
        _sysctl(host, "kernel.yama.ptrace_scope=1"),
    )


def subordinate_ids(host: Host, lines: Iterable[str]) -> Remedy:
    """For a user without ranges; `lines` are those of /etc/subuid and /etc/subgid."""
    first = free_range(lines)
    last = first + 65535
    if host.user_name:
        command = (
            f"{_sudo(host)}usermod --add-subuids {first}-{last} --add-subgids {first}-{last} "
            f"{host.user_name}"
        )
    else:
        command = f"echo '{host.uid}:{first}:65536' | {_sudo(host)}tee -a /etc/subuid /etc/subgid"
    owner = host.user_name or f"uid {host.uid}"
    return Remedy(f"/etc/subuid and /etc/subgid have no 65536 ids for {owner}", (command,))


def no_newuidmap(host: Host) -> Remedy:
    install = {
        "apt-get": "apt-get install -y uidmap",
        "dnf": "dnf install -y shadow-utils",
        "pacman": "pacman -S --noconfirm shadow",
    }
    here = [text for tool, text in install.items() if shutil.which(tool)]
    commands = tuple(_sudo(host) + text for text in here or install.values())
    return Remedy("newuidmap and newgidmap aren't installed", commands)


def newuidmap_refuses(host: Host) -> Remedy:
    if host.no_new_privs:
        return Remedy(
            "this process runs with no_new_privs, under which setuid programs gain nothing: "
            "start sbx outside of it"
        )
    return Remedy(
        "newuidmap has lost its privilege, or refuses the ranges",
        (f"{_sudo(host)}chmod u+s {host.newuidmap} {host.newgidmap}",),
    )


def no_cgroups(host: Host) -> Remedy:
    return Remedy(
        "no cgroup file system is mounted",
        (f"{_sudo(host)}mount -t cgroup2 cgroup2 /sys/fs/cgroup",),
    )


def undelegated_service(host: Host, service: str) -> Remedy:
    """For root inside a unit whose cgroup systemd keeps for itself (systemd.resource-control(5))."""
    return Remedy(
        f"this process is in {service}, whose cgroup systemd manages alone: set Delegate=yes in it",
        (
            *_drop_in(host, service, "Delegate=yes"),
            f"{_sudo(host)}systemctl restart {service}",
        ),
    )


def no_user_manager(host: Host) -> Remedy:
    """For a user whose cgroup isn't delegated and who has nobody to ask for one that is."""
    name = host.user_name or str(host.uid)
    return Remedy(
        "the cgroup of this process isn't delegated to its user, and no systemd of that user runs "
        f"that could give one (/run/user/{host.uid}/bus is missing)",
        (f"{_sudo(host)}loginctl enable-linger {name}",),
    )


def no_controllers(host: Host, lacking: Iterable[str]) -> Remedy:
    """For controllers that the machine or the user's systemd doesn't hand on."""
    names = ", ".join(sorted(lacking))
    handed = [name for name in sorted(lacking) if name in host.cgroups.controllers]
    if host.uid == 0 or not handed:
        return Remedy(f"there is no controller {names} here")
    return Remedy(
        f"not handed on to users: {names}",
        (
            *_drop_in(host, "user@.service", "Delegate=cpu cpuset io memory pids"),
            f"{_sudo(host)}systemctl restart user@{host.uid}.service  # or log in anew",
        ),
    )


def cgroup_refuses(host: Host, directory: str, outcome: Outcome) -> Remedy:
    """For a cgroup that can't be made where sbx would make it."""
    if outcome.errno == errno.EROFS:
        return Remedy(
            "the cgroup file system is mounted read-only, as in containers: start the container "
            "with a writable one",
            ("docker run --privileged --cgroupns=private ...", "podman run --systemd=always ..."),
        )
    if outcome.errno == errno.EAGAIN:
        return Remedy(f"a limit on cgroups above is reached (see cgroup.max.* above {directory})")
    if host.cgroups.version != "v2" and host.uid != 0:
        setting = r"GRUB_CMDLINE_LINUX=\"\$GRUB_CMDLINE_LINUX systemd.unified_cgroup_hierarchy=1\""
        return Remedy(
            "cgroups of version 1 can't safely be left to users: run sbx as root, or boot with "
            "version 2",
            (
                f'echo "{setting}" | {_sudo(host)}tee /etc/default/grub.d/cgroup.cfg',
                f"{_sudo(host)}update-grub && {_sudo(host)}reboot",
            ),
        )
    return Remedy("the kernel or a security module refuses it")


def free_range(lines: Iterable[str]) -> int:
    """The first subordinate id, from 100000 on, behind every range that is given out."""
    end = 100000
    for line in lines:
        fields = line.strip().split(":")
        if len(fields) == 3 and fields[1].isdigit() and fields[2].isdigit():
            end = max(end, int(fields[1]) + int(fields[2]))
    return end


def _sudo(host: Host) -> str:
    return "" if host.uid == 0 else "sudo "


def _drop_in(host: Host, unit: str, setting: str) -> tuple[str, ...]:
    """Commands that add a setting to a unit's [Service]; what `systemctl edit` would do."""
    directory = f"/etc/systemd/system/{unit}.d"
    return (
        f"{_sudo(host)}mkdir -p {directory}",
        f"printf '[Service]\\n{setting}\\n' | {_sudo(host)}tee {directory}/delegate.conf",
        f"{_sudo(host)}systemctl daemon-reload",
    )


def _sysctl(host: Host, setting: str) -> tuple[str, ...]:
    """Set it now, and at every boot."""
    sudo = _sudo(host)
    return (
        f"{sudo}sysctl -w {setting}",
        f"echo '{setting}' | {sudo}tee -a /etc/sysctl.d/60-sbx.conf",
    )


def _unfiltered() -> tuple[str, ...]:
    return (
        "docker run --security-opt seccomp=unconfined ...",
        "podman run --security-opt seccomp=unconfined ...",
    )
