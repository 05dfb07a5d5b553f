"""`sbx run --explain` names for each refused call the layer, the line and the key that would allow it."""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.kernel.harness import NOT_ROOT, Sandbox, answers

Report = dict[str, Any]


class Case(NamedTuple):
    """An attempt of the probe's, and what has to be said of it. `{d}` is the test's directory.

    `advice` is the whole first advice, None where no key may be named, "" where it isn't looked at;
    `line` a piece of the profile's line that has to be named, empty where it is a default.
    """

    name: str
    text: str
    attempt: str
    error: str
    layer: str
    advice: str | None
    line: str = ""


TMP = '[filesystem]\ntmpfs = ["/tmp"]\n'
READ = '[filesystem]\nread = ["{d}"]\n'
WRITE = '[filesystem]\nwrite = ["{d}"]\n'
EXECUTE = '[filesystem]\nexecute = ["{d}"]\n'
CASES = (
    # --- mounts ---
    Case(
        "a file that isn't granted", "", "read {d}/file", "ENOENT", "mount",
        'filesystem.read = ["{d}/file"]',
    ),
    Case(
        "a new file where nothing is granted", "", "open {d}/new wc", "ENOENT", "mount",
        'filesystem.write = ["{d}"]',
    ),
    Case(
        "a file to write that may be read", READ, "open {d}/file w", "EROFS", "mount",
        'filesystem.write = ["{d}/file"]', "read",
    ),
    Case(
        "a new file where reading is allowed", READ, "open {d}/new wc", "EROFS", "mount",
        'filesystem.write = ["{d}"]', "read",
    ),
    Case(
        "removing where reading is allowed", READ, "unlink {d}/file", "EROFS", "mount",
        'filesystem.write = ["{d}"]', "read",
    ),
    Case(
        "a directory in the sandbox's own root", "", "mkdir /made", "EROFS", "mount",
        'filesystem.tmpfs = ["/made"]',
    ),
    Case(
        "a bind mount to write to",
        '[[mounts]]\ntype = "bind"\nsource = "{d}"\ntarget = "/data"\n',
        "open /data/new wc", "EROFS", "mount", 'writable = true in the [[mounts]] of "/data"', "mounts",
    ),
    Case(
        "what is denied", READ + 'deny = ["{d}/file"]', "read {d}/file", "EACCES", "mount",
        'take "{d}/file" out of filesystem.deny', "deny",
    ),
    Case(
        "below what is denied", READ + 'deny = ["{d}/sub"]', "read {d}/sub/file", "EACCES", "mount",
        'filesystem.read = ["{d}/sub/file"]', "deny",
    ),
    Case(
        "below what is masked", READ + 'mask = ["{d}/sub"]', "read {d}/sub/file", "ENOENT", "mount",
        'filesystem.read = ["{d}/sub/file"]', "mask",
    ),
    Case(
        "what a tmpfs hides", '[filesystem]\ntmpfs = ["{d}"]\n', "read {d}/file", "ENOENT", "mount",
        'filesystem.read = ["{d}/file"]', "tmpfs",
    ),
    Case(
        "a program that may only be read", READ, "exec {d}/tool", "EACCES", "mount",
        'filesystem.execute = ["{d}/tool"]', "read",
    ),
    Case(
        "code that may only be read", READ, "map {d}/tool", "EPERM", "mount",
        'filesystem.execute = ["{d}/tool"]', "read",
    ),
    Case(
        "a script whose interpreter isn't granted", EXECUTE, "exec {d}/script", "ENOENT", "mount",
        'filesystem.execute = ["{o}/tool"]',
    ),
    Case(
        "a device", "", "open /dev/kmsg r", "ENOENT", "mount", 'devices.allow = ["/dev/kmsg"]',
    ),
    Case(
        "any device where there is no /dev", '[devices]\ndev = "none"\n', "open /dev/null r", "ENOENT",
        "mount", 'devices.dev = "private"', "dev",
    ),
    Case(
        "/proc to write to", "", "open /proc/self/comm w", "EROFS", "mount",
        'filesystem.proc = "writable"',
    ),
    Case("a setting of the kernel's", "", "open /proc/sys/kernel/hostname w", "EACCES", "mount", None),
    Case(
        "/proc with processes only", '[filesystem]\nproc = "pid"\n', "read /proc/meminfo", "ENOENT",
        "mount", 'filesystem.proc = "read-only"', "proc",
    ),
    Case(
        "moving between two mounts", '[filesystem]\nwrite = ["{d}/sub", "{d}/other"]\n',
        "rename {d}/sub/file {d}/other/file", "EXDEV", "mount", 'filesystem.write = ["{d}"]', "write",
    ),
    Case(
        "removing a mount point", WRITE + 'read = ["{d}/file"]\n', "unlink {d}/file", "EBUSY", "mount",
        'filesystem.write = ["{d}"]', "read",
    ),
    Case(
        "a socket file", "", "unix {d}/socket", "ENOENT", "mount", 'filesystem.read = ["{d}/socket"]',
    ),
    Case(
        "what is protected", WRITE + 'protect = ["{d}/file"]\n', "open {d}/file w", "EROFS", "mount",
        'take "{d}/file" out of filesystem.protect', "protect",
    ),
    Case(
        "a directory that leads to what is protected", WRITE + 'protect = ["{d}/sub/file"]\n',
        "rename {d}/sub {d}/moved", "EBUSY", "mount",
        'take "{d}/sub/file" out of filesystem.protect', "protect",
    ),
    Case(
        "a file of the profile's", '[[mounts]]\ntype = "file"\ntarget = "/made/x"\ncontent = "x"\n',
        "open /made/x w", "EROFS or EACCES", "mount", None, "mounts",
    ),
    # --- the filter ---
    Case(
        "a call that no statement allows", "", "ptrace 1", "EPERM", "seccomp",
        'seccomp.allow = ["ptrace"]', "allow",
    ),
    Case(
        "a call that needs a capability too", "", "mount none /tmp tmpfs 0", "EPERM", "seccomp",
        'seccomp.allow = ["mount"]', "allow",
    ),
    Case(
        "a call with other arguments", "", "unshare 0x10000000", "EPERM", "seccomp",
        'seccomp.allow = ["unshare"]', "allow",
    ),
    Case(
        "a group that is denied", '[seccomp]\ndeny = ["@ipc"]\n', "shm 77", "EPERM", "seccomp",
        'take "@ipc" out of seccomp.deny', "deny",
    ),
    Case(
        "a rule", '[[seccomp.rules]]\ncall = "mkdir"\naction = "deny"\nerrno = "EXDEV"\n',
        "mkdir /tmp/x", "EXDEV", "seccomp", None, "rules",
    ),
    Case(
        "a call that kills", '[[seccomp.rules]]\ncall = "mkdir"\naction = "kill"\n',
        "mkdir /tmp/x", "SIGSYS", "seccomp", None, "rules",
    ),
    Case("typing into the terminal", "", "ioctl 0 0x5412", "EPERM", "seccomp", None),
    # --- privileges ---
    Case(
        "the host name", '[seccomp]\nallow = ["sethostname"]\n', "sethostname other", "EPERM",
        "capability", 'namespaces.hostname = "NAME"',
    ),
    Case(
        "another root", '[seccomp]\nallow = ["chroot"]\n', "chroot /", "EPERM", "capability",
        'capabilities.keep = ["CAP_SYS_CHROOT"]',
    ),
    Case(
        "a low port", "", "bind 127.0.0.1 80", "EACCES", "capability",
        'capabilities.keep = ["CAP_NET_BIND_SERVICE"]',
    ),
    # --- namespaces ---
    Case(
        "an address of another machine", "", "tcp 192.0.2.1 80", "ENETUNREACH", "namespace",
        'network.mode = "host"',
    ),
    Case(
        "a service of the host's", "", "tcp 127.0.0.1 {port}", "ECONNREFUSED", "namespace",
        'network.mode = "host"',
    ),
    Case(
        "an abstract socket of the host's", "", "unix @{abstract}", "ECONNREFUSED", "namespace",
        'network.mode = "host"',
    ),
    Case(
        "a process of the host's", "", "kill {pid} 0", "ESRCH", "namespace", "namespaces.pid = false",
    ),
    Case("the terminal", "", "open /dev/tty r", "ENXIO", "namespace", 'process.terminal = "auto"'),
    # --- Landlock ---
    Case(
        "an abstract socket in the host's network", '[network]\nmode = "host"\n', "unix @{abstract}",
        "EPERM", "landlock", 'landlock.scopes = ["signal"]',
    ),
    # --- plain modes ---
    Case(
        "a program without its execute bit", EXECUTE, "exec {d}/file", "EACCES", "mode", None,
    ),
    # --- limits ---
    Case(
        "the size of a file", TMP + '[rlimits]\nfsize = "4K"\n', "fill /tmp/x", "SIGXFSZ", "limit",
        'rlimits.fsize = "8K"', "fsize",
    ),
    Case(
        "room in memory", '[filesystem]\ntmpfs = [{ path = "/tmp", size = "64K" }]\n', "fill /tmp/x",
        "ENOSPC", "limit", 'filesystem.tmpfs = [{ path = "/tmp", size = "128K" }]', "tmpfs",
    ),
    Case(
        "files in memory", '[filesystem]\ntmpfs = [{ path = "/tmp", size = "64K" }]\n', "files /tmp",
        "ENOSPC", "limit", 'filesystem.tmpfs = [{ path = "/tmp", size = "128K" }]', "tmpfs",
    ),
    Case(
        "a limit that is to be raised", "[rlimits]\nnofile = 64\n", "setrlimit 7 65 65", "EPERM",
        "limit", 'rlimits.nofile = "unlimited"', "nofile",
    ),
)  # fmt: skip


