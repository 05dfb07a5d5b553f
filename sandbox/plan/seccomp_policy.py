"""What a system call filter is asked to do, and what that means for each call.

`SeccompPolicy` holds statements in any order. `resolve` turns them into one `Decision` for each
call of a machine: cases in the order in which they are tried, and what happens if none fits.

The most specific statement wins:

1. rules with conditions on arguments, and the guard of terminals (TIOCSTI, TIOCLINUX);
2. the guard of namespaces: unless unshare(2) is allowed without a condition, clone(2) with a
   CLONE_NEW* flag is refused and clone3(2), whose flags lie in memory, does not exist (ENOSYS: the C
   library then uses clone);
3. statements on a call by name;
4. statements on a group.

Between equals the stricter one wins: kill, deny, log, allow. Grants of several groups add up.
"""

from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from sandbox.plan import syscall_args, syscalls
from sandbox.plan.seccomp_groups import (
    CLONE_NEWUSER,
    CONDITIONS,
    GROUPS,
    NAMESPACE_FLAGS,
    TIOCLINUX,
    TIOCSTI,
)
from sandbox.plan.syscall_args import Width

ALLOW: Final = 0x7FFF0000
LOG: Final = 0x7FFC0000
KILL: Final = 0x80000000
ERRNO: Final = 0x00050000
ERRNO_MASK: Final = 0xFFFF
EPERM, ENOSYS = 1, 38

Op = Literal["eq", "ne", "in", "masked-eq", "masked-ne", "lt", "le", "gt", "ge"]
Action = Literal["allow", "deny", "kill", "log"]
_SEVERITY: Final[dict[str, int]] = {"kill": 0, "deny": 1, "log": 2, "allow": 3}


