"""What attempts are made on: files of a caller's, and a caller who is careless with descriptors."""

import ctypes
import fcntl
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from sandbox.plan import syscalls

FIRST, LAST = 3, 200
KEY = "sbx-isolation"
"""A key in the session keyring of the caller's, which is inherited as descriptors are."""
KEYCTL_JOIN_SESSION_KEYRING, KEY_SPEC_SESSION_KEYRING = 1, -3

VARIABLES = {
    "LD_PRELOAD": "libc.so.6",
    "LD_LIBRARY_PATH": "/nowhere",
    "PYTHONPATH": "/nowhere",
    "PYTHONSTARTUP": "/nowhere",
    "BASH_ENV": "/nowhere",
    "ENV": "/nowhere",
    "PERL5OPT": "-w",
    "GCONV_PATH": "/nowhere",
    "SSH_AUTH_SOCK": "/nowhere",
    "TOKEN": "secret",
}
"""Variables of a caller's that choose what code runs, or that are nobody else's business."""

SUBJECT = """\
schema = 1

[profile]
name = "isolation"

[environment]
set = {{ PATH = "/usr/bin:/bin" }}

[filesystem]
read = ["{data}"]
write = ["{work}"]
tmpfs = ["/tmp"]

[[mounts]]
type = "bind"
source = "{probe}"
target = "{probe}"
execute = true

[seccomp]
allow = ["@service"]
"""
"""What the payload is granted: a directory to read, one to write to, and the calls of a service."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A caller's files, by the names that attempts have for them.

    `data` may be read and `work` written to; `secret` isn't granted. `set_user_id` and
    `capable` are copies of the probe that lend an identity, if the tests run as root.
    """

    probe: str
    directory: str
    around: dict[str, str] = field(default_factory=dict)
    """Names of what lives around the sandbox (tests/isolation/surroundings.py)."""

    @property
    def names(self) -> Mapping[str, str]:
        secret = os.path.join(self.directory, "private", "secret")
        return {
            "probe": self.probe,
            "data": os.path.join(self.directory, "data"),
            "work": os.path.join(self.directory, "work"),
            "secret": secret,
            "relative_secret": secret.lstrip("/"),
            "set_user_id": os.path.join(self.directory, "data", "set-user-id"),
            "capable": os.path.join(self.directory, "data", "capable"),
            "key_name": KEY,
            **self.around,
        }

    @property
    def subject(self) -> str:
        """The profile that attempts are made under, unless they say more."""
        return SUBJECT.format(**self.names)

    def derived(self, more: str) -> str:
        """A profile that says more than the subject, or that extends another one."""
        base = "" if "profile.extends" in more else 'profile.extends = "./subject.toml"\n'
        return f'schema = 1\nprofile.name = "isolation"\n{base}{self.fill(more)}'

    def fill(self, text: str) -> str:
        """A text of the catalogue with the names put in."""
        for name, value in self.names.items():
            text = text.replace("{" + name + "}", value)
        return text


def prepare(probe: str, directory: str) -> Scene:
    """Makes the files in an empty directory."""
    scene = Scene(probe=probe, directory=directory)
    for name, mode in (("data", 0o755), ("data/below", 0o755), ("work", 0o777), ("private", 0o755)):
        os.mkdir(os.path.join(directory, name))
        os.chmod(os.path.join(directory, name), mode)
    for name in ("data/file", "private/secret"):
        with open(os.path.join(directory, name), "w", encoding="ascii") as file:
            file.write("secret\n")
    shutil.copy(probe, scene.names["set_user_id"])
    os.chmod(scene.names["set_user_id"], 0o6755)
    shutil.copy(probe, scene.names["capable"])
    os.chmod(scene.names["capable"], 0o755)
    return scene


@contextmanager
def careless() -> Iterator[tuple[int, ...]]:
    """What a careless caller has left open: pipes, files, and directories that lead everywhere."""
    low = [*os.pipe(), os.memfd_create("file"), os.open("/dev/null", os.O_RDWR)]
    low += [os.open("/", os.O_RDONLY), os.open("/", os.O_PATH)]
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, LAST + 1) for fd in low]
    for fd in low:
        os.close(fd)
    try:
        yield tuple(high)
    finally:
        for fd in high:
            os.close(fd)


def leave_open(sources: tuple[int, ...]) -> None:
    """In the child: every number from 3 to 200 becomes a copy of one of the sources; a key is in its keyring."""
    syscall = ctypes.CDLL(None).syscall
    numbers = syscalls.numbers(platform.machine())
    syscall(numbers["keyctl"], KEYCTL_JOIN_SESSION_KEYRING, None)
    syscall(numbers["add_key"], b"user", KEY.encode(), b"secret", 6, KEY_SPEC_SESSION_KEYRING)
    for number in range(FIRST, LAST + 1):
        os.dup2(sources[number % len(sources)], number, inheritable=True)
