"""A refusal with its reason: which layer said no, for which statement, and what would allow it."""

from enum import StrEnum

import msgspec

from sandbox.profile.resolved import KeyPath, Origin, key_text


class Layer(StrEnum):
    """Who refused."""

    MOUNT = "mount"
    LANDLOCK = "landlock"
    SECCOMP = "seccomp"
    CAPABILITY = "capability"
    NAMESPACE = "namespace"
    MODE = "mode"
    LIMIT = "limit"
    TRACING = "tracing"
    """Only because the sandbox is followed."""
    OUTSIDE = "outside"
    """Not the sandbox: the same would happen without it."""


class Advice(msgspec.Struct, frozen=True):
    """The smallest change of a profile that would allow it.

    With `add`, `value` goes into the list at `key`; with `remove` it is taken out of it; with
    neither the key is set to it. A key with an index is one of a statement that is there already,
    of which `target` is the path.
    """

    key: KeyPath
    value: object
    add: bool = False
    remove: bool = False
    target: str = ""

    def text(self) -> str:
        """`filesystem.read = ["/x"]`, as it may stand in a profile."""
        if self.remove:
            return f"take {toml(self.value)} out of {key_text(self.key)}"
        if self.target:
            name = str(self.key[-1])
            return f"{name} = {toml(self.value)} in the [[{self.key[0]}]] of {toml(self.target)}"
        value = toml([self.value]) if self.add else toml(self.value)
        return f"{key_text(self.key)} = {value}"


class Denial(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of refusal, explained.

    `error` is an errno's or a signal's name. `subject` is the path, address or id that the call was
    about. `key` is the statement behind it, and `origin` where that stands (None: a default).
    Without `advice` no key allows it, and `note` says why or what else helps. `probe` means that
    programs ask so in passing, `failed` that the process then ended with another status than 0.
    `trivial`: programs do as well without. `recovered`: what was looked for was found elsewhere
    each time.
    """

    call: str
    error: str
    subject: str
    layer: Layer
    reason: str
    key: KeyPath = ()
    origin: Origin | None = None
    advice: tuple[Advice, ...] = ()
    note: str = ""
    probe: bool = False
    trivial: bool = False
    recovered: bool = False
    failed: bool = False
    count: int = 1
    last: int = 0
    program: str = ""
    pid: int = 0

    @property
    def matters(self) -> bool:
        """It would have gone well without the sandbox, and nothing else helped."""
        return self.layer != Layer.OUTSIDE and not self.recovered and not self.trivial

    @property
    def by_sandbox(self) -> bool:
        return self.layer not in {Layer.OUTSIDE, Layer.TRACING}


def toml(value: object) -> str:
    """A value as TOML writes it."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case dict():
            return "{ " + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + " }"
        case list() | tuple():
            return "[" + ", ".join(map(toml, value)) + "]"
        case _:
            return _string(str(value))


def _string(text: str) -> str:
    """A basic string in full, unlike `quoted`: it is meant to be copied."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else _escape(c) for c in plain) + '"'


def _escape(char: str) -> str:
    number = ord(char)
    if 0xD800 <= number <= 0xDFFF:
        return char  # a byte that isn't UTF-8: no TOML file can hold it
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why a call was refused: what of a denial is found out rather than seen."""

    layer: Layer
    text: str
    key: KeyPath = ()
    advice: tuple[Advice, ...] = ()
    note: str = ""
    probe: bool = False
    trivial: bool = False


def outside(text: str, *, probe: bool = False) -> Reason:
    """A reason that isn't the sandbox's."""
    return Reason(layer=Layer.OUTSIDE, text=text, probe=probe)
