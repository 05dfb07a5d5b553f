"""From a profile and a host to a plan. The order of the ops is decided here and nowhere else.

Pure: it reads its two arguments and nothing of the machine, so the same input gives the same plan.
"""

import functools
import os
import re
from collections.abc import Iterator
from typing import Final

from sandbox import __version__, units
from sandbox.errors import Problem, ProfileError
from sandbox.host import Host
from sandbox.plan import cgroup, health, landlock, limits, mounts, seccomp, service, tree
from sandbox.plan import identity as identities
from sandbox.plan.identity import Identity
from sandbox.plan.inputs import Inputs
from sandbox.plan.kernel import NAMESPACES, SIGKILL
from sandbox.plan.ops import (
    CALLERS_UMASK,
    BringUpLoopback,
    ChangeDirectory,
    CheckDescriptors,
    CreateNamespaces,
    Execute,
    Identify,
    InstallFilter,
    KeepDescriptor,
    NewKeyring,
    NewSession,
    NullStdin,
    OpenTerminal,
    ProtectProcess,
    ProvideDirectory,
    RestrictSelf,
    SealDescriptors,
    SetDeathSignal,
    SetEnvironment,
    SetGroups,
    SetHostname,
    SetIds,
    SetNoNewPrivileges,
    SetUmask,
    SkipFeature,
    StartInit,
)
from sandbox.plan.record import (
    CwdStamp,
    FileStamp,
    HostStamp,
    Plan,
    PlanFlag,
    Record,
    Step,
    VariableStamp,
)
from sandbox.plan.seccomp_policy import keyrings_allowed, user_namespaces_reachable
from sandbox.profile.model import Feature
from sandbox.profile.resolved import KeyPath, ResolvedProfile
from sandbox.profile.service import SECRETS_DIRECTORY

# Its root directory is made anew at boot: what the kernel was started with may differ since.
_BOOT_MARK: Final = "/proc"
# csrc/record.c adds the supervisor's pid.
NAME_STEM_MAX: Final = 48
_OPTIONAL_NAMESPACES: Final[dict[str, Feature]] = {
    "time": "namespaces.time",
    "cgroup": "namespaces.cgroup",
}


def compile(resolved: ResolvedProfile, host: Host) -> Plan:  # noqa: A001 - the stage's name
    """The plan for this profile on this host.

    Raises ProfileError with everything in the profile that can't hold together, UnsupportedError
    if the host lacks what it asks for and doesn't call optional.
    """
    inputs = Inputs(resolved, host)
    _require_kernel(inputs)
    steps = list(_steps(inputs))
    inputs.raise_conflicts()
    skipped = tuple(sorted(inputs.not_enforced))
    if skipped:
        inputs.watch(_BOOT_MARK)
    optional = inputs.profile.profile.optional
    steps[:0] = [
        Step(SkipFeature(feature=name, warn=int(name in optional)), ("profile", "optional"))
        for name in skipped
    ]
    for path, is_it in inputs.resolved.looked_at.items():
        inputs.watch(path, follow=False, any_state=is_it)
    return Plan(
        ops=tuple(step.op for step in steps),
        origins=tuple(step.origin for step in steps),
        flags=_flags(inputs, steps),
        stamps=tuple(_stamps(inputs)),
        watched=tuple(sorted(inputs.watched)),
        not_enforced=skipped,
    )


