"""Limits and privileges of the payload's process: setrlimit(2), capabilities(7), securebits."""

from collections.abc import Iterator
from typing import Final

from sandbox import units
from sandbox.capabilities import capability_mask
from sandbox.plan.identity import Identity
from sandbox.plan.inputs import Inputs
from sandbox.plan.kernel import RLIMITS, Secure
from sandbox.plan.ops import (
    LimitCapabilities,
    RaiseRlimit,
    SetCapabilities,
    SetRlimit,
    SetSecurebits,
)
from sandbox.plan.record import Step
from sandbox.profile.resolved import KeyPath

_IN_BYTES: Final = frozenset({"as", "core", "data", "fsize", "memlock", "msgqueue", "rss", "stack"})
_LOCKED: Final = (
    Secure.NOROOT
    | Secure.NOROOT_LOCKED
    | Secure.NO_SETUID_FIXUP
    | Secure.NO_SETUID_FIXUP_LOCKED
    | Secure.KEEP_CAPS_LOCKED
)
_OPEN_FILES: Final = "nofile"
_NO_AMBIENT: Final = Secure.NO_CAP_AMBIENT_RAISE | Secure.NO_CAP_AMBIENT_RAISE_LOCKED


def rlimits(inputs: Inputs, *, may_raise: bool) -> list[Step]:
    """By number of the resource, so that the order in the file doesn't matter.

    The one of open files comes later (`open_files`): what the caller has open counts until the
    program is started, and files are opened on the way to it. `may_raise`: root may have it above
    the caller's, as long as it has its privileges.
    """
    found = [step for name, step in _rlimits(inputs) if name != _OPEN_FILES]
    raised = [
        Step(RaiseRlimit(resource=op.resource, hard=op.hard), step.origin)
        for step in open_files(inputs)
        if may_raise and isinstance(op := step.op, SetRlimit)
    ]
    return found + raised


def open_files(inputs: Inputs) -> list[Step]:
    """The limit of open files; nothing of sbx's may be opened behind it."""
    return [step for name, step in _rlimits(inputs) if name == _OPEN_FILES]


def _rlimits(inputs: Inputs) -> Iterator[tuple[str, Step]]:
    limits = inputs.profile.rlimits.items()
    for name, value in sorted(limits, key=lambda limit: RLIMITS[limit[0]]):
        soft, hard = units.limit(value, in_bytes=name in _IN_BYTES)
        op = SetRlimit(resource=RLIMITS[name], soft=soft, hard=hard)
        yield name, Step(op, ("rlimits", name))


def securebits(inputs: Inputs, identity: Identity) -> list[Step]:
    """Set while the process may still; before its ids change, so that it keeps what it has.

    A payload that is user 0 and keeps capabilities gets them from being user 0, as everywhere in
    Unix, and must lose them when it becomes another user: nothing is set then.
    """
    capabilities = inputs.profile.capabilities
    key: KeyPath = ("capabilities", "keep")
    if capabilities.keep and not capabilities.ambient and identity.uid == 0:
        return []
    bits = _LOCKED
    if not (capabilities.keep and capabilities.ambient):
        bits |= _NO_AMBIENT
    elif identity.uid == 0:
        bits &= ~(Secure.NO_SETUID_FIXUP | Secure.NO_SETUID_FIXUP_LOCKED)
    return [Step(SetSecurebits(bits=bits), key)]


def bounding_set(inputs: Inputs) -> list[Step]:
    """No program of the sandbox can have more than what the profile keeps."""
    op = LimitCapabilities(bounding=capability_mask(inputs.profile.capabilities.keep))
    return [Step(op, ("capabilities", "keep"))]


def capabilities(inputs: Inputs, identity: Identity) -> list[Step]:
    """All sets hold what the profile keeps; what could not survive exec(2) is a conflict."""
    table = inputs.profile.capabilities
    if table.keep and not table.ambient and identity.uid != 0:
        inputs.conflict(
            ("capabilities", "keep"),
            f"user {identity.uid} loses them when the program is started",
            'set capabilities.ambient = true, or identity.user = "root"',
        )
    kept = capability_mask(table.keep)
    passed = kept if table.ambient else 0
    op = SetCapabilities(permitted=kept, inheritable=passed, ambient=passed)
    return [Step(op, ("capabilities", "keep"))]
