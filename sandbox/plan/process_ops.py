"""Ops on the process: its namespaces and ids, what it keeps of its caller's, what confines it."""

from enum import IntEnum
from typing import Final

from sandbox.capabilities import CAPABILITY_NAMES
from sandbox.plan.kernel import (
    NAMESPACES,
    SIGKILL,
    NetAccess,
    Scoped,
    Secure,
    access_words,
)
from sandbox.plan.record import Op


class MapBy(IntEnum):
    """Who writes the id maps of the new user namespace."""

    SELF = 0
    SUPERVISOR = 1
    HELPER = 2


class CreateNamespaces(Op, frozen=True, kw_only=True):
    """The CLONE_NEW* flags of the one clone3 that makes the sandbox."""

    KIND = 1
    flags: int

    def describe(self) -> str:
        return "new namespaces: " + ", ".join(w for b, w in NAMESPACES.values() if b & self.flags)


class MapIds(Op, frozen=True, kw_only=True):
    """The user namespace's maps as /proc/PID/uid_map takes them; `setgroups` 1 leaves it allowed."""

    KIND = 2
    by: int
    uid_map: str
    gid_map: str
    setgroups: int

    def describe(self) -> str:
        writer = ("by the sandbox itself", "by sbx", "by newuidmap and newgidmap")[self.by]
        return (
            f"map users: {_map_words(self.uid_map)}; groups: {_map_words(self.gid_map)} ({writer})"
        )


class SetIds(Op, frozen=True, kw_only=True):
    """setresgid and setresuid to ids inside the user namespace."""

    KIND = 3
    uid: int
    gid: int

    def describe(self) -> str:
        return f"become user {self.uid} and group {self.gid} (numbers inside)"


class SetGroups(Op, frozen=True, kw_only=True):
    """Supplementary groups are dropped."""

    KIND = 4
    count: int = 0

    def describe(self) -> str:
        return "drop all supplementary groups"


class SetDeathSignal(Op, frozen=True, kw_only=True):
    """The process gets this signal when its parent ends, also when it has ended already."""

    KIND = 5
    signal: int

    def describe(self) -> str:
        how = "be killed" if self.signal == SIGKILL else f"get signal {self.signal}"
        return f"{how} when the parent process ends"


class SetHostname(Op, frozen=True, kw_only=True):
    """The UTS namespace's host name."""

    KIND = 22
    name: str

    def describe(self) -> str:
        return f"host name is {self.name}"


class BringUpLoopback(Op, frozen=True, kw_only=True):
    """The loopback interface of the new network namespace goes up."""

    KIND = 23

    def describe(self) -> str:
        return "start the sandbox's own loopback interface, its only network"


CALLERS_UMASK: Final = 2**32 - 1


class SetUmask(Op, frozen=True, kw_only=True):
    """The file mode creation mask; `CALLERS_UMASK` is the caller's."""

    KIND = 25
    mask: int

    def describe(self) -> str:
        if self.mask == CALLERS_UMASK:
            return "file mode creation mask of the caller"
        return f"file mode creation mask {self.mask:04o}"


class ChangeDirectory(Op, frozen=True, kw_only=True):
    """The payload's working directory, by its path in the new root."""

    KIND = 26
    path: str

    def describe(self) -> str:
        return f"working directory {self.path}"


class SetEnvironment(Op, frozen=True, kw_only=True):
    """The whole environment: `set` as NAME=value, `passed` names of the caller's.

    A final * in `passed` makes it a prefix.
    """

    KIND = 27
    set: tuple[str, ...]
    passed: tuple[str, ...]

    def describe(self) -> str:
        fixed = " ".join(self.set) or "nothing"
        return f"environment: {fixed}; passed from the caller: {' '.join(self.passed) or 'nothing'}"


class NullStdin(Op, frozen=True, kw_only=True):
    """Standard input is the sandbox's /dev/null."""

    KIND = 28

    def describe(self) -> str:
        return "standard input is empty"


class OpenTerminal(Op, frozen=True, kw_only=True):
    """A new pseudo-terminal of the sandbox's devpts becomes the controlling terminal.

    Where none was asked for at launch it starts a session instead.
    """

    KIND = 29

    def describe(self) -> str:
        return "start a session, with a terminal of its own if sbx runs in one"


class NewSession(Op, frozen=True, kw_only=True):
    """setsid(2)."""

    KIND = 30

    def describe(self) -> str:
        return "start a session without a terminal"


class SetCapabilities(Op, frozen=True, kw_only=True):
    """The capability sets but the bounding one, as bit masks; effective is permitted."""

    KIND = 31
    permitted: int
    inheritable: int
    ambient: int

    def describe(self) -> str:
        kept = [name for bit, name in enumerate(CAPABILITY_NAMES) if self.permitted >> bit & 1]
        if not kept:
            return "give up every capability"
        return (
            f"keep {', '.join(kept)}"
            + (" (ambient)" if self.ambient else "")
            + "; give up every other capability"
        )


class SetSecurebits(Op, frozen=True, kw_only=True):
    """PR_SET_SECUREBITS."""

    KIND = 32
    bits: int

    def describe(self) -> str:
        words = (
            (Secure.NOROOT, "user 0 has no privileges by its number"),
            (Secure.NO_SETUID_FIXUP, "changes of user leave capabilities alone"),
            (Secure.NO_CAP_AMBIENT_RAISE, "no ambient capabilities"),
        )
        return "for good: " + "; ".join(text for bit, text in words if self.bits & bit)


