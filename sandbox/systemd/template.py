"""The template sbx@.service: an instance for each profile in sbx's directory of /etc or the user's."""

from sandbox.systemd import quoting
from sandbox.systemd.words import EXEC_PID, MARK, NEWEST, SUBGROUP, SUBGROUPS


def shipped() -> str:
    """The one that the package brings along: for any place of sbx that systemd looks at."""
    return template_text("sbx", NEWEST)


def template_text(launcher: str, systemd: int) -> str:
    """The template; `launcher` is sbx's path, or a name that systemd looks for in its own PATH."""
    subgroup = f"DelegateSubgroup={SUBGROUP}\n" if systemd >= SUBGROUPS else ""
    start = "Type=notify\nNotifyAccess=main" if systemd >= EXEC_PID else "Type=exec"
    program = quoting.program(launcher)
    return f"""{MARK}; the text is that of 'sbx systemd template'.

[Unit]
Description=%i in a sandbox
ConditionPathExists=%E/sbx/%i.toml

[Service]
{start}
ExecStart={program} run --name %i --profile %E/sbx/%i.toml
KillMode=mixed
SuccessExitStatus=143
TimeoutStopSec=35s
Delegate=yes
{subgroup}SyslogIdentifier=%i

[Install]
WantedBy=default.target
"""
