"""What a profile mounts: parts of the host, memory, layers."""

import contextlib
import os
from collections.abc import Iterator

import pytest

from tests.kernel.harness import MS_NODEV, NOT_ROOT, Sandbox, mount, outcomes
from tests.kernel.pieces import bind, directory_root, own_for_payload, tree_of, writable

KIB = 1024


# ---- Binds ----


def test_a_bind_is_read_only_unless_it_says_writable(sandbox: Sandbox) -> None:
    data = sandbox.mkdir("data", 0o777)
    tries = [("mkdir", "/in/new"), ("open", "/in/file", "wc")]
    assert outcomes(sandbox.attempts(bind(data, "/in"), *tries)) == ["EROFS"] * 2
    assert os.listdir(data) == []
    open_to_writing = bind(data, "/in", "writable = true")
    assert outcomes(sandbox.attempts(open_to_writing, *tries)) == ["ok"] * 2
    assert sorted(os.listdir(data)) == ["file", "new"]


def test_files_of_a_bind_are_not_executed_unless_it_says_so(sandbox: Sandbox) -> None:
    above = os.path.dirname(sandbox.probe)
    tries = [("exec", "/in/probe", "exit", "3"), ("map", "/in/probe")]
    assert outcomes(sandbox.attempts(bind(above, "/in"), *tries)) == ["EACCES", "EPERM"]
    granted = sandbox.attempts(bind(above, "/in", "execute = true"), *tries)
    assert outcomes(granted) == ["ok", "ok"]
    assert granted[0].value == "3"


def test_write_without_execute_gives_no_way_to_run_what_was_written(sandbox: Sandbox) -> None:
    data = sandbox.mkdir("data", 0o777)
    with open(sandbox.probe, "rb") as source, open(f"{data}/program", "wb") as copy:
        copy.write(source.read())
    os.chmod(f"{data}/program", 0o755)
    text = f"[filesystem]\nwrite = ['{data}']\ntmpfs = ['/tmp']\n"
    run = ("exec", f"{data}/program", "exit", "0")
    assert sandbox.attempt(text, *run).outcome == "EACCES"
    assert sandbox.attempt(text + f"execute = ['{data}']", *run).outcome == "ok"


def test_a_single_file_can_be_bound(sandbox: Sandbox) -> None:
    file = sandbox.write("file", "content", 0o666)
    tries = [("read", "/etc/inner"), ("write", "/etc/inner", "x"), ("unlink", "/etc/inner")]
    found = sandbox.attempts(bind(file, "/etc/inner"), *tries)
    assert [found[0].value, *outcomes(found)] == ["content", "ok", "EROFS", "EROFS"]
    own_for_payload(sandbox, file)
    changed = sandbox.attempts(bind(file, "/etc/inner", "writable = true"), *tries)
    assert outcomes(changed) == ["ok", "ok", "EROFS"]


def test_submounts_come_along_only_if_the_bind_is_recursive(staged: Sandbox) -> None:
    sub = staged.mkdir("data/sub")

    def stage() -> None:
        mount("tmpfs", sub, "tmpfs", MS_NODEV)
        os.mkdir(f"{sub}/mounted")

    data = staged.path("data")
    recursive = staged.attempt(bind(data, "/in"), "list", "/in/sub", stage=stage)
    assert recursive.value == "mounted"
    if staged.is_root:
        flat = bind(data, "/in", "recursive = false")
        assert staged.attempt(flat, "list", "/in/sub", stage=stage).value == ""


def test_a_user_cannot_look_below_a_mount_of_the_hosts(as_user: Sandbox) -> None:
    """In a new user namespace the host's mounts are one piece: what they cover stays covered."""
    if os.geteuid() != 0:
        pytest.skip(NOT_ROOT)
    sub = as_user.mkdir("data/sub")
    flat = bind(as_user.path("data"), "/in", "recursive = false")
    message = as_user.refusal(flat, stage=lambda: mount("tmpfs", sub, "tmpfs"))
    assert f"'{as_user.path('data')}' can't be mounted" in message


def test_a_missing_source_is_an_error_unless_it_is_optional(sandbox: Sandbox) -> None:
    missing = sandbox.path("missing")
    message = sandbox.refusal(bind(missing, "/in"))
    assert f".toml:5: mounts[0]: '{missing}' does not exist" in message
    assert "hint: create it, or take it out of the profile" in message
    optional = bind(missing, "/in", "optional = true")
    assert sandbox.attempt(optional, "list", "/in").outcome == "ENOENT"