class SetNoNewPrivileges(Op, frozen=True, kw_only=True):
    """PR_SET_NO_NEW_PRIVS."""

    KIND = 33

    def describe(self) -> str:
        return "no program can gain privileges any more (no_new_privs)"


class NewKeyring(Op, frozen=True, kw_only=True):
    """A new and empty session keyring (keyctl(2)), where the filter leaves keyrings in reach."""

    KIND = 48

    def describe(self) -> str:
        return "leave the caller's session keyring for an empty one"


class ProtectProcess(Op, frozen=True, kw_only=True):
    """The sandbox's init can't be traced; the payload can't follow its /proc links."""

    KIND = 34

    def describe(self) -> str:
        return "shield the sandbox's first process from the payload"


class CreateLandlockRuleset(Op, frozen=True, kw_only=True):
    """The rights that Landlock denies unless a rule allows them."""

    KIND = 35
    fs: int
    net: int
    scoped: int

    def describe(self) -> str:
        denied = [f"{self.fs.bit_count()} kinds of file access"] if self.fs else []
        denied += ["binding TCP ports"] if self.net & NetAccess.BIND_TCP else []
        denied += ["connecting by TCP"] if self.net & NetAccess.CONNECT_TCP else []
        denied += ["signals to processes outside"] if self.scoped & Scoped.SIGNAL else []
        if self.scoped & Scoped.ABSTRACT_UNIX_SOCKET:
            denied.append("abstract Unix sockets outside")
        return f"Landlock denies {', '.join(denied)}, except:"


class AllowPath(Op, frozen=True, kw_only=True):
    """A Landlock rule: `access` beneath `path` of the new root; flag 1: skipped where missing."""

    KIND = 36
    path: str
    access: int
    flags: int

    def describe(self) -> str:
        missing = " (left out if missing)" if self.flags else ""
        return f"Landlock allows in {self.path}: {access_words(self.access)}{missing}"


class AllowPort(Op, frozen=True, kw_only=True):
    """A Landlock rule for a TCP port."""

    KIND = 37
    port: int
    access: int

    def describe(self) -> str:
        words = [w for b, w in ((1, "binding"), (2, "connecting to")) if self.access & b]
        return f"Landlock allows {' and '.join(words)} TCP port {self.port}"


class StartInit(Op, frozen=True, kw_only=True):
    """From here on the ops are the payload's; this process reaps and forwards signals."""

    KIND = 38

    def describe(self) -> str:
        return "start the payload's process; the first one stays as its init"


class RestrictSelf(Op, frozen=True, kw_only=True):
    """The Landlock ruleset applies from here on."""

    KIND = 39
    flags: int

    def describe(self) -> str:
        return "Landlock applies from here on"


class CheckDescriptors(Op, frozen=True, kw_only=True):
    """Standard streams that are directories are refused."""

    KIND = 40

    def describe(self) -> str:
        return "refuse standard streams that are directories"


class SealDescriptors(Op, frozen=True, kw_only=True):
    """Every descriptor above 2 closes on exec."""

    KIND = 41

    def describe(self) -> str:
        return "close every descriptor but the standard streams"


class KeepDescriptor(Op, frozen=True, kw_only=True):
    """A declared descriptor reaches the payload."""

    KIND = 42
    number: int

    def describe(self) -> str:
        return f"keep descriptor {self.number}"


class InstallFilter(Op, frozen=True, kw_only=True):
    """The seccomp program (array of struct sock_filter); flags of seccomp(2)."""

    KIND = 43
    program: bytes
    flags: int

    def describe(self) -> str:
        return f"filter system calls ({len(self.program) // 8} instructions)"


class Execute(Op, frozen=True, kw_only=True):
    """The payload starts. The caller's command, where it gives one, takes the place of `argv`."""

    KIND = 44
    argv: tuple[str, ...]

    def describe(self) -> str:
        import shlex

        return f"run {shlex.join(self.argv)}" if self.argv else "run the command given at launch"


class SkipFeature(Op, frozen=True, kw_only=True):
    """Does nothing: records that this host lacks a feature.

    `warn` 1: each launch says so, since nothing else keeps what the feature would.
    """

    KIND = 45
    feature: str
    warn: int = 1

    def describe(self) -> str:
        return f"NOT ENFORCED on this host: {self.feature}"


class LimitCapabilities(Op, frozen=True, kw_only=True):
    """The bounding set, as a bit mask."""

    KIND = 46
    bounding: int

    def describe(self) -> str:
        kept = [name for bit, name in enumerate(CAPABILITY_NAMES) if self.bounding >> bit & 1]
        return f"no program can gain a capability{' but ' + ', '.join(kept) if kept else ''}"


def _map_words(text: str) -> str:
    parts = []
    for line in text.split("\n"):
        inside, outside, count = (int(field) for field in line.split())
        if count == 1:
            parts.append(f"{inside} is {outside} outside")
        else:
            last = inside + count - 1
            parts.append(f"{inside} to {last} are {outside} to {outside + count - 1} outside")
    return ", ".join(parts)
