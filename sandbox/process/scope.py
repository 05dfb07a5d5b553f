"""A cgroup that this user may divide, asked of the user's own systemd: a transient scope.

Limits of a caller who isn't root need one where the caller's own cgroup isn't delegated, as in
every login session. Source: org.freedesktop.systemd1(5), StartTransientUnit; systemd's
CGROUP_DELEGATION document.
"""

import contextlib
import os
import time
from collections.abc import Mapping
from typing import Any, Final

from sandbox import _cgroups
from sandbox.errors import SandboxError, UnsupportedError
from sandbox.plan.cgroup_ops import CreateCgroup
from sandbox.plan.record import Plan

SECONDS: Final = 10.0
"""How long systemd may take, in all."""
_NAME_MAX: Final = 128
_DIRECTLY: Final = (
    "start sbx inside a scope: systemd-run --user --scope -p Delegate=yes -- sbx run ...; "
    "'sbx doctor' tells what is lacking"
)


def enter(plan: Plan, name: str, environ: Mapping[str, str]) -> str:
    """Moves this process into a scope of its own if `plan` needs one here; the scope's name or "".

    `name` is what the sandbox is known by. Raises UnsupportedError with reason and remedy.
    """
    version = next((op.version for op in plan.ops if isinstance(op, CreateCgroup)), 0)
    if version != 2 or os.geteuid() == 0:
        return ""
    mounts = _cgroups.read().mounts
    own = _cgroups.own(mounts)
    if own is None or own.delegated:
        return ""
    uid = os.geteuid()
    bus = _cgroups.user_bus(environ, uid)
    if not bus:
        raise UnsupportedError(
            "the limits of [resources] need a cgroup that this user may divide: "
            f"{own.directory} isn't delegated, and no systemd of the user's runs that could give "
            f"one (/run/user/{uid}/bus is missing)",
            hint="log in by way of PAM (ssh, machinectl shell), or let the user's systemd run "
            f"always: sudo loginctl enable-linger {uid}",
        )
    unit = unit_name(name, os.getpid())
    start(bus, unit, f"sbx run {name}")
    now = _cgroups.own(mounts)
    if now is None or not now.delegated:
        where = now.directory if now else "nowhere"
        raise UnsupportedError(
            f"the user's systemd made {unit}, but this process is in {where}, which isn't "
            "delegated to it",
            hint=_DIRECTLY,
        )
    return unit


def unit_name(name: str, pid: int) -> str:
    """What the scope is called: letters, digits, `_` and `-` of the sandbox's name stay."""
    plain = "".join(c if (c.isascii() and c.isalnum()) or c in "_-" else "_" for c in name)
    return f"sbx-{plain[:_NAME_MAX] or 'sandbox'}-{pid}.scope"


def start(path: str, unit: str, description: str, *, seconds: float = SECONDS) -> None:
    """Has the systemd at the bus `path` make the scope around this process, and waits until it has.

    Raises UnsupportedError with reason and remedy.
    """
    try:
        result = _ask(path, unit, description, seconds)
    except TimeoutError:
        raise UnsupportedError(
            f"the user's systemd didn't answer on {path} within {seconds:g} seconds, so there is "
            "no cgroup for the limits of [resources]",
            hint=f"look at it with: systemctl --user status; {_DIRECTLY}",
        ) from None
    except OSError as error:
        raise UnsupportedError(
            f"the user's message bus {path} can't be reached: {error.strerror or error}, so there "
            "is no cgroup for the limits of [resources]",
            hint="look at it with: systemctl --user status dbus.socket",
        ) from None
    if result != "done":
        raise UnsupportedError(
            f"the user's systemd couldn't start {unit}: {result}",
            hint=f"journalctl --user -u {unit} may tell more; {_DIRECTLY}",
        )


def _ask(path: str, unit: str, description: str, seconds: float) -> str:
    """The result of systemd's job: "done", or how it failed."""
    from jeepney import DBusAddress, DBusErrorResponse, MatchRule, new_method_call
    from jeepney.auth import AuthenticationError
    from jeepney.bus_messages import message_bus
    from jeepney.io.blocking import DBusConnection, Proxy, prep_socket
    from jeepney.wrappers import unwrap_msg

    deadline = time.monotonic() + seconds

    class Bus(DBusConnection):  # type: ignore[misc]
        """Jeepney waits for the bus's first answer without an end."""

        def receive(self, *, timeout: float | None = None) -> Any:
            left = max(0.0, deadline - time.monotonic())
            return super().receive(timeout=left if timeout is None else min(timeout, left))

    manager = DBusAddress(
        "/org/freedesktop/systemd1",
        bus_name="org.freedesktop.systemd1",
        interface="org.freedesktop.systemd1.Manager",
    )
    removed = MatchRule(
        type="signal", interface=manager.interface, member="JobRemoved", path=manager.object_path
    )
    properties = [
        ("Description", ("s", description)),
        ("PIDs", ("au", [os.getpid()])),
        ("Delegate", ("b", True)),
        ("CollectMode", ("s", "inactive-or-failed")),
    ]
    body: tuple[object, ...] = (unit, "fail", properties, [])
    start = new_method_call(manager, "StartTransientUnit", "ssa(sv)a(sa(sv))", body)
    try:
        with (
            contextlib.closing(prep_socket(path, timeout=seconds)) as sock,
            Bus(sock) as bus,
            bus.filter(removed, bufsize=64) as ends,
        ):
            Proxy(message_bus, bus).AddMatch(removed)
            unwrap_msg(bus.send_and_get_reply(new_method_call(manager, "Subscribe")))
            (job,) = unwrap_msg(bus.send_and_get_reply(start))
            while True:
                _, ended, _, result = bus.recv_until_filtered(ends).body
                if ended == job:
                    return str(result)
    except DBusErrorResponse as error:
        raise _refused(unit, error.name, error.data) from None
    except AuthenticationError as error:
        raise UnsupportedError(
            f"the user's message bus {path} refuses this user: {error}", hint=_DIRECTLY
        ) from None


def _refused(unit: str, name: str, data: object) -> SandboxError:
    said = data[0] if isinstance(data, tuple) and data and isinstance(data[0], str) else ""
    plain = "".join(c for c in said if c.isprintable())[:200]
    hint = _DIRECTLY
    if name.endswith((".ServiceUnknown", ".NameHasNoOwner", ".Spawn.ChildExited")):
        plain = "no systemd answers on this bus"
    return UnsupportedError(
        f"the user's systemd doesn't make {unit} for the limits of [resources]: "
        f"{plain or name} ({name})",
        hint=hint,
    )