class Surroundings(NamedTuple):
    """What the attempts are about: a directory with all kinds of files, and what runs outside."""

    directory: str
    names: dict[str, str]


@pytest.fixture
def around(sandbox: Sandbox, probe: str) -> Iterator[Surroundings]:
    """A directory of the caller's, another one, a listening port and an abstract socket."""
    d, o = sandbox.mkdir("d"), sandbox.mkdir("o")
    for directory in (f"{d}/sub", f"{d}/other"):
        os.makedirs(directory)
    for path in (f"{d}/file", f"{d}/sub/file"):
        with open(path, "w", encoding="ascii") as file:
            file.write("content\n")
    for path in (f"{d}/tool", f"{o}/tool"):
        shutil.copy(probe, path)
    with open(f"{d}/script", "w", encoding="ascii") as file:
        file.write(f"#!{o}/tool\n")
    os.chmod(f"{d}/script", 0o755)
    with (
        socket.socket(socket.AF_UNIX) as named,
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket() as tcp,
    ):
        named.bind(f"{d}/socket")
        abstract.bind(b"\0" + os.urandom(8).hex().encode())
        tcp.bind(("127.0.0.1", 0))
        for server in (named, abstract, tcp):
            server.listen()
        for above, directories, files in os.walk(d):
            for name in (*directories, *files):
                path = os.path.join(above, name)
                sandbox.own(path)
                os.chmod(path, os.stat(path).st_mode | 0o666 if name != "tool" else 0o755)
        for directory in (d, f"{d}/sub", f"{d}/other"):
            os.chmod(directory, 0o777)
        names = {
            "d": d,
            "o": o,
            "port": str(tcp.getsockname()[1]),
            "abstract": abstract.getsockname()[1:].decode(),
            "pid": str(os.getpid()),
        }
        yield Surroundings(d, names)