class Arg(msgspec.Struct, frozen=True, order=True):
    """A condition on one argument. Comparisons are unsigned; `width` 32 looks at the low half.

    In a rule the width is no more than the kernel reads (see syscall_args.py).
    """

    index: int
    op: Op
    values: tuple[int, ...]
    mask: int = 0
    width: Width = 64

    def limit(self) -> int:
        """The largest value of this width."""
        return (1 << self.width) - 1

    def numbers(self) -> tuple[int, ...]:
        """The values as the kernel sees them: negative ones in two's complement."""
        return tuple(value & self.limit() for value in self.values)

    def narrowed(self, call: str) -> "Arg":
        """The condition on what the kernel reads of this argument of `call`."""
        width = min(self.width, syscall_args.width(call, self.index))
        return Arg(self.index, self.op, self.values, self.mask, width)


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A statement on one call; without `args` it counts as one by name."""

    call: str
    action: Action
    errno: int | None = None
    args: tuple[Arg, ...] = ()


class SeccompPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """A filter as statements: calls by name, "@group", "@group/version", and rules.

    `default_errno` is for calls that sbx knows and nothing allows, `unknown_errno` for numbers that
    its tables don't hold. `log` is a flag of seccomp(2), not part of the program.
    """

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    default_errno: int = EPERM
    unknown_errno: int = ENOSYS
    log: bool = False
    rules: tuple[Rule, ...] = ()


class Case(msgspec.Struct, frozen=True):
    """If all `conditions` hold, `action` (a SECCOMP_RET_* value with its data) is the answer."""

    conditions: tuple[Arg, ...]
    action: int
    because: str


class Decision(msgspec.Struct, frozen=True):
    """What the filter does with one call: the first case that fits, else `action`."""

    call: str
    number: int
    cases: tuple[Case, ...]
    action: int
    because: str


class Group(msgspec.Struct, frozen=True):
    """What a statement "@name/version" holds: calls, and calls under conditions."""

    name: str
    version: int
    calls: tuple[str, ...]
    conditional: dict[str, tuple[tuple[Arg, ...], ...]]


def condition_arg(index: int, op: Op, values: tuple[int, ...], mask: int, width: Width) -> Arg:
    """A condition as the groups write it."""
    return Arg(index, op, values, mask, width)


def parse_group(statement: str) -> tuple[str, int]:
    """Name and version of "@group" or "@group/1". Raises KeyError if there is no such group."""
    name, slash, version = statement[1:].partition("/")
    versions = GROUPS[name]
    number = int(version) if slash and version.isdecimal() else 0 if slash else max(versions)
    if number not in versions:
        raise KeyError(statement)
    return name, number


def expand(name: str, version: int) -> Group:
    """All calls of a group, those of the groups in it included."""
    calls: dict[str, None] = {}
    conditional: dict[str, tuple[tuple[Arg, ...], ...]] = {}
    for word in GROUPS[name][version].split():
        if word[0] == "@":
            inner = expand(*parse_group(word))
            calls.update(dict.fromkeys(inner.calls))
            conditional.update(inner.conditional)
        elif "?" in word:
            conditional[word.partition("?")[0]] = tuple(
                tuple(condition_arg(*condition) for condition in conjunction)
                for conjunction in CONDITIONS[word]
            )
        else:
            calls[word] = None
    return Group(name, version, tuple(calls), conditional)


def errno_action(errno: int) -> int:
    """SECCOMP_RET_ERRNO with this errno."""
    return ERRNO | errno


class _Statements:
    """The statements of a policy, by the call that they are about."""

    def __init__(self, policy: SeccompPolicy) -> None:
        self.policy = policy
        self.named: dict[str, list[tuple[int, int, str]]] = {}
        self.ruled: dict[str, list[tuple[int, int, tuple[Arg, ...], str]]] = {}
        self.granted: dict[str, list[tuple[tuple[tuple[Arg, ...], ...], str]]] = {}
        self.refused: dict[str, str] = {}
        for statement in sorted(set(policy.allow)):
            self._add(statement, "allow")
        for statement in sorted(set(policy.deny)):
            self._add(statement, "deny")
        for place, rule in enumerate(policy.rules):
            self._add_rule(rule, f"rules[{place}]: {rule.action} {rule.call}")

    def _action(self, action: Action, errno: int | None) -> int:
        if action == "deny":
            return errno_action(self.policy.default_errno if errno is None else errno)
        return {"allow": ALLOW, "log": LOG, "kill": KILL}[action]

    def _add(self, statement: str, action: Literal["allow", "deny"]) -> None:
        if statement[0] != "@":
            entry = (_SEVERITY[action], self._action(action, None), f"{action} {statement}")
            self.named.setdefault(statement, []).append(entry)
            return
        group = expand(*parse_group(statement))
        because = f"{action} @{group.name}/{group.version}"
        if action == "deny":
            for call in (*group.calls, *group.conditional):
                self.refused.setdefault(call, because)
            return
        for call in group.calls:
            self.granted.setdefault(call, []).append(((), because))
        for call, conjunctions in group.conditional.items():
            self.granted.setdefault(call, []).append((conjunctions, because))

    def _add_rule(self, rule: Rule, because: str) -> None:
        action = self._action(rule.action, rule.errno)
        severity = _SEVERITY[rule.action]
        if rule.args:
            args = sorted({arg.narrowed(rule.call) for arg in rule.args})
            ruled = (severity, action, tuple(args), because)
            self.ruled.setdefault(rule.call, []).append(ruled)
        else:
            self.named.setdefault(rule.call, []).append((severity, action, because))

    def base(self, call: str) -> tuple[list[Case], int, str]:
        """What names and groups say of a call."""
        refusal = errno_action(self.policy.default_errno)
        if call in self.named:
            _, action, because = min(self.named[call])
            return [], action, because
        if call in self.refused:
            return [], refusal, self.refused[call]
        grants = self.granted.get(call, [])
        for conjunctions, because in grants:
            if not conjunctions:
                return [], ALLOW, because
        cases = [
            Case(conjunction, ALLOW, because)
            for conjunctions, because in grants
            for conjunction in conjunctions
        ]
        return cases, refusal, grants[0][1] if grants else "nothing allows it"

    def guards(self, call: str, *, namespaces: bool) -> tuple[list[Case], list[Case]]:
        """Built-in cases of a call: as strong as a rule, and as strong as a name."""
        refusal = errno_action(self.policy.default_errno)
        if call == "ioctl":
            terminal = Arg(1, "in", (TIOCSTI, TIOCLINUX), 0, 32)
            return [Case((terminal,), refusal, "built in: no input into terminals")], []
        if call == "clone" and not namespaces:
            flags = Arg(0, "masked-ne", (0,), NAMESPACE_FLAGS, 32)
            return [], [Case((flags,), refusal, "built in: namespaces are not allowed")]
        return [], []

    def decide(self, call: str, number: int, *, namespaces: bool) -> Decision:
        """What all statements together say of a call."""
        cases, action, because = self.base(call)
        strong, weak = self.guards(call, namespaces=namespaces)
        if call == "clone3" and not namespaces and action in (ALLOW, LOG):
            action, because = errno_action(ENOSYS), "built in: namespaces are not allowed"
        rules = sorted(self.ruled.get(call, []))
        strict = _SEVERITY["deny"]
        ordered = [Case(args, act, why) for sev, act, args, why in rules if sev <= strict]
        ordered += strong
        ordered += [Case(args, act, why) for sev, act, args, why in rules if sev > strict]
        ordered += weak + cases
        return _simplify(Decision(call, number, tuple(ordered), action, because))


_NEGATIONS: Final[dict[str, Op]] = {"ne": "eq", "masked-ne": "masked-eq"}


def _simplify(decision: Decision) -> Decision:
    """The same decision with fewer cases, and without "allowed unless it is one of these"."""
    cases, action, because = list(decision.cases), decision.action, decision.because
    while cases and cases[-1].action == action:
        cases.pop()
    if cases and all(arg.op in _NEGATIONS for arg in cases[-1].conditions):
        last = cases.pop()
        for arg in last.conditions:
            opposite = Arg(arg.index, _NEGATIONS[arg.op], arg.values, arg.mask, arg.width)
            cases.append(Case((opposite,), action, because))
        action, because = last.action, last.because
        while cases and cases[-1].action == action:
            cases.pop()
    return Decision(decision.call, decision.number, tuple(cases), action, because)


def namespaces_allowed(policy: SeccompPolicy) -> bool:
    """Whether the policy lets a process make namespaces: whether unshare(2) is allowed as it is."""
    cases, action, _ = _Statements(policy).base("unshare")
    return not cases and action in (ALLOW, LOG)


def user_namespaces_reachable(policy: SeccompPolicy) -> bool:
    """Whether the policy lets a process make user namespaces, be it by a rule on certain flags."""
    statements = _Statements(policy)
    return namespaces_allowed(policy) or any(
        action in (ALLOW, LOG) and all(_may_hold_of(CLONE_NEWUSER, arg) for arg in args)
        for call in ("clone", "unshare")
        for _, action, args, _ in statements.ruled.get(call, [])
    )


def _may_hold_of(flag: int, arg: Arg) -> bool:
    """Whether a condition can be true of flags (argument 0) among which is this one."""
    if arg.index != 0:
        return True
    if arg.op in {"eq", "in"}:
        return any(value & flag for value in arg.numbers())
    if arg.op == "masked-eq":
        return not arg.mask & flag or any(value & flag for value in arg.numbers())
    return True


def keyrings_allowed(policy: SeccompPolicy) -> bool:
    """Whether the policy leaves any call in reach that keyrings are used by."""
    statements = _Statements(policy)
    return any(
        call in statements.ruled or cases or action in (ALLOW, LOG)
        for call in ("add_key", "keyctl", "request_key")
        for cases, action, _ in (statements.base(call),)
    )


def resolve(policy: SeccompPolicy, machine: str) -> tuple[Decision, ...]:
    """One decision for each call of `machine`, by number. The policy must have no problems."""
    return tuple(_resolve(policy, machine))


def _resolve(policy: SeccompPolicy, machine: str) -> Iterator[Decision]:
    statements = _Statements(policy)
    cases, action, _ = statements.base("unshare")
    namespaces = not cases and action in (ALLOW, LOG)
    for call, number in syscalls.numbers(machine).items():
        yield statements.decide(call, number, namespaces=namespaces)
