"""Where the fuzzers start: what each kind of input looks like when all is well."""

import re
import struct
import tomllib
from pathlib import Path

from sandbox.host import probe
from sandbox.plan import codec
from sandbox.plan.compile import compile as compile_plan
from sandbox.profile.load import load
from sandbox.profile.names import shipped_names, shipped_path
from tests.fuzz.profile_inputs import BETWEEN

TREE = Path(__file__).parents[2]


def plans() -> list[bytes]:
    found = []
    for name in shipped_names():
        resolved = load(name, cwd="/somewhere", environ={"HOME": "/home/somebody"})
        found.append(codec.encode(compile_plan(resolved, probe())))
    return found


def profiles() -> list[bytes]:
    texts = [Path(shipped_path(name)).read_bytes() for name in shipped_names()]
    above = b'schema = 1\n[profile]\nextends = ["base"]\n[filesystem]\nread = ["/a"]\n'
    return texts + [above + BETWEEN.encode() + text for text in texts]


def keys_of_profiles() -> list[str]:
    stated = tomllib.loads((TREE / "docs/keys.toml").read_text(encoding="utf-8"))
    parts = {part for key in stated for part in re.findall(r"[\w-]+", key)}
    return [*sorted(parts), "[[mounts]]", "[[seccomp.rules]]", "${", "$$", " = true", " = ["]


def calls() -> list[bytes]:
    """struct serve_call with the directory, the words and the variables behind it."""
    strings = b"/tmp\0/bin/echo\0hello\0PATH=/bin\0X=\0"
    head = [0x53425843, len(strings), 2, 2, 0, 0]
    return [b"".join(number.to_bytes(4, "little") for number in head) + strings]


def command_lines() -> list[bytes]:
    return [
        b"\0".join(line.encode() for line in words.split(" ")) + b"\0"
        for words in (
            "run -p app.toml --name=web --report end.json -- sh -c true",
            "run --profile app --set a.b=1 --set c=[] --timing",
            "run --plan-fd 7 --ready-fd 8 --name x command",
            "exec -e A=b --env=C=d --cwd /tmp web -- id -u",
            "exec web ls",
        )
    ]


def notifications() -> list[bytes]:
    return [
        b"\0READY=1\nSTATUS=all is well \xc3\xa4\nWATCHDOG=1",
        b"\1FDSTORE=1\nFDNAME=listener\nFDPOLL=0",
        b"\1FDSTOREREMOVE=1\nFDNAME=listener",
        b"\1BARRIER=1",
        b"\0RELOADING=1\nMONOTONIC_USEC=12345\nEXTEND_TIMEOUT_USEC=1000000\nERRNO=2\nBUSERROR=org.x.Y",
        b"\0STOPPING=1\nWATCHDOG=trigger\nMAINPID=1\nNOTIFYACCESS=all",
    ]


def requests() -> list[bytes]:
    """struct control_request, each with its length before it; the first byte: of a service."""
    wishes = ((1, 0, 7), (2, 0, 0), (3, 15, 1000), (3, 0, 2**64 - 1), (3, 64, 2**63), (9, 1, 1))
    listed = b"".join(
        b"\x18" + struct.pack("<IIIIQ", 1, verb, number, 0, value) for verb, number, value in wishes
    )
    return [b"\0" + listed, b"\1" + listed]


def checks() -> list[bytes]:
    return [
        b"\1\1\x40first line\nthe database is away\n",
        b"\1\0\x40" + struct.pack("<IiI", 6, 0, 503),
        b"\0\1\x40HTTP/1.1 204 No Content\r\n\r\n",
    ]


def outputs() -> list[bytes]:
    return [
        b"\xff\1" + b"a" * 40000 + b"\nhello\n\n\nend",
        b"\0\0hello\n",
        b"\3\2" + b"a\n" * 20000,
    ]


def tasks() -> list[bytes]:
    """Eight calls, and what the memory behind their arguments holds."""
    heads = ((i % 5 | 0x80 | i % 2 << 6, 1 | i % 4 << 6, i, 20, 0, 30, 4, 60) for i in range(8))
    held = b"/etc/passwd\0relative\0" + b"/a" * 3000 + b"\0end"
    return [b"".join(map(bytes, heads)) + held]


def records() -> list[bytes]:
    return [
        b"version=1\0name=web\0profile=/a/web.toml\0supervisor=12\0first=13\0plan_fd=5\0argv=a\0",
        b"path=/sys/fs/cgroup/web\0file=cgroup.freeze\0thawed=0\0",
    ]
