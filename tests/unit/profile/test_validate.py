"""Keys and values that a profile may not have, each with words that say why."""

import pytest

from tests.unit.profile.conftest import Load, Problems

WRONG = [
    # type, key and value
    ("[process]\ncommand = '/bin/true'", "process.command", "expected a list, not text"),
    ("[process]\ncommand = [1]", "process.command[0]", "expected text in quotes, not a number"),
    ('[process]\ncommand = ["a\\u0000b"]', "process.command[0]", "holds a NUL character"),
    ("[process]\ninit = 1", "process.init", "expected true or false, not a number"),
    ("[process]\ninit = 'yes'", "process.init", "expected true or false, not text"),
    ("[process]\ndescriptors = [2]", "process.descriptors[0]", "2 isn't a whole number from 3"),
    ("[process]\ndescriptors = [3.0]", "process.descriptors[0]", "not a number with a fraction"),
    ("[process]\numask = '0999'", "process.umask", "isn't octal digits"),
    ("[process]\numask = '1777'", "process.umask", "above 0777"),
    ("[process]\numask = 22", "process.umask", "expected text in quotes, not a number"),
    ("[process]\ncwd = 1979-05-27", "process.cwd", "not a date or time"),
    (
        "[process]\nterminal = 'yes'",
        "process.terminal",
        "'yes' isn't 'never' or 'auto' or 'always'",
    ),
    ("process = 1", "process", "expected a table, not a number"),
    ("[[process]]\ninit = true", "process", "expected a table, not a list"),
    ("[mounts]\ntype = 'bind'", "mounts", "expected a list, not a table"),
    ("mounts = ['/x']", "mounts[0]", "expected a table, not text"),
    ("[filesystem]\nread = '/x'", "filesystem.read", "expected a list, not text"),
    ("[filesystem]\nread = [['/x']]", "filesystem.read[0]", "expected text in quotes, not a list"),
    ("[filesystem]\ntmpfs = [1]", "filesystem.tmpfs[0]", "expected text in quotes or a table"),
    # ids
    *(
        (
            f"[identity]\n{key} = {value}",
            f"identity.{key}",
            "isn't a whole number from 0 to 4294967294",
        )
        for key in ("user", "group")
        for value in ("''", "'1000:'", "'+0'", "'0'", "' 0'", "-1", "4294967295", "'nobody'")
    ),
    ("[identity]\nuser = true", "identity.user", "expected a whole number"),
    ("[identity]\nuser = 0.0", "identity.user", "expected a whole number"),
    ("[identity]\nname = 'root:x'", "identity.name", "isn't an account name"),
    ("[identity]\nname = ''", "identity.name", "isn't an account name"),
    ("[identity]\nrange_size = 0", "identity.range_size", "0 isn't a whole number from 1"),
    # paths
    ("[filesystem]\nread = ['etc']", "filesystem.read[0]", "'etc' isn't an absolute path"),
    ("[filesystem]\nread = ['']", "filesystem.read[0]", "'' isn't an absolute path"),
    ("[filesystem]\nread = ['~/x']", "filesystem.read[0]", "isn't an absolute path"),
    ("[filesystem]\nread = ['/a/../b']", "filesystem.read[0]", "'/a/../b' holds '..'"),
    ("[filesystem]\nread = ['/..']", "filesystem.read[0]", "'/..' holds '..'"),
    ('[filesystem]\ndeny = ["/a\\u0000"]', "filesystem.deny[0]", "holds a NUL character"),
    ("[process]\ncwd = '../x'", "process.cwd", "isn't an absolute path"),
    (f"[process]\ncwd = '/{'x' * 256}'", "process.cwd", "longer than the kernel"),
    (f"[process]\ncwd = '{'/x' * 2048}'", "process.cwd", "longer than the kernel"),
    ("[rootfs]\noverlay = 'disk'", "rootfs.overlay", "neither 'none', 'tmpfs' nor"),
    ("[devices]\nallow = ['kvm']", "devices.allow[0]", "isn't an absolute path"),
    # sizes and limits
    ("[rootfs]\nsize = '10MB'", "rootfs.size", "write '10M'"),
    ("[rootfs]\nsize = 0", "rootfs.size", "a size of 0"),
    ("[rootfs]\nsize = -1", "rootfs.size", "negative"),
    ("[rootfs]\nsize = true", "rootfs.size", "expected a size"),
    ("[filesystem]\ntmpfs = [{path = '/t', mode = '0o755'}]", "filesystem.tmpfs[0].mode", "octal"),
    ("[filesystem]\ntmpfs = [{size = 1}]", "filesystem.tmpfs[0]", "'path' is missing"),
    ("[rlimits]\nnofile = '1K'", "rlimits.nofile", "neither a whole number nor 'unlimited'"),
    ("[rlimits]\nas = ['2M', '1M']", "rlimits.as", "soft limit is above the hard one"),
    ("[rlimits]\nas = [1]", "rlimits.as", "a pair is [soft, hard]"),
    ("[rlimits]\nas = {}", "rlimits.as", "expected a number, 'unlimited', or [soft, hard]"),
    ("[rlimits]\nnproc = -1", "rlimits.nproc", "negative"),
    # names
    ("[environment]\npass = ['*']", "environment.pass[0]", "caller's whole environment"),
    ("[environment]\npass = ['A*B']", "environment.pass[0]", "a '*' that isn't at its end"),
    ("[environment]\npass = ['A=B']", "environment.pass[0]", "isn't the name of an environment"),
    ("[environment]\nset = {'A=B' = ''}", 'environment.set."A=B"', "isn't the name of an"),
    ("[environment]\nset = {A = 1}", "environment.set.A", "expected text in quotes"),
    ("[namespaces]\nhostname = '-x'", "namespaces.hostname", "isn't a host name"),
    ("[namespaces]\nhostname = 'a_b'", "namespaces.hostname", "isn't a host name"),
    (f"[namespaces]\nhostname = '{'a' * 65}'", "namespaces.hostname", "isn't a host name"),
    ("[capabilities]\nkeep = ['net_raw']", "capabilities.keep[0]", "isn't a capability"),
    ("[seccomp]\nallow = ['Read']", "seccomp.allow[0]", "isn't the name of a system call"),
    ("[seccomp]\nallow = ['@']", "seccomp.allow[0]", "isn't a group"),
    ("[seccomp]\nallow = ['@x/0']", "seccomp.allow[0]", "isn't a group"),
    ("[seccomp]\nallow = ['@x/']", "seccomp.allow[0]", "isn't a group"),
    ("[seccomp]\ndefault_errno = 'EPRM'", "seccomp.default_errno", "isn't the name of an error"),
    ("[vars]\ncwd = 'x'", "vars.cwd", "'cwd' is built in"),
    ("[vars]\n'a b' = 'x'", 'vars."a b"', "isn't a variable's name"),
    ("[vars]\na = 1", "vars.a", "expected text in quotes"),
    ("[profile]\nsealed = ['filesystem.reed']", "profile.sealed[0]", "neither a table nor a key"),
    ("[profile]\nsealed = ['mounts.target']", "profile.sealed[0]", "neither a table nor a key"),
    ("[profile]\nsealed = ['filesystem.tmpfs.path']", "profile.sealed[0]", "neither a table"),
    ("[profile]\noptional = ['landlok']", "profile.optional[0]", "'landlok' isn't 'landlock'"),
    ("[profile]\nextends = ''", "profile.extends", "an empty name"),
    ("[profile]\nextends = '${home}/x.toml'", "profile.extends", "takes no variables"),
    ("[profile]\nextends = 1", "profile.extends", "expected text in quotes or a list"),
    # entries
    ("[[mounts]]\ntarget = '/x'", "mounts[0]", "'type' is missing"),
    ("[[mounts]]\ntype = 'bnd'\ntarget = '/x'", "mounts[0].type", "'bnd' isn't 'bind'"),
    ("[[seccomp.rules]]\ncall = 'ioctl'", "seccomp.rules[0]", "'action' is missing"),
    (
        "[[seccomp.rules]]\ncall = 'ioctl'\naction = 'deny'\nargs = [{index = 6, op = 'eq'}]",
        "seccomp.rules[0].args[0].index",
        "6 isn't a whole number from 0 to 5",
    ),
    (
        "[[seccomp.rules]]\ncall = 'x'\naction = 'deny'\nargs = [{index = 1, op = 'eq', width = 16}]",
        "seccomp.rules[0].args[0].width",
        "isn't 32 or 64",
    ),
    # the same twice
    ("[filesystem]\nread = ['/a', '/b', '/a']", "filesystem.read[2]", "by filesystem.read[0]"),
    ("[filesystem]\nread = ['/a', '//a/./']", "filesystem.read[1]", "stated already"),
    ("[filesystem]\ntmpfs = ['/a', {path = '/a'}]", "filesystem.tmpfs[1]", "stated already"),
    ("[process]\ndescriptors = [3, 3]", "process.descriptors[1]", "stated already"),
]


