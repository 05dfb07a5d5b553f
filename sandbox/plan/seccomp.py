"""System call filters: from statements to a program for seccomp(2).

`compile_filter` makes two programs from the same decisions, independently: libseccomp's, through
pyseccomp with the binary tree, and a compact one (sandbox/plan/bpf.py) that loads in a fraction of
the time. Both are then run on every number and every class of arguments that the policy tells
apart, and only where they agree everywhere the compact one is the result; a difference is an error,
never a choice. That costs some milliseconds once, as plans are cached. Rejected: libseccomp's
program as it is (five times the size, and without a way to answer unknown numbers differently), and
the compact one unchecked (a mistake in it would show in no message).
"""

import errno as errnos
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from sandbox.errors import Problem, ProfileError, SandboxError, UnsupportedError
from sandbox.plan import bpf, syscalls
from sandbox.plan.seccomp_groups import GROUPS
from sandbox.plan.seccomp_policy import (
    ALLOW,
    ERRNO,
    ERRNO_MASK,
    KILL,
    LOG,
    Arg,
    Case,
    Decision,
    Rule,
    SeccompPolicy,
    errno_action,
    parse_group,
    resolve,
)
from sandbox.profile.payload import Seccomp, SeccompRule

__all__ = [
    "Arg",
    "Rule",
    "SeccompPolicy",
    "Verdict",
    "compile_filter",
    "compile_libseccomp",
    "explain",
    "filter_flags",
    "policy_from_profile",
    "problems",
]

FLAG_LOG: Final = 2
"""SECCOMP_FILTER_FLAG_LOG."""
LAUNCH_CALLS: Final = ("execve", "write", "exit_group")
"""What the launcher itself does under the filter: start the payload, or report why it can't."""
_MINUS_ONE: Final = 0xFFFFFFFF


Answers = Mapping[int, tuple[Sequence[Case], int]]
"""Cases and action by call number."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the filter does with one call, in words.

    `action` is allow, deny, kill or log; `errno` a name, or empty; `conditions` are cases that come
    first, as (condition, action, errno, because).
    """

    call: str
    number: int
    action: str
    errno: str
    because: str
    conditions: tuple[tuple[str, str, str, str], ...] = ()


def policy_from_profile(seccomp: Seccomp) -> SeccompPolicy:
    """The [seccomp] table as a policy. Raises ProfileError if an errno has no such name."""
    found: list[Problem] = []

    def number(name: str, key: str) -> int:
        value = getattr(errnos, name, None)
        if not isinstance(value, int) or value not in errnos.errorcode:
            found.append(
                _problem(
                    key,
                    f"'{name}' is not the name of an error",
                    name,
                    list(errnos.errorcode.values()),
                )
            )
            return errnos.EPERM
        return value

    def rule(place: int, given: SeccompRule) -> Rule:
        key = f"seccomp.rules[{place}].errno"
        args = tuple(
            Arg(
                arg.index,
                arg.op,
                arg.values if arg.value is None else (arg.value, *arg.values),
                arg.mask or 0,
                arg.width,
            )
            for arg in given.args
        )
        errno = None if given.errno is None else number(given.errno, key)
        return Rule(call=given.call, action=given.action, errno=errno, args=args)

    policy = SeccompPolicy(
        allow=seccomp.allow,
        deny=seccomp.deny,
        default_errno=number(seccomp.default_errno, "seccomp.default_errno"),
        unknown_errno=number(seccomp.unknown_errno, "seccomp.unknown_errno"),
        log=seccomp.log,
        rules=tuple(rule(place, given) for place, given in enumerate(seccomp.rules)),
    )
    if found:
        raise ProfileError(tuple(found))
    return policy


def _problem(key: str, reason: str, word: str, known: Sequence[str]) -> Problem:
    import difflib

    near = difflib.get_close_matches(word, known, n=1)
    return Problem("", 0, 0, key, reason, f"did you mean '{near[0]}'?" if near else "")


def _statement_problems(key: str, statement: str) -> Iterator[Problem]:
    if not statement.startswith("@"):
        if statement not in syscalls.names():
            yield _unknown_call(key, statement)
        return
    try:
        parse_group(statement)
    except KeyError:
        name, _, version = statement[1:].partition("/")
        if name not in GROUPS:
            reason = f"there is no group '@{name}'"
            yield _problem(key, reason, f"@{name}", [f"@{group}" for group in GROUPS])
        else:
            versions = ", ".join(str(number) for number in GROUPS[name])
            reason = f"'@{name}' has no version '{version}'"
            yield Problem("", 0, 0, key, reason, f"its versions: {versions}")


