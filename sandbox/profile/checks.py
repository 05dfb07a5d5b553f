"""What single values of a profile must be, beyond their type: one check for each `kind`.

A check returns the value in its canonical form or raises InvalidError.
"""

from collections.abc import Callable, Mapping
from typing import Any

from sandbox import units
from sandbox.profile.model import Profile
from sandbox.profile.names import is_path, suggestion
from sandbox.profile.service_checks import SERVICE_CHECKS
from sandbox.profile.shapes import fields, key_exists
from sandbox.profile.variables import BUILT_IN, InvalidError

_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz")
_DIGITS = frozenset("0123456789")
_WORD = _LOWER | _DIGITS | {"_"}
_NAME_MAX = 255
_PATH_MAX = 4095
# PID_MAX_LIMIT of include/linux/threads.h; no counter of the kernel's needs more.
_COUNT_MAX = 4194304


def plain_text(value: str) -> str:
    """Any string: the kernel ends one at a NUL, and what comes from outside may be no text."""
    if "\0" in value:
        raise InvalidError("holds a NUL character")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidError(
                "holds bytes that aren't UTF-8",
                "what a profile names is text: rename it, or bind it to another name",
            ) from None
    return value


def path(value: str) -> str:
    """An absolute path without `..`; repeated and closing slashes and `.` are dropped."""
    plain_text(value)
    if not value.startswith("/"):
        raise InvalidError(_shown(value, "isn't an absolute path"), _relative_hint(value))
    parts = [part for part in value.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise InvalidError(
            _shown(value, "holds '..'"),
            "write the path that is meant: what '..' leads to can change under a symbolic link",
        )
    if len(value.encode()) > _PATH_MAX or any(len(part.encode()) > _NAME_MAX for part in parts):
        raise InvalidError("longer than the kernel lets a path be")
    return "/" + "/".join(parts)


def _relative_hint(value: str) -> str:
    if value.startswith("~"):
        return "the home directory is ${home}"
    if value.startswith("${"):
        return "what --set gives is taken as it is: give the path itself"
    if value.startswith("./") or not value:
        return "start it with '/', ${profile_dir} or ${cwd}"
    return f"did you mean '/{value[:64]}'? or start it with ${{profile_dir}} or ${{cwd}}"


def overlay(value: str) -> str:
    """`none`, `tmpfs`, or a path."""
    if value in {"none", "tmpfs"}:
        return value
    if not value.startswith("/"):
        raise InvalidError(_shown(value, "is neither 'none', 'tmpfs' nor an absolute path"))
    return path(value)


def size(value: Any) -> Any:
    """A size above zero: the kernel takes a tmpfs of size 0 as one without a limit."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise InvalidError("expected a size such as 65536 or '512M'")
    if _number(lambda: units.size(value)) == 0:
        raise InvalidError("a size of 0", "the kernel would take 0 as no limit")
    return value


def limit(value: Any, *, in_bytes: bool) -> Any:
    """A resource limit."""
    _number(lambda: units.limit(value, in_bytes=in_bytes))
    return value


def memory_bound(value: Any) -> Any:
    """A limit of memory; nothing can run in none at all."""
    if _number(lambda: units.memory(value)) == 0:
        raise InvalidError("no program runs without memory", "name a size, or leave the key out")
    return value


def swap_bound(value: Any) -> Any:
    """A limit of swap space; none at all is one."""
    if isinstance(value, str) and value.endswith("%"):
        raise InvalidError("a share of the swap space isn't known before it is used", "name a size")
    _number(lambda: units.memory(value))
    return value


def cpu_quota(value: Any) -> Any:
    """A limit of processor time. A bare number could mean processors or hundredths."""
    if not isinstance(value, str):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        hint = f"write '{value} cpus' or '{value}%'" if number else ""
        raise InvalidError("expected text such as '1.5 cpus', '150%' (of one cpu) or 'max'", hint)
    _number(lambda: units.cpu_quota(value))
    return value


def number_list(value: Any) -> Any:
    """Numbers of processors or memory nodes, sorted and with runs joined."""
    if not isinstance(value, str):
        number = isinstance(value, int) and not isinstance(value, bool)
        hint = f"write '{value}'" if number else ""
        raise InvalidError("expected text such as '0-3,6'", hint)
    return _number(lambda: units.number_list_text(units.number_list(value)))


def count_bound(value: Any) -> Any:
    """A number of things, at least one, or no bound."""
    if value == "max":
        return value
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20:
        value = int(value)  # a variable is text
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidError("expected a whole number or 'max'")
    if not 1 <= value <= _COUNT_MAX:
        raise InvalidError(f"{value} isn't from 1 to {_COUNT_MAX}")
    return value


def byte_rate(value: Any) -> Any:
    """Bytes in a second, at least one, or no bound."""
    if value == "max":
        return value
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise InvalidError("expected a size such as '10M', or 'max'")
    if _number(lambda: units.size(value)) == 0:
        raise InvalidError("a rate of 0", "the kernel takes no such limit; deny the files instead")
    return value


def mode(value: str) -> str:
    """Permission bits with setuid, setgid and sticky."""
    _number(lambda: units.octal(value, maximum=0o7777))
    return value


def umask(value: str) -> str:
    """Permission bits of a mask, or the word for the caller's."""
    if value != "inherit":
        _number(lambda: units.octal(value, maximum=0o777))
    return value


def _number(parse: Callable[[], Any]) -> Any:
    try:
        return parse()
    except ValueError as error:
        raise InvalidError(str(error)) from None


def host_name(value: str) -> str:
    """Labels of letters, digits and hyphens, and no longer than Linux allows."""
    labels = value.split(".")
    good = all(
        label
        and set(label.lower()) <= _LOWER | _DIGITS | {"-"}
        and label[0] != "-"
        and label[-1] != "-"
        for label in labels
    )
    if not good or len(value) > 64:
        raise InvalidError(
            _shown(value, "isn't a host name"), "letters, digits and '-'; at most 64"
        )
    return value


def account_name(value: str) -> str:
    """A name that passwd(5) can hold."""
    good = value and value[0] in _LOWER | {"_"} and set(value) <= _WORD | {"-"}
    if not good or len(value) > 32:
        raise InvalidError(
            _shown(value, "isn't an account name"),
            "lower case letters, digits, '_' and '-'; at most 32",
        )
    return value


def environment_name(value: str) -> str:
    """A name that an environment can hold."""
    if not value or "=" in value or not value.isprintable():
        raise InvalidError(_shown(value, "isn't the name of an environment variable"))
    return value


def environment_pattern(value: str) -> str:
    """A name, or a prefix and `*`."""
    name = value.removesuffix("*")
    if value == "*":
        raise InvalidError("'*' would pass the caller's whole environment", "name what is needed")
    if "*" in name:
        raise InvalidError(_shown(value, "has a '*' that isn't at its end"))
    environment_name(name)
    return value


def variable_name(value: str) -> str:
    """A name that `${name}` can hold."""
    if not value or not value.isascii() or not set(value.lower()) <= _WORD | {"-"}:
        raise InvalidError(_shown(value, "isn't a variable's name"), "letters, digits, '_' and '-'")
    if value in BUILT_IN:
        raise InvalidError(f"'{value}' is built in", "choose another name")
    return value


def call(value: str) -> str:
    """The name of a system call, by its form; which ones exist is the plan's knowledge."""
    if not value or value[0] not in _LOWER | {"_"} or not set(value) <= _WORD:
        raise InvalidError(_shown(value, "isn't the name of a system call"))
    return value


def calls(value: str) -> str:
    """A system call, `@group` or `@group/1`, by its form."""
    if not value.startswith("@"):
        return call(value)
    name, slash, version = value[1:].partition("/")
    good = name and name[0] in _LOWER and set(name) <= _WORD | {"-"}
    if not good or (slash and not (version and set(version) <= _DIGITS and version[0] != "0")):
        raise InvalidError(_shown(value, "isn't a group"), "a group is '@name' or '@name/1'")
    return value


def errno_name(value: str) -> str:
    """The name of an error that this kernel's headers know."""
    import errno

    names = tuple(errno.errorcode.values())
    if value not in names:
        hint = suggestion(value.upper(), names) or "a name of errno(3), such as 'EPERM'"
        raise InvalidError(_shown(value, "isn't the name of an error"), hint)
    return value


def capability(value: str) -> str:
    """The name of a capability that this version of sbx knows."""
    from sandbox.capabilities import CAPABILITY_NAMES

    if value not in CAPABILITY_NAMES:
        upper = value.upper()
        hint = suggestion(upper if upper.startswith("CAP_") else f"CAP_{upper}", CAPABILITY_NAMES)
        raise InvalidError(_shown(value, "isn't a capability"), hint or "see capabilities(7)")
    return value


def extended(value: str) -> str:
    """The name of another profile, which is found before any variable has a value."""
    plain_text(value)
    if "$" in value:
        raise InvalidError("'extends' takes no variables", "relative paths start at this file")
    if not value:
        raise InvalidError("an empty name")
    if not is_path(value):
        variable_name(value)
    return value


def seal(value: str) -> str:
    """A table or a key of the model."""
    path = tuple(value.split("."))
    if not key_exists(path):
        tables = tuple(fields(Profile))
        hint = suggestion(path[0], tables) if path[0] not in tables else ""
        raise InvalidError(
            f"'{value[:64]}' is neither a table nor a key of a profile",
            hint or "such as 'filesystem', 'network.mode' or 'environment.set.PATH'",
        )
    return value


def _shown(value: str, reason: str) -> str:
    short = value if len(value) <= 120 else value[:117] + "..."
    plain = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in short)
    return f"'{plain}' {reason}"


CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "path": path,
    "overlay": overlay,
    "size": size,
    "mode": mode,
    "umask": umask,
    "number limit": lambda value: limit(value, in_bytes=False),
    "byte limit": lambda value: limit(value, in_bytes=True),
    "memory bound": memory_bound,
    "swap bound": swap_bound,
    "cpu quota": cpu_quota,
    "number list": number_list,
    "count bound": count_bound,
    "byte rate": byte_rate,
    "host name": host_name,
    "account name": account_name,
    "environment name": environment_name,
    "environment pattern": environment_pattern,
    "variable name": variable_name,
    "call": call,
    "calls": calls,
    "errno": errno_name,
    "capability": capability,
    "extended": extended,
    "seal": seal,
    **SERVICE_CHECKS,
}

OF_SEVERAL_TYPES = frozenset(
    {
        *("size", "number limit", "byte limit", "memory bound", "swap bound"),
        *("cpu quota", "number list", "count bound", "byte rate"),
        *("duration", "duration or none", "timeout"),
    }
)
"""The kinds whose check judges the type too."""
