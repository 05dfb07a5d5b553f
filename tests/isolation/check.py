"""What a check is made of: attempts, what has to come of them, and how each is shown to be real."""

from dataclasses import dataclass
from enum import Enum
from typing import Literal

Caller = Literal["root", "user"]
BOTH: tuple[Caller, ...] = ("root", "user")


class Bare(Enum):
    """Controls that need no sandbox."""

    OUTSIDE = "without a sandbox"
    ROOTED = "without a sandbox, as root of a user namespace of its own"


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """Where the same attempt succeeds, or else it would show nothing.

    `how` is a change of the profile, in TOML, that takes away what withstands the attempt and
    nothing else, or a way to make the attempt without any sandbox. `callers` are those who can show
    it: what takes a privilege of the machine's, root alone. `lacking` is for a kernel without the
    feature: the outcome that comes there, and why; nothing but that one or success will do. The
    emulated machine has what this one lacks (tests/vm/test_isolation.py), but for what `never` is
    the reason of.
    """

    how: str | Bare
    callers: tuple[Caller, ...] = BOTH
    lacking: tuple[str, str] | None = None
    never: str = ""
    shows: str = "succeeded"
    """The outcome that comes of it, where no kernel lets the attempt succeed."""
    words: str = ""
    """Another attempt of the same verb, where the subject differs outside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One verb of the probe with its arguments, and the outcomes that a sandbox may give.

    There is more than one outcome only where `because` says why. `{names}` in the words are
    those of a scene.
    """

    words: str
    outcomes: tuple[str, ...]
    control: Control
    because: str = ""
    profile: str = ""
    """What the profile has to say besides, in TOML."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One of the sixty: a weakness, and all that is tried of it.

    `cves` are published cases of the weakness. `tests` are node ids of tests that show what isn't an
    attempt of the payload's, each with a control of its own.
    """

    number: int
    title: str
    weakness: str
    cves: tuple[str, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    tests: tuple[str, ...] = ()


def attempt(
    words: str,
    outcomes: str,
    control: Control,
    *,
    because: str = "",
    profile: str = "",
) -> Attempt:
    """An attempt; the outcomes are words with spaces between them."""
    return Attempt(
        words=words,
        outcomes=tuple(outcomes.split()),
        control=control,
        because=because,
        profile=profile,
    )


OUTSIDE = Control(how=Bare.OUTSIDE)
ROOTED = Control(how=Bare.ROOTED)
OUTSIDE_AS_ROOT = Control(how=Bare.OUTSIDE, callers=("root",))
OUTSIDE_AS_USER = Control(how=Bare.OUTSIDE, callers=("user",))
