"""The tree of mounts, and what lies outside of it."""

from tests.isolation.check import ROOTED, Check, attempt

CHECKS = (
    Check(
        number=25,
        title="Mounts of the payload's own",
        weakness="mount(2) and its newer relatives within reach",
        attempts=(
            attempt("mount-tmpfs /tmp", "EPERM", ROOTED),
            attempt("bind-mount / /tmp", "EPERM", ROOTED),
            attempt("fsopen tmpfs", "EPERM", ROOTED),
            attempt("open-tree /", "EPERM", ROOTED),
        ),
    ),
)