def test_a_source_in_a_directory_closed_to_the_caller_is_an_error(as_user: Sandbox) -> None:
    if os.geteuid() != 0:
        pytest.skip(NOT_ROOT)
    closed = as_user.mkdir("closed/data")
    os.chown(as_user.path("closed"), 0, 0)
    os.chmod(as_user.path("closed"), 0o700)
    assert f"'{closed}' can't be reached by this user" in as_user.refusal(bind(closed, "/in"))


def test_the_last_components_link_of_a_source_is_followed(sandbox: Sandbox) -> None:
    sandbox.write("real/file", "content")
    os.symlink("real", sandbox.path("link"))
    found = sandbox.attempt(bind(sandbox.path("link"), "/in"), "read", "/in/file")
    assert found.value == "content"


def test_a_source_through_a_magic_link_is_refused(sandbox: Sandbox) -> None:
    message = sandbox.refusal(bind("/proc/self/root/etc", "/in"))
    assert "'/proc/self/root/etc': symbolic links lead in a circle, or through /proc" in message


def test_idmap_shows_the_owner_as_the_payload_and_the_payload_as_the_owner(
    as_root: Sandbox,
) -> None:
    data = as_root.mkdir("data", 0o700)
    os.chown(data, 4321, 8765)
    text = bind(data, "/in", "writable = true\nidmap = true")
    shown, made = as_root.attempts(text, ("stat", "/in"), ("open", "/in/new", "wcx"))
    assert shown.value.split()[:2] == ["1000", "1000"]
    assert made.outcome == "ok"
    state = os.stat(f"{data}/new")
    assert (state.st_uid, state.st_gid) == (4321, 8765)
    plain = bind(data, "/in", "writable = true")
    assert as_root.attempt(plain, "open", "/in/new2", "wcx").outcome == "EACCES"


def test_idmap_shows_others_files_as_nobodys(as_root: Sandbox) -> None:
    data = as_root.mkdir("data", 0o755)
    os.chown(data, 4321, 4321)
    os.chown(as_root.write("data/other", "x", 0o600), 0, 0)
    text = bind(data, "/in", "writable = true\nidmap = true")
    tries = [("stat", "/in/other"), ("read", "/in/other"), ("chown", "/in/other", 1000, 1000)]
    shown, read, taken = as_root.attempts(text, *tries)
    assert shown.value.split()[:2] == ["65534", "65534"]
    assert (read.outcome, taken.outcome) == ("EACCES", "EPERM")


def test_idmap_leaves_a_users_own_files_as_they_are(as_user: Sandbox) -> None:
    data = as_user.mkdir("data", 0o700)
    text = bind(data, "/in", "writable = true\nidmap = true")
    shown, made = as_user.attempts(text, ("stat", "/in"), ("open", "/in/new", "wcx"))
    assert shown.value.split()[0] == str(as_user.uid)
    assert made.outcome == "ok"
    assert os.stat(f"{data}/new").st_uid == as_user.uid


def test_every_file_system_keeps_the_calls_between_two_mounts_apart(sandbox: Sandbox) -> None:
    data = sandbox.mkdir("data", 0o777)
    sandbox.write("data/file", "x", 0o666)
    text = writable(data) + bind(data, "/other", "writable = true")
    tries = [("rename", f"{data}/file", "/other/f"), ("link", f"{data}/file", "/other/f")]
    assert outcomes(sandbox.attempts(text, *tries)) == ["EXDEV"] * 2


# ---- Files whose content the profile holds ----


def file(target: str, content: str) -> str:
    return f'\n[[mounts]]\ntype = \'file\'\ntarget = \'{target}\'\ncontent = """{content}"""\n'


@pytest.mark.parametrize(
    "root",
    (
        "[filesystem]\ntmpfs = ['/tmp']",
        "[filesystem]\nread = ['/']\ntmpfs = ['/tmp']",
        "[filesystem]\nread = ['/etc']\ntmpfs = ['/tmp']",
    ),
    ids=["assembled", "in place", "over a bind"],
)
def test_a_file_holds_what_the_profile_says_and_stays_as_it_is(sandbox: Sandbox, root: str) -> None:
    """In a directory of the sandbox's own, and in place of a file that a bind brought."""
    with open("/etc/passwd", "rb") as passwd:
        before = passwd.read()
    head = "[vars]\nport = '8080'\n"
    text = head + root + file("/tmp/new/conf", "port = ${port}\n") + file("/etc/passwd", "mine")
    read = [("read", "/tmp/new/conf"), ("read", "/etc/passwd")]
    changes = [
        (verb, path, *more)
        for path in ("/tmp/new/conf", "/etc/passwd")
        for verb, *more in (("open", "w"), ("chmod", "666"), ("unlink",))
    ]
    found = sandbox.attempts(text, *read, *changes)
    assert [answer.value for answer in found[:2]] == ["port = 8080\n", "mine"]
    assert set(outcomes(found[2:])) <= {"EROFS", "EACCES", "EPERM", "EBUSY"}
    assert sandbox.attempts(text, *read)[0].value == "port = 8080\n"
    with open("/etc/passwd", "rb") as passwd:
        assert passwd.read() == before


