"""From a refusal as it was seen to a denial with its reason. Pure, but for the eyes it is given."""

import errno as errnos
import signal
from typing import Final, NamedTuple

from sandbox.explain.calls import WATCHES
from sandbox.explain.denial import Advice, Denial, Layer, Reason, outside
from sandbox.explain.files import explain_path, explain_two_paths
from sandbox.explain.limits import file_size_limit, too_many_descriptors
from sandbox.explain.network import address_of, ambient, explain_address, explain_resolver
from sandbox.explain.privileges import CAPABILITY, NEVER, explain_privilege
from sandbox.explain.situation import Situation
from sandbox.explain.syscalls import explain_filter
from sandbox.explain.uses import Wish, wish
from sandbox.plan import syscalls
from sandbox.process.traced import (
    AT_LAUNCH,
    BY_FILTER,
    KILLED,
    SET_ID,
    SIGNAL,
    Refusal,
)

_FAMILIES: Final = {
    0: "AF_UNSPEC", 1: "AF_UNIX", 2: "AF_INET", 10: "AF_INET6", 15: "AF_KEY", 16: "AF_NETLINK",
    17: "AF_PACKET", 29: "AF_CAN", 31: "AF_BLUETOOTH", 38: "AF_ALG", 40: "AF_VSOCK", 44: "AF_XDP",
}  # fmt: skip
_TYPES: Final = {1: "SOCK_STREAM", 2: "SOCK_DGRAM", 3: "SOCK_RAW", 5: "SOCK_SEQPACKET"}
_NUMBERED: Final = {
    "kill": "process {0}",
    "pidfd_open": "process {0}",
    "setuid": "user {0}",
    "setgid": "group {0}",
    "ioctl": "request {1:#x}",
    "prctl": "option {0}",
    "ptrace": "request {0}",
    "unshare": "flags {0:#x}",
    "setns": "flags {1:#x}",
    "personality": "{0:#x}",
}
_TWO_PATHS: Final = frozenset({"rename", "renameat", "renameat2", "link", "linkat"})
_CAP_NET_RAW: Final = ("capabilities", "keep")


class _What(NamedTuple):
    """What a refusal was about, in words, and why it was refused."""

    subject: str
    reason: Reason


def explain(s: Situation, refusal: Refusal) -> Denial | None:
    """The denial behind a refusal; None for what the launch itself does."""
    name = syscalls.name(s.host.machine, refusal.call) if refusal.call >= 0 else None
    if refusal.flags & AT_LAUNCH:
        return None
    what = _what(s, refusal, name)
    if what is None:
        return None
    reason = what.reason
    recovered = refusal.made_good >= refusal.count > 0
    return Denial(
        call=_call_text(refusal, name),
        error=_error_name(refusal),
        subject=what.subject,
        layer=reason.layer,
        reason=reason.text,
        key=reason.key,
        origin=s.origin(reason.key),
        advice=reason.advice,
        note=_with_seals(s, reason),
        probe=reason.probe,
        trivial=reason.trivial,
        recovered=recovered,
        failed=refusal.failed,
        count=refusal.count,
        last=refusal.last,
        program=refusal.program,
        pid=refusal.pid,
    )


def _call_text(refusal: Refusal, name: str | None) -> str:
    if refusal.flags & SIGNAL:
        return "signal"
    return name or f"call {refusal.call}"


def _error_name(refusal: Refusal) -> str:
    if refusal.flags & SIGNAL:
        return signal.Signals(refusal.error).name
    if refusal.flags & KILLED:
        return "SIGSYS"
    return errnos.errorcode.get(refusal.error, str(refusal.error)) if refusal.error else ""


def _with_seals(s: Situation, reason: Reason) -> str:
    notes = [reason.note] if reason.note else []
    for advice in reason.advice:
        place = None if advice.remove else s.seal(advice.key)
        if place:
            notes.append(f"{place} seals {advice.key[0]}, so only that file can allow it")
    return "; ".join(dict.fromkeys(notes))


def _what(s: Situation, refusal: Refusal, name: str | None) -> _What | None:
    subject = _subject(refusal, name)
    if refusal.flags & SET_ID:
        return _What(subject, _set_id())
    if refusal.flags & SIGNAL:
        return _What("", _signalled(s, refusal.error))
    if refusal.flags & BY_FILTER:
        killed = bool(refusal.flags & KILLED)
        reason = explain_filter(s, refusal.call, name, refusal.arguments, killed=killed)
        return _What(subject, reason)
    if name is None or refusal.error == errnos.ENOSYS:
        return None
    if refusal.error == 0:
        resolver = explain_resolver(s, address_of(refusal.data))
        return _What(subject, resolver) if resolver else None
    return _What(subject, _carried_out(s, refusal, name))


