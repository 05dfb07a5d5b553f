"""Ops on the sandbox's control group: done before its first process is made."""

from typing import Final

from sandbox.plan.kernel import size_words
from sandbox.plan.record import Op

_IN_BYTES: Final = frozenset(
    {
        "memory.max",
        "memory.high",
        "memory.swap.max",
        "memory.limit_in_bytes",
        "memory.memsw.limit_in_bytes",
    }
)


class CreateCgroup(Op, frozen=True, kw_only=True):
    """A control group of the sandbox's own; where it lies is decided at launch.

    `version` 2: one in the hierarchy of cgroup v2. 1: one in each hierarchy that a SetCgroup names.
    """

    KIND = 51
    version: int

    def describe(self) -> str:
        return f"make a control group of its own (cgroup v{self.version}) and start in it"


class SetCgroup(Op, frozen=True, kw_only=True):
    """`value` goes into a file of the sandbox's cgroup in the hierarchy mounted at `hierarchy`.

    An empty `file`: the controller only measures. An empty `value`: that of the cgroup above.
    """

    KIND = 52
    hierarchy: str
    controller: str
    file: str
    value: str

    def describe(self) -> str:
        if not self.file:
            return f"measure with the controller {self.controller}"
        if not self.value:
            return f"{self.file} as in the cgroup above"
        words = ""
        if self.file in _IN_BYTES and self.value.isdecimal():
            words = f" ({size_words(int(self.value))})"
        return f"limit by control group: {self.file} = {self.value}{words}"
