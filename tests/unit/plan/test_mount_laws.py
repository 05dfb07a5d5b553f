"""Laws of the root: most specific wins, deny wins, order never matters, parents come first."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sandbox.plan.kernel import Attr
from sandbox.plan.ops import BindMount, Mask, MaskPath, MountRootTree
from sandbox.plan.record import Plan
from tests.plans import compiled

PATHS = ("/", "/a", "/a/b", "/a/b/c", "/a/bc", "/d", "/d/e")


def bare(**filesystem: Any) -> Plan:
    """A plan of these statements without /dev and /proc."""
    return compiled(filesystem={"proc": "none", **filesystem}, devices={"dev": "none"})


def rights_in(plan: Plan, path: str) -> str:
    """What the ops leave of a path, by the last mount that covers it: r, w, x, or nothing."""

    def letters(attributes: int) -> str:
        write = "" if attributes & Attr.RDONLY else "w"
        return "r" + write + ("" if attributes & Attr.NOEXEC else "x")

    found = ""
    for op in plan.ops:
        match op:
            case MountRootTree():
                found = letters(op.attributes)
            case BindMount() if f"{path}/".startswith(f"{op.target}/"):
                found = letters(op.attributes)
            case MaskPath(how=Mask.PIN):
                pass
            case MaskPath() if f"{path}/".startswith(f"{op.path}/"):
                found = found.replace("w", "") if op.how == Mask.READ_ONLY else ""
    return found


def rights_stated(statements: dict[str, list[str]], path: str) -> str:
    """The same by the rule: the most specific statement, and deny before all others."""
    above = [path]
    while above[-1] != "/":
        above.append(above[-1].rpartition("/")[0] or "/")
    for place in above:
        by = {name for name, paths in statements.items() if place in paths}
        if by & {"deny", "mask"}:
            return ""
        if by == {"protect"}:
            return rights_stated(statements, place.rpartition("/")[0] or "/").replace("w", "")
        if by:
            writable = "write" in by and "protect" not in by
            return "r" + ("w" if writable else "") + ("x" if "execute" in by else "")
    return ""


@st.composite
def statements(draw: st.DrawFn) -> dict[str, list[str]]:
    paths = st.lists(st.sampled_from(PATHS), unique=True, max_size=4)
    found = {name: draw(paths) for name in ("read", "write", "execute", "deny", "mask", "protect")}
    found["protect"] = [path for path in found["protect"] if path != "/"]
    return found


@given(statements())
def test_the_mounts_say_what_the_most_specific_statements_say(found: dict[str, list[str]]) -> None:
    plan = bare(**found)
    for path in PATHS[1:]:
        assert rights_in(plan, path) == rights_stated(found, path), path


@given(statements(), st.data())
def test_the_order_of_statements_changes_nothing(
    found: dict[str, list[str]], data: st.DataObject
) -> None:
    mixed = {name: data.draw(st.permutations(paths)) for name, paths in found.items()}
    assert bare(**mixed).ops == bare(**found).ops


@given(statements())
def test_parents_are_mounted_before_what_lies_beneath_them(found: dict[str, list[str]]) -> None:
    targets = [
        op.target if isinstance(op, BindMount) else op.path
        for op in bare(**found).ops
        # A pin takes along what is mounted below it.
        if isinstance(op, BindMount) or (isinstance(op, MaskPath) and op.how != Mask.PIN)
    ]
    for index, target in enumerate(targets):
        assert not any(target.startswith(f"{later}/") for later in targets[index:])
