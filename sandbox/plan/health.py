"""service.health as the supervisor and its probe need it."""

from sandbox import units
from sandbox.plan import seccomp
from sandbox.plan.health_ops import CheckBy, CheckHealth
from sandbox.plan.inputs import Inputs
from sandbox.plan.record import Step
from sandbox.plan.seccomp_policy import SeccompPolicy
from sandbox.profile.resolved import KeyPath
from sandbox.profile.service import Health

_HERE: KeyPath = ("service", "health")
_PROBE_CALLS = ("socket", "connect", "read", "write", "exit_group")
"""What the probe does under the payload's filter (csrc/probe.c)."""


def steps(inputs: Inputs, policy: SeccompPolicy | None) -> list[Step]:
    """The check, if one is stated; conflicts where it could never succeed."""
    health = inputs.profile.service.health
    if not health.kinds():
        return []
    kind = health.kinds()[0]
    key: KeyPath = (*_HERE, kind)
    if not inputs.profile.process.init:
        reason = "a check is started by the sandbox's init, and process.init is false"
        inputs.conflict(key, reason, "set process.init = true")
    if kind != "command":
        _require_calls(inputs, policy, key)
    op = CheckHealth(
        by=CheckBy.COMMAND if kind == "command" else CheckBy.PROBE,
        words=_words(health),
        interval=units.duration(health.interval),
        timeout=units.duration(health.timeout),
        retries=health.retries,
        start_period=units.duration(health.start_period),
        stops=int(health.action == "stop"),
    )
    return [Step(op, key)]


def _require_calls(inputs: Inputs, policy: SeccompPolicy | None, key: KeyPath) -> None:
    """The filter is the payload's, and holds for who looks at it as well."""
    if policy is None:
        return
    refused = seccomp.refused(policy, inputs.host.machine, _PROBE_CALLS)
    if refused:
        inputs.conflict(
            key,
            f"the check is made under the payload's filter, which refuses {', '.join(refused)}",
            "allow '@network' or these calls in [seccomp], or check with 'command'",
        )


def _words(health: Health) -> tuple[str, ...]:
    if health.command:
        return health.command
    if health.unix:
        return ("unix", health.unix)
    if health.tcp:
        return ("tcp", *_host_and_port(health.tcp))
    address, _, path = health.http.removeprefix("http://").partition("/")
    has_port = address.rpartition("]")[2].count(":") == 1
    host, port = _host_and_port(address if has_port else f"{address}:80")
    request = (
        f"GET /{path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: sbx\r\n"
        "Accept: */*\r\nConnection: close\r\n\r\n"
    )
    return ("http", host, port, request)


def _host_and_port(address: str) -> tuple[str, str]:
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    return ("127.0.0.1" if host == "localhost" else host, str(int(port)))