@pytest.mark.parametrize(("text", "key", "words"), WRONG)
def test_a_wrong_value_is_refused_in_words(
    problems: Problems, text: str, key: str, words: str
) -> None:
    (problem,) = problems(text)
    assert problem.key == key
    assert words in problem.reason
    assert problem.file == "app.toml"
    assert problem.line > 1
    assert problem.source


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    (
        ("[proces]", "proces", "did you mean 'process'?"),
        ("[process]\numsak = '0022'", "process.umsak", "did you mean 'umask'?"),
        ("[filesystem]\ntmpfs = [{path = '/a', siz = 1}]", "filesystem.tmpfs[0].siz", "'size'"),
        ("[[mounts]]\ntype='bind'\ntarget='/a'\nsource='/b'\nwriteable=true", None, "'writable'"),
        ("[process]\nread = ['/x']", "process.read", "'read' belongs in [filesystem]"),
        ("[process]\nmounts = []", "process.mounts", "'mounts' belongs at the top level"),
        ("[qqqq]", "qqqq", ""),
        ("[rlimits]\nas_ = 1", "rlimits.as_", "'as'"),
        ("[environment]\npass_ = []", "environment.pass_", "'pass'"),
    ),
)
def test_an_unknown_key_is_refused_with_a_suggestion(
    problems: Problems, text: str, key: str | None, hint: str
) -> None:
    (problem,) = problems(text)
    assert problem.reason == "there is no such key"
    assert key is None or problem.key == key
    assert hint in problem.hint


