"""The runtime directory: where live sandboxes are recorded (csrc/record.c writes it)."""

import os
from collections.abc import Mapping


def directory(environ: Mapping[str, str], uid: int) -> str:
    """Where the live sandboxes of this user are, whether it exists yet or not."""
    own = environ.get("SBX_RUNTIME_DIR", "")
    if own.startswith("/"):
        return own
    if uid == 0:
        return "/run/sbx"
    above = environ.get("XDG_RUNTIME_DIR", "")
    if not above.startswith("/"):
        above = f"/run/user/{uid}"
        if not _is_ours(above, uid):
            return f"/tmp/sbx-{uid}"  # noqa: S108 - refused where it isn't this user's alone
    return os.path.join(above, "sbx")


def _is_ours(path: str, uid: int) -> bool:
    try:
        return os.stat(path).st_uid == uid
    except OSError:
        return False
