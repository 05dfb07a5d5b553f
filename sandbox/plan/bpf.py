"""A classic BPF program, as seccomp(2) takes it, from decisions about system calls.

The whole filter is one decision graph over 32-bit words of struct seccomp_data: the architecture,
then the number (a search tree over ranges of numbers with the same answer), then words of the
arguments (a binary decision diagram for each set of cases, shared between calls that have the same
one). The graph is ordered, has no duplicates and no test whose outcome is known on its path. It
is written out backwards, so that every jump goes to code that exists already.

Why ranges: the kernel runs a new filter once for every call number, to fill the bitmap that later
answers most calls without it (kernel/seccomp.c, seccomp_cache_prepare_bitmap), and compiles it to
machine code. Both grow with the program: at launch it should be short.
"""

import struct
import sys
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from sandbox.plan.seccomp_policy import KILL, Arg, Case

LD_ABS: Final = 0x20
AND_K: Final = 0x54
JA: Final = 0x05
JEQ_K: Final = 0x15
JGE_K: Final = 0x35
JSET_K: Final = 0x45
RET_K: Final = 0x06

MAX_INSTRUCTIONS: Final = 4096
MAX_TESTS: Final = 100_000
_MAX_DEPTH: Final = 3 * MAX_INSTRUCTIONS
_FULL: Final = 0xFFFFFFFF
_NUMBER, _ARCH = 0, 4
_ARGS: Final = 16
_CHAIN: Final = 3
"""So many single numbers in one range are compared one by one; more are split by a search step."""

_IN_USE: Final = 480
"""Numbers that the kernel has calls for are below this, so far."""


class Test(NamedTuple):
    """A test of `word & mask` (word: offset in struct seccomp_data): equal to, or at least, `k`.

    Tests sort by word, then exact ones of fewer bits, exact ones of all bits, comparisons.
    """

    word: int
    mask: int
    is_at_least: bool
    k: int


class TooLargeError(Exception):
    """The cases of a call don't fit into a filter."""


class Graph:
    """Decision graphs with shared parts. A node is a number; terminals are made by `leaf`."""

    def __init__(self) -> None:
        self.tests: list[Test | None] = []
        self.yes: list[int] = []
        self.no: list[int] = []
        self.values: list[int] = []
        self._known: dict[tuple[Test, int, int], int] = {}
        self._leaves: dict[int, int] = {}
        self.false = self.leaf(-1)
        self.true = self.leaf(-2)

    def leaf(self, value: int) -> int:
        """The terminal that stands for `value`."""
        if value not in self._leaves:
            self._leaves[value] = self._append(None, -1, -1, value)
        return self._leaves[value]

    def _append(self, test: Test | None, yes: int, no: int, value: int) -> int:
        if len(self.tests) >= MAX_TESTS:
            raise TooLargeError
        self.tests.append(test)
        self.yes.append(yes)
        self.no.append(no)
        self.values.append(value)
        return len(self.tests) - 1

    def branch(self, test: Test, yes: int, no: int) -> int:
        """`yes` where the test holds, else `no`."""
        if yes == no:
            return yes
        key = (test, yes, no)
        node = self._known.get(key)
        if node is None:
            node = self._known[key] = self._append(test, yes, no, 0)
        return node

    def choose(self, condition: int, yes: int, no: int) -> int:
        """`yes` where the graph `condition` ends in true, else `no`; tests stay in order."""
        return self._choose(condition, yes, no, {})

    def _choose(
        self, condition: int, yes: int, no: int, memo: dict[tuple[int, int, int], int]
    ) -> int:
        if condition == self.true or yes == no:
            return yes
        if condition == self.false:
            return no
        key = (condition, yes, no)
        if key in memo:
            return memo[key]
        tests = [test for test in map(self.tests.__getitem__, key) if test is not None]
        first = min(tests)
        held = self._choose_where(first, True, key, memo)
        failed = self._choose_where(first, False, key, memo)
        node = memo[key] = self.branch(first, held, failed)
        return node

    def _choose_where(
        self,
        test: Test,
        holds: bool,
        nodes: tuple[int, int, int],
        memo: dict[tuple[int, int, int], int],
    ) -> int:
        """What `_choose` makes of the nodes where the test is known to hold, or to fail."""

        def below(node: int) -> int:
            if self.tests[node] == test:
                node = self.yes[node] if holds else self.no[node]
            return self._given(node, test) if holds and not test.is_at_least else node

        condition = below(nodes[0])
        if condition == self.true:
            return below(nodes[1])
        if condition == self.false:
            return below(nodes[2])
        return self._choose(condition, below(nodes[1]), below(nodes[2]), memo)

    def _given(self, node: int, fact: Test) -> int:
        """`node` where `fact`, an exact test that comes before all of node's tests, holds."""
        while True:
            test = self.tests[node]
            if test is None or test.word != fact.word:
                return node
            if not test.is_at_least and (test.k ^ fact.k) & test.mask & fact.mask:
                holds = False
            elif test.mask & ~fact.mask:
                yes, no = self._given(self.yes[node], fact), self._given(self.no[node], fact)
                return self.branch(test, yes, no)
            else:
                value = fact.k & test.mask
                holds = value >= test.k if test.is_at_least else value == test.k
            node = self.yes[node] if holds else self.no[node]


