"""The kinds of value that several tables of a profile share.

The `kind` of a type names its check in `checks`: what a JSON Schema can't say, or can't say well.
"""

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

MAX_ID = 2**32 - 2

Path: TypeAlias = Annotated[
    str,
    Meta(
        description="An absolute path without '..'.",
        extra={"kind": "path"},
        extra_json_schema={"pattern": r"^(/|\$\{)"},
    ),
]
Size: TypeAlias = Annotated[
    int | str,
    Meta(
        description="Bytes: a whole number, or text such as '512M', '64K', '1.5G' (powers of 1024).",
        examples=["64K", "512M", "1.5G"],
        extra={"kind": "size"},
    ),
]
Mode: TypeAlias = Annotated[
    str,
    Meta(
        description="Permission bits in octal, as in '0755'.",
        examples=["0755", "1777"],
        extra={"kind": "mode"},
    ),
]
Limit: TypeAlias = int | str | tuple[int | str, int | str]
NumberLimit: TypeAlias = Annotated[
    Limit,
    Meta(
        description="A whole number, 'unlimited', or [soft, hard].",
        examples=["unlimited", 1024, [1024, 4096]],
        extra={"kind": "number limit"},
    ),
]
ByteLimit: TypeAlias = Annotated[
    Limit,
    Meta(
        description="Bytes (a number or text such as '64M'), 'unlimited', or [soft, hard].",
        examples=["unlimited", "64M", ["64M", "unlimited"]],
        extra={"kind": "byte limit"},
    ),
]
MemoryBound: TypeAlias = Annotated[
    int | str,
    Meta(
        description="Bytes (a number or text such as '512M'), a share of the machine's memory such "
        "as '20%', or 'max' for no limit.",
        examples=["512M", "20%", "max"],
        extra={"kind": "memory bound"},
    ),
]
SwapBound: TypeAlias = Annotated[
    int | str,
    Meta(
        description="Bytes (a number or text such as '512M'), 0 for none, or 'max' for no limit.",
        examples=[0, "512M", "max"],
        extra={"kind": "swap bound"},
    ),
]
CpuQuota: TypeAlias = Annotated[
    str,
    Meta(
        description="Processor time: '1.5 cpus', '150%' (of one processor), 'QUOTA PERIOD' in "
        "microseconds, or 'max' for no limit.",
        examples=["1.5 cpus", "20%", "50000 100000", "max"],
        extra={"kind": "cpu quota"},
    ),
]
NumberList: TypeAlias = Annotated[
    str,
    Meta(
        description="Numbers and ranges of them, such as '0-3,6'.",
        examples=["0", "0-3,6"],
        extra={"kind": "number list"},
    ),
]
Count: TypeAlias = Annotated[
    int | str,
    Meta(
        description="A whole number above 0, or 'max' for no limit.",
        examples=[64, "max"],
        extra={"kind": "count bound"},
    ),
]
ByteRate: TypeAlias = Annotated[
    int | str,
    Meta(
        description="Bytes in a second (a number or text such as '10M'), or 'max' for no limit.",
        examples=["10M", "max"],
        extra={"kind": "byte rate"},
    ),
]
Weight: TypeAlias = Annotated[int, Meta(ge=1, le=10000)]
Id: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_ID)]
Account: TypeAlias = Id | Literal["self", "root"]
Name: TypeAlias = Annotated[str, Meta(extra={"kind": "host name"})]
Call: TypeAlias = Annotated[str, Meta(extra={"kind": "call"})]
Calls: TypeAlias = Annotated[str, Meta(extra={"kind": "calls"})]
Errno: TypeAlias = Annotated[str, Meta(extra={"kind": "errno"})]
Capability: TypeAlias = Annotated[str, Meta(extra={"kind": "capability"})]
EnvironmentName: TypeAlias = Annotated[str, Meta(extra={"kind": "environment name"})]
EnvironmentPattern: TypeAlias = Annotated[str, Meta(extra={"kind": "environment pattern"})]
VariableName: TypeAlias = Annotated[str, Meta(extra={"kind": "variable name"})]
Seal: TypeAlias = Annotated[str, Meta(extra={"kind": "seal"})]
Extended: TypeAlias = Annotated[str, Meta(extra={"kind": "extended"})]
Duration: TypeAlias = Annotated[
    int | str,
    Meta(
        description="Seconds: a whole number, or text such as '500ms', '30s', '1h 30min'.",
        examples=["500ms", "30s", "5 min"],
        extra={"kind": "duration"},
    ),
]
Timeout: TypeAlias = Annotated[
    int | str,
    Meta(
        description="A duration, or 'infinity'.",
        examples=["30s", "5 min", "infinity"],
        extra={"kind": "timeout"},
    ),
]
Signal: TypeAlias = Annotated[str, Meta(extra={"kind": "signal"})]
SliceName: TypeAlias = Annotated[str, Meta(extra={"kind": "slice"})]
SocketName: TypeAlias = Annotated[str, Meta(extra={"kind": "socket name"})]
SecretName: TypeAlias = Annotated[str, Meta(extra={"kind": "secret name"})]
CredentialName: TypeAlias = Annotated[str, Meta(extra={"kind": "secret name"})]
HttpAddress: TypeAlias = Annotated[str, Meta(extra={"kind": "http address"})]
UnixAddress: TypeAlias = Annotated[str, Meta(extra={"kind": "unix address"})]
TcpAddress: TypeAlias = Annotated[str, Meta(extra={"kind": "tcp address"})]


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every table has in common: nothing can be changed, nothing unknown is let through."""
