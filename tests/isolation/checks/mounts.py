"""The tree of mounts, and what lies outside of it."""

from tests.isolation.check import (
    OUTSIDE,
    OUTSIDE_AS_ROOT,
    ROOTED,
    Check,
    Control,
    attempt,
)

_ROOT = "tests/kernel/test_root.py::"

CHECKS = (
    Check(
        number=19,
        title="Mounts made writable again",
        weakness="remounting by mount(2), mount_setattr(2), or in a namespace below",
        attempts=(
            attempt(
                "remount-writable {data}",
                "EPERM",
                Control(how=ROOTED.how, words="remount-writable /"),
            ),
            attempt(
                "set-writable {data}", "EPERM", Control(how=ROOTED.how, words="set-writable /")
            ),
            attempt(
                "remount-nested {data}", "EPERM", Control(how=ROOTED.how, words="remount-nested /")
            ),
        ),
        tests=(
            "tests/kernel/test_privileges.py::test_root_of_a_nested_user_namespace_cannot_undo_the_mounts",
            "tests/kernel/test_privileges.py::test_mounting_takes_more_than_the_payload_has",
        ),
    ),
    Check(
        number=20,
        title="Mounts below a read-only one",
        weakness="MS_RDONLY that reaches the topmost mount alone",
        tests=(
            f"{_ROOT}test_the_hosts_root_is_read_only_down_to_every_submount",
            "tests/isolation/test_mounts.py::test_read_only_reaches_mounts_three_levels_below",
        ),
    ),
    Check(
        number=21,
        title="Set-user-id files and devices in mounts",
        weakness="a bind without nosuid or nodev",
        attempts=(
            attempt("mounts-without nosuid", "ENODATA", OUTSIDE),
            attempt("mounts-without nodev /dev", "ENODATA", OUTSIDE),
        ),
        tests=(
            f"{_ROOT}test_no_mount_honours_set_user_id_bits_or_devices",
            f"{_ROOT}test_a_submount_keeps_its_own_flags",
        ),
    ),
    Check(
        number=22,
        title="Propagation",
        weakness="mounts that appear on the other side later",
        attempts=(
            attempt(
                "propagating-mounts",
                "ENODATA",
                Control(how=ROOTED.how, words="propagating-mounts shared"),
            ),
        ),
        tests=(
            f"{_ROOT}test_no_mount_is_shared_with_the_host",
            f"{_ROOT}test_what_is_mounted_on_the_host_later_is_not_seen",
        ),
    ),
    Check(
        number=23,
        title="The old root",
        weakness="chroot(2) and what a pivot leaves in reach",
        attempts=(
            attempt("climb {secret}", "ENOENT", OUTSIDE),
            attempt("climb-by-chroot {secret} /dev", "EPERM", ROOTED),
            attempt("behind /proc/1/root", "EACCES", Control(how="[process]\ninit = false")),
            attempt("open-to-read /proc/self/root{secret}", "ENOENT", OUTSIDE),
            attempt(
                "open-to-read /proc/self/cwd{secret}",
                "ENOENT",
                Control(how=OUTSIDE.how, words="open-to-read /proc/self/cwd/private/secret"),
            ),
        ),
        tests=(f"{_ROOT}test_a_root_of_single_paths_shows_nothing_else",),
    ),
    Check(
        number=24,
        title="Files by their handles",
        weakness="open_by_handle_at(2), the shocker",
        attempts=(attempt("open-by-handle {data} 2", "EPERM", OUTSIDE_AS_ROOT),),
    ),
    Check(
        number=25,
        title="Mounts of the payload's own",
        weakness="mount(2) and its newer relatives within reach",
        attempts=(
            attempt("mount-tmpfs /tmp", "EPERM", ROOTED),
            attempt("bind-mount / /tmp", "EPERM", ROOTED),
            attempt("fsopen tmpfs", "EPERM", ROOTED),
            attempt("open-tree /", "EPERM", ROOTED),
            attempt("move-mount", "EPERM", ROOTED),
            attempt("pivot-root", "EPERM", ROOTED),
            attempt("take-off-own", "EPERM", ROOTED),
        ),
    ),
)
