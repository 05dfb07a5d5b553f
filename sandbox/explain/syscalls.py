"""Why the filter refused a call: which statement says so, and which would let it through."""

from collections.abc import Iterator
from typing import Final

from sandbox.explain.denial import Advice, Layer, Reason, outside
from sandbox.explain.privileges import NEVER, privilege_advice
from sandbox.explain.situation import Situation
from sandbox.plan.seccomp_groups import GROUPS
from sandbox.plan.seccomp_policy import Arg, Decision, expand
from sandbox.profile.resolved import KeyPath

_ALLOW: Final[KeyPath] = ("seccomp", "allow")
_FALLS_BACK: Final = frozenset({"clone3", "rseq", "openat2", "faccessat2", "statx", "close_range"})
# Groups that no advice should name as a whole: each opens far more than one call.
_WIDE: Final = frozenset({"all", "privileged", "admin", "obsolete", "debug", "namespaces", "mount"})


def holds(arg: Arg, arguments: tuple[int, ...]) -> bool:
    """Whether a condition on an argument is fulfilled."""
    value = arguments[arg.index] & arg.limit()
    numbers = arg.numbers()
    match arg.op:
        case "eq" | "in":
            return value in numbers
        case "ne":
            return value != numbers[0]
        case "masked-eq":
            return value & arg.mask & arg.limit() == numbers[0]
        case "masked-ne":
            return value & arg.mask & arg.limit() != numbers[0]
        case "lt":
            return value < numbers[0]
        case "le":
            return value <= numbers[0]
        case "gt":
            return value > numbers[0]
        case _:
            return value >= numbers[0]


def because(decision: Decision, arguments: tuple[int, ...]) -> str:
    """The statement that decides over a call with these arguments."""
    for case in decision.cases:
        if all(holds(arg, arguments) for arg in case.conditions):
            return case.because
    return decision.because


def explain_filter(
    s: Situation, number: int, name: str | None, arguments: tuple[int, ...], *, killed: bool
) -> Reason:
    """The reason for a call that the filter refused or killed for."""
    if name is None:
        text = "this sbx doesn't know the call, and answers as a kernel would that lacks it"
        note = "programs and C libraries fall back to an older call" if not killed else ""
        key: KeyPath = ("seccomp", "unknown_errno")
        return Reason(layer=Layer.SECCOMP, text=text, key=key, note=note, probe=True)
    decision = s.decisions.get(number)
    why = because(decision, arguments) if decision else "nothing allows it"
    if killed and decision is not None and not _can_kill(decision):
        return Reason(
            layer=Layer.SECCOMP,
            text="a call of another architecture (32-bit or x32), which the filter kills for",
            key=("seccomp", "enabled"),
            note="no key allows these calls; run a 64-bit build of the program",
        )
    key, index = _statement(s, why)
    text = {"nothing allows it": "no statement allows the call"}.get(why, f"the filter says: {why}")
    if why.startswith("allow"):
        text = f"only other arguments are allowed ({why})"
    return _with_advice(s, name, arguments, why, text, (*key, *index))


def _can_kill(decision: Decision) -> bool:
    from sandbox.plan.seccomp_policy import KILL

    return KILL in {decision.action, *(case.action for case in decision.cases)}


def _with_advice(
    s: Situation, name: str, arguments: tuple[int, ...], why: str, text: str, key: KeyPath
) -> Reason:
    if name in NEVER:
        return Reason(layer=Layer.SECCOMP, text=text, key=key, note=NEVER[name])
    if why.startswith("built in: no input"):
        note = "no key allows it: it types into the terminal in the user's place"
        return Reason(layer=Layer.SECCOMP, text=text, key=key, note=note)
    if why.startswith("built in: namespaces"):
        if name == "clone3":
            return outside("C libraries then use clone, whose flags a filter can see", probe=True)
        note = (
            "namespaces of its own put most of the kernel's privileged code in the payload's reach"
        )
        unshare = Advice(_ALLOW, "unshare", add=True)
        return Reason(layer=Layer.SECCOMP, text=text, key=key, advice=(unshare,), note=note)
    if why.startswith(("deny", "rules")):
        if seal := s.seal(key):
            note = f"{seal} seals it, so only that file can allow it"
            return Reason(layer=Layer.SECCOMP, text=text, key=key, note=note)
        if why.startswith("rules"):
            return Reason(
                layer=Layer.SECCOMP, text=text, key=key, note="change or remove that rule"
            )
        statement = why.removeprefix("deny ")
        taken = Advice(("seccomp", "deny"), _written(s, statement), remove=True)
        return Reason(layer=Layer.SECCOMP, text=text, key=key, advice=(taken,))
    value = smallest(name, arguments)
    allow = Advice(_ALLOW, value, add=True)
    note = f"without conditions it is in @{_home(name)}" if value == name and _home(name) else ""
    probe = name in _FALLS_BACK
    advice = (allow, *privilege_advice(s, name))
    return Reason(layer=Layer.SECCOMP, text=text, key=key, advice=advice, note=note, probe=probe)


def _statement(s: Situation, why: str) -> tuple[KeyPath, KeyPath]:
    if why.startswith("rules["):
        return ("seccomp", "rules"), (int(why[6:].partition("]")[0]),)
    verb, _, statement = why.partition(" ")
    if verb in {"allow", "deny"}:
        written = getattr(s.profile.seccomp, verb)
        names = (statement, statement.partition("/")[0])
        for index, text in enumerate(written):
            if text in names:
                return ("seccomp", verb), (index,)
        return ("seccomp", verb), ()
    return _ALLOW, ()


def _written(s: Situation, statement: str) -> str:
    short = statement.partition("/")[0]
    return statement if statement in s.profile.seccomp.deny else short


def _homes(name: str) -> Iterator[tuple[str, bool]]:
    """The groups that hold the call itself, and whether under conditions."""
    for group, versions in GROUPS.items():
        words = versions[max(versions)].split()
        if name in words:
            yield group, False
        elif any(word.partition("?")[0] == name for word in words):
            yield group, True


def _home(name: str) -> str:
    return next((group for group, conditional in _homes(name) if not conditional), "")


def smallest(name: str, arguments: tuple[int, ...]) -> str:
    """The statement for seccomp.allow that gives the least: a group only where its conditions fit."""
    for group, conditional in _homes(name):
        if not conditional or group in _WIDE:
            continue
        conjunctions = expand(group, max(GROUPS[group])).conditional[name]
        if any(all(holds(arg, arguments) for arg in each) for each in conjunctions):
            return f"@{group}"
    if any(not conditional and group == "network" for group, conditional in _homes(name)):
        return "@network"
    return name