@pytest.mark.parametrize("how", ("listed", "mounted"))
def test_a_file_takes_the_place_of_one_of_the_host_that_could_be_written(
    sandbox: Sandbox, how: str
) -> None:
    data = sandbox.mkdir("data", 0o777)
    path = sandbox.write("data/conf", "the host's", 0o666)
    listed = f"[filesystem]\nwrite = ['{data}']\n"
    text = listed if how == "listed" else bind(data, data, "writable = true")
    tries = (("read", path), ("open", path, "w"), ("chmod", path, "666"), ("unlink", path))
    found = sandbox.attempts(text + file(path, "mine"), *tries, ("open", f"{data}/new", "wc"))
    assert found[0].value == "mine"
    assert set(outcomes(found[1:4])) <= {"EROFS", "EACCES", "EBUSY"}
    assert str(found[4]) == "ok"
    with open(path, encoding="utf-8") as kept:
        assert kept.read() == "the host's"


def test_a_file_takes_the_place_of_a_generated_one(sandbox: Sandbox) -> None:
    text = "[rootfs]\ngenerate = ['hosts']\n" + file("/etc/hosts", "127.0.0.1 mine\n")
    assert sandbox.attempt(text, "read", "/etc/hosts").value == "127.0.0.1 mine\n"


def test_a_file_where_nothing_may_be_made_is_an_error(sandbox: Sandbox) -> None:
    data = sandbox.mkdir("data", 0o777)
    text = f"[filesystem]\nwrite = ['{data}']\n" + file(f"{data}/conf", "x")
    message = sandbox.refusal(text)
    assert f"there is no '{data}/conf'" in message
    assert "nothing is made on the host" in message
    assert os.listdir(data) == []


# ---- Memory ----


def test_a_tmpfs_holds_what_it_says_and_no_more(sandbox: Sandbox) -> None:
    text = """
        [filesystem]
        tmpfs = [{ path = "/small", size = "64K", mode = "0700" }, "/tmp"]
        [[mounts]]
        type = "tmpfs"
        target = "/mounted"
        size = "128K"
        [devices]
        shm_size = "256K"
    """
    tries = [("fill", "/mounted/f"), ("fill", "/dev/shm/f"), ("stat", "/small"), ("stat", "/tmp")]
    mounted, shm, small, plain = sandbox.attempts(text, *tries)
    assert (mounted.outcome, int(mounted.value)) == ("ENOSPC", 128 * KIB)
    assert (shm.outcome, int(shm.value)) == ("ENOSPC", 256 * KIB)
    assert small.value.split()[2] == "40700"
    assert plain.value.split()[2] == "41777"


def test_a_tmpfs_holds_a_limited_number_of_files(sandbox: Sandbox) -> None:
    text = "[filesystem]\ntmpfs = [{ path = '/small', size = '1M' }]"
    found = sandbox.attempt(text, "files", "/small")
    assert found.outcome == "ENOSPC"
    assert int(found.value) <= 256


def test_a_tmpfs_starts_empty_each_time(sandbox: Sandbox) -> None:
    text = "[filesystem]\ntmpfs = ['/tmp']"
    for _ in range(2):
        assert sandbox.attempt(text, "mkdir", "/tmp/once").outcome == "ok"


def test_nothing_in_memory_can_be_executed_unless_it_says_so(sandbox: Sandbox) -> None:
    flags = sandbox.dump("[filesystem]\ntmpfs = ['/tmp']")
    for point in ("/tmp", "/dev/shm", "/"):
        assert "noexec" in flags.mount_at(point).flags, point
    text = "[[mounts]]\ntype = 'tmpfs'\ntarget = '/data'\nexecute = true"
    assert "noexec" not in sandbox.dump(text).mount_at("/data").flags


# ---- Overlays ----


