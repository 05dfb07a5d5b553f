"""Where each key and value of a TOML text stands.

tomllib gives values without places; the syntax tree gives places. It is only built when a
place is needed: for an error, or to show where a rule comes from.
"""

import tomllib
from typing import NamedTuple

import tree_sitter_toml
from tree_sitter import Language, Node, Parser

from sandbox.profile.resolved import KeyPath


class Span(NamedTuple):
    """Row and column from 0, the column in bytes; `end` is a column of the same row."""

    row: int
    column: int
    end: int


class Positions(NamedTuple):
    """Where keys and values stand; an element of an array has only a value's place."""

    keys: dict[KeyPath, Span]
    values: dict[KeyPath, Span]


def find_positions(text: str) -> Positions:
    """The places of everything in a text that tomllib has read without an error."""
    tree = Parser(Language(tree_sitter_toml.language())).parse(text.encode())
    walk = _Walk()
    for node in tree.root_node.named_children:
        if node.type == "pair":
            walk.pair(node, ())
        elif node.type in {"table", "table_array_element"}:
            walk.table(node)
    return Positions(walk.keys, walk.values)


class _Walk:
    def __init__(self) -> None:
        self.keys: dict[KeyPath, Span] = {}
        self.values: dict[KeyPath, Span] = {}
        self.lengths: dict[KeyPath, int] = {}

    def table(self, node: Node) -> None:
        header, *rest = node.named_children
        path: KeyPath = ()
        parts = _key_parts(header)
        for at, (name, span) in enumerate(parts):
            path = (*path, name)
            self.keys.setdefault(path, span)
            is_last = at == len(parts) - 1
            if is_last and node.type == "table_array_element":
                self.lengths[path] = self.lengths.get(path, 0) + 1
            if path in self.lengths:
                path = (*path, self.lengths[path] - 1)
                self.values.setdefault(path, span)
        for child in rest:
            if child.type == "pair":
                self.pair(child, path)

    def pair(self, node: Node, table: KeyPath) -> None:
        key, *rest = (child for child in node.named_children if child.type != "comment")
        path = table
        for name, span in _key_parts(key):
            path = (*path, name)
            self.keys.setdefault(path, span)
        if rest:
            self.value(rest[0], path)

    def value(self, node: Node, path: KeyPath) -> None:
        self.values[path] = _span(node)
        if node.type == "array":
            elements = (child for child in node.named_children if child.type != "comment")
            for index, element in enumerate(elements):
                self.value(element, (*path, index))
        elif node.type == "inline_table":
            for child in node.named_children:
                if child.type == "pair":
                    self.pair(child, path)


def _key_parts(node: Node) -> list[tuple[str, Span]]:
    if node.type == "dotted_key":
        return [part for child in node.named_children for part in _key_parts(child)]
    text = (node.text or b"").decode()
    if node.type == "quoted_key":
        (text,) = tomllib.loads(f"{text} = 0")
    return [(text, _span(node))]


def _span(node: Node) -> Span:
    start, end = node.start_point, node.end_point
    same_row = start.row == end.row
    return Span(start.row, start.column, end.column if same_row else start.column + 1)