def filled(text: str, around: Surroundings) -> str:
    for name, value in around.names.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def explained(
    sandbox: Sandbox, text: str, *words: str, **how: Any
) -> tuple[subprocess.CompletedProcess[str], Report]:
    """A run that is followed, and its report."""
    path = sandbox.path("report.json")
    done = sandbox.run(text, *words, options=("--explain-to", path, "--json"), **how)
    with open(path, encoding="utf-8") as file:
        report: Report = json.load(file)
    assert report["status"] == done.returncode, done
    return done, report


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_denial_has_its_layer_its_line_and_the_key_that_would_allow_it(
    sandbox: Sandbox, around: Surroundings, case: Case
) -> None:
    words = filled(case.attempt, around).split()
    text = filled(case.text, around)
    done, report = explained(sandbox, text, sandbox.probe, *words)
    got = answers(done.stdout)[0].outcome
    assert got in case.error.split(" or "), done
    found = [d for d in report["denials"] if d["error"] == got]
    assert [d["layer"] for d in found] == [case.layer], report
    advice = [item["text"] for item in found[0]["advice"]]
    if case.advice is None:
        assert (advice, bool(found[0]["note"])) == ([], True), found
    else:
        assert advice[:1] == [filled(case.advice, around)], found
    if case.line:
        with open(found[0]["file"], encoding="utf-8") as file:
            assert case.line in file.read().splitlines()[found[0]["line"] - 1], found
    assert found[0]["likely"], found
    assert answers(sandbox.run(text, sandbox.probe, *words).stdout)[0].outcome == got


