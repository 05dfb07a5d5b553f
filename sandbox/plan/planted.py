"""Names that are the payload's own: links there aren't followed, since a run could have left them.

A payload that may write to a directory can put a link in the place of what the profile mounts from
within it, and the next launch would show it what lies where the link leads (CVE-2024-42472).
"""

import os
from collections.abc import Iterator

from sandbox.plan.nodes import Kind, Right, Tree
from sandbox.profile.model import Profile


def trusted_length(source: str, tree: Tree, profile: Profile, *, of_root: bool = False) -> int:
    """How many bytes of a source lie above what the payload may write to; 0 if all of them do.

    `source` is a path of the host's, or with `of_root` one of the tree that is the root.
    """
    base = profile.rootfs.path if profile.rootfs.type == "directory" else None
    whole = f"{base}{source}" if of_root and base else source
    above = [place for place in _writable(tree, base) if whole.startswith(f"{place}/")]
    if not above:
        return 0
    shortest = min(len(os.fsencode(place)) for place in above) + 1
    return max(shortest - (len(os.fsencode(base)) if of_root and base else 0), 1)


def _writable(tree: Tree, base: str | None) -> Iterator[str]:
    """Directories of the host's that the payload may write to, without the root.

    Who may write to the whole root sees it all: a link there leads to nothing else.
    """
    for node in tree.nodes:
        if not node.rights & Right.WRITE:
            continue
        if node.kind == Kind.HOST:
            path = f"{base or ''}{node.path}"
        elif node.mount and node.mount.type == "bind":
            path = node.mount.source or node.path
        else:
            continue
        if path.rstrip("/"):
            yield path.rstrip("/")
