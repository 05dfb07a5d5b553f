"""What a profile says of its service, and what of it this version can't enforce yet."""

import signal
from typing import Any, Final

import msgspec

from sandbox import units
from sandbox.plan.inputs import Inputs
from sandbox.plan.record import Step
from sandbox.plan.service_ops import AnnouncePayload, KeepLog, LogTo, PassSockets, RunService
from sandbox.profile.model import Service
from sandbox.profile.resolved import KeyPath

NOTIFY_PATH: Final = "/dev/sbx-notify"
"""Where the payload finds its NOTIFY_SOCKET: in /dev, which is the sandbox's own whatever else it
shows of the host."""

UNENFORCED: Final[dict[KeyPath, str]] = {
    ("service", "survive"): "let a payload outlive its supervisor",
}
"""Keys that have a meaning in a profile, but that no launch brings about.

Whatever is enforced is taken out of here.
"""

FOR_THE_UNIT: Final = frozenset({"restart", "restart_delay", "slice"})
"""Keys of [service] that only the unit of `sbx systemd` heeds."""


def require(inputs: Inputs) -> None:
    """Raises UnsupportedError for the first key that is stated and that nothing enforces."""
    stated: Any = msgspec.to_builtins(inputs.profile)
    default: Any = {"service": msgspec.to_builtins(Service()), "secrets": {}}
    for key, what in UNENFORCED.items():
        ours, theirs = stated, default
        for name in key:
            ours, theirs = ours[name], theirs[name]
        if ours != theirs:
            inputs.lacks(
                key,
                f"this version of sbx can't {what}",
                "take it out; sbx doesn't ignore what it cannot enforce",
            )


def is_service(inputs: Inputs) -> bool:
    """Whether the profile states anything of a service that its supervisor has to bring about.

    A default that is written down counts as well.
    """
    service = inputs.profile.service
    return any(
        getattr(service, name) != getattr(_DEFAULT, name)
        or inputs.resolved.locate(("service", name)) is not None
        for name in Service.__struct_fields__
        if name not in FOR_THE_UNIT
    )


_DEFAULT: Final = Service()


def output(inputs: Inputs) -> list[Step]:
    """Where standard output and error go, if not to sbx's own."""
    service = inputs.profile.service
    if service.log == "inherit":
        return []
    if inputs.profile.process.terminal == "always":
        inputs.conflict(
            ("service", "log"),
            "the output can't be kept: process.terminal = 'always' shows it on a terminal",
            "set process.terminal = 'never', or service.log = 'inherit'",
        )
    where = LogTo.FILE if service.log == "file" else LogTo.JOURNAL
    op = KeepLog(where=where, size=units.size(service.log_size), files=service.log_files)
    return [Step(op, ("service", "log"))]


def announcement(inputs: Inputs) -> list[Step]:
    """How the supervisor learns which process is the main one; none where there is no service."""
    return [Step(AnnouncePayload(), ("service",))] if is_service(inputs) else []


def steps(inputs: Inputs) -> list[Step]:
    """What the supervisor is to do; none where the payload is no service."""
    if not is_service(inputs):
        return []
    service = inputs.profile.service
    run = RunService(
        notifies=int(service.type == "notify"),
        start_timeout=units.timeout(service.start_timeout),
        watchdog=units.duration(service.watchdog),
        stop_signal=signal.Signals[service.stop_signal],
        stop_timeout=units.timeout(service.stop_timeout),
        reload_signal=signal.Signals[service.reload_signal] if service.reload_signal else 0,
        runtime_max=units.timeout(service.runtime_max),
    )
    found = [Step(run, ("service",))]
    if service.sockets or service.type == "notify":
        names = tuple(sorted(set(service.sockets)))
        found.append(Step(PassSockets(names=names), ("service", "sockets")))
    return found
