"""What holds for every set of files: order never matters, and what denies stays."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from sandbox.profile.graph import Graph
from sandbox.profile.merge import Merged, collect, merge
from sandbox.profile.model import Profile
from sandbox.profile.resolved import Stamp
from sandbox.profile.seals import check_seals
from sandbox.profile.source import SourceFile

Data = dict[str, Any]

paths = st.sampled_from(["/", "/a", "/a/b", "/a/b/c", "/d", "/d/e"])
path_lists = st.lists(paths, unique=True, max_size=3)
calls = st.lists(st.sampled_from(["read", "write", "@io", "@file"]), unique=True, max_size=3)
seals = st.lists(
    st.sampled_from(
        ["filesystem", "filesystem.read", "filesystem.deny", "seccomp", "process", "mounts", "vars"]
    ),
    unique=True,
    max_size=2,
)


def some(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Data]:
    """A table with any of the keys."""
    return st.fixed_dictionaries({}, optional=keys)


mounts = st.lists(
    st.fixed_dictionaries(
        {"type": st.just("bind"), "target": paths, "source": paths},
        optional={"writable": st.booleans()},
    ),
    unique_by=lambda mount: mount["target"],
    max_size=2,
)
files = some(
    profile=some(sealed=seals),
    process=some(umask=st.sampled_from(["0022", "0077"]), command=calls),
    environment=some(set=st.dictionaries(st.sampled_from("AB"), st.sampled_from("xy"))),
    filesystem=some(read=path_lists, write=path_lists, deny=path_lists, mask=path_lists),
    seccomp=some(allow=calls, deny=calls),
    landlock=some(
        scopes=st.lists(st.sampled_from(["signal", "abstract-unix-socket"]), unique=True)
    ),
    mounts=mounts,
)


@st.composite
def families(draw: st.DrawFn) -> tuple[list[Data], list[frozenset[int]]]:
    """Files, the first over all others, and which ones each of them builds on."""
    datas = draw(st.lists(files, min_size=1, max_size=4))
    below: list[frozenset[int]] = [frozenset()] * len(datas)
    for at in reversed(range(len(datas))):
        rest = range(at + 1, len(datas))
        direct = list(rest) if at == 0 else [n for n in rest if draw(st.booleans())]
        below[at] = frozenset(direct).union(*(below[n] for n in direct))
    return datas, below


def graph_of(datas: Sequence[Data], below: Sequence[frozenset[int]]) -> Graph:
    sources = []
    for at, _ in enumerate(datas):
        path = f"/{at}.toml"
        sources.append(SourceFile(path=path, shown=path, text="", stamp=Stamp(0, at, 0, 0, 0)))
    return Graph(tuple(sources), tuple(below), ())


def merged(datas: Sequence[Data], below: Sequence[frozenset[int]]) -> Merged:
    return merge(collect(datas, {}), graph_of(datas, below))


def typed(result: Merged) -> str:
    """The merged profile to the last byte; a table's keys have the model's order."""
    return repr(msgspec.convert({"schema": 1, **result.data}, Profile))


def widened(datas: Sequence[Data], below: Sequence[frozenset[int]]) -> bool:
    """Whether a seal is broken."""
    uses: list[Mapping[Any, set[str]]] = [{} for _ in datas]
    return bool(check_seals(collect(datas, {}), graph_of(datas, below), uses))


def shuffled(value: Any, random: Any) -> Any:
    """The same statements in another order."""
    if isinstance(value, dict):
        items = list(value.items())
        random.shuffle(items)
        ordered = {"command"}
        return {k: v if k in ordered else shuffled(v, random) for k, v in items}
    if isinstance(value, list):
        members = [shuffled(member, random) for member in value]
        random.shuffle(members)
        return members
    return value


def members(data: Mapping[str, Any], table: str, key: str) -> set[str]:
    return set(data.get(table, {}).get(key, ()))


@given(families(), st.randoms(use_true_random=False))
def test_order_in_a_file_never_matters(
    family: tuple[list[Data], list[frozenset[int]]], random: Any
) -> None:
    datas, below = family
    others = [shuffled(data, random) for data in datas]
    once, again = merged(datas, below), merged(others, below)
    assert typed(once) == typed(again)
    assert len(once.problems) == len(again.problems)
    assert widened(datas, below) == widened(others, below)


@given(families(), st.randoms(use_true_random=False))
def test_the_order_of_bases_never_matters(
    family: tuple[list[Data], list[frozenset[int]]], random: Any
) -> None:
    datas, below = family
    order = list(range(1, len(datas)))
    random.shuffle(order)
    order = [0, *order]
    place = {old: new for new, old in enumerate(order)}
    moved = [frozenset(place[n] for n in below[old]) for old in order]
    others = [datas[old] for old in order]
    once, again = merged(datas, below), merged(others, moved)
    assert bool(once.problems) == bool(again.problems)
    if not once.problems:
        assert typed(once) == typed(again)
    assert widened(datas, below) == widened(others, moved)


@given(families())
def test_what_a_base_states_of_a_list_is_there_in_the_end(
    family: tuple[list[Data], list[frozenset[int]]],
) -> None:
    """Lists only grow: above all, nothing that a base denies is given back."""
    datas, below = family
    result = merged(datas, below).data
    for data in datas:
        for table, key in (
            ("filesystem", "deny"),
            ("filesystem", "mask"),
            ("filesystem", "read"),
            ("seccomp", "deny"),
            ("landlock", "scopes"),
            ("profile", "sealed"),
        ):
            assert members(data, table, key) <= members(result, table, key)


def parts(value: Any, name: str = "") -> Iterator[Any]:
    """Values, but of tables and lists their members."""
    if isinstance(value, dict) and "target" not in value:
        for key, child in value.items():
            yield from parts(child, key)
    elif isinstance(value, list) and value and name != "command":
        yield from value
    else:
        yield value


@given(families())
def test_nothing_is_there_that_no_file_states(
    family: tuple[list[Data], list[frozenset[int]]],
) -> None:
    datas, below = family
    result = merged(datas, below)
    stated = [s.value for each in collect(datas, {}).values() for s in each]
    leaves = list(parts(result.data))
    assert all(leaf in stated for leaf in leaves)
    # A list stated empty and one with members have the same path, so the trace may hold more.
    assert len(leaves) <= len(result.trace)
    for path, statement in result.trace.items():
        if statement.value != []:
            value: Any = result.data
            for name in path:
                value = value[name]
            assert value == statement.value


@given(files)
def test_merging_is_idempotent(data: Data) -> None:
    once = merged([data], [frozenset()])
    assert merged([data, data], [frozenset({1}), frozenset()]).data == once.data
    assert merged([once.data], [frozenset()]).data == once.data


@given(families())
def test_a_statement_of_the_profile_itself_always_holds(
    family: tuple[list[Data], list[frozenset[int]]],
) -> None:
    datas, below = family
    result = merged(datas, below)
    for key, value in datas[0].get("process", {}).items():
        assert result.data["process"][key] == value
    assert not any("process.umask" in p.key for p in result.problems if "umask" in datas[0])


@given(families())
def test_sealing_holds(family: tuple[list[Data], list[frozenset[int]]]) -> None:
    """If no seal is reported broken, then what a base seals holds as the base alone has it."""
    datas, below = family
    if widened(datas, below):
        return
    result = merged(datas, below).data
    for at, data in enumerate(datas):
        inside = sorted(below[at] | {at}, key=lambda n: (n != at, n))
        place = {old: new for new, old in enumerate(inside)}
        alone = merged(
            [datas[n] for n in inside], [frozenset(place[b] for b in below[n]) for n in inside]
        )
        if alone.problems:
            continue
        for sealed in data.get("profile", {}).get("sealed", ()):
            check_sealed(sealed, alone.data, result)


def check_sealed(sealed: str, alone: Data, result: Data) -> None:
    """`result` gives nothing that `alone` doesn't, as far as `sealed` goes."""
    table = sealed.split(".", maxsplit=1)[0]
    keys = sealed.split(".")[1:] or ["read", "write", "allow", "deny", "mask"]
    if table in {"filesystem", "seccomp"}:
        for key in keys:
            before, after = members(alone, table, key), members(result, table, key)
            assert before <= after if key in {"deny", "mask"} else after == before
    elif table == "process":
        assert result.get("process", {}).get("umask", "0022") == alone.get("process", {}).get(
            "umask", "0022"
        )
    elif table == "mounts":
        assert result.get("mounts", []) == alone.get("mounts", [])
    if sealed in {"filesystem", "filesystem.deny"}:
        # Nothing that is listed, or mounted, lies in what the base denies.
        before = {
            *members(alone, "filesystem", "read"),
            *(mount["target"] for mount in alone.get("mounts", ())),
        }
        after = {
            *members(result, "filesystem", "read"),
            *(mount["target"] for mount in result.get("mounts", ())),
        }
        for denied in members(alone, "filesystem", "deny"):
            inside = {p for p in after if p == denied or p.startswith(denied.rstrip("/") + "/")}
            assert inside <= before