def _carried_out(s: Situation, refusal: Refusal, name: str) -> Reason:
    """A call that the filter let through."""
    error, arguments = refusal.error, refusal.arguments
    if name in {"connect", "bind", "sendto"}:
        return explain_address(s, name, error, address_of(refusal.data), _working_directory(s))
    if name in {"socket", "socketpair", "setsockopt"}:
        return _socket(s, name, refusal)
    if name in _TWO_PATHS and error == errnos.EXDEV:
        first, second = (path_of(*pair) for pair in refusal.paths)
        return explain_two_paths(s, first, second)
    special = explain_privilege(s, name, error, arguments)
    paths = WATCHES[name].paths if name in WATCHES else ()
    if not paths or (special is not None and not _is_about_a_file(name, error)):
        return special or _anything(name)
    reasons = []
    for index, pair in enumerate(refusal.paths):
        wanted = wish(name, arguments, refusal.data, second=bool(index))
        reasons.append(_of_path(s, error, pair, wanted))
    by_sandbox = [reason for reason in reasons if reason.layer != Layer.OUTSIDE]
    found = by_sandbox[0] if by_sandbox else reasons[0]
    return special if special is not None and found.layer == Layer.OUTSIDE else found


def _is_about_a_file(name: str, error: int) -> bool:
    """Whether the path is a likelier reason than the privilege that the call needs."""
    if name in {"chown", "lchown", "fchown", "fchownat"}:
        return error not in {errnos.EPERM, errnos.EINVAL}
    return error not in {errnos.EPERM, errnos.ENOMEM, errnos.EAGAIN} and name not in NEVER


def _of_path(s: Situation, error: int, pair: tuple[str, str], wanted: Wish) -> Reason:
    path = path_of(*pair)
    if not path.startswith("/"):
        return outside("it is no file that has a path", probe=wanted.probe)
    return explain_path(s, error, path, wanted)


def path_of(directory: str, path: str) -> str:
    """The path that a payload meant, from its root on; with the directory's alone if it is empty."""
    if path.startswith("/"):
        return path
    directory = directory.removesuffix(" (deleted)")
    return f"{directory.rstrip('/')}/{path}" if path else directory


def _working_directory(s: Situation) -> str:
    return s.profile.process.cwd


def _socket(s: Situation, name: str, refusal: Refusal) -> Reason:
    if refusal.error in {errnos.EPERM, errnos.EACCES}:
        capability = "CAP_NET_RAW" if name != "setsockopt" else "CAP_NET_ADMIN"
        text = f"it needs {capability}, which the payload doesn't have"
        if s.profile.network.mode == "host" and s.identity.maps is not None:
            note = "a capability of the sandbox doesn't count in the host's network"
            return Reason(layer=Layer.CAPABILITY, text=text, key=_CAP_NET_RAW, note=note)
        advice = (Advice(_CAP_NET_RAW, capability, add=True), *ambient(s))
        return Reason(layer=Layer.CAPABILITY, text=text, key=_CAP_NET_RAW, advice=advice)
    if refusal.error == errnos.EMFILE:
        return too_many_descriptors(s)
    return outside("this kernel has no such sockets")


def _anything(name: str) -> Reason:
    if name in CAPABILITY:
        return outside(f"{CAPABILITY[name]} would be needed outside as well")
    return outside("nothing in the profile stands against it")


def _set_id() -> Reason:
    return Reason(
        layer=Layer.CAPABILITY,
        text="its set-user-ID or set-group-ID bit has no effect (nosuid, no_new_privs)",
        note="no key allows it: no program of a sandbox may gain privileges that way",
    )


def _signalled(s: Situation, number: int) -> Reason:
    if number == signal.SIGXFSZ:
        return file_size_limit(s) or outside("the caller's own limit of file sizes (ulimit -f)")
    limit = s.profile.rlimits.cpu
    if limit is None:
        return outside("the caller's own limit of processor time (ulimit -t)")
    key = ("rlimits", "cpu")
    soft = limit if isinstance(limit, int) else 1
    text = "the processor time that a process may take is used up"
    return Reason(layer=Layer.LIMIT, text=text, key=key, advice=(Advice(key, 10 * soft),))


def _subject(refusal: Refusal, name: str | None) -> str:
    if refusal.paths:
        return " -> ".join(filter(None, (path_of(*pair) for pair in refusal.paths)))
    if name in {"connect", "bind", "sendto"}:
        address = address_of(refusal.data)
        return address.text() if address else ""
    if name in {"socket", "socketpair"}:
        family, kind = refusal.arguments[0] & 0xFFFFFFFF, refusal.arguments[1] & 0xF
        return f"{_FAMILIES.get(family, f'family {family}')} {_TYPES.get(kind, f'type {kind}')}"
    form = _NUMBERED.get(name or "")
    return form.format(*(value & 0xFFFFFFFF for value in refusal.arguments)) if form else ""
