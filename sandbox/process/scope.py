"""A cgroup that this user may divide, asked of the user's own systemd.

Limits of a caller who isn't root need one where the caller's cgroup isn't delegated, as in every
login session: a transient scope, which this process is put into. Source: org.freedesktop.systemd1(5)
and systemd's document CGROUP_DELEGATION.
"""

import contextlib
import os
import time
from collections.abc import Mapping
from typing import Any, Final

from sandbox import _cgroups
from sandbox.errors import UnsupportedError
from sandbox.plan.ops import CreateCgroup
from sandbox.plan.record import Plan

SECONDS: Final = 10.0
"""How long systemd may take, in all."""
_NAME_MAX: Final = 128
_MANAGER: Final = "org.freedesktop.systemd1.Manager"
_LOOK: Final = "'sbx doctor' tells what is lacking; systemctl --user status"


def enter(plan: Plan, name: str, environ: Mapping[str, str]) -> str:
    """Puts this process into a scope of its own if `plan` needs one here; the scope's name or "".

    `name` is what the sandbox is known by. Raises UnsupportedError with reason and remedy.
    """
    version = next((op.version for op in plan.ops if isinstance(op, CreateCgroup)), 0)
    uid = os.geteuid()
    if version != 2 or uid == 0:
        return ""
    mounts = _cgroups.read().mounts
    own = _cgroups.own(mounts)
    if own is None or own.delegated:
        return ""
    bus = _cgroups.user_bus(environ, uid)
    if not bus:
        raise UnsupportedError(
            "the limits of [resources] need a cgroup that this user may divide: "
            f"{own.directory} isn't delegated to it, and no systemd of the user's runs that could "
            f"give one (/run/user/{uid}/bus is missing)",
            hint="log in by way of PAM (ssh, machinectl shell), or let the user's systemd run "
            f"always: sudo loginctl enable-linger {uid}",
        )
    unit = ask(bus, unit_name(name, os.getpid()), f"sbx run {name}")
    top = mounts[_cgroups.UNIFIED]
    path = _cgroups.own_paths().get("", "")
    here, found, _ = f"{top}{path}/".partition(f"/{unit}/")
    if not found:
        raise UnsupportedError(
            f"the user's systemd gives {unit} for the limits of [resources], but this process is "
            f"in {path or 'no cgroup that /proc tells'}",
            hint=_LOOK,
        )
    _mark(f"{here}/{unit}")
    return unit


def unit_name(name: str, pid: int) -> str:
    """What the scope is called: letters, digits, `_` and `-` of the sandbox's name stay."""
    plain = "".join(c if (c.isascii() and c.isalnum()) or c in "_-" else "_" for c in name)
    return f"sbx-{plain[:_NAME_MAX] or 'sandbox'}-{pid}.scope"


def _mark(directory: str) -> None:
    """A user's systemd leaves no sign at what it delegates, as the system's does (user.delegate).

    The sign is what the launcher looks for, so that the next launch in there needs no Python.
    """
    try:
        os.setxattr(directory, "user.delegate", b"1")
    except OSError as error:
        raise UnsupportedError(
            f"the cgroup {directory}, which is delegated to this user, can't be marked as such: "
            f"{error.strerror}",
            hint="sbx needs Linux 5.7 or later for limits by cgroup version 2",
        ) from None


def ask(bus: str, unit: str, description: str, *, seconds: float = SECONDS) -> str:
    """Has the systemd at `bus` give this process a delegated unit: its name.

    That is the one that it is in, if that is delegated already, else the new scope `unit`. Raises
    UnsupportedError with reason and remedy.
    """
    from jeepney import DBusErrorResponse
    from jeepney.auth import AuthenticationError

    try:
        return _ask(bus, unit, description, seconds)
    except TimeoutError:
        reason = f"the user's systemd didn't answer on {bus} within {seconds:g} seconds"
    except OSError as error:
        reason = f"the user's message bus {bus} can't be reached: {error.strerror or error}"
    except AuthenticationError as error:
        reason = f"the user's message bus {bus} refuses this user: {error}"
    except DBusErrorResponse as error:
        said = error.data[0] if error.data and isinstance(error.data[0], str) else ""
        plain = "".join(c for c in said if c.isprintable())[:200]
        if error.name.endswith((".ServiceUnknown", ".NameHasNoOwner", ".ChildExited")):
            plain = "there is no systemd at this bus"
        reason = f"the user's systemd doesn't make {unit}: {plain} ({error.name}, {bus})"
    raise UnsupportedError(
        f"{reason}; so there is no cgroup for the limits of [resources]", hint=_LOOK
    )


