"""A profile as a service of systemd: what its unit says, line by line."""

import signal
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from sandbox import units
from sandbox.errors import SandboxError
from sandbox.profile.model import Profile
from sandbox.systemd import quoting
from sandbox.systemd.hardening import hardening
from sandbox.systemd.places import Places
from sandbox.systemd.words import EXEC_PID, MARK, OLDEST, SUBGROUP, SUBGROUPS

STORED: Final = 64
"""How many descriptors a payload may leave with systemd (FDSTORE=1) for its next start."""

Manager = Literal["system", "user"]


_TIDYING_US: Final = 5_000_000


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller says of the unit, beside the profile.

    `profile` is a shipped profile's name or an absolute path, `launcher` the absolute path of sbx.
    `account` is the user of a system's service, empty for root. `variables` (the profile's) and
    `environment` are NAME=VALUE. `listen` gives each socket's name its addresses. `credentials`
    are paths by the name of the credential. `systemd` is its version. `own` are all files that sbx
    itself and the profile consist of.
    """

    name: str
    manager: Manager
    profile: str
    launcher: str
    systemd: int
    own: tuple[str, ...] = ()
    account: str = ""
    variables: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    listen: Mapping[str, tuple[str, ...]] = {}
    credentials: Mapping[str, str] = {}


class UnitFile(NamedTuple):
    """A unit: its file's name and the whole text."""

    name: str
    text: str


def units_of(profile: Profile, wish: Wish, places: Places) -> tuple[UnitFile, ...]:
    """The service, and a socket for each name that it gets sockets by.

    `places` are the host's directories that the profile writes to. Raises SandboxError for what no
    unit can say.
    """
    _check(profile, wish)
    sockets = tuple(
        UnitFile(socket_unit(wish.name, name, wish.listen), _text(wish, _socket(wish, name)))
        for name in sorted(wish.listen)
    )
    names = tuple(socket.name for socket in sockets)
    service = UnitFile(f"{wish.name}.service", _text(wish, _service(profile, wish, places, names)))
    return (service, *sockets)


def socket_unit(unit: str, name: str, listen: Mapping[str, Sequence[str]]) -> str:
    """The unit of one socket: `web.socket`, or `web-https.socket` beside others."""
    return f"{unit}.socket" if len(listen) == 1 else f"{unit}-{name}.socket"


def _check(profile: Profile, wish: Wish) -> None:
    if wish.systemd < OLDEST:
        raise SandboxError(
            f"systemd {wish.systemd} lacks what sbx's units need",
            hint=f"they are for systemd {OLDEST} and later",
        )
    wanted, given = set(profile.service.sockets), set(wish.listen)
    for name in sorted(wanted - given):
        raise SandboxError(
            f"service.sockets names '{name}', and nothing says where it listens",
            hint=f"say it: --listen {name}=127.0.0.1:8080",
        )
    for name in sorted(given - wanted):
        raise SandboxError(
            f"--listen {name}=...: the profile expects no socket of that name",
            hint=f"add it: service.sockets = ['{name}']",
        )
    stated = {s.credential for s in profile.secrets.values() if s.credential}
    for name in sorted(set(wish.credentials) - stated):
        raise SandboxError(
            f"--credential {name}=...: no secret of the profile comes from it",
            hint=f"add one: [secrets] {name} = {{ credential = '{name}' }}",
        )


Section = tuple[str, list[tuple[str, str]]]


def _text(wish: Wish, sections: Sequence[Section]) -> str:
    shown = quoting.line(wish.profile).replace("%%", "%")
    lines = [f"{MARK} for {shown}; 'sbx systemd remove {wish.name}' takes it away."]
    for title, settings in sections:
        lines += ["", f"[{title}]", *(f"{key}={value}" for key, value in settings)]
    return "\n".join(lines) + "\n"


def _service(
    profile: Profile, wish: Wish, places: Places, sockets: tuple[str, ...]
) -> list[Section]:
    about = profile.profile.description or f"{wish.profile} in a sandbox"
    unit = [("Description", quoting.line(about))]
    if wish.manager == "system" and profile.network.mode == "host":
        unit.append(("After", "network.target"))
    if sockets:
        unit.append(("Requires", " ".join(sockets)))
    install = [("WantedBy", "multi-user.target" if wish.manager == "system" else "default.target")]
    if sockets:
        install = [("Also", " ".join(sockets))]
    settings = [
        *_start(profile, wish),
        *_end(profile),
        *_surroundings(profile, wish, places),
        *hardening(profile, wish.manager, wish.account, wish.own),
    ]
    return [("Unit", unit), ("Service", settings), ("Install", install)]


