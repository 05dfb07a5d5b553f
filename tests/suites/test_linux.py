"""The kernel's tests of Landlock and seccomp: outside as the baseline, inside turned around.

They set up what an attacker would (mounts, namespaces, tracing, networks), and need root for it.
So what must pass where isn't written down here by name, but found out by running them:

- outside as root: what this kernel can do;
- outside as root with nothing but CAP_SETPCAP, and no_new_privs set: *plain*, what takes no privilege;
- inside, as root and as a user; inside without the filter; inside with all capabilities and neither filter nor Landlock.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

import pytest

from sandbox.host import probe
from tests.conftest import UNPRIVILEGED
from tests.kernel.harness import NOT_ROOT
from tests.suites.places import suite
from tests.suites.selftests import PROGRAMS, Verdicts, build, passed, run

PROFILE: Final = """\
schema = 1
[profile]
extends = "minimal"
[process]
cwd = "/work"
[[mounts]]
type = "bind"
source = "{work}"
target = "/work"
writable = true
execute = true
[[mounts]]
type = "bind"
source = "{programs}"
target = "/selftests"
execute = true
"""
FILTER: Final = '[seccomp]\nallow = ["@service"]\n'
NO_FILTER: Final = "[seccomp]\nenabled = false\n"
NO_NEW_PRIVS: Final = ("setpriv", "--no-new-privs")
PLAIN: Final = (*NO_NEW_PRIVS, "--inh-caps=-all", "--bounding-set=-all,+setpcap")


class Place(NamedTuple):
    """Where the built programs are, and the launcher."""

    programs: str
    sbx: str


@pytest.fixture(scope="module")
def place(sbx_path: str) -> Iterator[Place]:
    source = suite("linux")
    if os.geteuid() != 0:
        pytest.skip(NOT_ROOT)
    directory = tempfile.mkdtemp(prefix="sbx-selftests-")
    os.chmod(directory, 0o755)
    build(source, directory)
    yield Place(directory, sbx_path)
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def outside(place: Place) -> Verdicts:
    found = _outside(place, ())
    assert {name.partition(":")[0] for name in passed(found)} == set(PROGRAMS)
    return found


@pytest.fixture(scope="module")
def plain(place: Place) -> Verdicts:
    return _outside(place, PLAIN)


@pytest.fixture(scope="module", params=("root", "user"))
def user(request: pytest.FixtureRequest) -> int | None:
    """Who runs sbx: the tests' own user, or an account without any right."""
    return None if request.param == "root" else UNPRIVILEGED


@pytest.fixture(scope="module")
def inside(place: Place, outside: Verdicts, user: int | None) -> Verdicts:
    return _inside(place, outside, user, FILTER)


@pytest.fixture(scope="module")
def unfiltered(place: Place, outside: Verdicts, user: int | None) -> Verdicts:
    return _inside(place, outside, user, NO_FILTER)


def _outside(place: Place, prefix: tuple[str, ...]) -> Verdicts:
    found: Verdicts = {}
    for program in PROGRAMS:
        # Some leave their files behind, and fs_test starts a program that lies beside it.
        with tempfile.TemporaryDirectory(dir="/var/tmp") as cwd:
            shutil.copy(os.path.join(place.programs, "true"), cwd)
            command = [*prefix, os.path.join(place.programs, program)]
            found |= run(command, program, cwd=cwd)[0]
    return found


def _inside(
    place: Place, known: Iterable[str], user: int | None, more: str, *, only: bool = False
) -> Verdicts:
    """The verdicts of all tests, of which `known` are the names; or of `known` alone."""
    with tempfile.TemporaryDirectory(prefix="sbx-selftests-") as home:
        how: dict[str, Any] = {
            "cwd": home,
            "env": {"PATH": "/usr/bin:/bin", "HOME": home, "XDG_RUNTIME_DIR": home},
        }
        if user is not None:
            os.chown(home, user, user)
            how |= {"user": user, "group": user, "extra_groups": ()}

        def verdicts(program: str) -> Verdicts:
            work, profile = (os.path.join(home, program + end) for end in ("", ".toml"))
            os.mkdir(work)
            shutil.copy(os.path.join(place.programs, "true"), work)
            os.chmod(work, 0o777)
            with open(profile, "w", encoding="utf-8") as file:
                file.write(PROFILE.format(programs=place.programs, work=work) + more)
            command = [place.sbx, "run", "--profile", profile, "--", f"/selftests/{program}"]
            if only:
                command += _chosen(program, known)
            found, text = run(command, program, list(known), **how)
            assert found, text
            return found

        programs = {name.partition(":")[0] for name in known}
        found: Verdicts = {}
        with ThreadPoolExecutor(len(PROGRAMS)) as pool:
            for each in pool.map(verdicts, programs):
                found |= each
    return found


def _chosen(program: str, names: Iterable[str]) -> Iterator[str]:
    """A program's options that run these tests of it."""
    for name in names:
        head, _, test = name.partition(":")
        if head == program:
            yield from ("-r", test)


def test_nothing_is_gained_inside(
    outside: Verdicts, inside: Verdicts, unfiltered: Verdicts
) -> None:
    """No test passes in a sandbox that fails for root outside."""
    assert passed(inside) <= passed(outside)
    assert passed(unfiltered) <= passed(outside)


def test_what_takes_a_privilege_is_refused(
    outside: Verdicts, plain: Verdicts, inside: Verdicts, unfiltered: Verdicts
) -> None:
    """Mounts, networks, other users: none of these set-ups works, with the filter or without."""
    privileged = passed(outside) - passed(plain)
    assert len(privileged) > len(outside) // 2
    assert not privileged & passed(inside)
    assert not privileged & passed(unfiltered)


def test_a_program_inside_may_confine_itself_further(
    plain: Verdicts, inside: Verdicts, unfiltered: Verdicts
) -> None:
    """What takes no privilege works on top of sbx's own Landlock domain and filter.

    Where it doesn't, the filter alone is the reason: the test traces, or asks for a namespace.
    """
    ordinary = passed(plain)
    assert ordinary - passed(inside) <= passed(unfiltered)
    assert len(ordinary & passed(inside)) > len(ordinary) // 2
    for program in PROGRAMS:
        mine = {name for name in ordinary if name.startswith(f"{program}:")}
        if program not in ("ptrace_test", "net_test"):
            assert mine & passed(inside), program


def test_no_process_is_traced_inside(inside: Verdicts, unfiltered: Verdicts) -> None:
    """Tests of ptrace(2) pass without the filter, and none of them with it."""
    tracing = {name for name in unfiltered if re.match(r"ptrace_test:|seccomp_bpf:TRACE_", name)}
    assert len(tracing) > 8
    assert tracing <= passed(unfiltered)
    assert not tracing & passed(inside)


def test_with_the_layers_off_the_privileged_ones_pass(
    place: Place, outside: Verdicts, plain: Verdicts
) -> None:
    """The control: with capabilities, and neither filter nor Landlock, the set-ups work inside."""
    keep = ", ".join(f'"{name}"' for name in sorted(probe().capabilities))
    more = (
        f'[capabilities]\nkeep = [{keep}]\n[identity]\nuser = "root"\n[landlock]\nenabled = false\n'
    )
    # In a sandbox no_new_privs is always set; a test that fails by that alone says nothing here.
    privileged = passed(_outside(place, NO_NEW_PRIVS)) & passed(outside) - passed(plain)
    found = _inside(place, privileged, None, NO_FILTER + more, only=True)
    assert len(passed(found)) > len(privileged) * 9 // 10
    assert {name.partition(":")[0] for name in passed(found)} >= {"fs_test", "net_test"}
