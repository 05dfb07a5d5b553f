"""Why an address was refused: the network namespace, Landlock's scopes, a capability, or nobody there."""

import errno
import os
import socket
from typing import Final

import msgspec

from sandbox.explain.denial import Advice, Layer, Reason, outside
from sandbox.explain.files import explain_path
from sandbox.explain.limits import too_many_descriptors
from sandbox.explain.situation import Situation
from sandbox.explain.uses import wish
from sandbox.profile.resolved import KeyPath

_MODE: Final[KeyPath] = ("network", "mode")
_NAMES: Final = 53
_LOCAL: Final = ("127.", "::1", "0.0.0.0", "::ffff:127.")  # noqa: S104 - compared with, not bound to


class Address(msgspec.Struct, frozen=True):
    """A socket address: `host` a path, "@name" of an abstract socket, or an IP address."""

    family: int
    host: str
    port: int = 0

    def text(self) -> str:
        if self.family == socket.AF_INET6:
            return f"[{self.host}]:{self.port}"
        return f"{self.host}:{self.port}" if self.family == socket.AF_INET else self.host

    @property
    def is_local(self) -> bool:
        return self.host.startswith(_LOCAL) or self.host == "::"


def address_of(data: bytes) -> Address | None:
    """The address in a struct sockaddr; None for a family that isn't looked into."""
    if len(data) < 2:
        return None
    family, rest = int.from_bytes(data[:2], "little"), data[2:]
    if family == socket.AF_UNIX:
        if rest.startswith(b"\0"):
            return Address(family, "@" + os.fsdecode(rest[1:]))
        return Address(family, os.fsdecode(rest.partition(b"\0")[0]))
    port = int.from_bytes(rest[:2], "big")
    if family == socket.AF_INET and len(rest) >= 6:
        return Address(family, socket.inet_ntop(family, rest[2:6]), port)
    if family == socket.AF_INET6 and len(rest) >= 22:
        return Address(family, socket.inet_ntop(family, rest[6:22]), port)
    return None


def explain_address(
    s: Situation, call: str, error: int, address: Address | None, directory: str
) -> Reason:
    """The reason for `error` of connect, bind or sendto. `directory` is the payload's own."""
    if error == errno.EMFILE:
        return too_many_descriptors(s)
    if address is None:
        return outside("an address of a family that sbx doesn't look into")
    if address.family != socket.AF_UNIX:
        return _internet(s, call, error, address)
    if address.host.startswith("@"):
        return _abstract(s, call, error, address.host[1:])
    if error == errno.ECONNREFUSED:
        return outside("nobody listens on this socket")
    path = address.host if address.host.startswith("/") else f"{directory}/{address.host}"
    return explain_path(s, error, path, wish(call, (), b""))


def explain_resolver(s: Situation, address: Address | None) -> Reason | None:
    """A connection to a name server that went well: where none is known, resolvers ask a loopback.

    Nothing is refused then: the answer just doesn't come.
    """
    if s.profile.network.mode != "none" or address is None:
        return None
    if address.port != _NAMES or not address.is_local:
        return None
    text = "a name is looked up, and the sandbox's own network has no name server"
    return Reason(layer=Layer.NAMESPACE, text=text, key=_MODE, advice=(Advice(_MODE, "host"),))


def _abstract(s: Situation, call: str, error: int, name: str) -> Reason:
    own = s.profile.network.mode == "none"
    there = s.look.has_abstract_socket(name)
    if error == errno.EPERM:
        key: KeyPath = ("landlock", "scopes")
        text = "Landlock keeps connections to abstract sockets inside"
        advice: tuple[Advice, ...] = (Advice(key, _without(s, "abstract-unix-socket")),)
        return Reason(layer=Layer.LANDLOCK, text=text, key=key, advice=advice)
    if error == errno.ECONNREFUSED and own and there:
        text = "there is such a socket outside, but the sandbox has a network of its own"
        advice = (Advice(_MODE, "host"),)
        if "abstract-unix-socket" in s.profile.landlock.scopes and s.profile.landlock.enabled:
            scopes = _without(s, "abstract-unix-socket")
            advice += (Advice(("landlock", "scopes"), scopes),)
        return Reason(layer=Layer.NAMESPACE, text=text, key=_MODE, advice=advice)
    return outside(f"{call}: no such abstract socket outside either")


def _without(s: Situation, scope: str) -> list[str]:
    return [name for name in s.profile.landlock.scopes if name != scope]


def _internet(s: Situation, call: str, error: int, address: Address) -> Reason:
    own = s.profile.network.mode == "none"
    if call == "bind" and error == errno.EACCES:
        return _low_port(s, address.port)
    if not own:
        return outside("the network is the host's, and answers so outside as well")
    advice = (Advice(_MODE, "host"),)
    if error in {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.ENODEV}:
        text = "the sandbox has a network of its own, with nothing but a loopback"
        return Reason(layer=Layer.NAMESPACE, text=text, key=_MODE, advice=advice)
    if error == errno.ECONNREFUSED and address.is_local and s.look.listens(address.port):
        text = "something listens there outside, but the sandbox's loopback is its own"
        return Reason(layer=Layer.NAMESPACE, text=text, key=_MODE, advice=advice)
    return outside("nobody listens there, inside or outside")


def _low_port(s: Situation, port: int) -> Reason:
    key: KeyPath = ("capabilities", "keep")
    text = f"port {port} is one of those that only a privileged process may use"
    if s.profile.network.mode == "host" and s.identity.maps is not None:
        note = (
            "a capability of the sandbox doesn't count in the host's network: listen on a higher "
            "port, pass the socket with process.descriptors, or lower the host's sysctl "
            f"net.ipv4.ip_unprivileged_port_start to {port}"
        )
        return Reason(layer=Layer.CAPABILITY, text=text, key=key, note=note)
    advice = Advice(key, "CAP_NET_BIND_SERVICE", add=True)
    return Reason(layer=Layer.CAPABILITY, text=text, key=key, advice=(advice, *ambient(s)))


def ambient(s: Situation) -> tuple[Advice, ...]:
    """Only user 0 keeps capabilities over execve(2) without the ambient set."""
    if s.identity.uid == 0 or s.profile.capabilities.ambient:
        return ()
    return (Advice(("capabilities", "ambient"), True),)