def _exact(graph: Graph, word: int, mask: int, k: int) -> int:
    if k & ~mask:
        return graph.false
    if mask == 0:
        return graph.true
    return graph.branch(Test(word, mask, False, k), graph.true, graph.false)


def _at_least(graph: Graph, word: int, mask: int, k: int) -> int:
    if k == 0:
        return graph.true
    return graph.branch(Test(word, mask, True, k), graph.true, graph.false)


def _both(graph: Graph, one: int, two: int) -> int:
    return graph.choose(one, two, graph.false)


def _words(arg: Arg) -> tuple[int, int]:
    """Offsets of the high and the low half of an argument, little-endian."""
    low = _ARGS + 8 * arg.index
    return low + 4, low


def _equal(graph: Graph, arg: Arg, mask: int, value: int) -> int:
    high, low = _words(arg)
    lower = _exact(graph, low, mask & _FULL, value & _FULL)
    if arg.width <= 32:
        return lower
    return _both(graph, lower, _exact(graph, high, mask >> 32, value >> 32))


def _reaches(graph: Graph, arg: Arg, bound: int) -> int:
    """The argument is at least `bound`, which may be one more than its width holds."""
    if bound > arg.limit():
        return graph.false
    high, low = _words(arg)
    lower = _at_least(graph, low, arg.limit() & _FULL, bound & _FULL)
    if arg.width <= 32:
        return lower
    top = bound >> 32
    above = _at_least(graph, high, _FULL, top + 1) if top < _FULL else graph.false
    return graph.choose(lower, _at_least(graph, high, _FULL, top), above)


def condition(graph: Graph, arg: Arg) -> int:
    """The graph that ends in true where the condition holds."""
    full = arg.limit()
    values = arg.numbers()
    match arg.op:
        case "eq" | "in" | "ne":
            found = graph.false
            # From the last in the order of tests, so that each goes before what is there already.
            for value in sorted(
                set(values), key=lambda value: (value & _FULL, value), reverse=True
            ):
                found = graph.choose(_equal(graph, arg, full, value), graph.true, found)
        case "masked-eq" | "masked-ne":
            found = _equal(graph, arg, arg.mask & full, values[0])
        case "ge" | "lt":
            found = _reaches(graph, arg, values[0])
        case "gt" | "le":
            found = _reaches(graph, arg, values[0] + 1)
    if arg.op in ("ne", "masked-ne", "lt", "le"):
        return graph.choose(found, graph.false, graph.true)
    return found


def answer(graph: Graph, cases: Sequence[Case], action: int) -> int:
    """The graph of a call: the first case that fits, else `action`."""
    node = graph.leaf(action)
    for case in reversed(cases):
        fits = graph.true
        for arg in case.conditions:
            fits = _both(graph, fits, condition(graph, arg))
        node = graph.choose(fits, graph.leaf(case.action), node)
    return node


class _Span(NamedTuple):
    """Numbers from `start` to the next span; some of them, each on its own, have other answers."""

    start: int
    node: int
    singles: tuple[tuple[int, int], ...]


def _spans(answers: Mapping[int, int], other: int) -> list[_Span]:
    """Ranges of numbers with one answer; `other` is that of every number not in `answers`."""
    ranges: list[tuple[int, int]] = []
    following = 0
    for number in sorted(answers):
        if number > following and (not ranges or ranges[-1][1] != other):
            ranges.append((following, other))
        if not ranges or ranges[-1][1] != answers[number]:
            ranges.append((number, answers[number]))
        following = number + 1
    if not ranges or ranges[-1][1] != other:
        ranges.append((following, other))
    spans: list[_Span] = []
    position = 0
    while position < len(ranges):
        start, node = ranges[position]
        singles: list[tuple[int, int]] = []
        while (
            position + 2 < len(ranges)
            and ranges[position + 2] == (ranges[position + 1][0] + 1, node)
            and len(singles) < _CHAIN
        ):
            singles.append(ranges[position + 1])
            position += 2
        spans.append(_Span(start, node, tuple(singles)))
        position += 1
    return spans