def test_there_are_more_than_twenty_kinds_of_denial() -> None:
    assert len(CASES) > 20
    assert {case.layer for case in CASES} >= {
        *("mount", "landlock", "seccomp", "capability", "namespace", "mode", "limit")
    }


NOT_THE_SANDBOX = (
    ("a file that isn't there outside either", "read {d}/nothing", "ENOENT"),
    ("a file that is no directory", "read {d}/file/x", "ENOTDIR"),
    ("a port on which nobody listens", "tcp 127.0.0.1 1", "ECONNREFUSED"),
    ("a process that isn't there", "kill 4194303 0", "ESRCH"),
)


@pytest.mark.parametrize("case", NOT_THE_SANDBOX, ids=lambda case: case[0])
def test_what_fails_outside_as_well_is_not_the_sandboxs(
    sandbox: Sandbox, around: Surroundings, case: tuple[str, str, str]
) -> None:
    words = filled(case[1], around).split()
    done, report = explained(sandbox, filled(READ, around), sandbox.probe, *words)
    assert answers(done.stdout)[0].outcome == case[2]
    assert report["denials"] == []
    assert case[2] in [d["error"] for d in report["others"]]
    assert [d["layer"] for d in report["others"] if d["error"] == case[2]] == ["outside"]


ALLOWED = (
    ("read {d}/file", ""),
    ("open {d}/new wc", ""),
    ("mkdir /made/x", '[filesystem]\ntmpfs = ["/made"]'),
    ("exec {d}/tool exit 0", ""),
    ("chroot /", ""),
    ("tcp 127.0.0.1 {port}", ""),
    ("bind 127.0.0.1 80", ""),
)


@pytest.mark.parametrize("attempt", [attempt for attempt, _ in ALLOWED if "made" not in attempt])
def test_what_is_advised_allows_it(sandbox: Sandbox, around: Surroundings, attempt: str) -> None:
    """The snippet is taken as it is, again until nothing is refused any more."""
    words, text = filled(attempt, around).split(), ""
    for _ in range(4):
        done, report = explained(sandbox, text, sandbox.probe, *words)
        if answers(done.stdout)[0].outcome == "ok":
            return
        assert report["denials"], (done, text)
        assert report["snippet"], report
        text += report["snippet"] + "\n"
    raise AssertionError((done, report, text))


def test_a_normal_users_payload_has_no_other_ids(as_user: Sandbox) -> None:
    _, report = explained(as_user, "", as_user.probe, "setuid", "12345")
    (denial,) = report["denials"]
    assert (denial["error"], denial["layer"]) == ("EINVAL", "namespace")
    assert denial["advice"][0]["text"] == 'identity.map = "range"'


def test_roots_payload_lacks_the_capability_for_other_ids(as_root: Sandbox) -> None:
    _, report = explained(as_root, "", as_root.probe, "setuid", "12345")
    (denial,) = report["denials"]
    assert (denial["error"], denial["layer"]) == ("EPERM", "capability")
    assert denial["advice"][0]["text"] == 'capabilities.keep = ["CAP_SETUID"]'


def test_roots_payload_owns_nothing_of_roots(as_root: Sandbox) -> None:
    path = as_root.write("private", "x", mode=0o600)
    text = f'[filesystem]\nread = ["{path}"]\n'
    _, report = explained(as_root, text, as_root.probe, "read", path)
    (denial,) = report["denials"]
    assert (denial["error"], denial["layer"]) == ("EACCES", "mode")
    assert "idmap = true" in denial["advice"][0]["text"]