def _unknown_call(key: str, name: str) -> Problem:
    reason = f"there is no system call '{name}' on a 64-bit machine"
    known = [*sorted(syscalls.names()), *(f"@{group}" for group in GROUPS)]
    return _problem(key, reason, name, known)


def _arg_problems(key: str, arg: Arg) -> Iterator[Problem]:
    def wrong(reason: str, hint: str = "") -> Problem:
        return Problem("", 0, 0, key, reason, hint)

    masked = arg.op in ("masked-eq", "masked-ne")
    if not 0 <= arg.index <= 5:
        yield wrong(f"a call has no argument {arg.index}; they count from 0 to 5")
    if not arg.values or (arg.op != "in" and len(arg.values) != 1):
        yield wrong(f"'{arg.op}' takes " + ("values" if arg.op == "in" else "one value"))
        return
    for number in (*arg.values, arg.mask):
        if not -(1 << (arg.width - 1)) <= number <= arg.limit():
            yield wrong(f"{number} doesn't fit into the {arg.width} bits that are compared")
    mask = arg.mask & arg.limit()
    if masked and not mask:
        hint = "the kernel reads none of these bits" if arg.mask else "mask: the bits to look at"
        yield wrong(f"'{arg.op}' needs a mask of {arg.width} bits", hint)
    elif masked and arg.numbers()[0] & ~mask:
        yield wrong(f"{arg.values[0]:#x} has bits outside the mask {mask:#x}")
    elif not masked and arg.mask:
        yield wrong(f"'{arg.op}' takes no mask")


def problems(policy: SeccompPolicy) -> tuple[Problem, ...]:
    """All that is wrong with a policy; file and line are left out, keys are those of a profile."""
    found: list[Problem] = []
    for key, number in (
        ("default_errno", policy.default_errno),
        ("unknown_errno", policy.unknown_errno),
        *((f"rules[{i}].errno", rule.errno) for i, rule in enumerate(policy.rules)),
    ):
        if number is not None and number not in errnos.errorcode:
            reason = f"{number} is not the number of an error"
            found.append(Problem("", 0, 0, f"seccomp.{key}", reason))
    for key, statements in (("allow", policy.allow), ("deny", policy.deny)):
        for place, statement in enumerate(statements):
            found += _statement_problems(f"seccomp.{key}[{place}]", statement)
    for place, rule in enumerate(policy.rules):
        key = f"seccomp.rules[{place}]"
        if rule.call not in syscalls.names():
            found.append(_unknown_call(f"{key}.call", rule.call))
        if rule.errno is not None and rule.action != "deny":
            reason = f"'{rule.action}' has no errno"
            found.append(Problem("", 0, 0, f"{key}.errno", reason, "only 'deny' takes one"))
        for index, arg in enumerate(rule.args):
            found += _arg_problems(f"{key}.args[{index}]", arg.narrowed(rule.call))
    return tuple(found)


def launch_problems(policy: SeccompPolicy, machine: str) -> tuple[Problem, ...]:
    """Calls that a sandbox can't start without and this policy (without problems) refuses."""
    found = {decision.call: decision for decision in resolve(policy, machine)}
    missing = [call for call in LAUNCH_CALLS if not _possible(found[call])]
    reason = "the filter refuses {}, which starting the payload needs"
    hint = "allow '@program', or the calls by name"
    return tuple(Problem("", 0, 0, "seccomp", reason.format(f"'{c}'"), hint) for c in missing)


def refused(policy: SeccompPolicy, machine: str, calls: Sequence[str]) -> tuple[str, ...]:
    """Those of these calls that this policy (without problems) refuses whatever their arguments."""
    found = {decision.call: decision for decision in resolve(policy, machine)}
    return tuple(call for call in calls if not _possible(found[call]))


def _possible(decision: Decision) -> bool:
    return any(a in (ALLOW, LOG) for a in (decision.action, *(c.action for c in decision.cases)))


def filter_flags(policy: SeccompPolicy) -> int:
    """The flags of seccomp(2) to load the policy's filter with."""
    return FLAG_LOG if policy.log else 0


def _decisions(policy: SeccompPolicy, machine: str) -> tuple[Decision, ...]:
    if machine not in syscalls.MACHINES:
        raise SandboxError(f"there are no system call tables for the machine '{machine}'")
    found = problems(policy)
    if found:
        raise ProfileError(found)
    return resolve(policy, machine)


def decisions(policy: SeccompPolicy, machine: str) -> Answers:
    """What a filter has to say of each call. Raises ProfileError."""
    found = _decisions(policy, machine)
    return {decision.number: (decision.cases, decision.action) for decision in found}


