"""What a base seals, a profile that builds on it can only narrow."""

import pytest

from sandbox.profile import Overrides
from tests.unit.profile.conftest import Load, Problems, Write

BASE = """
[profile]
sealed = [{sealed}]
[vars]
data = "/srv"
inner = "${{data}}/x"
free = "1"
[process]
command = ["true"]
umask = "0077"
[environment]
set = {{ A = "x" }}
[filesystem]
read = ["${{inner}}"]
deny = ["/etc/secret"]
mask = ["/etc/masked"]
protect = ["/etc/kept"]
[[mounts]]
type = "tmpfs"
target = "/m"
[seccomp]
allow = ["read", "@io"]
deny = ["@debug"]
[rlimits]
nofile = 10
"""


def over(write: Write, sealed: str, text: str) -> str:
    write(BASE.format(sealed=", ".join(f"'{key}'" for key in sealed.split())), "base")
    return text if text.startswith("[profile]") else f"[profile]\nextends = 'base.toml'\n{text}"


WRITABLE_ETC = "[[mounts]]\ntype='bind'\nsource='/etc'\ntarget='/x'\nwritable=true"

WIDER = [
    # a scalar
    ("process.umask", "[process]\numask = '0022'", "process.umask"),
    ("process", "[process]\numask = '0022'", "process.umask"),
    ("process", "[process]\ndescriptors = [3]", "process.descriptors[0]"),
    ("process", "[process]\ncommand = ['false']", "process.command"),
    # a default that the base doesn't state is sealed too
    ("network.mode", "[network]\nmode = 'host'", "network.mode"),
    ("network", "[network]\nmode = 'host'", "network.mode"),
    ("seccomp", "[seccomp]\nenabled = false", "seccomp.enabled"),
    ("landlock", "[landlock]\nenabled = false", "landlock.enabled"),
    ("landlock", "[landlock]\nscopes = ['signal']", "landlock.scopes[0]"),
    ("landlock.scopes", "[landlock]\nscopes = []", "landlock.scopes"),
    # lists and entries
    ("filesystem.read", "[filesystem]\nread = ['/etc']", "filesystem.read[0]"),
    ("filesystem", "[filesystem]\nwrite = ['/etc']", "filesystem.write[0]"),
    ("filesystem", "[filesystem]\ntmpfs = ['/t']", "filesystem.tmpfs[0]"),
    ("mounts", "[[mounts]]\ntype = 'tmpfs'\ntarget = '/n'", "mounts[0]"),
    ("mounts", "[[mounts]]\ntype = 'tmpfs'\ntarget = '/m'\nsize = '1G'", "mounts[0]"),
    ("environment", "[environment]\npass = ['B']", "environment.pass[0]"),
    ("environment.set", "[environment]\nset = {B = 'x'}", "environment.set.B"),
    ("environment.set.A", "[environment]\nset = {A = 'y'}", "environment.set.A"),
    ("capabilities", "[capabilities]\nkeep = ['CAP_KILL']", "capabilities.keep[0]"),
    ("seccomp", "[seccomp]\nallow = ['@network']", "seccomp.allow[0]"),
    ("seccomp", "[[seccomp.rules]]\ncall = 'x'\naction = 'allow'", "seccomp.rules[0]"),
    ("rlimits", "[rlimits]\nnofile = 20", "rlimits.nofile"),
    ("rlimits", "[rlimits]\nnproc = 20", "rlimits.nproc"),
    # what is more specific than a sealed denial
    ("filesystem.deny", "[filesystem]\nread = ['/etc/secret/x']", "filesystem.read[0]"),
    ("filesystem.deny", "[filesystem]\nwrite = ['/etc/secret']", "filesystem.write[0]"),
    ("filesystem.deny", "[filesystem]\ntmpfs = ['/etc/secret/t']", "filesystem.tmpfs[0]"),
    ("filesystem", "[[mounts]]\ntype='bind'\nsource='/a'\ntarget='/etc/secret/x'", "mounts[0]"),
    ("filesystem.mask", "[filesystem]\nread = ['/etc/masked/x']", "filesystem.read[0]"),
    (
        "filesystem.deny",
        "[[mounts]]\ntype='bind'\nsource='/etc/secret/x'\ntarget='/x'",
        "mounts[0]",
    ),
    (
        "filesystem.deny",
        "[[mounts]]\ntype='overlay'\nlower=['/etc/secret']\ntarget='/x'",
        "mounts[0]",
    ),
    ("filesystem.protect", "[filesystem]\nwrite = ['/etc/kept/x']", "filesystem.write[0]"),
    ("filesystem.protect", "[filesystem]\ntmpfs = ['/etc/kept/x']", "filesystem.tmpfs[0]"),
    # the same at another path, where the sealed statement doesn't hold
    ("filesystem.deny", "[[mounts]]\ntype='bind'\nsource='/etc'\ntarget='/x'", "mounts[0]"),
    ("filesystem.mask", "[[mounts]]\ntype='bind'\nsource='/'\ntarget='/x'", "mounts[0]"),
    (
        "filesystem.deny",
        "[[mounts]]\ntype='overlay'\nlower=['/v','/etc']\ntarget='/x'",
        "mounts[0]",
    ),
    (
        "filesystem.deny",
        "[[mounts]]\ntype='overlay'\nlower=['/v']\nupper='/etc/secret'\ntarget='/x'\nwritable=true",
        "mounts[0]",
    ),
    ("filesystem.deny", "[rootfs]\ntype = 'directory'\npath = '/etc'", "rootfs.path"),
    ("filesystem.protect", "[rootfs]\ntype = 'directory'\npath = '/etc/kept'", "rootfs.path"),
    (
        "filesystem.protect",
        "[[mounts]]\ntype='bind'\nsource='/etc/kept/x'\ntarget='/x'\nwritable=true",
        "mounts[0]",
    ),
    (
        "filesystem.protect",
        WRITABLE_ETC,
        "mounts[0]",
    ),
    ("seccomp.deny", "[seccomp]\nallow = ['ptrace']", "seccomp.allow[0]"),
    ("seccomp.deny", "[[seccomp.rules]]\ncall='ptrace'\naction='log'", "seccomp.rules[0]"),
    # what the sealed statements are made of
    ("filesystem.read", "[vars]\ndata = '/'", "vars.data"),
    ("filesystem", "[vars]\ninner = '/'", "vars.inner"),
    ("vars", "[vars]\nfree = '2'", "vars.free"),
    # enforcement itself
    (
        "landlock",
        "[profile]\nextends = 'base.toml'\noptional = ['landlock']",
        "profile.optional[0]",
    ),
    (
        "landlock.enabled",
        "[profile]\nextends = 'base.toml'\noptional = ['landlock']",
        "profile.optional[0]",
    ),
    (
        "namespaces",
        "[profile]\nextends = 'base.toml'\noptional = ['namespaces.time']",
        "profile.optional[0]",
    ),
]