def _steps(inputs: Inputs) -> Iterator[Step]:
    profile = inputs.profile
    identity = identities.resolve(inputs)
    statements = tree.build(inputs, identity)
    policy = _policy(inputs)
    nested = policy is None or user_namespaces_reachable(policy)
    dies = [Step(SetDeathSignal(signal=SIGKILL), ("process", "die_with_parent"))]
    dies = dies if profile.process.die_with_parent else []
    with_init, dies = dies, [] if profile.service.survive else dies
    rules = landlock.steps(inputs, statements)

    yield _identity_of_record(inputs)
    for place in statements.provided:
        yield Step(ProvideDirectory(path=place))
    yield from cgroup.steps(inputs)
    yield from service.steps(inputs)
    yield from health.steps(inputs, policy)
    yield from _namespaces(inputs, identity)
    yield from dies
    # What needs no mapped ids comes first: the supervisor writes the maps meanwhile.
    if profile.namespaces.uts:
        yield Step(SetHostname(name=profile.namespaces.hostname), ("namespaces", "hostname"))
    if profile.network.mode == "none":
        yield Step(BringUpLoopback(), ("network", "mode"))
    yield from limits.bounding_set(inputs)
    yield from identity.map_steps()
    if identity.starts_as_root:
        yield Step(SetIds(uid=0, gid=0), ("identity", "map"))
    yield from mounts.steps(inputs, identity, statements, nested=nested)
    yield from rules
    yield from limits.rlimits(inputs, may_raise=identity.maps is None)
    yield from _surroundings(inputs)
    yield from service.output(inputs)
    yield Step(CheckDescriptors())

    if identity.keeps_setgroups:
        yield Step(SetGroups())
    yield from limits.securebits(inputs, identity)
    yield Step(SetIds(uid=identity.uid, gid=identity.gid), ("identity", "user"))
    yield from limits.capabilities(inputs, identity)
    if policy is None or keyrings_allowed(policy):
        yield Step(NewKeyring(), ("seccomp", "allow"))
    yield Step(SetNoNewPrivileges())
    if profile.process.init:
        yield Step(ProtectProcess(), ("process", "init"))
    # The kernel forgets it when ids or capabilities change (prctl(2)).
    yield from dies
    if profile.process.init:
        yield Step(StartInit(), ("process", "init"))
        if not profile.namespaces.pid:
            yield from with_init
    yield from _payload(inputs)
    yield from service.announcement(inputs)
    if rules:
        yield Step(RestrictSelf(flags=0), ("landlock", "enabled"))
    if policy is not None:
        yield from _filter(inputs, policy)
    yield Step(Execute(argv=profile.process.command), ("process", "command"))


def _identity_of_record(inputs: Inputs) -> Step:
    profile = inputs.resolved.known_as
    name = inputs.profile.profile.name or os.path.basename(profile).removesuffix(".toml")
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).lstrip(".-")[:NAME_STEM_MAX]
    return Step(Identify(stem=stem or "sandbox", profile=profile), ("profile", "name"))


def _require_kernel(inputs: Inputs) -> None:
    """Calls that the executor can't do without, all of them in Linux 5.12."""
    host = inputs.host
    needed = {
        "clone3": host.clone3,
        "openat2": host.openat2,
        "open_tree": host.open_tree,
        "mount_setattr": host.mount_setattr,
    }
    missing = [name for name, present in needed.items() if not present]
    if missing:
        inputs.lacks(
            ("schema",),
            f"this kernel ({host.release}) lacks {', '.join(missing)}, or a filter refuses it",
            "sbx needs Linux 5.12 or later; in a container its system call filter must allow them",
        )


def _namespaces(inputs: Inputs, identity: Identity) -> Iterator[Step]:
    profile, host = inputs.profile, inputs.host
    wanted: dict[str, tuple[bool, KeyPath]] = {
        "user": (identity.maps is not None, ("namespaces", "user")),
        "mnt": (True, ("namespaces",)),
        "net": (profile.network.mode == "none", ("network", "mode")),
    }
    for kind in ("pid", "ipc", "uts", "cgroup", "time"):
        wanted[kind] = (getattr(profile.namespaces, kind), ("namespaces", kind))
    flags = 0
    for kind, (flag, words) in NAMESPACES.items():
        asked, key = wanted[kind]
        if not asked:
            continue
        if kind in host.namespaces and host.namespace_limits.get(kind, 1) > 0:
            flags |= flag
            continue
        message = f"this host lets the caller make no namespace for {words}"
        hint = f"raise /proc/sys/user/max_{kind}_namespaces, or use a kernel that has them"
        optional = _OPTIONAL_NAMESPACES.get(kind)
        if optional is None:
            inputs.lacks(key, message, hint)
        inputs.lacks_optional(optional, key, message, hint)
    yield Step(CreateNamespaces(flags=flags), ("namespaces",))


def _surroundings(inputs: Inputs) -> Iterator[Step]:
    process, environment = inputs.profile.process, inputs.profile.environment
    mask = CALLERS_UMASK
    if process.umask != "inherit":
        mask = units.octal(process.umask, maximum=0o777)
    yield Step(SetUmask(mask=mask), ("process", "umask"))
    given = dict(environment.set)
    if any(secret.credential for secret in inputs.profile.secrets.values()):
        given.setdefault("CREDENTIALS_DIRECTORY", SECRETS_DIRECTORY)
    fixed = tuple(f"{name}={value}" for name, value in sorted(given.items()))
    passed = tuple(sorted(set(environment.pass_)))
    yield Step(SetEnvironment(set=fixed, passed=passed), ("environment",))


