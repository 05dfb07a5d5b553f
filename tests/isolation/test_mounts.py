"""What comes along with a mount."""

import os

from tests.kernel.harness import Sandbox, mount, outcomes
from tests.kernel.pieces import bind


def test_read_only_reaches_mounts_three_levels_below(staged: Sandbox) -> None:
    """By a path that is listed, and by a bind mount that is recursive; writable ones take files."""
    top = staged.mkdir("data", 0o777)
    levels = [f"{top}/one", f"{top}/one/two", f"{top}/one/two/three"]

    def stage() -> None:
        os.makedirs(levels[0], exist_ok=True)
        mount("tmpfs", levels[0], "tmpfs", data="mode=1777")
        for level in levels[1:]:
            os.mkdir(level)
            mount("tmpfs", level, "tmpfs", data="mode=1777")

    tries = [("mkdir", f"{level}/new") for level in (top, *levels)]
    refused = ["EROFS"] * 4
    listed = f"[filesystem]\nread = ['{top}']"
    assert outcomes(staged.attempts(listed, *tries, stage=stage)) == refused
    bound = bind(top, top, "recursive = true")
    assert outcomes(staged.attempts(bound, *tries, stage=stage)) == refused
    writable = bind(top, top, "recursive = true\nwritable = true")
    assert outcomes(staged.attempts(writable, *tries, stage=stage)) == ["ok"] * 4