def _ask(path: str, unit: str, description: str, seconds: float) -> str:
    from jeepney.io.blocking import DBusConnection, prep_socket

    deadline = time.monotonic() + seconds

    class Bus(DBusConnection):  # type: ignore[misc]
        """Jeepney waits for the bus's first answer without an end."""

        def receive(self, *, timeout: float | None = None) -> Any:
            left = max(0.0, deadline - time.monotonic())
            return super().receive(timeout=left if timeout is None else min(timeout, left))

    with contextlib.closing(prep_socket(path, timeout=seconds)) as sock, Bus(sock) as bus:
        systemd = _Systemd(bus)
        own = systemd.own_unit()
        if own and systemd.is_delegated(own):
            return own
        systemd.start_scope(unit, description)
        return unit


class _Systemd:
    """The manager at the other end of a bus."""

    def __init__(self, bus: Any) -> None:
        from jeepney import DBusAddress

        self._bus = bus
        self._manager = DBusAddress(
            "/org/freedesktop/systemd1", bus_name="org.freedesktop.systemd1", interface=_MANAGER
        )
        self._own = self._manager

    def own_unit(self) -> str:
        """The unit of this manager's that this process is in; empty where it is in none."""
        from jeepney import DBusAddress, DBusErrorResponse

        try:
            (path,) = self._call("GetUnitByPID", "u", (os.getpid(),))
        except DBusErrorResponse as error:
            if error.name == "org.freedesktop.systemd1.NoUnitForPID":
                return ""
            raise
        self._own = DBusAddress(path, bus_name="org.freedesktop.systemd1")
        return str(self._property("Unit", "Id"))

    def is_delegated(self, unit: str) -> bool:
        """Whether systemd leaves that unit's cgroup to its processes.

        Raises UnsupportedError where it doesn't, and this process is what the unit stands for: in
        another one systemd would no longer see it.
        """
        kind = unit.rpartition(".")[2].capitalize()
        if self._property(kind, "Delegate"):
            return True
        if kind == "Service" and self._property(kind, "MainPID") == os.getpid():
            raise UnsupportedError(
                f"the limits of [resources] need a cgroup that sbx may divide, and {unit} doesn't "
                "leave it its own",
                hint=f"set Delegate=yes in its [Service]: systemctl --user edit {unit}",
            )
        return False

    def start_scope(self, unit: str, description: str) -> None:
        """Makes the scope around this process, and waits until it is there."""
        from jeepney import MatchRule
        from jeepney.bus_messages import message_bus
        from jeepney.io.blocking import Proxy

        removed = MatchRule(
            type="signal", interface=_MANAGER, member="JobRemoved", path=self._manager.object_path
        )
        properties = [
            ("Description", ("s", description)),
            ("PIDs", ("au", [os.getpid()])),
            ("Delegate", ("b", True)),
            ("CollectMode", ("s", "inactive-or-failed")),
        ]
        with self._bus.filter(removed, bufsize=64) as ends:
            Proxy(message_bus, self._bus).AddMatch(removed)
            self._call("Subscribe")
            body: tuple[Any, ...] = (unit, "fail", properties, [])
            (job,) = self._call("StartTransientUnit", "ssa(sv)a(sa(sv))", body)
            result = ended = ""
            while ended != job:
                _, ended, _, result = self._bus.recv_until_filtered(ends).body
        if result != "done":
            raise UnsupportedError(
                f"the user's systemd couldn't start {unit} for the limits of [resources]: {result}",
                hint=f"journalctl --user -u {unit} may tell more",
            )

    def _call(self, method: str, signature: str = "", body: tuple[Any, ...] = ()) -> Any:
        from jeepney import new_method_call
        from jeepney.wrappers import unwrap_msg

        message = new_method_call(self._manager, method, signature or None, body)
        return unwrap_msg(self._bus.send_and_get_reply(message))

    def _property(self, kind: str, name: str) -> Any:
        from jeepney import Properties
        from jeepney.wrappers import unwrap_msg

        address = self._own.with_interface(f"org.freedesktop.systemd1.{kind}")
        ((_, value),) = unwrap_msg(self._bus.send_and_get_reply(Properties(address).get(name)))
        return value
