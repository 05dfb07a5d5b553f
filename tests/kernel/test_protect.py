"""filesystem.protect: what is there stays as it is, in a directory that may be written to."""

import os

import pytest

from tests.kernel.harness import Sandbox, answers, outcomes
from tests.kernel.pieces import bind, own_for_payload, writable

PARTS = ("top", "top/deep", "top/deep/kept", "top/deep/kept/inner")


@pytest.fixture
def project(sandbox: Sandbox) -> str:
    """A directory of the payload's with directories in it, and a file `inner` and one `plain`."""
    directory = sandbox.mkdir("project")
    for part in PARTS[:-1]:
        own_for_payload(sandbox, sandbox.mkdir(f"project/{part}"))
    files = [sandbox.write(f"project/{name}", "as it was") for name in (PARTS[-1], "plain")]
    own_for_payload(sandbox, directory, *files)
    return directory


def protecting(*paths: str) -> str:
    return f"[filesystem]\nprotect = {list(paths)}\n"


def test_a_protected_directory_can_be_read_and_not_changed(sandbox: Sandbox, project: str) -> None:
    kept = f"{project}/top/deep/kept"
    tries = [
        ("read", f"{kept}/inner"),
        ("open", f"{kept}/inner", "w"),
        ("open", f"{kept}/new", "wc"),
        ("chmod", f"{kept}/inner", "0777"),
        ("unlink", f"{kept}/inner"),
        ("open", f"{project}/top/deep/beside", "wc"),
    ]
    found = sandbox.attempts(protecting(kept) + writable(project), *tries)
    assert outcomes(found) == ["ok", "EROFS", "EROFS", "EROFS", "EROFS", "ok"]
    assert found[0].value == "as it was"
    assert outcomes(sandbox.attempts(writable(project), *tries)) == ["ok"] * 6


def test_nothing_can_be_put_in_the_place_of_what_is_protected(
    sandbox: Sandbox, project: str
) -> None:
    """Neither it nor a directory on the way to it can be moved away."""
    text = protecting(f"{project}/top/deep/kept") + writable(project)
    tries: list[tuple[str, ...]] = [
        ("rename", f"{project}/{part}", f"{project}/{part}-away") for part in PARTS[:-1]
    ]
    assert outcomes(sandbox.attempts(text, *tries)) == ["EBUSY"] * 3
    kept = f"{project}/{PARTS[-2]}"
    inner = protecting(f"{kept}/inner") + writable(project)
    tries.append(("unlink", f"{kept}/inner"))
    tries.append(("open", f"{kept}/new", "wc"))
    tries.append(("rename", f"{kept}/new", f"{kept}/inner"))
    refused = ["EBUSY", "EBUSY", "EBUSY", "EBUSY", "ok", "EBUSY"]
    assert outcomes(sandbox.attempts(inner, *tries)) == refused
    assert outcomes(sandbox.attempts(writable(project), tries[2], tries[0])) == ["ok", "ok"]


def test_directories_on_the_way_stay_writable(sandbox: Sandbox, project: str) -> None:
    text = protecting(f"{project}/top/deep/kept", f"{project}/top/deep/absent") + writable(project)
    new = [("open", f"{project}/{part}/new", "wc") for part in PARTS[:-2]]
    assert outcomes(sandbox.attempts(text, *new, ("open", f"{project}/plain", "w"))) == ["ok"] * 3


def test_what_is_not_there_is_no_error_and_can_be_made(sandbox: Sandbox, project: str) -> None:
    absent = f"{project}/absent"
    text = protecting(f"{absent}/below", f"{project}/plain/below") + writable(project)
    assert sandbox.attempt(text, "mkdir", absent).outcome == "ok"


def test_a_file_where_a_directory_should_lead_on_is_protected_itself(
    sandbox: Sandbox, project: str
) -> None:
    text = protecting(f"{project}/plain/hooks") + writable(project)
    tries = [("open", f"{project}/plain", "w"), ("unlink", f"{project}/plain")]
    assert outcomes(sandbox.attempts(text, *tries)) == ["EROFS", "EBUSY"]


@pytest.mark.parametrize("named", ("link", "link/below"))
def test_a_link_is_an_error_since_it_could_be_replaced(
    sandbox: Sandbox, project: str, named: str
) -> None:
    os.symlink("top", f"{project}/link")
    message = sandbox.refusal(protecting(f"{project}/{named}") + writable(project))
    assert "filesystem.protect[0]" in message
    assert f"'{project}/link' is a symbolic link, which can't be protected" in message


def test_a_more_specific_grant_stands(sandbox: Sandbox, project: str) -> None:
    kept = f"{project}/top/deep/kept"
    text = f"[filesystem]\nprotect = ['{kept}']\nwrite = ['{project}', '{kept}/inner']\n"
    tries = [("open", f"{kept}/inner", "w"), ("open", f"{kept}/new", "wc")]
    assert outcomes(sandbox.attempts(text, *tries)) == ["ok", "EROFS"]