def _search(graph: Graph, spans: Sequence[_Span], end: int) -> int:
    """A tree that halves the numbers in use, not the spans: long spans are found in few steps."""
    if len(spans) > 1:
        middle = (spans[0].start + min(end, _IN_USE)) // 2
        half = min(range(1, len(spans)), key=lambda place: abs(spans[place].start - middle))
        start = spans[half].start
        upper, lower = _search(graph, spans[half:], end), _search(graph, spans[:half], start)
        return graph.branch(Test(_NUMBER, _FULL, True, start), upper, lower)
    node = spans[0].node
    for number, single in reversed(spans[0].singles):
        node = graph.branch(Test(_NUMBER, _FULL, False, number), single, node)
    return node


def assemble(
    audit_arch: int,
    answers: Mapping[int, tuple[Sequence[Case], int]],
    unknown: int,
    regions: Mapping[int, int],
) -> bytes:
    """A filter for calls of one architecture; those of any other kill the process.

    `answers` holds cases and action by call number, `unknown` is the action for numbers that are
    not in it, and `regions` the action from a number on (above all in `answers`), up to the next.
    Raises TooLargeError.
    """
    graph = Graph()
    depth = sys.getrecursionlimit()
    sys.setrecursionlimit(max(depth, _MAX_DEPTH))
    try:
        nodes = {number: answer(graph, *found) for number, found in answers.items()}
    except RecursionError as error:
        raise TooLargeError from error
    finally:
        sys.setrecursionlimit(depth)
    spans = _spans(nodes, graph.leaf(unknown))
    spans += [_Span(start, graph.leaf(action), ()) for start, action in sorted(regions.items())]
    native = _search(graph, spans, _FULL)
    root = graph.branch(Test(_ARCH, _FULL, False, audit_arch), native, graph.leaf(KILL))
    return _write(graph, root)


def _order(graph: Graph, root: int) -> list[int]:
    """All tests that can be reached, each before those it leads to."""
    seen: set[int] = set()
    done: list[int] = []
    stack = [(root, False)]
    while stack:
        node, left = stack.pop()
        if left:
            done.append(node)
        elif node not in seen and graph.tests[node] is not None:
            seen.add(node)
            stack += [(node, True), (graph.no[node], False), (graph.yes[node], False)]
    return done[::-1]


def _loaded(test: Test) -> tuple[int, int]:
    """What the accumulator holds when a test is made: a word, masked unless a JSET does that."""
    single = not test.is_at_least and test.k in (0, test.mask)
    if test.mask != _FULL and single and (test.k == 0 or not test.mask & (test.mask - 1)):
        return test.word, _FULL
    return test.word, test.mask


def _write(graph: Graph, root: int) -> bytes:
    order = _order(graph, root)
    holds: dict[int, tuple[int, int] | None] = {root: None}
    for node in order:
        loaded = _loaded(_test(graph, node))
        for following in (graph.yes[node], graph.no[node]):
            holds[following] = loaded if holds.get(following, loaded) == loaded else None
    code: list[tuple[int, int, int, int]] = []
    places: dict[int, int] = {}
    for node in reversed(order):
        test = _test(graph, node)
        yes, no = graph.yes[node], graph.no[node]
        loaded = _loaded(test)
        if test.mask != _FULL and loaded[1] == _FULL:
            opcode, k = JSET_K, test.mask
            if test.k == 0:
                yes, no = no, yes
        else:
            opcode, k = (JGE_K if test.is_at_least else JEQ_K), test.k
        while not all(_near(graph, code, places, target) for target in (yes, no)):
            pass
        code.append((opcode, len(code) - places[yes] - 1, len(code) - places[no] - 1, k))
        if holds[node] != loaded:
            if loaded[1] != _FULL:
                code.append((AND_K, 0, 0, loaded[1]))
            if holds[node] != (loaded[0], _FULL):
                code.append((LD_ABS, 0, 0, loaded[0]))
        places[node] = len(code) - 1
    if not order:
        code.append((RET_K, 0, 0, graph.values[root]))
    if len(code) > MAX_INSTRUCTIONS:
        raise TooLargeError
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in reversed(code))


def _test(graph: Graph, node: int) -> Test:
    test = graph.tests[node]
    if test is None:
        raise AssertionError(node)
    return test


def _near(
    graph: Graph, code: list[tuple[int, int, int, int]], places: dict[int, int], target: int
) -> bool:
    """Whether a jump written next reaches `target`; if not, puts a stepping stone in reach."""
    if target in places and len(code) - places[target] - 1 <= 0xFF:
        return True
    if graph.tests[target] is None:
        code.append((RET_K, 0, 0, graph.values[target]))
    else:
        code.append((JA, 0, 0, len(code) - places[target] - 1))
    places[target] = len(code) - 1
    return False
