"""What a profile says of its service, as ops."""

import signal
from typing import Final

from sandbox import units
from sandbox.plan.inputs import Inputs
from sandbox.plan.record import Step
from sandbox.plan.service_ops import AnnouncePayload, KeepLog, LogTo, PassSockets, RunService
from sandbox.plan.supervisor_ops import Survive
from sandbox.profile.model import Service
from sandbox.profile.resolved import KeyPath

NOTIFY_PATH: Final = "/dev/sbx-notify"
"""Where the payload finds its NOTIFY_SOCKET: in /dev, which is the sandbox's own whatever else it
shows of the host."""

FOR_THE_UNIT: Final = frozenset({"restart", "restart_delay", "slice"})
"""Keys of [service] that only the unit of `sbx systemd` heeds."""


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
    if service.survive:
        _require_of_survivor(inputs)
        found.append(Step(Survive(), ("service", "survive")))
    return found


def _require_of_survivor(inputs: Inputs) -> None:
    """What a payload without a supervisor can't have."""
    key: KeyPath = ("service", "survive")
    process = inputs.profile.process
    if not process.init:
        reason = (
            "the sandbox's init keeps what the next supervisor needs, and process.init is false"
        )
        inputs.conflict(key, reason, "set process.init = true")
    if process.terminal != "never":
        reason = "a terminal of the payload's own is gone with the supervisor that relays it"
        inputs.conflict(key, reason, "set process.terminal = 'never'")
    if process.die_with_parent and inputs.resolved.locate(("process", "die_with_parent")):
        reason = "process.die_with_parent = true says that the payload ends with its supervisor"
        inputs.conflict(key, reason, "set process.die_with_parent = false, or leave it out")
