"""How much of a source's name is trusted."""

import pytest

from sandbox.plan.ops import BindMount
from tests.plans import compiled, ops_of


@pytest.mark.parametrize(
    ("write", "source", "trusted"),
    (
        ((), "/w/a", 0),
        (("/w",), "/w/a", 3),
        (("/w",), "/w", 0),
        (("/w",), "/wide/a", 0),
        (("/w", "/w/a"), "/w/a/b", 3),
        (("/w/a", "/x"), "/w/a/b/c", 5),
        (("/",), "/w/a", 0),
    ),
)
def test_a_source_is_trusted_down_to_what_may_be_written(
    write: tuple[str, ...], source: str, trusted: int
) -> None:
    mount = {"type": "bind", "source": source, "target": "/shown"}
    plan = compiled(filesystem={"write": list(write)}, mounts=[mount])
    (bind,) = (op for op in ops_of(plan, BindMount) if op.target == "/shown")
    assert bind.trusted == trusted


def test_a_writable_mount_counts_by_its_source() -> None:
    mounts = [
        {"type": "bind", "source": "/w", "target": "/there", "writable": True},
        {"type": "bind", "source": "/w/a", "target": "/shown"},
    ]
    found = {op.target: op.trusted for op in ops_of(compiled(mounts=mounts), BindMount)}
    assert (found["/there"], found["/shown"]) == (0, 3)


def test_in_a_root_of_its_own_names_count_from_its_top() -> None:
    filesystem = {"write": ["/w"], "execute": ["/w/a"]}
    plan = compiled(filesystem=filesystem, rootfs={"type": "directory", "path": "/tree"})
    found = {op.target: op.trusted for op in ops_of(plan, BindMount)}
    assert (found["/w"], found["/w/a"]) == (0, 3)
