"""The program that began a sandbox, reached from inside: by Landlock never, and without it warned of."""

import os

import pytest

from sandbox.plan.hazards import hazards
from sandbox.profile.load import load
from tests.kernel.harness import Sandbox

WARNING = "without Landlock the payload, as its owner, can change the mode of"
WITHOUT = ("landlock.enabled = false\n", "landlock.files = false\n")


@pytest.mark.parametrize("off", (*WITHOUT, ""))
def test_a_script_for_what_exec_is_called_from(sandbox: Sandbox, off: str) -> None:
    """The kernel looks for `#!/proc/self/exe` before the payload has become its own program."""
    directory = sandbox.mkdir("project")
    script = os.path.join(directory, "script")
    with open(script, "w", encoding="ascii") as file:
        file.write("#!/proc/self/exe --version\n")
    os.chmod(script, 0o755)
    granted = f"[filesystem]\nexecute = ['{directory}']\n"
    done = sandbox.run(off + granted, script)
    if off:  # it has run, and found none of the files that belong to it
        assert (done.returncode, done.stderr.count("sbx-python")) == (125, 1)
    else:
        assert done.returncode == 126
        assert f"'{script}' may not be executed" in done.stderr


@pytest.mark.parametrize("off", WITHOUT)
def test_its_owner_is_warned(sandbox: Sandbox, off: str) -> None:
    """root's payload is root's only without a user namespace."""
    own = sandbox.uid == os.stat(sandbox.launcher).st_uid
    text = off + "namespaces.user = false\n" if sandbox.is_root else off
    checked = sandbox.program([sandbox.launcher, "check", sandbox.profile(text)])
    assert checked.returncode == 0
    assert (WARNING in checked.stderr) == own
    assert (WARNING in sandbox.run(text, sandbox.probe, "exit", "0").stderr) == own


@pytest.mark.parametrize(
    ("text", "landlock", "uid", "warned"),
    (
        (WITHOUT[0], True, 61234, True),
        (WITHOUT[1], True, 61234, True),
        ("", False, 61234, True),
        ("", True, 61234, False),
        (WITHOUT[0], True, 0, False),
        (WITHOUT[0] + "identity.map = 'root'\n", True, 0, True),
    ),
)
def test_whom_it_is_said_to(
    sandbox: Sandbox, text: str, *, landlock: bool, uid: int, warned: bool
) -> None:
    program = sandbox.path("sbx")
    with open(program, "w", encoding="ascii"):
        pass
    os.chown(program, uid, uid)
    resolved = load(sandbox.profile(text), cwd="/", environ={"HOME": "/nowhere"})
    found = hazards(resolved, {}, uid, landlock=landlock, programs=(program, "/no/such/program"))
    assert [problem for problem in found if program in problem.text()] == list(found)
    assert bool(found) == warned