def test_what_the_host_refuses_the_user_is_a_matter_of_modes(
    as_user: Sandbox, shared_dir: str
) -> None:
    if os.geteuid() != 0:
        pytest.skip(NOT_ROOT)
    path = as_user.write("private", "x")
    os.chown(path, 0, 0)
    os.chmod(path, 0o600)
    text = f'[filesystem]\nread = ["{path}"]\n'
    _, report = explained(as_user, text, as_user.probe, "read", path)
    (denial,) = report["denials"]
    assert (denial["layer"], denial["advice"]) == ("mode", [])
    assert "outside of the sandbox it is refused too" in denial["note"]


def test_a_program_that_asks_for_privileges_by_its_mode_gets_none(as_root: Sandbox) -> None:
    tool = as_root.path("privileged")
    shutil.copy(as_root.probe, tool)
    os.chmod(tool, 0o4755)
    text = f'[filesystem]\nexecute = ["{tool}"]\n'
    done, report = explained(as_root, text, tool, "exit", "3")
    assert done.returncode == 3
    (denial,) = report["denials"]
    assert (denial["layer"], denial["subject"], denial["advice"]) == ("capability", tool, [])
    assert "set-user-ID" in denial["reason"]


SHELL = """
[filesystem]
execute = ["/usr", "/bin", "/lib", "/lib32", "/lib64", "/libx32"]
read = ["/etc/ld.so.cache"]
"""


def test_too_many_descriptors_are_a_limit(sandbox: Sandbox) -> None:
    script = "import os; [os.open('/usr', 0) for _ in range(64)]"
    words = ("python3", "-I", "-S", "-c", script)
    _, report = explained(sandbox, SHELL + "[rlimits]\nnofile = 32\n", *words)
    denial = report["denials"][0]
    assert (denial["error"], denial["layer"], denial["key"]) == (
        "EMFILE",
        "limit",
        "rlimits.nofile",
    )
    assert denial["advice"][0]["text"] == "rlimits.nofile = 128"


def test_children_and_threads_are_followed(sandbox: Sandbox) -> None:
    script = (
        "import os, subprocess, threading\n"
        "def look(name):\n"
        "    try: open(name)\n"
        "    except OSError: pass\n"
        "threads = [threading.Thread(target=look, args=(f'/usr/by-thread-{n}/x',)) for n in range(9)]\n"
        "[t.start() for t in threads], [t.join() for t in threads]\n"
        "threading.Thread(target=look, args=('/etc/shadow',)).start()\n"
        "subprocess.run(['sh', '-c', '(touch /usr/by-grandchild; exit 0) & wait'])\n"
    )
    path = sandbox.path("report.json")
    arguments = [sandbox.launcher, "run", "-p", "minimal", "--explain-to", path, "--json", "--"]
    done = sandbox.program([*arguments, "python3", "-I", "-c", script])
    assert done.returncode == 0, done
    with open(path, encoding="utf-8") as file:
        report = json.load(file)
    found = {d["subject"]: (d["error"], d["program"]) for d in report["denials"]}
    assert found["/etc/shadow"] == ("ENOENT", "python3")
    assert found["/usr/by-grandchild"] == ("EROFS", "touch")
    others = {d["subject"] for d in report["others"]}
    assert {f"/usr/by-thread-{n}/x" for n in range(9)} <= others


def test_the_words_for_a_person_know_whose_profile_it_is(sandbox: Sandbox) -> None:
    """A shipped one isn't for editing; privileges aren't for the taking."""
    command = [sandbox.launcher, "run", "--explain", "--profile"]
    own = sandbox.profile("[seccomp]\nallow = ['chroot']")
    words = sandbox.program([*command, own, "--", sandbox.probe, "chroot", "/"]).stderr
    assert f"say in {os.path.basename(own)} or in a profile that extends it:" in words
    assert "[capabilities]" in words
    assert "few programs need those that they try" in words
    words = sandbox.program([*command, "minimal", "--", "touch", "/usr/made"]).stderr
    assert "say in a profile that extends minimal:" in words
    assert "Capabilities" not in words
