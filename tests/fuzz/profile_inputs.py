"""A profile's text and that of one that it extends, from there to the bytes of a plan.

The input is two texts with a line of `=` between them; the second one is `base` for the first.
Whatever they say, it is an error with a reason, or a profile that can be shown, read again as the
same one, and compiled to a plan that both languages can read.
"""

import msgspec

from sandbox.errors import ProfileError, SandboxError
from sandbox.plan import codec
from sandbox.plan.compile import compile as compile_plan
from sandbox.profile.load import load_source
from sandbox.profile.positions import find_positions
from sandbox.profile.resolved import ResolvedProfile
from sandbox.profile.source import SourceFile, text_source
from sandbox.profile.text import rules, to_toml
from tests.fuzz.opened import opens_in_c
from tests.plans import ROOT, USER

BETWEEN = "\n====\n"


def _take(text: str, given: dict[str, SourceFile]) -> ResolvedProfile:
    source = text_source(text, shown="app.toml", directory="/somewhere")
    return load_source(source, given, cwd="/somewhere", environ={"HOME": "/home/somebody"})


def _plain(resolved: ResolvedProfile) -> object:
    about = msgspec.structs.replace(resolved.profile.profile, extends=())
    return msgspec.structs.replace(resolved.profile, vars={}, profile=about)


def _look_at(error: SandboxError) -> None:
    assert all(error.lines()), "an error without words"
    for problem in error.problems:
        assert problem.reason, "a problem without a reason"
        assert min(problem.line, problem.column) >= 0, problem


def one_input(data: bytes) -> None:
    """Raises AssertionError, or whatever the profile led to, where the law doesn't hold."""
    text, _, below = data.decode(errors="replace").partition(BETWEEN)
    find_positions(text)
    try:
        given = {"base": text_source(below, shown="base.toml", directory="/somewhere")}
        resolved = _take(text, given)
    except ProfileError as error:
        _look_at(error)
        return
    assert all(rule.key for rule in rules(resolved))
    shown = to_toml(resolved.profile)
    assert _plain(_take(shown, {})) == _plain(resolved), shown
    try:
        plan = compile_plan(resolved, (ROOT, USER)[len(data) % 2])
    except SandboxError as error:
        _look_at(error)
        return
    written = codec.encode(plan)
    assert codec.encode(codec.decode(written)) == written, "read back as another plan"
    assert opens_in_c(written) == 0, "a plan that C refuses"