def _payload(inputs: Inputs) -> Iterator[Step]:
    process = inputs.profile.process
    if process.terminal != "never" and inputs.profile.service.log == "inherit":
        yield Step(OpenTerminal(), ("process", "terminal"))
    elif process.new_session:
        yield Step(NewSession(), ("process", "new_session"))
    if process.stdin == "null":
        yield Step(NullStdin(), ("process", "stdin"))
    yield Step(ChangeDirectory(path=process.cwd), ("process", "cwd"))
    yield from limits.open_files(inputs)
    yield Step(SealDescriptors())
    for number in sorted(set(process.descriptors)):
        index = process.descriptors.index(number)
        yield Step(KeepDescriptor(number=number), ("process", "descriptors", index))


def _policy(inputs: Inputs) -> seccomp.SeccompPolicy | None:
    """The policy, if it is wanted and sound."""
    if not inputs.profile.seccomp.enabled:
        return None
    try:
        policy = seccomp.policy_from_profile(inputs.profile.seccomp)
        found = seccomp.problems(policy)
    except ProfileError as error:
        found = error.problems
    _place(inputs, found)
    return None if found else policy


def _filter(inputs: Inputs, policy: seccomp.SeccompPolicy) -> Iterator[Step]:
    host = inputs.host
    if "errno" not in host.seccomp_actions:
        inputs.lacks(
            ("seccomp", "enabled"),
            f"there are no system call filters for this kernel and machine ({host.machine})",
            "use a kernel with CONFIG_SECCOMP_FILTER on x86-64 or arm64",
        )
    if policy.log and "log" not in host.seccomp_actions:
        inputs.lacks_optional(
            "seccomp.log",
            ("seccomp", "log"),
            "this kernel can't log what a filter denies",
            "use Linux 4.14 or later",
        )
    refused = seccomp.launch_problems(policy, host.machine)
    try:
        program = _program(policy, host.machine)
    except ProfileError as error:
        refused = error.problems
    if refused:
        _place(inputs, refused)
        return
    flags = seccomp.filter_flags(policy) if "log" in host.seccomp_actions else 0
    yield Step(InstallFilter(program=program, flags=flags), ("seccomp",))


@functools.lru_cache(maxsize=32)
def _program(policy: seccomp.SeccompPolicy, machine: str) -> bytes:
    """Most of a compilation; the profiles of one program tend to have the same rules."""
    return seccomp.compile_filter(policy, machine)


_KEY_PART: Final = re.compile(r"([\w-]+)|\[(\d+)\]")


def _place(inputs: Inputs, problems: tuple[Problem, ...]) -> None:
    """Problems of the filter name keys; their lines are the profile's to know."""
    for problem in problems:
        parts = _KEY_PART.findall(problem.key)
        key = tuple(name or int(number) for name, number in parts)
        inputs.conflict(key, problem.reason, problem.hint)


def _flags(inputs: Inputs, steps: list[Step]) -> int:
    flags = PlanFlag(0)
    namespaces = next(step.op for step in steps if isinstance(step.op, CreateNamespaces))
    in_user_namespace = namespaces.flags & NAMESPACES["user"][0]
    if in_user_namespace and inputs.host.privileged:
        flags |= PlanFlag.SOURCES_OUTSIDE
    if inputs.resolved.uses_cwd:
        flags |= PlanFlag.FOR_CWD
    if inputs.profile.service.log != "inherit":
        return flags
    if inputs.profile.process.terminal == "auto":
        flags |= PlanFlag.TERMINAL_AUTO
    if inputs.profile.process.terminal == "always":
        flags |= PlanFlag.TERMINAL_ALWAYS
    return flags


def _variables(inputs: Inputs) -> dict[str, str | None]:
    resolved = inputs.resolved
    callers = {name: resolved.caller.get(name) for name in inputs.variables}
    values = {name: words[0] if words else None for name, words in callers.items()}
    return {**values, **resolved.environment}


def _stamps(inputs: Inputs) -> Iterator[Record]:
    """What the plan was made from, as far as it was read with the profile."""
    resolved, host = inputs.resolved, inputs.host
    yield HostStamp(
        release=host.release,
        version=__version__,
        uid=host.uid,
        gid=host.gid,
        capabilities=host.capability_mask,
    )
    for path, state in zip(resolved.files, resolved.stamps, strict=True):
        yield FileStamp(
            path=path,
            follow=1,
            exists=1,
            device=state.device,
            inode=state.inode,
            size=state.size,
            mtime_ns=state.mtime_ns,
            ctime_ns=state.ctime_ns,
        )
    for name, value in sorted(_variables(inputs).items()):
        yield VariableStamp(name=name, is_set=int(value is not None), value=value or "")
    if resolved.uses_cwd:
        yield CwdStamp(path=resolved.cwd)
