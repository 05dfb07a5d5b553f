"""Tables of a profile that say who the payload is and what the kernel grants it."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from sandbox.profile.values import (
    MAX_ID,
    Account,
    ByteLimit,
    Call,
    Calls,
    Capability,
    EnvironmentName,
    EnvironmentPattern,
    Errno,
    Limit,
    Name,
    NumberLimit,
    Path,
    Table,
)


class Process(Table, frozen=True, kw_only=True):
    """[process]: the payload and how it meets its caller."""

    command: Annotated[
        tuple[str, ...],
        Meta(
            description="Program and arguments; replaced as a whole by a derived profile or by "
            "the command line."
        ),
    ] = ()
    cwd: Annotated[Path, Meta(description="Working directory inside the sandbox.")] = "/"
    umask: Annotated[
        str,
        Meta(
            description="File mode creation mask in octal, or 'inherit' for the caller's.",
            examples=["0022", "0077", "inherit"],
            extra={"kind": "umask"},
        ),
    ] = "0022"
    terminal: Annotated[
        Literal["never", "auto", "always"],
        Meta(
            description="Own pseudo-terminal: never, when sbx's standard input and output are "
            "one, or always (an error without one)."
        ),
    ] = "never"
    init: Annotated[
        bool,
        Meta(
            description="PID 1 is sbx's init, which reaps and forwards signals; else the payload."
        ),
    ] = True
    descriptors: Annotated[
        tuple[Annotated[int, Meta(ge=3, le=1048575)], ...],
        Meta(description="Descriptors from 3 on that the payload inherits; all others are closed."),
    ] = ()
    stdin: Annotated[
        Literal["inherit", "null"], Meta(description="Standard input: sbx's own, or empty.")
    ] = "inherit"
    new_session: Annotated[
        bool,
        Meta(
            description="Run in a session of its own (setsid). Without it the payload can reach "
            "the caller's terminal."
        ),
    ] = True
    die_with_parent: Annotated[
        bool, Meta(description="Kill the sandbox when sbx itself ends, however it ends.")
    ] = True


class Environment(Table, frozen=True, kw_only=True):
    """[environment]: the payload's variables; all others are cleared."""

    pass_: Annotated[
        tuple[EnvironmentPattern, ...],
        Meta(
            description="Variables taken from the caller: names, or a prefix followed by '*'.",
            examples=[["TERM", "LC_*"]],
        ),
    ] = msgspec.field(default=(), name="pass")
    set: Annotated[
        dict[EnvironmentName, str],
        Meta(description="Variables with a fixed value; they win over 'pass'."),
    ] = msgspec.field(default_factory=dict)


class Identity(Table, frozen=True, kw_only=True):
    """[identity]: who the payload is, inside and outside."""

    user: Annotated[
        Account,
        Meta(description="User id inside: a number, 'self' (the caller's own), or 'root' (0)."),
    ] = "self"
    group: Annotated[
        Account,
        Meta(description="Group id inside: a number, 'self' (the caller's own), or 'root' (0)."),
    ] = "self"
    map: Annotated[
        Literal["auto", "self", "root", "range", "host"],
        Meta(
            description="How ids inside map to ids outside. auto: 'self' for a normal user, an "
            "unprivileged range for root. self: the caller's id alone. root: the caller's id as "
            "0 alone. range: subordinate ids. host: no mapping; uid 0 inside is uid 0 outside."
        ),
    ] = "auto"
    name: Annotated[
        Annotated[str, Meta(extra={"kind": "account name"})],
        Meta(description="Account name in the generated passwd and group."),
    ] = "sandbox"
    range_size: Annotated[
        int, Meta(ge=1, le=MAX_ID, description="How many ids the map 'range' holds.")
    ] = 65536


class Namespaces(Table, frozen=True, kw_only=True):
    """[namespaces]: what the payload has apart from the host. The mount namespace is always new."""

    user: Annotated[bool, Meta(description="Own user namespace.")] = True
    pid: Annotated[
        bool, Meta(description="Own process ids. Without it the host's processes are visible.")
    ] = True
    ipc: Annotated[bool, Meta(description="Own System V IPC and POSIX message queues.")] = True
    uts: Annotated[bool, Meta(description="Own host name.")] = True
    cgroup: Annotated[bool, Meta(description="Own view of the cgroup hierarchy.")] = True
    time: Annotated[bool, Meta(description="Own offsets of the monotonic and boot clocks.")] = True
    hostname: Annotated[Name, Meta(description="Host name inside; needs 'uts'.")] = "sandbox"


class Capabilities(Table, frozen=True, kw_only=True):
    """[capabilities]: privileges kept, in the payload's own user namespace. None by default."""

    keep: Annotated[
        tuple[Capability, ...],
        Meta(description="Capabilities kept.", examples=[["CAP_NET_BIND_SERVICE"]]),
    ] = ()
    ambient: Annotated[bool, Meta(description="Put the kept ones into the ambient set too.")] = (
        False
    )


