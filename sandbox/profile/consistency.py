"""What the statements of a whole profile mean together."""

from collections.abc import Iterator

from sandbox import units
from sandbox.errors import Problem
from sandbox.profile.model import Health, Mount, Service
from sandbox.profile.resolved import KeyPath, ResolvedProfile, key_text
from sandbox.profile.service import SECRETS_DIRECTORY

_ONLY_FOR = {
    "source": ("bind",),
    "idmap": ("bind",),
    "optional": ("bind",),
    "size": ("tmpfs", "overlay"),
    "mode": ("tmpfs",),
    "content": ("file",),
    "lower": ("overlay",),
    "upper": ("overlay",),
}


def check_consistency(resolved: ResolvedProfile) -> tuple[Problem, ...]:
    """Statements that contradict each other, or need one that isn't there."""
    problems = [
        resolved.problem(path, reason, hint)
        for check in (
            *(_rootfs, _identity, _cwd, _targets, _mounts, _arguments),
            *(_service, _secrets, _resources),
        )
        for path, reason, hint in check(resolved)
    ]
    return tuple(problems)


def _rootfs(resolved: ResolvedProfile) -> Iterator[tuple[KeyPath, str, str]]:
    rootfs = resolved.profile.rootfs
    if rootfs.type == "directory" and rootfs.path is None:
        yield ("rootfs", "type"), "a root of type 'directory' needs rootfs.path", ""
    if rootfs.type == "host" and rootfs.path is not None:
        hint = "set rootfs.type = 'directory' to use it"
        yield ("rootfs", "path"), "a root of type 'host' has no path", hint


def _identity(resolved: ResolvedProfile) -> Iterator[tuple[KeyPath, str, str]]:
    chosen = resolved.profile.identity.map
    if not resolved.profile.namespaces.user and chosen in {"self", "root", "range"}:
        reason = f"the map '{chosen}' needs a user namespace, and namespaces.user is false"
        yield ("identity", "map"), reason, "the map without one is 'host'"


def _cwd(resolved: ResolvedProfile) -> Iterator[tuple[KeyPath, str, str]]:
    """Nothing can start in what is denied. Deny stands over a grant of the same path."""
    profile = resolved.profile
    cwd, filesystem = profile.process.cwd, profile.filesystem
    granted = (
        *filesystem.read,
        *filesystem.write,
        *filesystem.execute,
        *filesystem.mask,
        *(entry.path for entry in filesystem.tmpfs_entries()),
        *(mount.target for mount in profile.mounts),
    )
    around = [path for path in filesystem.deny if _holds(path, cwd)]
    nearest = max(around, key=len, default=None)
    if nearest is None or any(
        _holds(nearest, p) and _holds(p, cwd) and p != nearest for p in granted
    ):
        return
    by: KeyPath = ("filesystem", "deny", filesystem.deny.index(nearest))
    reason = f"'{cwd}' is denied by {key_text(by)} ({resolved.locate(by)}: '{nearest}')"
    yield ("process", "cwd"), reason, f"grant a directory below '{nearest}' and start there"


def _holds(above: str, path: str) -> bool:
    return path == above or path.startswith(above.rstrip("/") + "/")


def _targets(resolved: ResolvedProfile) -> Iterator[tuple[KeyPath, str, str]]:
    """Nothing else may be said of a path that something of its own is mounted on."""
    profile = resolved.profile
    filesystem = profile.filesystem
    entries = filesystem.tmpfs_entries()
    taken: dict[str, KeyPath] = {}
    if filesystem.proc != "none":
        taken["/proc"] = ("filesystem", "proc")
    if profile.devices.dev != "none":
        taken["/dev"] = ("devices", "dev")
    on_root: dict[str, KeyPath] = {}
    for at, entry in enumerate(entries):
        on_root.setdefault(entry.path, ("filesystem", "tmpfs", at))
        yield from _taken(resolved, ("filesystem", "tmpfs", at), entry.path, taken)
        taken.setdefault(entry.path, ("filesystem", "tmpfs", at))
    for at, mount in enumerate(profile.mounts):
        on_root.setdefault(mount.target, ("mounts", at))
        yield from _taken(resolved, ("mounts", at), mount.target, taken)
        taken.setdefault(mount.target, ("mounts", at))
    if "/" in on_root:
        yield on_root["/"], "nothing can be mounted on '/'", "[rootfs] describes the root"
    for key, paths in (
        ("read", filesystem.read),
        ("write", filesystem.write),
        ("execute", filesystem.execute),
        ("protect", filesystem.protect),
    ):
        for at, path in enumerate(paths):
            yield from _taken(resolved, ("filesystem", key, at), path, taken)


def _taken(
    resolved: ResolvedProfile, here: KeyPath, path: str, taken: dict[str, KeyPath]
) -> Iterator[tuple[KeyPath, str, str]]:
    by = taken.get(path)
    if by is None or by == here:
        return
    origin = resolved.locate(by) or "the default"
    hint = "say with the mount itself what may be done there"
    if here[0] == "mounts":
        hint = f"choose another path, one below '{path}' for example"
    elif by[-1] in {"proc", "dev"}:
        hint = f"take it out, or set {key_text(by)} to 'none'"
    elif by[0] == "filesystem":
        hint = "what may be done in a tmpfs stands in its own entry: { path, size, mode, execute }"
    yield here, f"'{path}' is taken by {key_text(by)} ({origin})", hint


def _mounts(resolved: ResolvedProfile) -> Iterator[tuple[KeyPath, str, str]]:
    for at, mount in enumerate(resolved.profile.mounts):
        yield from _mount(mount, ("mounts", at))