def compile_compact(policy: SeccompPolicy, machine: str) -> bytes:
    """The compact program alone, not compared with libseccomp's. Raises ProfileError."""
    return _compact(policy, machine, decisions(policy, machine))


def _compact(policy: SeccompPolicy, machine: str, answers: Answers) -> bytes:
    unknown = errno_action(policy.unknown_errno)
    regions = {_MINUS_ONE: unknown}
    if machine == "x86_64":
        regions[syscalls.X32_BIT] = KILL
    try:
        return bpf.assemble(syscalls.AUDIT_ARCH[machine], answers, unknown, regions)
    except bpf.TooLargeError as error:
        raise _too_large() from error


def compile_libseccomp(policy: SeccompPolicy, machine: str) -> bytes:
    """The same filter as libseccomp writes it. Raises ProfileError."""
    return _libseccomp(policy, machine, decisions(policy, machine))


def _libseccomp(policy: SeccompPolicy, machine: str, answers: Answers) -> bytes:
    from sandbox.plan.libseccomp import TooLargeError, compile_reference, load_pyseccomp

    try:
        load_pyseccomp()
    except (ImportError, OSError, RuntimeError) as error:
        raise UnsupportedError(
            f"pyseccomp can't be loaded: {error}",
            hint="install libseccomp (apt-get install libseccomp2)",
        ) from error
    try:
        return compile_reference(machine, answers, errno_action(policy.unknown_errno))
    except TooLargeError as error:
        raise _too_large() from error


def _too_large() -> ProfileError:
    reason = "the rules are too many or too entangled for a filter"
    hint = "the kernel takes 4096 instructions; allow whole calls instead"
    return ProfileError((Problem("", 0, 0, "seccomp.rules", reason, hint),))


def compile_filter(policy: SeccompPolicy, machine: str) -> bytes:
    """The filter for `machine` (as in uname -m) as an array of struct sock_filter.

    Raises ProfileError with everything that is wrong with the policy, UnsupportedError without
    libseccomp, SandboxError for a machine without tables, or if the two compilers disagree.
    """
    from sandbox.plan.bpf_check import first_difference

    answers = decisions(policy, machine)
    compact = _compact(policy, machine, answers)
    reference = _libseccomp(policy, machine, answers)
    words = first_difference(compact, reference, syscalls.AUDIT_ARCH[machine], answers)
    if words is not None:
        call = syscalls.name(machine, words[0]) or f"call {words[0]}"
        raise SandboxError(
            f"the filter differs from libseccomp's for {call} with {_arguments(words[4:])}",
            hint="this is a fault of sbx or of libseccomp; please report it with the profile",
        )
    return compact


def _arguments(words: Sequence[int]) -> str:
    pairs = zip(words[::2], words[1::2], strict=True)
    return ", ".join(f"{high << 32 | low:#x}" for low, high in pairs)


def explain(policy: SeccompPolicy, machine: str) -> tuple[Verdict, ...]:
    """What happens to each call of `machine`, and which statement says so. Raises ProfileError."""
    return tuple(_verdict(decision) for decision in _decisions(policy, machine))


def _verdict(decision: Decision) -> Verdict:
    action, errno = _words(decision.action)
    return Verdict(
        call=decision.call,
        number=decision.number,
        action=action,
        errno=errno,
        because=decision.because,
        conditions=tuple(
            (" and ".join(map(condition_text, case.conditions)), *_words(case.action), case.because)
            for case in decision.cases
        ),
    )


def _words(action: int) -> tuple[str, str]:
    fixed = {ALLOW: "allow", LOG: "log", KILL: "kill"}
    if action in fixed:
        return fixed[action], ""
    if action & ~ERRNO_MASK != ERRNO:
        raise AssertionError(action)
    number = action & ERRNO_MASK
    return "deny", errnos.errorcode.get(number, str(number))


def condition_text(arg: Arg) -> str:
    """A condition as people read it: `(int)arg0 == 0x2`."""
    signs = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
    name = {64: "", 32: "(int)", 16: "(short)"}[arg.width] + f"arg{arg.index}"
    values = [f"{value:#x}" for value in arg.numbers()]
    if arg.op == "in":
        return f"{name} in {{{', '.join(values)}}}"
    if arg.op in ("masked-eq", "masked-ne"):
        sign = "==" if arg.op == "masked-eq" else "!="
        return f"{name} & {arg.mask & arg.limit():#x} {sign} {values[0]}"
    return f"{name} {signs[arg.op]} {values[0]}"
