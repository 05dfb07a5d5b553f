"""The second layer below the mounts: Landlock rules from the same tree of statements.

Landlock grants: a rule holds beneath its path, and nothing below can take away what a rule above
gives. What is denied or masked inside an allowed path is therefore the mount tree's alone to keep.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from sandbox.plan.inputs import Inputs
from sandbox.plan.kernel import Access, NetAccess, Scoped
from sandbox.plan.nodes import Kind, Node, Right, Tree
from sandbox.plan.ops import AllowPath, CreateLandlockRuleset
from sandbox.plan.record import Step
from sandbox.profile.resolved import KeyPath


class Abi(NamedTuple):
    """What one version of Landlock brought (Documentation/userspace-api/landlock.rst)."""

    release: str
    access: Access = Access(0)
    net: NetAccess = NetAccess(0)
    scoped: Scoped = Scoped(0)


ABIS: Final = (
    Abi(
        "5.13",
        access=Access.EXECUTE
        | Access.WRITE_FILE
        | Access.READ_FILE
        | Access.READ_DIR
        | Access.REMOVE_DIR
        | Access.REMOVE_FILE
        | Access.MAKE_CHAR
        | Access.MAKE_DIR
        | Access.MAKE_REG
        | Access.MAKE_SOCK
        | Access.MAKE_FIFO
        | Access.MAKE_BLOCK
        | Access.MAKE_SYM,
    ),
    Abi("5.19", access=Access.REFER),
    Abi("6.2", access=Access.TRUNCATE),
    Abi("6.7", net=NetAccess.BIND_TCP | NetAccess.CONNECT_TCP),
    Abi("6.10", access=Access.IOCTL_DEV),
    Abi("6.12", scoped=Scoped.ABSTRACT_UNIX_SOCKET | Scoped.SIGNAL),
    Abi("6.15"),  # flags for the audit log only
)
_SCOPES_ABI: Final = 6

_READ: Final = Access.READ_FILE | Access.READ_DIR
_WRITE: Final = (
    Access.WRITE_FILE
    | Access.REMOVE_DIR
    | Access.REMOVE_FILE
    | Access.MAKE_DIR
    | Access.MAKE_REG
    | Access.MAKE_SOCK
    | Access.MAKE_FIFO
    | Access.MAKE_SYM
    | Access.REFER
    | Access.TRUNCATE
)
# The nodes in a private /dev are those that the profile asks for, so all may be controlled.
_DEVICE: Final = Access.READ_FILE | Access.WRITE_FILE | Access.IOCTL_DEV

_SCOPES: Final = {
    "signal": Scoped.SIGNAL,
    "abstract-unix-socket": Scoped.ABSTRACT_UNIX_SOCKET,
}


class Rule(NamedTuple):
    """What is allowed beneath a path."""

    path: str
    access: Access
    optional: bool = False
    origin: KeyPath = ()


def known(abi: int) -> tuple[Access, Scoped]:
    """Every right and scope that a kernel with this ABI knows, of those that are known here."""
    access, scoped = Access(0), Scoped(0)
    for part in ABIS[:abi]:
        access |= part.access
        scoped |= part.scoped
    return access, scoped


def steps(inputs: Inputs, tree: Tree) -> list[Step]:
    """The ruleset and its rules; none where Landlock is off. Raises UnsupportedError."""
    landlock, host = inputs.profile.landlock, inputs.host
    if not landlock.enabled:
        return []
    if host.landlock_abi < landlock.minimum_abi:
        _too_old(inputs)
    if host.landlock_abi == 0:
        return []
    access, scopes = known(host.landlock_abi)
    scoped = Scoped(0)
    for name in landlock.scopes:
        scoped |= _SCOPES[name]
    if scoped & ~scopes:
        _scopes_missing(inputs, scoped)
    if not landlock.files:
        only_scopes = CreateLandlockRuleset(fs=Access(0), net=0, scoped=scoped & scopes)
        return [Step(only_scopes, ("landlock", "files"))] if scoped & scopes else []
    ruleset = CreateLandlockRuleset(fs=access, net=0, scoped=scoped & scopes)
    found = [Step(ruleset, ("landlock",))]
    for rule in needed(rules(inputs, tree), access):
        op = AllowPath(path=rule.path, access=rule.access, flags=int(rule.optional))
        found.append(Step(op, rule.origin))
    return found


def _too_old(inputs: Inputs) -> None:
    landlock, host = inputs.profile.landlock, inputs.host
    key = ("landlock", "minimum_abi")
    if host.landlock_abi == 0:
        message = "this kernel has no Landlock, or it isn't turned on at boot"
        hint = "boot with `lsm=landlock,...` on Linux 5.13 or later"
    else:
        newest = ABIS[min(landlock.minimum_abi, len(ABIS)) - 1].release
        message = (
            f"Landlock ABI {landlock.minimum_abi} is needed; this kernel has {host.landlock_abi}"
        )
        hint = f"Linux {newest} or later has it" if landlock.minimum_abi <= len(ABIS) else ""
    inputs.lacks_optional("landlock", key, message, hint or "use a newer kernel")


def _scopes_missing(inputs: Inputs, wanted: Scoped) -> None:
    """Where a namespace keeps the same thing inside, a missing scope leaves no gap."""
    profile = inputs.profile
    gap = (wanted & Scoped.SIGNAL and not profile.namespaces.pid) or (
        wanted & Scoped.ABSTRACT_UNIX_SOCKET and profile.network.mode == "host"
    )
    if not gap:
        inputs.not_enforced.add("landlock.scopes")
        return
    inputs.lacks_optional(
        "landlock.scopes",
        ("landlock", "scopes"),
        f"scopes need Landlock ABI {_SCOPES_ABI}; this kernel has {inputs.host.landlock_abi}",
        f"use Linux {ABIS[_SCOPES_ABI - 1].release}",
    )


def rules(inputs: Inputs, tree: Tree) -> Iterator[Rule]:
    """What the statements allow, parents first."""
    if tree.root is not None:
        yield Rule("/", _of_rights(tree.root), origin=("filesystem",))
    else:
        # The directories that lead to what is allowed are the sandbox's own and hold no files.
        yield Rule("/", Access.READ_DIR, origin=("filesystem",))
    generated = False
    for node in tree.nodes:
        if node.kind == Kind.FILE and not node.path.startswith("/etc/"):
            # A link in the host's /etc leads there.
            yield Rule(node.path, Access.READ_FILE, origin=node.origin)
        elif node.kind == Kind.FILE and not generated:
            generated = True
            yield Rule("/etc", Access.READ_FILE, origin=("rootfs", "generate"))
        access = _of_node(inputs, node)
        if access:
            yield Rule(node.path, access, node.optional, node.origin)


def _of_node(inputs: Inputs, node: Node) -> Access:
    match node.kind:
        case Kind.HOST | Kind.SHOWN | Kind.TMPFS | Kind.MOUNT | Kind.SECRETS:
            return _of_rights(node.rights)
        case Kind.DEV:
            return _DEVICE | Access.READ_DIR
        case Kind.NODE:
            return _DEVICE
        case Kind.PROC:
            writable = inputs.profile.filesystem.proc in {"writable", "unmasked"}
            return _READ | (Access.WRITE_FILE | Access.TRUNCATE if writable else Access(0))
        case _:
            return Access(0)


def _of_rights(rights: Right) -> Access:
    access = Access(0)
    for right, part in (
        (Right.READ, _READ),
        (Right.WRITE, _WRITE),
        (Right.EXECUTE, Access.EXECUTE),
    ):
        if rights & right:
            access |= part
    return access


def needed(wanted: Iterator[Rule], handled: Access) -> Iterator[Rule]:
    """The rules that add to what those above them give, cut down to the rights handled."""
    given: dict[str, Access] = {}
    for rule in wanted:
        access = rule.access & handled
        inherited = Access(0)
        path = rule.path
        while True:
            inherited |= given.get(path, Access(0))
            if path == "/":
                break
            path = path.rpartition("/")[0] or "/"
        if access & ~inherited:
            given[rule.path] = given.get(rule.path, Access(0)) | access
            yield Rule(rule.path, access, rule.optional, rule.origin)
