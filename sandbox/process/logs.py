"""The directory for logs: where csrc/log_file.c keeps what services write."""

import os
from collections.abc import Mapping


def directory(environ: Mapping[str, str], uid: int) -> str:
    """Where the logs of this user's sandboxes are, whether it exists or not; empty for nowhere."""
    own = environ.get("SBX_LOG_DIR", "")
    if own.startswith("/"):
        return own
    if uid == 0:
        return "/var/log/sbx"
    above = environ.get("XDG_STATE_HOME", "")
    if above.startswith("/"):
        return os.path.join(above, "log/sbx")
    home = environ.get("HOME", "")
    return os.path.join(home, ".local/state/log/sbx") if home.startswith("/") else ""
