"""What a filter should say of a call, read straight from the policy's statements.

Slow and simple on purpose: all statements that speak of the call are collected with their rank, and
the strongest one wins. It shares the groups' contents and the widths of arguments with the code under test, nothing else.
"""

import random
from collections.abc import Iterator, Sequence

from sandbox.plan import syscall_args
from sandbox.plan.seccomp_groups import CONDITIONS, GROUPS
from sandbox.plan.seccomp_policy import Arg, SeccompPolicy
from sandbox.plan.syscalls import numbers
from tests.bpf import ALLOW, ERRNO, KILL_PROCESS, LOG, MASK32, MASK64

SEVERITY = {"kill": 0, "deny": 1, "log": 2, "allow": 3}
NATIVE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
NEW_NAMESPACES = 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
NEW_NAMESPACES |= 0x00020000

Condition = tuple[int, str, tuple[int, ...], int, int]


def holds(condition: Condition, args: Sequence[int]) -> bool:
    index, op, values, mask, width = condition
    top = (1 << width) - 1
    got = args[index] & top
    wanted = [value & top for value in values]
    return {
        "eq": got == wanted[0],
        "in": got in wanted,
        "ne": got != wanted[0],
        "lt": got < wanted[0],
        "le": got <= wanted[0],
        "gt": got > wanted[0],
        "ge": got >= wanted[0],
        "masked-eq": got & mask & top == wanted[0],
        "masked-ne": got & mask & top != wanted[0],
    }[op]


def _condition(call: str, arg: Arg) -> Condition:
    width = min(arg.width, syscall_args.width(call, arg.index))
    return arg.index, arg.op, arg.values, arg.mask, width


def members(statement: str) -> Iterator[tuple[str, tuple[tuple[Condition, ...], ...]]]:
    """Calls of "@group" or "@group/1", each with alternatives of which one must hold."""
    name, _, version = statement[1:].partition("/")
    for word in GROUPS[name][int(version) if version else max(GROUPS[name])].split():
        if word.startswith("@"):
            yield from members(word)
        elif "?" in word:
            yield word.partition("?")[0], CONDITIONS[word]
        else:
            yield word, ((),)


def _grants(policy: SeccompPolicy, call: str) -> list[tuple[Condition, ...]]:
    return [
        conjunction
        for statement in policy.allow
        if statement.startswith("@")
        for name, alternatives in members(statement)
        if name == call
        for conjunction in alternatives
    ]


def _by_name(policy: SeccompPolicy, call: str) -> list[tuple[int, int]]:
    refusal = ERRNO | policy.default_errno
    found = [(SEVERITY["allow"], ALLOW)] * (call in policy.allow)
    found += [(SEVERITY["deny"], refusal)] * (call in policy.deny)
    for rule in policy.rules:
        if rule.call == call and not rule.args:
            errno = ERRNO | (rule.errno or policy.default_errno)
            action = {"kill": KILL_PROCESS, "deny": errno, "log": LOG, "allow": ALLOW}[rule.action]
            found.append((SEVERITY[rule.action], action))
    return found


def _refused_by_group(policy: SeccompPolicy, call: str) -> bool:
    groups = (statement for statement in policy.deny if statement.startswith("@"))
    return any(name == call for group in groups for name, _ in members(group))


def makes_namespaces(policy: SeccompPolicy) -> bool:
    named = _by_name(policy, "unshare")
    if named:
        return min(named)[1] in (ALLOW, LOG)
    return () in _grants(policy, "unshare") and not _refused_by_group(policy, "unshare")