@pytest.mark.parametrize(("sealed", "text", "key"), WIDER)
def test_what_is_sealed_cannot_be_widened(
    write: Write, problems: Problems, sealed: str, text: str, key: str
) -> None:
    found = problems(over(write, sealed, text))
    assert {(problem.file, problem.key) for problem in found} == {("app.toml", key)}
    assert all(problem.reason.startswith(f"base.toml seals {sealed}") for problem in found)


@pytest.mark.parametrize(("sealed", "text", "key"), WIDER)
def test_without_the_seal_it_can(
    write: Write, problems: Problems, sealed: str, text: str, key: str
) -> None:
    """The other tests are not blind: the seal alone makes the difference."""
    assert problems(over(write, "identity", text)) == ()


@pytest.mark.parametrize(
    ("sealed", "text"),
    (
        ("process", "[process]\numask = '0077'\ncommand = ['true']"),
        ("filesystem", "[filesystem]\nread = ['/srv/x']"),
        # at its own path a sealed statement goes on to hold
        ("filesystem.deny", "[[mounts]]\ntype='bind'\nsource='/etc'\ntarget='/etc'"),
        ("filesystem.deny", "[[mounts]]\ntype='bind'\nsource='/etc/secrets'\ntarget='/x'"),
        (
            "filesystem.deny",
            "[filesystem]\ndeny=['/x/secret']\n[[mounts]]\ntype='bind'\nsource='/etc'\ntarget='/x'",
        ),
        ("filesystem.protect", "[[mounts]]\ntype='bind'\nsource='/etc'\ntarget='/x'"),
        (
            "filesystem.protect",
            f"[filesystem]\nprotect=['/x/kept']\n{WRITABLE_ETC}",
        ),
        ("filesystem.deny", "[rootfs]\ntype = 'directory'\npath = '/'"),
        (
            "filesystem",
            "[filesystem]\ndeny = ['/etc/more']\nmask = ['/etc/other']\nprotect = ['/etc/x']",
        ),
        ("filesystem.deny", "[filesystem]\nread = ['/etc', '/etc/secretary']"),
        ("seccomp", "[seccomp]\ndeny = ['write']"),
        ("seccomp", "[[seccomp.rules]]\ncall = 'read'\naction = 'kill'"),
        ("seccomp.deny", "[seccomp]\nallow = ['read', '@network']"),
        ("landlock", "[landlock]\nscopes = ['signal', 'abstract-unix-socket']"),
        ("network", "[network]\nmode = 'none'"),
        ("profile.sealed", "[profile]\nextends = 'base.toml'\nsealed = ['network']"),
        ("filesystem", "[vars]\nfree = '2'"),
        ("filesystem", "[vars]\ndata = '/srv'"),
        ("environment", "[profile]\nextends = 'base.toml'\noptional = ['landlock']"),
    ),
)
def test_what_is_sealed_can_be_narrowed_or_repeated(
    write: Write, problems: Problems, sealed: str, text: str
) -> None:
    assert problems(over(write, sealed, text)) == ()


def test_a_seal_holds_on_every_level(write: Write, problems: Problems) -> None:
    write(BASE.format(sealed="'network'"), "base")
    write("[profile]\nextends = './base.toml'", "middle")
    (problem,) = problems("[profile]\nextends = 'middle.toml'\n[network]\nmode = 'host'")
    assert problem.key == "network.mode"


def test_a_seal_holds_against_another_base(write: Write, problems: Problems) -> None:
    """A file that the sealing one doesn't know is no way around it."""
    write(BASE.format(sealed="'filesystem'"), "base")
    write("[filesystem]\nread = ['/']", "other")
    (problem,) = problems("[profile]\nextends = ['base.toml', 'other.toml']")
    assert (problem.file, problem.key) == ("other.toml", "filesystem.read[0]")


def test_what_a_base_builds_on_may_differ_from_its_seal(write: Write, load_text: Load) -> None:
    write("[network]\nmode = 'host'", "lowest")
    write("[profile]\nextends = './lowest.toml'\nsealed = ['network']", "base")
    assert load_text("[profile]\nextends = 'base.toml'").profile.network.mode == "host"


def test_the_command_line_cannot_break_a_seal(write: Write, problems: Problems) -> None:
    text = over(write, "process.command filesystem", "")
    found = problems(text, overrides=Overrides(command=("sh",), vars={"data": "/"}))
    assert sorted((p.file, p.key) for p in found) == [
        ("command line", "process.command"),
        ("command line", "vars.data"),
    ]
    assert problems(text, overrides=Overrides(vars={"free": "2"})) == ()
