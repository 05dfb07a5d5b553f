"""What a plan is made of: ops that the executor carries out and stamps that tell it is stale.

A record class's annotations are its wire layout, in order (`int` is an integer slot, `str` a
string, `bytes` a blob, `tuple[str, ...]` a list of strings); `KIND` is its number on the wire and
never changes. `csrc/plan.h` holds the same layouts, and a test compares them.
"""

from enum import IntFlag
from typing import ClassVar, Final, NamedTuple

import msgspec

from sandbox.profile.resolved import KeyPath

_LETTERS: Final = {int: "u", str: "s", bytes: "b", tuple[str, ...]: "l"}


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What ops and stamps share."""

    KIND: ClassVar[int]

    @classmethod
    def layout(cls) -> str:
        """One letter a slot, as plan_op_layout() in csrc/plan.c gives it."""
        types = cls.__annotations__
        return "".join(_LETTERS[types[name]] for name in cls.__struct_fields__)


class Op(Record, frozen=True, kw_only=True):
    """One thing that the executor does."""

    def describe(self) -> str:
        """What the op does, in one line of plain words; every op has its own.

        An abstract method would take a metaclass of abc's, and msgspec has one already: a test
        calls it on every op instead.
        """
        raise NotImplementedError(type(self).__name__)


class Step(NamedTuple):
    """An op, and the statement of the profile that asks for it (empty: none does)."""

    op: Op
    origin: KeyPath = ()


class FileStamp(Record, frozen=True, kw_only=True):
    """A file's state; `follow` 0 means that of a symbolic link itself.

    `exists` 2: which file it is counts, and its state doesn't.
    """

    KIND = 1
    path: str
    follow: int
    exists: int
    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


class VariableStamp(Record, frozen=True, kw_only=True):
    """A variable of the caller's that the profile's text took in; `is_set` 0: it wasn't set."""

    KIND = 2
    name: str
    is_set: int
    value: str


class HostStamp(Record, frozen=True, kw_only=True):
    """The kernel, the sbx and the caller that a plan was made for.

    `capabilities` is the effective set as a mask.
    """

    KIND = 3
    release: str
    version: str
    uid: int
    gid: int
    capabilities: int


class CwdStamp(Record, frozen=True, kw_only=True):
    """The working directory that a plan was made for."""

    KIND = 4
    path: str


class NameStamp(Record, frozen=True, kw_only=True):
    """The profile as the command line names it, which is what the cache knows a plan by."""

    KIND = 5
    key: str


class SetStamp(Record, frozen=True, kw_only=True):
    """A variable that the command line gave another text; a kept plan's name has it as well."""

    KIND = 6
    name: str
    value: str


STAMPS: Final[dict[int, type[Record]]] = {
    stamp.KIND: stamp
    for stamp in (FileStamp, VariableStamp, HostStamp, CwdStamp, NameStamp, SetStamp)
}


class PlanFlag(IntFlag):
    """PLAN_FLAG_* of csrc/plan.h."""

    SOURCES_OUTSIDE = 1
    FOR_CWD = 2
    TERMINAL_AUTO = 4
    TERMINAL_ALWAYS = 8


class Watched(NamedTuple):
    """A path that a fact about the host was read from; the cache stamps it.

    `any_state`: only which file it is counts, however often it changes.
    """

    path: str
    follow: bool
    any_state: bool = False


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All that the executor needs to start one sandbox. Made by `compile`, written by `codec`.

    `origins` tells for each op the statement it stems from. `watched` are files that are not yet
    in `stamps`; only the cache reads their state.
    """

    ops: tuple[Op, ...]
    origins: tuple[KeyPath, ...]
    flags: int = 0
    stamps: tuple[Record, ...] = ()
    watched: tuple[Watched, ...] = ()
    not_enforced: tuple[str, ...] = ()
