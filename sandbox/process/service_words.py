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