def expected(
    policy: SeccompPolicy, machine: str, arch: int, number: int, args: Sequence[int]
) -> int:
    """The action for one call."""
    number &= MASK32
    unknown = ERRNO | policy.unknown_errno
    refusal = ERRNO | policy.default_errno
    if arch != NATIVE[machine]:
        return KILL_PROCESS
    if machine == "x86_64" and number & 0x40000000 and number != MASK32:
        return KILL_PROCESS
    if machine == "x86_64" and number & 0x80000000 and number != MASK32:
        return KILL_PROCESS
    calls = {value: name for name, value in numbers(machine).items()}
    if number not in calls:
        return unknown
    call = calls[number]
    found: list[tuple[int, int, int, int]] = []
    for rule in policy.rules:
        if (
            rule.call == call
            and rule.args
            and all(holds(_condition(call, a), args) for a in rule.args)
        ):
            errno = ERRNO | (rule.errno or policy.default_errno)
            action = {"kill": KILL_PROCESS, "deny": errno, "log": LOG, "allow": ALLOW}[rule.action]
            found.append((1, SEVERITY[rule.action], 0, action))
    if call == "ioctl" and args[1] & MASK32 in (0x5412, 0x541C):
        found.append((1, SEVERITY["deny"], 1, refusal))
    weaker = [(3, severity, 0, action) for severity, action in _by_name(policy, call)]
    if not weaker and _refused_by_group(policy, call):
        weaker.append((4, 0, 0, refusal))
    if not weaker and any(all(holds(c, args) for c in g) for g in _grants(policy, call)):
        weaker.append((4, 1, 0, ALLOW))
    found += weaker or [(5, 0, 0, refusal)]
    if not makes_namespaces(policy):
        if call == "clone" and args[0] & NEW_NAMESPACES:
            found.append((2, 0, 0, refusal))
        if call == "clone3" and min(weaker or [(5, 0, 0, refusal)])[3] in (ALLOW, LOG):
            found.append((2, 0, 0, ERRNO | 38))
    return min(found)[3]


def edge_numbers(machine: str) -> list[int]:
    """Every number up to 1023, and those around each bit that means something."""
    edges = [*range(1024), 4095, 4096, 0xFFFF, 0x3FFFFFFE, 0x3FFFFFFF]
    for bit in (0x40000000, 0x80000000, 0xC0000000):
        edges += [bit + low for low in (0, 1, 2, 16, 41, 59, 101, 272, 334, 471, 512, 520, 547)]
    return [*edges, 0xFFFFFF00, 0xFFFFFFFE, 0xFFFFFFFF, *(-number for number in range(1, 40))]


def argument_values(policy: SeccompPolicy, call: str, index: int) -> list[int]:
    """Values of an argument that the policy may tell apart, the high half set and clear."""
    known: set[Condition] = {
        _condition(call, a) for r in policy.rules if r.call == call for a in r.args
    }
    for statement in policy.allow:
        if statement.startswith("@"):
            for name, alternatives in members(statement):
                if name == call:
                    known.update(condition for group in alternatives for condition in group)
    if call == "ioctl":
        known.add((1, "in", (0x5412, 0x541C), 0, 32))
    if call == "clone":
        known.add((0, "masked-ne", (0,), NEW_NAMESPACES, 32))
    values = {0, 1, MASK32, MASK64, 1 << 31, 1 << 63}
    for place, _, wanted, mask, width in known:
        if place != index:
            continue
        top = (1 << width) - 1
        for value in (number & top for number in wanted):
            values |= {value, value + 1, value - 1, value | 1 << 32, value | MASK64 ^ MASK32}
            values |= {value | 1 << 16, value | 0xFFFF0000}
            values |= {value ^ (mask & top), value | (~mask & MASK64)}
            values |= {value ^ 1 << bit for bit in range(64) if mask >> bit & 1}
            values |= {(value & MASK32) | other << 32 for other in (1, value & MASK32, MASK32)}
            values.add((value + (1 << 32)) & MASK64)
    return sorted(value & MASK64 for value in values)


def argument_vectors(
    policy: SeccompPolicy, call: str, limit: int, seed: int = 1
) -> list[tuple[int, ...]]:
    """Argument lists over those values: all of them, or `limit` chosen at random (by `seed`)."""
    choices = [argument_values(policy, call, index) for index in range(6)]
    plain = len(argument_values(SeccompPolicy(), "read", 0))
    told = [index for index in range(6) if len(choices[index]) > plain]
    total = 1
    for index in told:
        total *= len(choices[index])
    if total <= limit:
        vectors: list[tuple[int, ...]] = [()]
        for index in range(6):
            options = choices[index] if index in told else [0]
            vectors = [(*vector, option) for vector in vectors for option in options]
        return vectors
    pick = random.Random(seed)
    return [tuple(pick.choice(options) for options in choices) for _ in range(limit)]