def _start(profile: Profile, wish: Wish) -> Iterator[tuple[str, str]]:
    service = profile.service
    # sbx tells when the program runs, or hands on that it is ready: a start that fails is seen.
    tells = service.type == "notify" or wish.systemd >= EXEC_PID
    yield "Type", "notify" if tells else "exec"
    if tells:
        yield "NotifyAccess", "main"
    if service.type == "notify":
        yield "FileDescriptorStoreMax", str(STORED)
    yield "ExecStart", command_line(wish)
    if service.reload_signal:
        name = service.reload_signal.removeprefix("SIG")
        yield "ExecReload", f"kill -s {name} $MAINPID"
    yield "TimeoutStartSec", quoting.span(units.timeout(service.start_timeout))
    watchdog = units.duration(service.watchdog)
    if watchdog:
        yield "WatchdogSec", quoting.span(watchdog)
    yield "Restart", service.restart
    if service.restart != "no":
        yield "RestartSec", quoting.span(units.duration(service.restart_delay))


def command_line(wish: Wish) -> str:
    """What the unit starts."""
    words = ["run", "--name", wish.name]
    for text in wish.variables:
        words += ["--set", text]
    words += ["--profile", wish.profile]
    return " ".join([quoting.program(wish.launcher), *map(quoting.argument, words)])


def _end(profile: Profile) -> Iterator[tuple[str, str]]:
    """The supervisor hands signals on; what is left is killed with the unit's cgroup.

    A program that its stop signal has ended has done what it was asked to.
    """
    service = profile.service
    yield "KillMode", "process" if service.survive else "mixed"
    if service.stop_signal != "SIGTERM":
        yield "KillSignal", service.stop_signal
    yield "SuccessExitStatus", str(128 + signal.Signals[service.stop_signal].value)
    # After its time the program is sbx's to end, which then still measures and tidies up.
    limit = units.timeout(service.stop_timeout)
    yield "TimeoutStopSec", quoting.span(limit if limit == units.UNLIMITED else limit + _TIDYING_US)


def _surroundings(profile: Profile, wish: Wish, places: Places) -> Iterator[tuple[str, str]]:
    yield "Delegate", "yes"
    if wish.systemd >= SUBGROUPS:
        yield "DelegateSubgroup", SUBGROUP
    if profile.service.slice:
        yield "Slice", profile.service.slice
    yield "SyslogIdentifier", wish.name
    if wish.account:
        yield "User", wish.account
    for text in wish.environment:
        yield "Environment", quoting.value(text)
    for name in sorted({s.credential for s in profile.secrets.values() if s.credential}):
        path = wish.credentials.get(name)
        yield "LoadCredential", name if path is None else f"{name}:{_credential_path(path)}"
    if wish.manager == "system":
        yield from places.settings()


def _credential_path(path: str) -> str:
    """The setting isn't taken apart, so that nothing in it can be escaped but the percent sign."""
    if not path.isprintable() or path.endswith("\\") or path != path.strip():
        raise SandboxError(f"a unit can't name the path {path!r}", hint="rename it")
    return path.replace("%", "%%")


def _socket(wish: Wish, name: str) -> list[Section]:
    listen = [("ListenStream", _address(text)) for text in wish.listen[name]]
    settings = [*listen, ("FileDescriptorName", name), ("Service", f"{wish.name}.service")]
    return [
        ("Unit", [("Description", f"Socket {quoting.line(name)} of {wish.name}")]),
        ("Socket", settings),
        ("Install", [("WantedBy", "sockets.target")]),
    ]


def _address(text: str) -> str:
    """As ListenStream= has it: a port, an address with one, a path, `@` and an abstract name."""
    if not text or not text.isprintable() or text != text.strip() or text.endswith("\\"):
        raise SandboxError(f"nothing can listen on {text!r}", hint="such as 127.0.0.1:8080")
    return text.replace("%", "%%")
