# ruff: noqa: INP001 - a script beside the documents that it makes
"""Writes docs/man/sbx.toml.5: the template with what the model, the groups and Landlock's rules say.

`PYTHONPATH=. python docs/build_manual.py` writes it; a test compares.

Types, defaults and meanings come from sandbox/profile/model.py, kernel features and hazards from
docs/keys.toml, prose from docs/man/sbx.toml.5.in. A key that one of them lacks is an error.
"""

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, cast, get_args, get_origin

import msgspec

from sandbox import __version__
from sandbox.plan import landlock
from sandbox.plan.inputs import Inputs
from sandbox.plan.kernel import Access, NetAccess, Scoped
from sandbox.plan.nodes import Kind, Node, Right, Tree
from sandbox.plan.seccomp_groups import CONDITIONS, GROUPS, MEANINGS
from sandbox.profile.graph import MAXIMUM_FILES, MAXIMUM_LEVELS
from sandbox.profile.model import Feature, Profile, Table
from sandbox.profile.source import MAXIMUM_SIZE
from sandbox.profile.text import inline

HERE: Final = os.path.dirname(os.path.abspath(__file__))
KEYS: Final = os.path.join(HERE, "keys.toml")
TEMPLATE: Final = os.path.join(HERE, "man", "sbx.toml.5.in")
PAGE: Final = os.path.join(HERE, "man", "sbx.toml.5")

KINDS: Final = {
    "path": "path",
    "size": "size",
    "mode": "octal",
    "umask": "octal",
    "duration": "duration",
    "duration or none": "duration",
    "timeout": "timeout",
    "overlay": "text",
    "number limit": "limit",
    "byte limit": "limit in bytes",
    "memory bound": "size, share or max",
    "swap bound": "size or max",
    "cpu quota": "processor time",
    "number list": "list of numbers as text",
    "count bound": "number or max",
    "byte rate": "size or max",
}


class ManualError(Exception):
    """The sources of the manual don't fit each other."""


class Key(NamedTuple):
    """One key of the model, named as the manual names it."""

    name: str
    heading: str
    """The table that it stands in, as in TOML: `[process]`, `[[mounts]]`, or empty."""
    type: str
    default: str
    meaning: str


# --- The model ------------------------------------------------------------------------------------


def model_keys() -> tuple[Key, ...]:
    """Every key of a profile, in the order of the model."""
    return tuple(_keys(Profile, "", ""))


def table_meanings() -> dict[str, str]:
    """What each heading holds, in a sentence."""
    found: dict[str, str] = {}
    for name, annotation in _fields(Profile):
        found |= _meanings(name, annotation)
    return found


def _meanings(name: str, annotation: Any) -> dict[str, str]:
    table = _table_of(annotation)
    if table is None:
        return {}
    found = {f"[{name}]": _description(annotation)}
    for inner, inside in _fields(table):
        found |= _meanings(f"{name}.{inner}", inside)
    return found


def _keys(struct: type[Table], prefix: str, heading: str) -> Iterator[Key]:
    defaults = dict(zip(reversed(struct.__struct_encode_fields__), reversed(struct.__struct_defaults__), strict=False))  # fmt: skip
    for name, annotation in _fields(struct):
        table = _table_of(annotation)
        if table is not None:
            yield from _keys(table, f"{prefix}{name}.", f"[{prefix}{name}]")
            continue
        entry = _entry_of(annotation)
        own = ""
        listed = entry is not None and type_words(annotation) == "list of table"
        if listed and not heading.startswith("[["):
            own = f"[[{prefix}{name}]]"
        elif struct is Profile and get_origin(_bare(annotation)) is dict:
            own = f"[{name}]"
        default = _default(defaults.get(name, msgspec.NODEFAULT))
        here = own if struct is Profile else heading
        yield Key(prefix + name, here, type_words(annotation), default, _description(annotation))
        if entry is not None:
            mark = "[]" if get_origin(_bare(annotation)) is tuple else ".NAME"
            yield from _keys(entry, f"{prefix}{name}{mark}.", own or heading)


