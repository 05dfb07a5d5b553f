"""Tables of a profile that say how the payload is run as a service, and its secrets."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from sandbox.profile.values import (
    CredentialName,
    Duration,
    EnvironmentName,
    HttpAddress,
    Path,
    SecretName,
    Signal,
    Size,
    SliceName,
    SocketName,
    Table,
    TcpAddress,
    Timeout,
    UnixAddress,
)


class Health(Table, frozen=True, kw_only=True):
    """[service.health]: how to see that the service does its work. One of the three kinds."""

    command: Annotated[
        tuple[str, ...],
        Meta(
            description="Program and arguments that run in the sandbox and end with 0 if all is "
            "well; replaced as a whole by a derived profile. None: no such check."
        ),
    ] = ()
    http: Annotated[
        HttpAddress,
        Meta(
            description="Address that has to answer a GET with a status from 200 to 399; empty: no "
            "such check.",
            examples=["http://127.0.0.1:8080/health"],
        ),
    ] = ""
    tcp: Annotated[
        TcpAddress,
        Meta(
            description="Address and port that have to accept a connection; empty: no such check.",
            examples=["127.0.0.1:6379"],
        ),
    ] = ""
    unix: Annotated[
        UnixAddress,
        Meta(
            description="Path in the sandbox of a Unix stream socket that has to accept a "
            "connection; empty: no such check.",
            examples=["/run/app/app.sock"],
        ),
    ] = ""
    interval: Annotated[
        Duration, Meta(description="From the end of one check to the start of the next.")
    ] = "30s"
    timeout: Annotated[Duration, Meta(description="A check that takes longer has failed.")] = "5s"
    retries: Annotated[
        int,
        Meta(ge=1, le=1000, description="How many checks in a row fail before it is unhealthy."),
    ] = 3
    start_period: Annotated[
        Duration,
        Meta(
            description="How long after the start failures don't count, unless a check has "
            "succeeded.",
            extra={"kind": "duration or none"},
        ),
    ] = "0s"

    action: Annotated[
        Literal["none", "stop"],
        Meta(
            description="What becomes of a service that is unhealthy: nothing, or it is stopped, "
            "and sbx ends with 124."
        ),
    ] = "none"

    def kinds(self) -> tuple[str, ...]:
        """The kinds of check that are stated."""
        return tuple(kind for kind in ("command", "http", "tcp", "unix") if getattr(self, kind))


class Service(Table, frozen=True, kw_only=True):
    """[service]: how the payload is started, watched and ended as a service."""

    type: Annotated[
        Literal["exec", "notify"],
        Meta(
            description="When the service counts as started: once its program runs, or once that "
            "program says so itself with sd_notify(3)."
        ),
    ] = "exec"
    notify_access: Annotated[
        Literal["main", "all"],
        Meta(
            description="With type = 'notify': who may send such messages, the main process alone "
            "or every process in the sandbox."
        ),
    ] = "main"
    start_timeout: Annotated[
        Timeout, Meta(description="How long it may take to start; 'infinity' for no bound.")
    ] = "90s"
    runtime_max: Annotated[
        Timeout,
        Meta(
            description="How long the program may run before it is asked to end; 'infinity' for "
            "no bound.",
            examples=["1h", "infinity"],
        ),
    ] = "infinity"
    watchdog: Annotated[
        Duration,
        Meta(
            description="The program has to send WATCHDOG=1 at least this often, or it is ended; "
            "0 for no watchdog.",
            examples=["30s", "2 min"],
            extra={"kind": "duration or none"},
        ),
    ] = 0
    stop_signal: Annotated[
        Signal,
        Meta(description="The signal that asks the program to end.", examples=["SIGTERM"]),
    ] = "SIGTERM"
    stop_timeout: Annotated[
        Timeout,
        Meta(
            description="How long the program has to end before it is killed; 'infinity' for no "
            "bound."
        ),
    ] = "30s"
    reload_signal: Annotated[
        Signal,
        Meta(
            description="The signal that asks the program to read its configuration again; empty "
            "if it has none.",
            examples=["SIGHUP"],
            extra={"kind": "signal or none"},
        ),
    ] = ""
    restart: Annotated[
        Literal["no", "on-failure", "always"],
        Meta(
            description="Whether the unit that `sbx systemd` writes starts the service again after "
            "its end: never, after a failure, or whenever nobody asked for that end."
        ),
    ] = "no"
    restart_delay: Annotated[
        Duration,
        Meta(
            description="How long the unit waits before that.",
            extra={"kind": "duration or none"},
        ),
    ] = "1s"
    slice: Annotated[
        SliceName,
        Meta(
            description="The slice that the unit is in; empty for systemd's own choice.",
            examples=["web.slice"],
        ),
    ] = ""
    survive: Annotated[
        bool,
        Meta(
            description="The payload runs on when its supervisor ends without having been asked to "
            "stop it, and a new supervisor takes it over."
        ),
    ] = False
    log: Annotated[
        Literal["inherit", "file", "journal"],
        Meta(
            description="Where standard output and error go: to where sbx's own go, into bounded "
            "files for `sbx logs`, or to the journal under the sandbox's name."
        ),
    ] = "inherit"
    log_size: Annotated[
        Size, Meta(description="How large a log file becomes before the next one is begun.")
    ] = "10M"
    log_files: Annotated[
        int, Meta(ge=1, le=1000, description="How many log files are kept, the newest included.")
    ] = 4
    sockets: Annotated[
        tuple[SocketName, ...],
        Meta(
            description="Names of the sockets that socket activation hands over "
            "(FileDescriptorName= of systemd.socket(5)). The program gets them as LISTEN_FDS, "
            "and nothing else that sbx was given.",
            examples=[["http", "https"]],
        ),
    ] = ()
    health: Annotated[Health, Meta(description="How to see that the service does its work.")] = (
        msgspec.field(default_factory=Health)
    )


class Secret(Table, frozen=True, kw_only=True):
    """One entry of [secrets]: where its content comes from. One of the three."""

    credential: Annotated[
        CredentialName | None,
        Meta(description="The credential of this name that systemd gave to sbx (LoadCredential=)."),
    ] = None
    file: Annotated[
        Path | None, Meta(description="The content of this file of the host, read as the caller.")
    ] = None
    env: Annotated[
        EnvironmentName | None,
        Meta(description="The caller's variable of this name, without a line end added."),
    ] = None

    def kinds(self) -> tuple[str, ...]:
        """The sources that are stated."""
        names = ("credential", "file", "env")
        return tuple(name for name in names if getattr(self, name) is not None)


Secrets = dict[SecretName, Secret]
SECRETS_DIRECTORY: Final = "/run/secrets"