@pytest.mark.parametrize(
    "text",
    (
        "[audit]",
        "[image]",
        "[[tests]]",
        "[network]\negress = []",
        "[[network.publish]]\nport = 1",
        "[profile]\nrequires = []",
    ),
)
def test_what_this_version_cannot_enforce_is_an_error_and_not_ignored(
    problems: Problems, text: str
) -> None:
    (problem,) = problems(text)
    assert problem.reason.startswith("this version of sbx cannot enforce ")


@pytest.mark.parametrize(
    ("text", "has"),
    (("[network]\nmode = 'bridge'", "'none' and 'host'"), ("[rootfs]\ntype = 'image'", "'host'")),
)
def test_a_value_of_a_later_version_is_named_as_such(
    problems: Problems, text: str, has: str
) -> None:
    (problem,) = problems(text)
    assert problem.reason.startswith("this version of sbx doesn't have ")
    assert has in problem.hint


def test_the_version_of_the_format_has_to_be_stated(problems: Problems, write: object) -> None:
    from sandbox.profile.resolved import Stamp
    from sandbox.profile.source import SourceFile
    from sandbox.profile.validate import check_file

    source = SourceFile(path="/app.toml", shown="app.toml", text="", stamp=Stamp(0, 0, 0, 0, 0))
    (problem,) = check_file(source, str).problems
    assert (problem.reason, problem.hint) == (
        "'schema' is missing",
        "start the file with: schema = 1",
    )


def test_another_version_of_the_format_is_refused(write: object, file_problems: object) -> None:
    write("", schema="schema = 2\n")  # type: ignore[operator]
    (problem,) = file_problems("app.toml")  # type: ignore[operator]
    assert problem.reason == "2 isn't 1"


def test_all_problems_of_a_file_come_at_once_in_the_order_of_its_lines(problems: Problems) -> None:
    found = problems(
        "[process]\ncwd = 'x'\ninit = 1\n[filesystem]\nread = ['a', '/ok', 'b']\n[oops]\n"
    )
    assert [(p.line, p.column, p.key) for p in found] == [
        (3, 7, "process.cwd"),
        (4, 8, "process.init"),
        (6, 9, "filesystem.read[0]"),
        (6, 21, "filesystem.read[2]"),
        (7, 2, "oops"),
    ]


def test_a_flood_of_problems_is_cut_off_and_quick(problems: Problems) -> None:
    found = problems("[filesystem]\nread = [" + "'x', " * 50_000 + "]")
    assert len(found) == 100


def test_columns_count_characters_and_not_bytes(problems: Problems) -> None:
    (problem,) = problems('[vars]\n"größe" = 3')
    assert problem.text() == "app.toml:3: vars.\"größe\": 'größe' isn't a variable's name"
    (problem,) = problems('[environment]\nset = { "grüße" = 3 }')
    assert (problem.column, problem.width, problem.source[problem.column - 1]) == (19, 1, "3")


def test_paths_are_canonical(load_text: Load) -> None:
    profile = load_text("[filesystem]\nread = ['//usr//lib/', '/a/./b']\n[process]\ncwd = '//'")
    assert profile.profile.filesystem.read == ("/a/b", "/usr/lib")
    assert profile.profile.process.cwd == "/"


def test_ids_at_the_edges_are_ids(load_text: Load) -> None:
    identity = load_text("[identity]\nuser = 0\ngroup = 4294967294").profile.identity
    assert (identity.user, identity.group) == (0, 4294967294)


@pytest.mark.parametrize(
    ("text", "hint"),
    (
        ("[process]\ncommand = 'ls -l /'", 'did you mean ["ls", "-l", "/"]?'),
        ("[filesystem]\nread = '${home}/My Files'", 'did you mean ["${home}/My Files"]?'),
        ("[filesystem]\nread = ''", ""),
        ("[filesystem]\nread = 1", ""),
        ("[mounts]\ntype = 'bind'", ""),
    ),
)
def test_one_text_in_place_of_a_list_is_told_as_one(
    problems: Problems, text: str, hint: str
) -> None:
    (problem,) = problems(text)
    assert problem.reason.startswith("expected a list, not ")
    assert problem.hint == hint
