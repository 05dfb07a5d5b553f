"""Why a privilege was refused: a capability, an id that isn't mapped, a limit, a namespace."""

import errno
from typing import Final

from sandbox.explain.denial import Advice, Layer, Reason, outside
from sandbox.explain.network import ambient
from sandbox.explain.situation import Situation
from sandbox.profile.resolved import KeyPath

CAPABILITY: Final = {
    **dict.fromkeys(
        ("mount", "umount2", "pivot_root", "move_mount", "open_tree", "fsopen", "fspick"),
        "CAP_SYS_ADMIN",
    ),
    **dict.fromkeys(("mount_setattr", "setns", "unshare", "clone", "clone3"), "CAP_SYS_ADMIN"),
    **dict.fromkeys(("sethostname", "setdomainname"), "CAP_SYS_ADMIN"),
    "chroot": "CAP_SYS_CHROOT",
    **dict.fromkeys(("chown", "lchown", "fchown", "fchownat"), "CAP_CHOWN"),
    **dict.fromkeys(("setuid", "setreuid", "setresuid", "setfsuid"), "CAP_SETUID"),
    **dict.fromkeys(("setgid", "setregid", "setresgid", "setfsgid", "setgroups"), "CAP_SETGID"),
    "capset": "CAP_SETPCAP",
    "kill": "CAP_KILL",
    "ptrace": "CAP_SYS_PTRACE",
}
"""What counts in a namespace of the sandbox's own."""

_CLOCK: Final = "no key allows it: the clock is the whole machine's"
_MACHINE: Final = "no key allows it: it changes the whole machine"
_KERNEL: Final = "no key allows it: it loads code into the kernel"
_IN_FIRST: Final = "no key allows it: the kernel asks for a privilege of the machine's own"
NEVER: Final = {
    **dict.fromkeys(("settimeofday", "clock_settime", "adjtimex", "clock_adjtime"), _CLOCK),
    **dict.fromkeys(("swapon", "swapoff", "acct", "reboot", "quotactl", "quotactl_fd"), _MACHINE),
    **dict.fromkeys(("init_module", "finit_module", "delete_module", "kexec_load"), _KERNEL),
    "kexec_file_load": _KERNEL,
    **dict.fromkeys(("iopl", "ioperm", "syslog", "open_by_handle_at", "bpf"), _IN_FIRST),
}
"""What no sandbox with a user namespace of its own can be given, and why."""

_RLIMIT_OF: Final = {
    "setpriority": "nice",
    "ioprio_set": "nice",
    "sched_setscheduler": "rtprio",
    "sched_setparam": "rtprio",
    "sched_setattr": "rtprio",
    "mlock": "memlock",
    "mlock2": "memlock",
    "mlockall": "memlock",
}
_RESOURCES: Final = [
    "cpu",
    "fsize",
    "data",
    "stack",
    "core",
    "rss",
    "nproc",
    "nofile",
    "memlock",
    "as",
    "locks",
    "sigpending",
    "msgqueue",
    "nice",
    "rtprio",
    "rttime",
]
_KEEP: Final[KeyPath] = ("capabilities", "keep")


def privilege_advice(s: Situation, name: str) -> tuple[Advice, ...]:
    """The capability that a call needs beside the filter's leave."""
    capability = CAPABILITY.get(name)
    if (
        capability is None
        or name in {"kill", "ptrace"}
        or capability in s.profile.capabilities.keep
    ):
        return ()
    return (Advice(_KEEP, capability, add=True), *ambient(s))


def explain_privilege(
    s: Situation, name: str, error: int, arguments: tuple[int, ...]
) -> Reason | None:
    """The reason for a call that the filter let through and the kernel refused."""
    if name in {"fork", "vfork", "clone", "clone3"} and error in {errno.EAGAIN, errno.ENOMEM}:
        return _processes(s)
    if name in {"unshare", "clone", "clone3"} and error == errno.ENOSPC:
        return _no_namespaces()
    if name in {"mmap", "mremap", "mprotect"}:
        return _memory(s)
    if name in _RLIMIT_OF:
        return _limit(s, _RLIMIT_OF[name], "the limit doesn't let the payload go so far")
    if name in {"prlimit64", "setrlimit"}:
        resource = arguments[1 if name == "prlimit64" else 0]
        if resource < len(_RESOURCES):
            return _limit(s, _RESOURCES[resource], "a hard limit can't be raised inside")
    if name == "kill":
        return _kill(s, error, arguments[0])
    if name == "ptrace":
        return Reason(
            layer=Layer.TRACING,
            text="a process has one tracer, and here --explain is it",
            note="without --explain the profile allows it",
        )
    if name == "seccomp":
        return Reason(
            layer=Layer.TRACING,
            text="a filter that asks the payload itself could let through what is refused here",
            note="without --explain the profile allows it",
        )
    if name in {"shmget", "semget", "msgget", "mq_open"}:
        return _ipc(s, error)
    if name in NEVER:
        return Reason(
            layer=Layer.CAPABILITY, text="a privilege of the machine's own", note=NEVER[name]
        )
    if name in {"sethostname", "setdomainname"}:
        advice = (Advice(("namespaces", "hostname"), "NAME"),)
        text = "the payload lacks CAP_SYS_ADMIN; its host name is set by the profile"
        return Reason(
            layer=Layer.CAPABILITY, text=text, key=("namespaces", "hostname"), advice=advice
        )
    return _ids(s, name, error, arguments) or _capability(s, name)