def _mount(mount: Mount, here: KeyPath) -> Iterator[tuple[KeyPath, str, str]]:
    for key, types in _ONLY_FOR.items():
        if getattr(mount, key) not in {None, False, ()} and mount.type not in types:
            words = " and ".join(f"'{type_}'" for type_ in types)
            yield (*here, key), f"'{key}' is for the type {words}, not '{mount.type}'", ""
    if mount.upper and mount.size:
        yield (*here, "size"), "an overlay with an 'upper' has no 'size' of its own", ""
    if not mount.recursive and mount.type != "bind":
        yield (*here, "recursive"), f"'recursive' is for the type 'bind', not '{mount.type}'", ""
    if mount.type == "bind" and mount.source is None:
        yield here, "a mount of type 'bind' needs a 'source'", ""
    if mount.type == "file" and mount.content is None:
        yield here, "a mount of type 'file' needs 'content'", "an empty one is content = ''"
    for key in ("writable", "execute"):
        if mount.type == "file" and getattr(mount, key):
            hint = "a file that can be written to is a 'bind' of the host's, or one in a 'tmpfs'"
            yield (*here, key), f"'{key}' isn't for the type 'file'", hint
    if mount.type == "overlay" and not mount.lower:
        yield here, "a mount of type 'overlay' needs 'lower'", ""
    if mount.upper is not None and not mount.writable:
        hint = "set writable = true, or leave out 'upper'"
        yield (*here, "upper"), "an overlay that isn't writable has no 'upper'", hint


def _arguments(resolved: ResolvedProfile) -> Iterator[tuple[KeyPath, str, str]]:
    for at, rule in enumerate(resolved.profile.seccomp.rules):
        for index, argument in enumerate(rule.args):
            place = ("seccomp", "rules", at, "args", index)
            if argument.op == "in":
                if not argument.values or argument.value is not None:
                    yield place, "the comparison 'in' needs 'values' and no 'value'", ""
            elif argument.value is None or argument.values:
                yield place, f"the comparison '{argument.op}' needs 'value' and no 'values'", ""
            if (argument.mask is not None) != (argument.op == "masked-eq"):
                yield place, "'mask' and the comparison 'masked-eq' need each other", ""


def _service(resolved: ResolvedProfile) -> Iterator[tuple[KeyPath, str, str]]:
    service = resolved.profile.service
    health = service.health
    here: KeyPath = ("service", "health")
    kinds = health.kinds()
    for kind in kinds[1:]:
        origin = resolved.locate((*here, kinds[0]))
        reason = f"the check is stated already by {kinds[0]!r} ({origin})"
        yield (*here, kind), reason, f"a check is one of its kinds; {kinds[0]} can be set empty"
    if not kinds and health != Health():
        yield here, "there is nothing to check", "state one of 'command', 'http', 'tcp' and 'unix'"
    if units.duration(service.watchdog) and service.type != "notify":
        hint = "the program sends WATCHDOG=1 over the socket of service.type = 'notify'"
        yield ("service", "watchdog"), "a watchdog needs service.type = 'notify'", hint
    if service.notify_access != "main" and service.type != "notify":
        reason = "'notify_access' is for service.type = 'notify'"
        yield ("service", "notify_access"), reason, ""
    for key in ("log_size", "log_files"):
        if service.log != "file" and getattr(service, key) != getattr(Service(), key):
            yield ("service", key), f"'{key}' is for service.log = 'file'", ""
    if service.reload_signal == service.stop_signal:
        reason = f"{service.stop_signal} asks for a reload and for the end"
        yield ("service", "reload_signal"), reason, "each request needs a signal of its own"


def _secrets(resolved: ResolvedProfile) -> Iterator[tuple[KeyPath, str, str]]:
    for name, secret in resolved.profile.secrets.items():
        if len(secret.kinds()) != 1:
            reason = "a secret comes from one of 'credential', 'file' and 'env'"
            yield ("secrets", name), reason, ""
    if resolved.profile.secrets:
        yield from _on_secrets(resolved)


def _on_secrets(resolved: ResolvedProfile) -> Iterator[tuple[KeyPath, str, str]]:
    """The tmpfs of the secrets is sbx's own: nothing else may be put there or below it."""
    profile = resolved.profile
    for at, mount in enumerate(profile.mounts):
        if _holds(SECRETS_DIRECTORY, mount.target):
            hint = "choose another path"
            yield ("mounts", at), f"'{SECRETS_DIRECTORY}' is taken by [secrets]", hint
    for at, entry in enumerate(profile.filesystem.tmpfs_entries()):
        if _holds(SECRETS_DIRECTORY, entry.path):
            hint = "choose another path"
            yield ("filesystem", "tmpfs", at), f"'{SECRETS_DIRECTORY}' is taken by [secrets]", hint


def _resources(resolved: ResolvedProfile) -> Iterator[tuple[KeyPath, str, str]]:
    resources = resolved.profile.resources
    high, most = units.memory(resources.memory_high or "max"), resources.memory_max
    bound = units.memory("max" if most is None else most)
    # A size and a share are compared where the machine is known.
    if high is not None and type(high) is type(bound) and high > bound:  # type: ignore[operator]
        reason = f"{resources.memory_high} is above memory_max ({most}), so it never takes effect"
        yield ("resources", "memory_high"), reason, "lower it, or leave it out"
    if resources.pids_max == 1 and resolved.profile.process.init:
        reason = "sbx's init is a process of the sandbox, so there is none left for the program"
        yield ("resources", "pids_max"), reason, "2 is the least; or set process.init = false"
    for at, entry in enumerate(resources.io_max):
        if not entry.limits():
            here = ("resources", "io_max", at)
            yield here, "limits nothing", "name at least one of rbps, wbps, riops and wiops"
