"""What a profile says of its service, and what of it this version can't enforce yet."""

from typing import Any, Final

import msgspec

from sandbox.plan.inputs import Inputs
from sandbox.profile.model import Service
from sandbox.profile.resolved import KeyPath

UNENFORCED: Final[dict[KeyPath, str]] = {
    ("service", "type"): "hear when a service says that it is ready",
    ("service", "watchdog"): "watch over a service's WATCHDOG=1",
    ("service", "survive"): "let a payload outlive its supervisor",
    ("service", "log"): "keep a service's log",
    ("service", "log_size"): "keep a service's log",
    ("service", "log_files"): "keep a service's log",
    ("service", "sockets"): "hand sockets over",
    ("service", "health"): "check a service's health",
    ("secrets",): "hand secrets over",
}
"""Keys that have a meaning in a profile, but that no launch brings about.

Whatever is enforced is taken out of here. `restart`, `restart_delay`, `slice`, `start_timeout`,
`stop_signal`, `stop_timeout` and `reload_signal` are for whoever starts and stops sbx: a unit of
systemd, `sbx stop`.
"""


def require(inputs: Inputs) -> None:
    """Raises UnsupportedError for the first key that is stated and that nothing enforces."""
    stated: Any = msgspec.to_builtins(inputs.profile)
    default: Any = {"service": msgspec.to_builtins(Service()), "secrets": {}}
    for key, what in UNENFORCED.items():
        ours, theirs = stated, default
        for name in key:
            ours, theirs = ours[name], theirs[name]
        if ours != theirs:
            inputs.lacks(
                key,
                f"this version of sbx can't {what}",
                "take it out; sbx doesn't ignore what it cannot enforce",
            )
