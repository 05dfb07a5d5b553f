"""What single values of [service] and [secrets] must be, beyond their type."""

import ipaddress
import os
import signal
from collections.abc import Callable, Mapping
from typing import Any, Final

from sandbox import units
from sandbox.profile.names import suggestion
from sandbox.profile.variables import InvalidError

_NAME_MAX: Final = 255
_UNIX_ADDRESS_MAX: Final = 107
_UNIT_NAME: Final = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\"
)
_FILE_NAME: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
# What no program can handle, or what ends sbx itself rather than the payload.
_NO_REQUEST: Final = frozenset({"SIGKILL", "SIGSTOP", "SIGCHLD"})


def duration(value: Any) -> Any:
    """A time above zero."""
    if _microseconds(value, units.duration) == 0:
        raise InvalidError("a duration of 0")
    return value


def duration_or_none(value: Any) -> Any:
    """A time, or 0 for none."""
    _microseconds(value, units.duration)
    return value


def timeout(value: Any) -> Any:
    """A time above zero, or `infinity`."""
    if _microseconds(value, units.timeout) == 0:
        raise InvalidError("a bound of 0", "write 'infinity' for none")
    return value


def _microseconds(value: Any, parse: Callable[[int | str], int]) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise InvalidError("expected a duration such as 30, '30s' or '5min'")
    try:
        return parse(value)
    except ValueError as error:
        raise InvalidError(str(error)) from None


def signal_name(value: str) -> str:
    """The name of a signal that a program can answer."""
    names = tuple(each.name for each in signal.Signals if each.name not in _NO_REQUEST)
    if value in _NO_REQUEST:
        raise InvalidError(f"'{value}' isn't a request that a program could answer")
    if value in names:
        return value
    upper = value.upper()
    hint = suggestion(upper if upper.startswith("SIG") else f"SIG{upper}", names)
    raise InvalidError(f"{_quoted(value)} isn't the name of a signal", hint or "such as 'SIGTERM'")


def signal_or_none(value: str) -> str:
    """A signal's name, or empty for none."""
    return value and signal_name(value)


def slice_name(value: str) -> str:
    """The name of a slice as systemd.slice(5) has it, or empty."""
    stem = value.removesuffix(".slice")
    good = stem and set(stem) <= _UNIT_NAME and len(value) <= _NAME_MAX
    dashes = stem == "-" or not (stem.startswith("-") or stem.endswith("-") or "--" in stem)
    if not value or (good and dashes and value.endswith(".slice")):
        return value
    hint = f"did you mean '{stem}.slice'?" if good and dashes else "such as 'web.slice'"
    raise InvalidError(f"{_quoted(value)} isn't the name of a slice", hint)


def socket_name(value: str) -> str:
    """What FileDescriptorName= takes: it is part of a list with colons."""
    good = value and len(value) <= _NAME_MAX and value.isascii() and value.isprintable()
    if not good or ":" in value:
        raise InvalidError(
            f"{_quoted(value)} isn't the name of a socket",
            "ASCII characters other than ':' and control characters",
        )
    return value


def secret_name(value: str) -> str:
    """The name of one file."""
    good = value and set(value) <= _FILE_NAME and value not in {".", ".."}
    if not good or len(value) > _NAME_MAX:
        raise InvalidError(
            f"{_quoted(value)} isn't the name of a secret", "letters, digits, '_', '-' and '.'"
        )
    return value


def tcp_address(value: str) -> str:
    """`127.0.0.1:80`, `[::1]:80` or `localhost:80`; empty for none."""
    if value:
        _host_and_port(value, value)
    return value


def unix_address(value: str) -> str:
    """A path that fits into an address of unix(7); empty for none."""
    if value and (not value.startswith("/") or ".." in value.split("/")):
        raise InvalidError(f"{_quoted(value)} isn't an absolute path without '..'")
    if len(os.fsencode(value)) > _UNIX_ADDRESS_MAX:
        hint = f"an address of unix(7) has at most {_UNIX_ADDRESS_MAX} bytes"
        raise InvalidError(f"{_quoted(value)} is too long for a socket", hint)
    return value


def http_address(value: str) -> str:
    """`http://`, an address as above, where the port may be left out, and a path."""
    if not value:
        return value
    scheme, colon, rest = value.partition("://")
    if not colon or scheme != "http":
        hint = "the check speaks HTTP without TLS" if scheme == "https" else "http://127.0.0.1/"
        raise InvalidError(f"{_quoted(value)} isn't an address of HTTP", hint)
    address, slash, path = rest.partition("/")
    if not (slash + path).isascii() or not path.isprintable() or " " in path:
        raise InvalidError("a path of HTTP is printable ASCII without spaces", "use %XX for others")
    has_port = address.rpartition("]")[2].count(":") == 1
    _host_and_port(address if has_port else f"{address}:80", value)
    return value


def _host_and_port(text: str, shown: str) -> None:
    host, _, port = text.rpartition(":")
    plain = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not port.isdigit() or not port.isascii() or not 0 < int(port[:6]) < 65536:
        raise InvalidError(f"{_quoted(shown)} has no port from 1 to 65535", "as in 127.0.0.1:8080")
    if host == "localhost":
        return
    try:
        address = ipaddress.ip_address(plain)
    except ValueError:
        raise InvalidError(
            f"{_quoted(shown)} names no address", "a number such as 127.0.0.1, or 'localhost'"
        ) from None
    if (address.version == 6) == (plain is host) or "%" in plain:
        raise InvalidError(f"{_quoted(shown)} names no address", "IPv6 is written as [::1]:8080")


def _quoted(value: str) -> str:
    short = value if len(value) <= 120 else value[:117] + "..."
    return "'" + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in short) + "'"


SERVICE_CHECKS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "duration": duration,
    "duration or none": duration_or_none,
    "timeout": timeout,
    "signal": signal_name,
    "signal or none": signal_or_none,
    "slice": slice_name,
    "socket name": socket_name,
    "secret name": secret_name,
    "http address": http_address,
    "tcp address": tcp_address,
    "unix address": unix_address,
}