@pytest.mark.parametrize("execute", (False, True))
def test_protection_grants_nothing(sandbox: Sandbox, project: str, *, execute: bool) -> None:
    """Whether files can be executed is what the directory above says."""
    with open(sandbox.probe, "rb") as source, open(f"{project}/{PARTS[-1]}", "wb") as copy:
        copy.write(source.read())
    os.chmod(f"{project}/{PARTS[-1]}", 0o755)
    more = f"writable = true\nexecute = {str(execute).lower()}"
    text = protecting(f"{project}/top/deep/kept") + bind(project, project, more)
    run = sandbox.attempt(text, "exec", f"{project}/{PARTS[-1]}", "exit", "0")
    assert run.outcome == ("ok" if execute else "EACCES")


def test_owners_stay_those_of_an_idmapped_mount(as_root: Sandbox) -> None:
    project = as_root.mkdir("project", 0o700)
    kept = as_root.write("project/kept", "as it was", 0o600)
    os.chown(project, 4321, 4321)
    os.chown(kept, 4321, 4321)
    text = protecting(kept) + bind(project, project, "writable = true\nidmap = true")
    read, write = as_root.attempts(text, ("read", kept), ("open", kept, "w"))
    assert (read.value, write.outcome) == ("as it was", "EROFS")


def test_the_root_in_place_can_have_protected_parts(as_root: Sandbox) -> None:
    project = as_root.mkdir("project", 0o777)
    kept = as_root.write("project/kept", "as it was", 0o666)
    text = f"[filesystem]\nread = ['/']\nwrite = ['{project}']\nprotect = ['{kept}']\n"
    tries = [("open", kept, "w"), ("unlink", kept), ("open", f"{project}/new", "wc")]
    assert outcomes(as_root.attempts(text, *tries)) == ["EROFS", "EBUSY", "ok"]


@pytest.mark.parametrize("root", ("", "[rootfs]\ntype = 'directory'\npath = '/'\n"))
def test_a_payload_cannot_change_the_profiles_that_it_runs_under(
    sandbox: Sandbox, root: str
) -> None:
    project = sandbox.mkdir("project", 0o777)
    with open(os.path.join(sandbox.place, "base.toml"), encoding="utf-8") as file:
        base = sandbox.write("project/base.toml", file.read(), 0o666)
    text = (
        f"schema = 1\nprofile.extends = './base.toml'\n{root}[filesystem]\nwrite = ['{project}']\n"
    )
    profile = sandbox.write("project/app.toml", text, 0o666)
    tries: list[tuple[str, ...]] = []
    for path in (profile, base):
        tries += [
            ("read", path),
            ("open", path, "w"),
            ("unlink", path),
            ("rename", path, f"{path}.x"),
        ]
    words = [word for attempt in tries for word in (*attempt, "+")][:-1]
    done = sandbox.shipped(profile, sandbox.probe, *words, "+", "open", f"{project}/new", "wc")
    assert (done.returncode, done.stderr) == (0, "")
    assert outcomes(answers(done.stdout)) == ["ok", "EROFS", "EBUSY", "EBUSY"] * 2 + ["ok"]


@pytest.mark.parametrize("how", ("listed", "mounted"))
def test_what_a_project_was_found_by_keeps_its_name(sandbox: Sandbox, how: str) -> None:
    """Else the next launch would find that of a directory above, and grant all of that."""
    sandbox.mkdir("outer/.mark", 0o777)
    inner = os.path.dirname(sandbox.mkdir("outer/inner/.mark", 0o777))
    os.chmod(inner, 0o777)
    secret = sandbox.write("outer/secret", "x")
    if how == "listed":
        text = "[filesystem]\nwrite = ['${up:.mark}']\n"
    else:
        text = (
            "[[mounts]]\ntype = 'bind'\nsource = '${up:.mark}'\ntarget = '${up:.mark}'\n"
            "writable = true\n"
        )
    mark = f"{inner}/.mark"
    tries = [
        ("rename", mark, f"{mark}.x"),
        ("unlink", mark),
        ("open", f"{mark}/new", "wc"),
        ("open", f"{inner}/new", "wc"),
        ("read", secret),
    ]
    for _ in range(2):
        words = [word for attempt in tries for word in (*attempt, "+")][:-1]
        done = sandbox.run(text, sandbox.probe, *words, cwd=inner)
        found = outcomes(answers(done.stdout))
        assert found[0] == "EBUSY"
        assert found[1] in {"EBUSY", "EISDIR"}
        assert found[2:] == ["ok", "ok", "ENOENT"]