class Argument(Table, frozen=True, kw_only=True):
    """One condition of a [[seccomp.rules]] on an argument of the call."""

    index: Annotated[int, Meta(ge=0, le=5, description="Which argument, from 0.")]
    op: Annotated[
        Literal["eq", "ne", "in", "masked-eq", "lt", "le", "gt", "ge"],
        Meta(description="Comparison; unsigned."),
    ]
    value: Annotated[int | None, Meta(description="What to compare with.")] = None
    values: Annotated[tuple[int, ...], Meta(description="What to compare with, for 'in'.")] = ()
    mask: Annotated[int | None, Meta(description="Bits that 'masked-eq' looks at.")] = None
    width: Annotated[
        Literal[32, 64],
        Meta(
            description="How many bits the kernel reads. 32 for arguments of type int: with 64 "
            "the payload gets past the rule by setting a high bit."
        ),
    ] = 64


class SeccompRule(Table, frozen=True, kw_only=True):
    """One [[seccomp.rules]]: an exception for one call and certain arguments."""

    call: Annotated[Call, Meta(description="Name of the system call.")]
    action: Annotated[
        Literal["allow", "deny", "kill", "log"],
        Meta(description="allow, deny with an errno, kill the process, or allow and log."),
    ]
    errno: Annotated[
        Errno | None, Meta(description="The error for 'deny'; default_errno if left out.")
    ] = None
    args: Annotated[
        tuple[Argument, ...], Meta(description="Conditions; all must hold. None: always.")
    ] = ()


class Seccomp(Table, frozen=True, kw_only=True):
    """[seccomp]: the system calls that the kernel answers. Whatever isn't allowed is denied."""

    enabled: Annotated[bool, Meta(description="Install the filter.")] = True
    allow: Annotated[
        tuple[Calls, ...],
        Meta(
            description="Calls by name, groups as '@group', or a fixed version as '@group/1'.",
            examples=[["@service", "@network/1", "ioctl"]],
        ),
    ] = ()
    deny: Annotated[tuple[Calls, ...], Meta(description="Calls or groups taken away again.")] = ()
    default_errno: Annotated[
        Errno, Meta(description="What a known call that isn't allowed gets.", examples=["EPERM"])
    ] = "EPERM"
    unknown_errno: Annotated[
        Errno, Meta(description="What a call unknown to sbx gets.", examples=["ENOSYS"])
    ] = "ENOSYS"
    log: Annotated[bool, Meta(description="Have the kernel log what is denied.")] = False
    rules: Annotated[
        tuple[SeccompRule, ...], Meta(description="Rules for certain arguments of a call.")
    ] = ()


class Network(Table, frozen=True, kw_only=True):
    """[network]: what the payload can reach."""

    mode: Annotated[
        Literal["none", "host"],
        Meta(description="none: its own loopback only. host: everything the host reaches."),
    ] = "none"


class Rlimits(Table, frozen=True, kw_only=True):
    """[rlimits]: setrlimit(2), by the names of prlimit(1). What is left out is inherited."""

    as_: Annotated[ByteLimit | None, Meta(description="Address space (RLIMIT_AS).")] = (
        msgspec.field(default=None, name="as")
    )
    core: Annotated[ByteLimit | None, Meta(description="Size of a core file.")] = None
    cpu: Annotated[NumberLimit | None, Meta(description="Seconds of processor time.")] = None
    data: Annotated[ByteLimit | None, Meta(description="Data segment.")] = None
    fsize: Annotated[ByteLimit | None, Meta(description="Size of a file written.")] = None
    locks: Annotated[NumberLimit | None, Meta(description="File locks.")] = None
    memlock: Annotated[ByteLimit | None, Meta(description="Memory locked in RAM.")] = None
    msgqueue: Annotated[ByteLimit | None, Meta(description="POSIX message queues.")] = None
    nice: Annotated[NumberLimit | None, Meta(description="20 minus the lowest nice value.")] = None
    nofile: Annotated[NumberLimit | None, Meta(description="Open descriptors.")] = None
    nproc: Annotated[
        NumberLimit | None, Meta(description="Processes and threads of the same user.")
    ] = None
    rss: Annotated[ByteLimit | None, Meta(description="No effect on today's kernels.")] = None
    rtprio: Annotated[NumberLimit | None, Meta(description="Real-time priority.")] = None
    rttime: Annotated[
        NumberLimit | None, Meta(description="Microseconds of real-time work without a pause.")
    ] = None
    sigpending: Annotated[NumberLimit | None, Meta(description="Queued signals.")] = None
    stack: Annotated[ByteLimit | None, Meta(description="Stack of the main thread.")] = None

    def items(self) -> tuple[tuple[str, Limit], ...]:
        """The limits that are set, by name, in order of name."""
        fields = ((name.rstrip("_"), getattr(self, name)) for name in self.__struct_fields__)
        return tuple((name, value) for name, value in fields if value is not None)