def _capability(s: Situation, name: str) -> Reason | None:
    capability = CAPABILITY.get(name)
    if capability is None:
        return None
    advice = privilege_advice(s, name)
    if (
        capability in s.profile.capabilities.keep
        and s.identity.uid
        and not s.profile.capabilities.ambient
    ):
        advice = ambient(s)
    text = f"it needs {capability}, which the payload doesn't have"
    return Reason(layer=Layer.CAPABILITY, text=text, key=_KEEP, advice=advice)


def _ids(s: Situation, name: str, error: int, arguments: tuple[int, ...]) -> Reason | None:
    """Ids that aren't mapped don't exist inside (user_namespaces(7)): EINVAL."""
    if error != errno.EINVAL or s.identity.maps is None:
        return None
    indices = {"chown": (1, 2), "lchown": (1, 2), "fchown": (1, 2), "fchownat": (2, 3)}
    wanted = [arguments[i] & 0xFFFFFFFF for i in indices.get(name, (0, 1, 2))]
    counts = 1 if name in {"setuid", "setgid"} else 2 if "re" in name[:5] else 3
    unmapped = [
        number
        for number in (wanted if name in indices else wanted[:counts])
        if number != 0xFFFFFFFF and all(ids.outside(number) is None for ids in s.identity.maps)
    ]
    if not unmapped:
        return None
    size = s.profile.identity.range_size
    text = f"id {unmapped[0]} isn't mapped, so it doesn't exist inside"
    ranged = any(count > 1 for ids in s.identity.maps for _, _, count in ids.segments)
    if ranged and unmapped[0] >= size:
        advice = [Advice(("identity", "range_size"), unmapped[0] + 1)]
        key: KeyPath = ("identity", "range_size")
    else:
        advice = [Advice(("identity", "map"), "range")]
        key = ("identity", "map")
    return Reason(
        layer=Layer.NAMESPACE, text=text, key=key, advice=(*advice, *privilege_advice(s, name))
    )


def _processes(s: Situation) -> Reason:
    key: KeyPath = ("rlimits", "nproc")
    limit = s.profile.rlimits.nproc
    if limit is None:
        return outside("the caller's own limit of processes (ulimit -u, or its control group's)")
    text = "the payload's user has as many processes and threads as it may"
    soft = limit if isinstance(limit, int) else 1024
    return Reason(layer=Layer.LIMIT, text=text, key=key, advice=(Advice(key, 2 * soft),))


def _limit(s: Situation, name: str, text: str) -> Reason:
    key: KeyPath = ("rlimits", name)
    stated = dict(s.profile.rlimits.items()).get(name)
    note = "" if stated is not None else "the limit is inherited from sbx's caller"
    return Reason(
        layer=Layer.LIMIT, text=text, key=key, advice=(Advice(key, "unlimited"),), note=note
    )


def _memory(s: Situation) -> Reason | None:
    for name in ("as", "data"):
        if dict(s.profile.rlimits.items()).get(name) is not None:
            return _limit(s, name, "the address space is as large as it may become")
    return None


def _no_namespaces() -> Reason:
    key: KeyPath = ("seccomp", "allow")
    advice = Advice(key, "@namespaces", add=True)
    text = "the sandbox's own limit of namespaces is 0"
    return Reason(layer=Layer.NAMESPACE, text=text, key=key, advice=(advice,))


def _kill(s: Situation, error: int, raw: int) -> Reason:
    pid = raw & 0xFFFFFFFF
    pid = pid - (1 << 32) if pid >= 1 << 31 else pid
    if error == errno.ESRCH:
        if s.profile.namespaces.pid and pid > 0 and s.look.has_process(pid):
            key: KeyPath = ("namespaces", "pid")
            text = "a process of this number exists outside, but the sandbox has its own processes"
            advice = (Advice(key, False), Advice(("filesystem", "proc"), "none"))
            return Reason(layer=Layer.NAMESPACE, text=text, key=key, advice=advice)
        return outside("there is no such process", probe=True)
    if not s.profile.namespaces.pid and "signal" in s.profile.landlock.scopes:
        key = ("landlock", "scopes")
        scopes = [name for name in s.profile.landlock.scopes if name != "signal"]
        text = "Landlock keeps signals inside"
        return Reason(layer=Layer.LANDLOCK, text=text, key=key, advice=(Advice(key, scopes),))
    return outside("the process belongs to another user")


def _ipc(s: Situation, error: int) -> Reason:
    if s.profile.namespaces.ipc and error in {errno.ENOENT, errno.EACCES}:
        key: KeyPath = ("namespaces", "ipc")
        text = "the sandbox has its own shared memory, semaphores and queues"
        return Reason(
            layer=Layer.NAMESPACE, text=text, key=key, advice=(Advice(key, False),), probe=True
        )
    return outside("it is refused outside as well")
