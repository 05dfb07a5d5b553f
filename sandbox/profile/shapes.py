"""The model's types as the walk over a file sees them."""

from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import msgspec

from sandbox.profile.model import Profile, Table


class Shape(NamedTuple):
    """How a value may look: text or number (`leaf`), list, dictionary or struct, or several.

    `leaf` is the type that msgspec judges a plain value by; `kind` names its check. `is_text` says
    that any text meets the type, which spares most values of a long profile the judging.
    """

    leaf: Any = None
    kind: str = ""
    item: "Shape | None" = None
    values: "Shape | None" = None
    keys_kind: str = ""
    struct: type[Table] | None = None
    is_text: bool = False


class Field(NamedTuple):
    """A key of a table."""

    shape: Shape
    required: bool


@cache
def fields(struct: type[Table]) -> dict[str, Field]:
    """The keys of a table, by their names in TOML."""
    names = struct.__struct_encode_fields__
    defaults = struct.__struct_defaults__
    optional = dict(zip(reversed(names), reversed(defaults), strict=False))
    annotations = struct.__annotations__
    return {
        name: Field(
            _shape(annotations[attribute]),
            optional.get(name, msgspec.NODEFAULT) is msgspec.NODEFAULT,
        )
        for name, attribute in zip(names, struct.__struct_fields__, strict=True)
    }


def _shape(annotation: Any, kind: str = "") -> Shape:
    if get_origin(annotation) is Annotated:
        base, *metas = get_args(annotation)
        for meta in metas:
            kind = (meta.extra or {}).get("kind", kind)
        return _shape_of(base, annotation, kind)
    return _shape_of(annotation, annotation, kind)


def _shape_of(base: Any, annotation: Any, kind: str) -> Shape:
    origin, args = get_origin(base), get_args(base)
    if kind.endswith("limit"):
        return Shape(leaf=annotation, kind=kind)
    if origin is tuple:
        return Shape(item=_shape(args[0]))
    if origin is dict:
        return Shape(values=_shape(args[1]), keys_kind=_shape(args[0]).kind)
    if isinstance(base, type) and issubclass(base, Table):
        return Shape(struct=base)
    if origin in {Union, UnionType}:
        return _union(args, annotation, kind)
    return Shape(leaf=annotation, kind=kind, is_text=base is str)


def _union(args: tuple[Any, ...], annotation: Any, kind: str) -> Shape:
    arms = [_shape(arg, kind) for arg in args if arg is not NoneType]
    if len(arms) == 1:
        return arms[0]
    merged = Shape(kind=kind)
    for arm in arms:
        if arm.leaf is None:
            merged = merged._replace(item=arm.item or merged.item, struct=arm.struct)
        else:
            has_one = merged.leaf is not None
            leaf = annotation if has_one else arm.leaf
            is_text = arm.is_text and not has_one
            merged = merged._replace(leaf=leaf, kind=merged.kind or arm.kind, is_text=is_text)
    return merged


def key_exists(path: tuple[str, ...]) -> bool:
    """Whether a table or a key of this path is part of the model; an entry's keys are not."""
    shape: Shape | None = Shape(struct=Profile)
    for name in path:
        if shape is None:
            return False
        if shape.values is not None:
            shape = shape.values
        elif shape.struct is not None and shape.item is None and name in fields(shape.struct):
            shape = fields(shape.struct)[name].shape
        else:
            return False
    return True


def choices(leaf: Any) -> tuple[str, ...]:
    """The words that a leaf's type lets through."""
    if get_origin(leaf) is Literal:
        return tuple(word for word in get_args(leaf) if isinstance(word, str))
    return tuple(word for arg in get_args(leaf) for word in choices(arg))


def takes_numbers(leaf: Any) -> bool:
    """Whether a leaf's type lets any number through."""
    if get_origin(leaf) is Literal:
        return any(isinstance(choice, int) for choice in get_args(leaf))
    return leaf is int or any(takes_numbers(arg) for arg in get_args(leaf))


def expected(shape: Shape) -> str:
    """What a value of this shape is, in words."""
    words = [_leaf_words(shape.leaf)] if shape.leaf is not None else []
    if shape.item is not None:
        words.append("a list")
    if shape.struct is not None or shape.values is not None:
        words.append("a table")
    return " or ".join(words)


def _leaf_words(leaf: Any) -> str:
    base, *metas = get_args(leaf) if get_origin(leaf) is Annotated else (leaf,)
    if base is bool:
        return "true or false"
    if base is str:
        return "text in quotes"
    if base is int:
        bounds = {
            bound: value
            for meta in metas
            for bound in ("ge", "le")
            if (value := getattr(meta, bound)) is not None
        }
        if len(bounds) == 2:
            return f"a whole number from {bounds['ge']} to {bounds['le']}"
        return "a whole number"
    if get_origin(base) is Literal:
        return " or ".join(f"'{c}'" if isinstance(c, str) else str(c) for c in get_args(base))
    if get_origin(base) in {Union, UnionType}:
        return ", ".join(_leaf_words(arg) for arg in get_args(base) if arg is not NoneType)
    return "another type of value"