@pytest.fixture
def kept(sandbox: Sandbox) -> Iterator[str]:
    """A directory that takes an overlay's changes, with both its parts."""
    kept = sandbox.mkdir("kept")
    own_for_payload(sandbox, kept, *(sandbox.mkdir(f"kept/{name}") for name in ("upper", "work")))
    yield kept
    with contextlib.suppress(FileNotFoundError):
        os.chmod(f"{kept}/work/work", 0o700)  # the kernel's own, closed to everyone


def overlay(lower: str, more: str = "") -> str:
    return f"[[mounts]]\ntype = 'overlay'\ntarget = '/in'\nlower = ['{lower}']\nwritable = true\n{more}"


def test_an_overlay_takes_changes_in_memory(sandbox: Sandbox) -> None:
    lower = sandbox.mkdir("lower")
    file = sandbox.write("lower/file", "old")
    own_for_payload(sandbox, lower, file)
    tries = [("write", "/in/file", "new"), ("mkdir", "/in/dir"), ("list", "/in")]
    written, made, listed = sandbox.attempts(overlay(lower), *tries)
    assert (written.outcome, made.outcome, listed.value) == ("ok", "ok", "dir\nfile")
    assert os.listdir(lower) == ["file"]
    with open(file, encoding="utf-8") as unchanged:
        assert unchanged.read() == "old"


def test_an_overlay_in_memory_is_limited(sandbox: Sandbox) -> None:
    lower = sandbox.mkdir("lower")
    own_for_payload(sandbox, lower)
    found = sandbox.attempt(overlay(lower, "size = '256K'"), "fill", "/in/f")
    assert found.outcome == "ENOSPC"
    assert int(found.value) <= 256 * KIB


def test_an_overlay_may_keep_changes_in_a_directory(sandbox: Sandbox, kept: str) -> None:
    lower = sandbox.mkdir("lower")
    file = sandbox.write("lower/file", "old")
    own_for_payload(sandbox, lower, file)
    text = overlay(lower, f"upper = '{kept}'")
    assert sandbox.attempt(text, "write", "/in/file", "new").outcome == "ok"
    assert sandbox.attempt(text, "read", "/in/file").value == "new"
    assert os.listdir(f"{kept}/upper") == ["file"]
    with open(file, encoding="utf-8") as unchanged:
        assert unchanged.read() == "old"


def test_an_upper_directory_without_its_parts_is_an_error(sandbox: Sandbox) -> None:
    lower, kept = sandbox.mkdir("lower"), sandbox.mkdir("kept")
    message = sandbox.refusal(overlay(lower, f"upper = '{kept}'"))
    assert "mounts[0]" in message
    assert os.listdir(kept) == []


def test_the_topmost_layer_wins(sandbox: Sandbox) -> None:
    top, bottom = sandbox.mkdir("top"), sandbox.mkdir("bottom")
    for name, text in (("top/both", "top"), ("bottom/both", "bottom"), ("bottom/one", "below")):
        sandbox.write(name, text)
    text = "[[mounts]]\ntype = 'overlay'\ntarget = '/in'\n" + f"lower = ['{top}', '{bottom}']\n"
    found = sandbox.attempts(text, ("read", "/in/both"), ("read", "/in/one"), ("mkdir", "/in/new"))
    assert [a.value or a.outcome for a in found] == ["top", "below", "EROFS"]


def test_an_overlay_over_the_root_forgets_what_was_changed(sandbox: Sandbox) -> None:
    tree = tree_of(sandbox, "srv")
    own_for_payload(sandbox, f"{tree}/srv")
    text = directory_root(tree) + "overlay = 'tmpfs'\noverlay_size = '1M'\n"
    tries = [("mkdir", "/srv/new"), ("list", "/srv"), ("fill", "/srv/f")]
    made, listed, filled = sandbox.attempts(text, *tries)
    assert (made.outcome, listed.value, filled.outcome) == ("ok", "new", "ENOSPC")
    assert int(filled.value) <= 1024 * KIB
    assert os.listdir(f"{tree}/srv") == []
    assert sandbox.attempt(directory_root(tree), "mkdir", "/srv/new").outcome == "EROFS"


def test_an_overlay_over_the_root_may_be_kept_in_a_directory(sandbox: Sandbox, kept: str) -> None:
    tree = tree_of(sandbox, "srv")
    own_for_payload(sandbox, f"{tree}/srv")
    text = directory_root(tree) + f"overlay = '{kept}'\n"
    assert sandbox.attempt(text, "mkdir", "/srv/new").outcome == "ok"
    assert sandbox.attempt(text, "list", "/srv").value == "new"
    assert os.listdir(f"{kept}/upper/srv") == ["new"]
    assert os.listdir(f"{tree}/srv") == []
