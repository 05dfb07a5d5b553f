"""Every key and value is found where it stands."""

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sandbox.profile.positions import find_positions
from sandbox.profile.resolved import KeyPath
from sandbox.profile.text import inline

TEXT = """\
# ü
schema = 1
a.b."c d" = ["ü", {x = 1, y.z = 2}, # comment, with comma
 'q', # another
 [3]]
[t.u]
k = \"\"\"
two
lines\"\"\"
[[m]]
target = "/x"
[m.sub]
k = 1
[[m.list]]
[[m]]
s = 'a'
"""


def test_keys_and_values_of_every_kind_are_placed() -> None:
    keys, values = find_positions(TEXT)
    assert keys["schema",] == (1, 0, 6)
    assert values["schema",] == (1, 9, 10)
    assert keys["a", "b", "c d"] == (2, 4, 9)
    assert values["a", "b", "c d", 1, "y", "z"] == (2, 33, 34)
    assert values["a", "b", "c d", 2] == (3, 1, 4)
    assert values["a", "b", "c d", 3, 0] == (4, 2, 3)
    assert keys["t", "u"] == (5, 3, 4)
    # A value over several lines is marked where it starts.
    assert values["t", "u", "k"] == (6, 4, 5)
    assert values["m", 0, "target"] == (10, 9, 13)
    assert values["m", 0, "sub", "k"] == (12, 4, 5)
    assert values["m", 0, "list", 0] == (13, 4, 8)
    assert values["m", 1, "s"] == (15, 4, 7)


def paths(value: Any, above: KeyPath = ()) -> set[KeyPath]:
    """The path of every value in it."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found = {above} if above else set()
    for name, child in items:
        is_inner = isinstance(child, dict | list)
        found |= paths(child, (*above, name)) if is_inner else {(*above, name)}
    return found


names = st.text("aé日-_.$ #=\"'\\[]{},", max_size=5)
leaves = st.integers(-9, 9) | st.booleans() | names
tables = st.dictionaries(
    names, st.recursive(leaves, lambda c: st.lists(c) | st.dictionaries(names, c), max_leaves=8)
)


@given(tables, st.dictionaries(names, tables))
def test_whatever_tomllib_reads_is_found(top: dict[str, Any], below: dict[str, Any]) -> None:
    """Both parsers agree on which keys a text holds."""
    lines = [f"{inline({k: v})[2:-2]}" for k, v in top.items()]
    for name, table in below.items():
        if name not in top:
            lines.append(f"[{inline({name: 0})[2:-6]}]")
            lines += [f"{inline({k: v})[2:-2]}" for k, v in table.items()]
    text = "\n".join(lines)
    keys, values = find_positions(text)
    assert paths(tomllib.loads(text)) <= keys.keys() | values.keys()
