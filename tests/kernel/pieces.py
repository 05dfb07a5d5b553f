"""Pieces of profiles and trees that the tests put together."""

import os

from tests.kernel.harness import Sandbox


def bind(source: str, target: str, more: str = "") -> str:
    """A bind mount, with more lines of its table."""
    return f"\n[[mounts]]\ntype = 'bind'\nsource = '{source}'\ntarget = '{target}'\n" + more + "\n"


def payload_owner(sandbox: Sandbox) -> int:
    """The payload's user id on the host."""
    inside = sandbox.dump("")
    return int(sandbox.uid if not sandbox.is_root else inside.maps[0][0][1] + inside.uid)


def own_for_payload(sandbox: Sandbox, *paths: str) -> None:
    """Gives paths to the payload's user, as an administrator would."""
    owner = payload_owner(sandbox)
    for path in paths:
        if os.geteuid() == 0:
            os.chown(path, owner, owner)


def writable(path: str) -> str:
    """A path of the host's that may be written to."""
    return bind(path, path, "writable = true")


def tree_of(sandbox: Sandbox, *directories: str) -> str:
    """A directory to be the root, with a place for the probe."""
    tree = sandbox.mkdir("tree")
    for name in ("proc", "dev", "etc", *directories):
        os.makedirs(f"{tree}/{name}", exist_ok=True)
    sandbox.write(f"tree{sandbox.probe}", "")
    return tree


def directory_root(tree: str) -> str:
    """The table [rootfs] for it; more lines may follow."""
    return f"[rootfs]\ntype = 'directory'\npath = '{tree}'\n"
