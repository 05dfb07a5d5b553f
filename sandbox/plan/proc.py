"""The ops that give the payload a /proc of its own, and set what is set through one."""

from collections.abc import Iterator
from typing import Final

from sandbox._mountinfo import covered_proc_words
from sandbox.plan.identity import Identity
from sandbox.plan.inputs import Inputs
from sandbox.plan.kernel import Attr
from sandbox.plan.nodes import Node, Tree
from sandbox.plan.ops import AttachProc, Bind, BindMount, CreateProc, Mask, MaskPath, SetSysctl
from sandbox.plan.record import Step

SEALED: Final = Attr.RDONLY | Attr.NOSUID | Attr.NODEV | Attr.NOEXEC
# Readable by everyone whatever the user namespace, and of no use to a payload.
_PROC_MASKS: Final = (
    "/proc/interrupts",  # when keys are pressed and packets arrive
    "/proc/keys",  # keys of the same user in other sessions
    "/proc/latency_stats",  # kernel stack traces of other processes
)
# Switches of the machine: where the mount is read-only they can't be used, and they tell no secret.
_PROC_MASKS_OF_WRITABLE: Final = ("/proc/acpi", "/proc/scsi")
# In reach only of a payload in the host's user namespace, or of one that is user 0 of the host.
_PROC_MASKS_OF_ROOT: Final = (
    "/proc/kcore",
    "/proc/key-users",  # which users of the host hold how many keys
    "/proc/kmsg",
    "/proc/kpagecgroup",  # of each page of memory, whose it is and what for
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/pagetypeinfo",
    "/proc/slabinfo",
    "/proc/timer_list",
    "/proc/vmallocinfo",
)
# What a writable /proc keeps read-only: settings of the kernel and the machine, not of processes.
_PROC_READ_ONLY: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def steps(
    inputs: Inputs, identity: Identity, tree: Tree, node: Node | None, *, nested: bool
) -> Iterator[Step]:
    """For the statement about /proc, None where there is to be none.

    `nested` leaves the payload able to make user namespaces.
    """
    yield from _Proc(inputs, identity, tree, nested=nested).steps(node)


class _Proc:
    def __init__(self, inputs: Inputs, identity: Identity, tree: Tree, *, nested: bool) -> None:
        self.inputs = inputs
        self.profile = inputs.profile
        self.identity = identity
        self.tree = tree
        self.nested = nested

    def steps(self, node: Node | None) -> Iterator[Step]:
        key = ("filesystem", "proc")
        own_processes = self.profile.namespaces.pid
        if node and self.identity.maps and not own_processes:
            self.inputs.conflict(
                key,
                "a /proc of its own needs a PID namespace, and namespaces.pid is false",
                'set filesystem.proc = "none"; [[mounts]] can show the host\'s /proc',
            )
        # The second layer below the filter. Never without a user namespace: it'd be the host's.
        limit = self.identity.maps is not None and not self.nested and own_processes
        if self.identity.maps and self.inputs.host.covered_proc:
            limit = self._without_a_new_one(node, limit=limit)
        only_pids = self.profile.filesystem.proc == "pid"
        if node and self.profile.filesystem.proc == "unmasked" and self._is_root_outside():
            self.inputs.conflict(
                key,
                "an unmasked /proc would let root of the machine change the kernel's settings",
                'map the payload to other ids (identity.map = "range"), or use "writable"',
            )
        if limit or (node and not only_pids):
            yield Step(CreateProc(options=0), key)
        if limit:
            yield Step(SetSysctl(path="user/max_user_namespaces", value="0"), ("seccomp", "allow"))
        if node:
            if only_pids:
                yield Step(CreateProc(options=1), key)
            yield from self._attached_proc(node)

    def _is_root_outside(self) -> bool:
        return self.identity.maps is None or self.identity.outer_uid == 0

    def _without_a_new_one(self, node: Node | None, *, limit: bool) -> bool:
        """What a container around sbx forbids by covering parts of its own /proc."""
        reason, hint = covered_proc_words(self.inputs.host.covered_proc)
        if node:
            self.inputs.lacks(("filesystem", "proc"), reason, hint)
        if limit:
            self.inputs.lacks_optional(
                "namespaces.limit",
                ("seccomp", "allow"),
                f"the limit on user namespaces is set through a new /proc: {reason}",
                "uncover it (podman run --security-opt unmask=ALL)",
            )
        return False

    def _attached_proc(self, node: Node) -> Iterator[Step]:
        style, attributes = self.profile.filesystem.proc, SEALED
        if style in {"writable", "unmasked"}:
            attributes &= ~Attr.RDONLY
        yield Step(AttachProc(target=node.path, attributes=attributes), node.origin)
        if style in {"pid", "unmasked"}:
            return
        if style == "writable":
            flags = Bind.FROM_ROOT | Bind.OPTIONAL | Bind.NO_CREATE
            for path in _PROC_READ_ONLY:
                op = BindMount(source=path, target=path, attributes=SEALED, flags=flags)
                yield Step(op, node.origin)
        masks: tuple[str, ...] = _PROC_MASKS
        if style == "writable":
            masks += _PROC_MASKS_OF_WRITABLE
        if self._is_root_outside():
            masks += _PROC_MASKS_OF_ROOT
        stated = {n.path for n in self.tree.below(node.path)}
        for path in masks:
            if path not in stated:
                yield Step(MaskPath(path=path, how=Mask.EMPTY), node.origin)