def _fields(struct: type[Table]) -> Iterator[tuple[str, Any]]:
    for name, field in zip(struct.__struct_encode_fields__, struct.__struct_fields__, strict=True):
        yield name, struct.__annotations__[field]


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _metas(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()


def _description(annotation: Any) -> str:
    found = [meta.description for meta in _metas(annotation) if meta.description]
    if not found:
        raise ManualError(f"a key without a description: {annotation}")
    return str(found[-1])


def _table_of(annotation: Any) -> type[Table] | None:
    bare = _bare(annotation)
    return bare if isinstance(bare, type) and issubclass(bare, Table) else None


def _entry_of(annotation: Any) -> type[Table] | None:
    """The table that the entries of a list or of a table are, or may be."""
    bare = _bare(annotation)
    if get_origin(bare) not in {tuple, dict}:
        return None
    item = get_args(bare)[0 if get_origin(bare) is tuple else 1]
    for option in (item, *get_args(_bare(item))):
        table = _table_of(option)
        if table is not None:
            return table
    return None


def type_words(annotation: Any) -> str:
    """The type of a key for a reader."""
    kinds = [(meta.extra or {}).get("kind") for meta in _metas(annotation)]
    named = [KINDS[kind] for kind in kinds if kind in KINDS]
    if named:
        return named[-1]
    bare = _bare(annotation)
    origin, args = get_origin(bare), get_args(bare)
    if origin is Literal:
        *first, last = (inline(word) for word in args)
        return f"{', '.join(first)} or {last}" if first else last
    if origin is tuple:
        return f"list of {type_words(args[0])}"
    if origin is dict:
        return f"table of {type_words(args[1])}"
    if origin in {Union, UnionType}:
        words = [type_words(arg) for arg in args if arg is not NoneType]
        return " or ".join(dict.fromkeys(words))
    if isinstance(bare, type) and issubclass(bare, Table):
        return "table"
    if bare is int:
        return _number_words(annotation)
    plain = {str: "text", bool: "true or false"}
    if bare not in plain:
        raise ManualError(f"no words for the type {bare}")
    return plain[bare]


def _number_words(annotation: Any) -> str:
    bounds = {
        name: getattr(meta, name)
        for meta in _metas(annotation)
        for name in ("ge", "le")
        if getattr(meta, name) is not None
    }
    return f"number from {bounds['ge']} to {bounds['le']}" if len(bounds) == 2 else "number"


def _default(value: Any) -> str:
    if value is msgspec.NODEFAULT:
        return "required"
    if isinstance(value, msgspec._core.Factory):  # noqa: SLF001 - its only name
        value = value.factory()
    return "none" if value is None else inline(value)


# --- Text to roff ---------------------------------------------------------------------------------


def escape(text: str) -> str:
    """Plain text as roff takes it."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"(?m)^(?=[.'])", r"\\&", text)


def words(text: str) -> str:
    """A line of text with `literal` parts in bold."""
    pieces = text.split("`")
    if len(pieces) % 2 == 0:
        raise ManualError(f"a backtick without its pair: {text}")
    return "".join(
        f"\\fB{escape(piece)}\\fR" if at % 2 else escape(piece) for at, piece in enumerate(pieces)
    )


def sentence(text: str) -> str:
    """With the full stop that closes it."""
    return text if text.endswith((".", ":")) else f"{text}."


def key_entry(key: Key, notes: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """The lines of one key."""
    note = notes[key.name]
    default = key.default if key.default == "required" else f"default `{key.default}`"
    if key.default == "none":
        default = "no default"
    yield ".TP"
    yield f"\\fB{escape(key.name)}\\fR (\\fI{escape(key.type)}\\fR; {words(default)})"
    yield words(sentence(key.meaning))
    if note["kernel"] != "none":
        yield ".br"
        yield f"\\fIKernel:\\fR {words(sentence(note['kernel']))}"
    if note["hazard"] != "None.":
        yield ".br"
        yield f"\\fIHazard:\\fR {words(sentence(note['hazard']))}"


def key_reference(notes: Mapping[str, Mapping[str, str]]) -> str:
    """All keys under their tables' headings. Raises ManualError if a key or a note is missing."""
    keys = model_keys()
    named = {key.name for key in keys}
    wrong = sorted(named ^ set(notes))
    if wrong:
        raise ManualError(f"keys of the model and of keys.toml differ: {', '.join(wrong)}")
    meanings = table_meanings()
    lines: list[str] = []
    for heading in dict.fromkeys(key.heading for key in keys):
        lines.append(f".SS {escape(heading) or 'Top level'}")
        if heading in meanings:
            lines.append(words(meanings[heading]))
        for key in keys:
            if key.heading == heading:
                lines += key_entry(key, notes)
    return "\n".join(lines)


# --- Tables ---------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose last column is filled and takes the width that is left."""
    columns = " ".join([*["lb"] * (len(head) - 1), "lx"])
    lines = [".TS", "allbox;", " ".join(["lb"] * len(head)), f"{columns}.", "\t".join(head)]
    lines += ["\t".join([*map(words, row[:-1]), f"T{{\n{words(row[-1])}\nT}}"]) for row in rows]
    return "\n".join([*lines, ".TE"])


CONDITION_WORDS: Final = {
    "socket?1": "Unix sockets; IPv4 and IPv6 with the protocols TCP, UDP, ICMP and MPTCP, or raw; "
    "netlink for routes",
    "socketpair?1": "Unix sockets",
    "ioctl?1": "every request but TIOCSETD (and TIOCSTI and TIOCLINUX, which no group grants)",
    "personality?1": "the execution domain of Linux, and asking for it",
    "unshare?1": "flags that make no namespace",
    "chmod?1": "modes without the set-user-id and set-group-id bits",
    "fchmod?1": "the same",
    "fchmodat?1": "the same",
    "fchmodat2?1": "the same",
    "mknod?1": "regular files, FIFOs and sockets without these bits",
    "mknodat?1": "the same",
}
"""What a group grants of a call that it grants under a condition."""


def group_list() -> str:
    """Every group with what it is for and the calls or groups in it."""
    if set(CONDITION_WORDS) != set(CONDITIONS):
        raise ManualError("the conditions of the groups and the words for them differ")
    lines: list[str] = []
    for name, versions in GROUPS.items():
        number = max(versions)
        members = versions[number].split()
        plain = ", ".join(word.partition("?")[0] for word in members)
        lines += [
            ".TP",
            f"\\fB@{escape(name)}/{number}\\fR",
            words(sentence(f"For {MEANINGS[name]}")),
        ]
        lines += [".br", escape(f"{plain}.")]
        for word in members:
            if "?" in word:
                call = word.partition("?")[0]
                lines += [".br", f"\\fI{call}\\fR: {words(sentence(CONDITION_WORDS[word]))}"]
    return "\n".join(lines)


def _rights(rights: Right) -> Access:
    """What Landlock allows for a statement of [filesystem]; it needs nothing of a host or profile."""
    node = Node(path="/x", kind=Kind.HOST, origin=(), rights=rights)
    inputs = cast("Inputs", None)
    return next(
        rule.access
        for rule in landlock.rules(inputs, Tree(nodes=(node,), root=None))
        if rule.path == node.path
    )


def _flag_words(flags: Access | NetAccess | Scoped) -> str:
    return ", ".join(str(flag.name) for flag in flags)


def derivation_table() -> str:
    read = _rights(Right.READ)
    rows = [
        ("read", _flag_words(read)),
        ("execute", f"those of read, {_flag_words(_rights(Right.READ | Right.EXECUTE) & ~read)}"),
        ("write", f"those of read, {_flag_words(_rights(Right.READ | Right.WRITE) & ~read)}"),
    ]
    return table(("Statement", "Rights beneath the path (LANDLOCK_ACCESS_FS_*)"), rows)


def abi_table() -> str:
    rows = []
    for number, abi in enumerate(landlock.ABIS, 1):
        parts = [_flag_words(abi.access)] if abi.access and number > 1 else []
        parts += ["the other file rights of the table above"] if number == 1 else []
        parts += [f"TCP: {_flag_words(abi.net)} (not used yet)"] if abi.net else []
        parts += [f"scopes: {_flag_words(abi.scoped)}"] if abi.scoped else []
        rows.append((str(number), abi.release, ", ".join(parts) or "flags for logging (not used)"))
    return table(("ABI", "Linux", "Brought"), rows)


# --- The page -------------------------------------------------------------------------------------


def page() -> str:
    """The whole manual page. Raises ManualError."""
    with open(KEYS, "rb") as file:
        notes = tomllib.load(file)
    with open(TEMPLATE, encoding="utf-8") as template:
        text = template.read()
    parts = {
        "VERSION": __version__,
        "KEYS": key_reference(notes),
        "GROUPS": group_list(),
        "DERIVATION": derivation_table(),
        "ABIS": abi_table(),
        "FEATURES": ", ".join(f"\\fB{escape(word)}\\fR" for word in get_args(Feature)),
        "MAXIMUM_LEVELS": str(MAXIMUM_LEVELS),
        "MAXIMUM_FILES": str(MAXIMUM_FILES),
        "MAXIMUM_SIZE": f"{MAXIMUM_SIZE >> 20} MiB",
    }
    for name, content in parts.items():
        if f"@@{name}@@" not in text:
            raise ManualError(f"the template has no place for {name}")
        text = text.replace(f"@@{name}@@", content)
    left = re.search(r"@@\w+@@", text)
    if left:
        raise ManualError(f"nothing to put at {left.group()}")
    return text


def main() -> None:
    new = page()
    with open(PAGE, "w", encoding="utf-8") as out:
        out.write(new)


if __name__ == "__main__":
    main()
