"""The words for what fails with a service: `csrc/service.c` and its neighbours give numbers only."""

import errno
import os

from sandbox.plan import ops
from sandbox.plan.record import Op
from sandbox.plan.service_ops import LogTo
from sandbox.process.launch import Failure
from sandbox.process.words import Words


def service_words(op: Op, failure: Failure) -> Words | None:
    """None where the failure is none of a service's."""
    match op:
        case ops.RunService() if failure.error == errno.EINVAL:
            return Words(
                "NOTIFY_SOCKET of sbx's own environment is no path and no abstract name",
                "give it as systemd does, or take it out: env -u NOTIFY_SOCKET sbx run ...",
            )
        case ops.PassSockets():
            return _sockets(op, failure.error)
        case ops.KeepLog(where=LogTo.JOURNAL):
            return Words(
                f"the journal doesn't take messages: {os.strerror(failure.error)}",
                "start it (systemctl start systemd-journald.socket), or set service.log = 'file'",
            )
        case ops.PlaceSecret():
            return _secret(op, failure.error)
        case ops.KeepLog():
            return _log(failure.error)
        case _:
            return None


def _sockets(op: ops.PassSockets, error: int) -> Words | None:
    expected = ", ".join(op.names) or "none"
    options = " ".join(f"--fdname={name}" for name in op.names[:1])
    hint = (
        "name each by FileDescriptorName= of its socket unit, or try it by hand: "
        f"systemd-socket-activate {options} -l PORT sbx run ..."
    )
    if error == errno.EOPNOTSUPP:
        return Words(
            "sockets are handed over by a plain 'sbx run' only",
            "start it without --explain, or leave service.sockets out",
        )
    if error not in (errno.ENOENT, errno.EEXIST):
        return None
    # What fails is put into words by the process that was given them.
    given = os.environ.get("LISTEN_FDNAMES", "").replace(":", ", ") or "sockets without names"
    if not os.environ.get("LISTEN_FDS"):
        given = "none"
    return Words(f"the sockets that the profile expects are {expected}; handed over: {given}", hint)


def _secret(op: ops.PlaceSecret, error: int) -> Words:
    source = op.source
    if error == errno.EFBIG:
        return Words(
            f"secret '{op.name}' is too large: one has at most 1 MiB, all together 4 MiB",
            "hand it over as a file: [[mounts]]",
        )
    if error == errno.E2BIG:
        return Words("there are more than 256 secrets", "put several into one")
    if op.origin == ops.SecretFrom.ENV:
        return Words(
            f"secret '{op.name}': sbx's environment has no variable {source}",
            f"set it: {source}=... sbx run ...; sudo and systemd pass none unless told to",
        )
    if op.origin == ops.SecretFrom.CREDENTIAL:
        why = os.strerror(error)
        if error == errno.ENOTDIR and "CREDENTIALS_DIRECTORY" not in os.environ:
            why = "sbx was given no credentials"
        return Words(
            f"secret '{op.name}': there is no credential {source}: {why}",
            f"the unit needs LoadCredential={source}:PATH; outside of a unit use "
            "systemd-run -p LoadCredential=..., or state 'file' in place of 'credential'",
        )
    if op.trusted and error == errno.ELOOP:
        return Words(
            f"secret '{op.name}': {source} is a symbolic link, in a directory that the payload may write "
            "to: an earlier run could have left it there",
            "look at where it leads, and put the secret beside that directory",
        )
    return Words(
        f"secret '{op.name}': {source} can't be read: {os.strerror(error)}",
        "it has to be a file that the caller of sbx can read",
    )


def _log(error: int) -> Words:
    if error == errno.EPERM:
        return Words(
            "the directory for logs belongs to another user, or others may write to it",
            "make it this user's own with mode 0700; 'man sbx' says which one it is",
        )
    return Words(
        f"the log can't be written: {os.strerror(error)}",
        "'man sbx' says where logs are kept (SBX_LOG_DIR names another directory); a unit with "
        "ProtectSystem= needs LogsDirectory=sbx",
    )
