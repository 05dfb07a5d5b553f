"""`--explain` of payloads that are hard to follow, and on hosts where nothing may be followed."""

import ctypes
import json
import os
import platform
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.plan import syscalls
from tests.kernel.harness import Sandbox, answers, await_line, checked, libc
from tests.kernel.traces import vanished

HERE = os.path.dirname(os.path.abspath(__file__))
MIB = 1 << 20
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2


@pytest.fixture(scope="session")
def follower() -> Iterator[str]:
    """The program with what a tracer has to get right."""
    with tempfile.TemporaryDirectory(prefix="sbx-follow-") as directory:
        os.chmod(directory, 0o755)
        path = os.path.join(directory, "follow")
        source = os.path.join(HERE, "explain_probe.c")
        compiler = os.environ.get("CC", "cc").split()
        flags = ("-std=gnu17", "-D_GNU_SOURCE", "-O1", "-static", "-pthread", "-Wall", "-Wextra")
        subprocess.run([*compiler, *flags, "-Werror", "-o", path, source], check=True)
        yield path


def profile(program: str, more: str = "") -> str:
    return f'[filesystem]\nexecute = ["{os.path.dirname(program)}"]\ntmpfs = ["/tmp"]\n{more}'


SHELL = """
[filesystem]
execute = ["/usr", "/bin", "/lib", "/lib32", "/lib64", "/libx32"]
read = ["/etc/ld.so.cache"]
tmpfs = ["/tmp"]
"""


def explained(
    sandbox: Sandbox, text: str, *words: str, **how: Any
) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    path = sandbox.path("report.json")
    done = sandbox.run(text, *words, options=("--explain-to", path, "--json"), **how)
    with open(path, encoding="utf-8") as file:
        return done, json.load(file)


# --- Nothing is different for the payload --------------------------------------------------------

MODES = (
    ("untraced", "/etc/passwd"),
    ("thread-exec", "{program}", "addresses"),
    ("stop",),
    ("interrupted",),
    ("killed",),
    ("addresses",),
)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode[0])
def test_a_payload_that_is_followed_runs_as_one_that_is_not(
    sandbox: Sandbox, follower: str, mode: tuple[str, ...]
) -> None:
    words = [word.format(program=follower) for word in mode]
    text = profile(follower)
    plain = sandbox.run(text, follower, *words)
    assert (plain.returncode, plain.stderr) == (0, ""), plain
    done, _ = explained(sandbox, text, follower, *words)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done


def test_a_child_that_asks_not_to_be_traced_is_followed(sandbox: Sandbox, follower: str) -> None:
    _, report = explained(sandbox, profile(follower), follower, "untraced", "/etc/passwd")
    assert [d["subject"] for d in report["denials"]] == ["/etc/passwd"]


@pytest.mark.parametrize("number", (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT))
def test_signals_reach_a_payload_that_is_followed(sandbox: Sandbox, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    script = f"trap 'echo got; exit 9' {name}; echo ready; while :; do sleep 0.01; done"
    with sandbox.start(SHELL, "/bin/sh", "-c", script, options=("--explain",)) as process:
        await_line(process)
        process.send_signal(number)
        output, _ = process.communicate(timeout=30)
    assert (process.returncode, output) == (9, b"got\n")


def test_what_is_left_behind_ends_with_the_payload(sandbox: Sandbox) -> None:
    done = sandbox.run(SHELL, "/bin/sh", "-c", "sleep 1000 & exit 5", options=("--explain",))
    assert done.returncode == 5
    assert vanished(sandbox)


def test_a_killed_sbx_takes_everything_along(sandbox: Sandbox) -> None:
    script = "sleep 1000 & echo ready; while :; do cat /etc/shadow; done 2>/dev/null"
    with sandbox.start(SHELL, "/bin/sh", "-c", script, options=("--explain",)) as process:
        await_line(process)
        process.kill()
        process.wait(10)
        assert vanished(sandbox)


# --- Bounded -----------------------------------------------------------------------------------------

BOMB = """
import os
print("ready", flush=True)
while True:
    try:
        os.fork()
    except OSError:
        pass
"""


def test_a_payload_that_forks_forever_is_bounded_by_its_limit_and_ends_when_sbx_is_interrupted(
    sandbox: Sandbox,
) -> None:
    text = SHELL + "[rlimits]\nnproc = 48\n"
    path = sandbox.path("report.json")
    words = ("python3", "-I", "-S", "-c", BOMB)
    options = ("--explain-to", path, "--json")
    with sandbox.start(text, *words, options=options, stderr=subprocess.DEVNULL) as process:
        await_line(process)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert vanished(sandbox)
    with open(path, encoding="utf-8") as file:
        report = json.load(file)
    denial = report["denials"][0]
    assert (denial["error"], denial["layer"], denial["key"]) == ("EAGAIN", "limit", "rlimits.nproc")
    assert denial["count"] > 1
    assert len(report["denials"]) + len(report["others"]) < 200


def peak(sandbox: Sandbox, text: str, *words: str) -> tuple[int, dict[str, Any]]:
    """The most memory that sbx took, in bytes, and its report."""
    path = sandbox.path("report.json")
    options = ("--explain-to", path, "--json")
    with sandbox.start(text, *words, options=options, stdout=subprocess.DEVNULL) as process:
        most = 0
        while process.poll() is None:
            try:
                with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
                    fields = dict(line.split(":", 1) for line in file)
                most = max(most, int(fields.get("VmHWM", "0 kB").split()[0]) << 10)
            except ProcessLookupError:
                break
            time.sleep(0.01)
        _, messages = process.communicate()
    assert process.returncode == 0, messages
    with open(path, encoding="utf-8") as file:
        return most, json.load(file)


def test_equal_denials_without_end_are_one_with_a_count(as_user: Sandbox, follower: str) -> None:
    """If each were kept in as little as eleven bytes, more memory would have been taken."""
    text = profile(follower)
    little, _ = peak(as_user, text, follower, "flood", "10")
    much, report = peak(as_user, text, follower, "flood", "200000")
    (denial,) = report["denials"]
    assert (denial["call"], denial["count"], report["total"]) == ("ptrace", 200000, 200000)
    assert much - little < 2 * MIB


def test_many_different_denials_are_kept_as_far_as_there_is_room(
    sandbox: Sandbox, follower: str
) -> None:
    text = profile(follower)
    little, _ = peak(sandbox, text, follower, "distinct", "/usr", "10")
    where = os.path.dirname(follower) + "/" + "long/../" * 300
    much, report = peak(sandbox, text, follower, "distinct", where, "20000")
    kept = len(report["denials"]) + len(report["others"])
    assert kept <= 4096
    assert report["total"] == 20000
    assert much - little < 64 * MIB


def test_what_is_nowhere_does_not_drive_out_what_matters(sandbox: Sandbox, follower: str) -> None:
    script = (
        "import os\n"
        "def tried(path):\n"
        "    try: os.open(path, 0)\n"
        "    except OSError: pass\n"
        "tried('/etc/shadow')\n"
        "for n in range(9000): tried(f'/usr/nowhere/{n}')\n"
    )
    _, report = explained(sandbox, SHELL, "python3", "-I", "-S", "-c", script)
    assert "/etc/shadow" in [d["subject"] for d in report["denials"]]
    assert report["total"] > 9000
    assert report["dropped"] == 0


# --- Harmless in the output ----------------------------------------------------------------------


def test_a_payload_that_prints_binary_is_not_touched(sandbox: Sandbox) -> None:
    with sandbox.start(
        SHELL, "/bin/sh", "-c", "head -c 300000 /usr/bin/env; exit 3", options=("--explain",)
    ) as process:
        output, messages = process.communicate(timeout=30)
    with open("/usr/bin/env", "rb") as file:
        assert output == file.read()[:300000]
    assert process.returncode == 3
    assert messages.startswith(b"sbx: explain: ")


@pytest.mark.parametrize("options", (("--explain",), ("--explain", "--json")), ids=("text", "json"))
def test_escapes_in_paths_and_names_are_made_harmless(
    sandbox: Sandbox, options: tuple[str, ...]
) -> None:
    name = b"\x1b]0;owned\x07\x9b31m\xff\xfe\r\nsbx: error: \xe2\x80\xae"
    script = b"import os, ctypes\nctypes.CDLL(None).prctl(15, b'\\x1b[31m\\xff', 0, 0, 0)\n"
    script += b"try: os.mkdir(b'/usr/' + " + repr(name).encode() + b")\nexcept OSError: pass\n"
    words = [b"python3", b"-I", b"-S", b"-c", script]
    arguments = [*sandbox.arguments(SHELL, (), options)[:-1], "--", *map(os.fsdecode, words)]
    with sandbox.popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        _, messages = process.communicate(timeout=30)
    assert process.returncode == 0, messages
    assert b"owned" in messages
    assert not set(messages) & {*range(32), 127, 0x9B} - {ord("\n")}
    text = messages.decode()
    assert "\u202e" not in text
    assert "\nsbx: error" not in text
    if "--json" in options:
        (denial,) = (d for d in json.loads(text)["denials"] if d["error"] == "EROFS")
        assert "owned" in denial["subject"]


# --- Tracing within and around -------------------------------------------------------------------


def test_a_payload_that_traces_by_itself_is_told_why_it_can_not(sandbox: Sandbox) -> None:
    text = '[seccomp]\nallow = ["ptrace"]\n'
    done = sandbox.run(text, sandbox.probe, "ptrace", "1", options=("--explain",))
    assert done.returncode == 0
    assert "a process has one tracer, and here --explain is it" in done.stderr


@pytest.mark.parametrize(
    "allow", ("", '[seccomp]\nallow = ["keyctl"]\n'), ids=("refused", "allowed")
)
@pytest.mark.parametrize("data", ("0x8000", "0", "1"))
def test_a_filter_of_the_payloads_does_not_speak_for_the_sandboxes(
    sandbox: Sandbox, follower: str, data: str, allow: str
) -> None:
    """0x8000 is what sbx's own filter says of a call that is only looked at when it ends."""
    words = (follower, "filter-that-traces", data)
    for options in ((), ("--explain",)):
        done = sandbox.run(profile(follower, allow), *words, options=options)
        # A call that a filter asks a tracer about, and that has none, doesn't exist.
        assert (done.returncode, done.stdout) == (0, "ENOSYS\n" if allow else "EPERM\n")


def test_a_payload_can_not_answer_for_the_filter_that_refuses_a_call(
    sandbox: Sandbox, follower: str
) -> None:
    allow = '[seccomp]\nallow = ["keyctl"]\n'
    control = sandbox.run(profile(follower, allow), follower, "filter-that-asks")
    assert control.stdout == "ok\n"
    plain = sandbox.run(profile(follower), follower, "filter-that-asks")
    assert plain.stdout == "EPERM\n"
    done, report = explained(sandbox, profile(follower), follower, "filter-that-asks")
    assert done.stdout == "EBUSY EPERM\n"
    found = {d["call"]: d for d in report["denials"]}
    assert {name: d["layer"] for name, d in found.items()} == {
        "keyctl": "seccomp",
        "seccomp": "tracing",
    }
    assert "a filter that asks the payload itself" in found["seccomp"]["reason"]


def test_a_payload_that_is_followed_traces_nobody(sandbox: Sandbox) -> None:
    """A process that the tracer has missed could be let through by whoever traced it instead."""
    done = sandbox.run('[seccomp]\nallow = ["ptrace"]\n', sandbox.probe, "ptrace", "999999")
    assert [str(a) for a in answers(done.stdout)] == ["ESRCH"]
    text = '[seccomp]\nallow = ["ptrace"]\n'
    done = sandbox.run(text, sandbox.probe, "ptrace", "999999", options=("--explain",))
    assert [str(a) for a in answers(done.stdout)] == ["EPERM"]


def forbid_ptrace() -> None:
    """As a container's filter does: ptrace(2) gets EPERM."""
    number = syscalls.numbers(platform.machine())["ptrace"]
    program = b"".join(
        struct.pack("<HBBI", *instruction)
        for instruction in (
            (0x20, 0, 0, 0),
            (0x15, 0, 1, number),
            (0x06, 0, 0, 0x00050001),
            (0x06, 0, 0, 0x7FFF0000),
        )
    )
    buffer = ctypes.create_string_buffer(program)
    header = struct.pack("<HxxxxxxQ", 4, ctypes.addressof(buffer))
    checked(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    checked(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0))


def test_where_nothing_may_be_traced_it_is_refused_and_nothing_runs(sandbox: Sandbox) -> None:
    path = sandbox.path("ran")
    done = sandbox.run(
        "", sandbox.probe, "mkdir", path, options=("--explain",), before=forbid_ptrace
    )
    assert (done.returncode, done.stdout) == (125, "")
    assert "--explain needs ptrace(2), which this host refuses (EPERM)" in done.stderr
    assert "kernel.yama.ptrace_scope" in done.stderr
    assert not os.path.exists(path)
    assert vanished(sandbox)
    control = sandbox.run("", sandbox.probe, "exit", "3", before=forbid_ptrace)
    assert control.returncode == 3


# --- The options ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    (
        (("--json",), "--json goes with --explain"),
        (("--timing", "--explain"), "--timing and --explain don't go together"),
        (("--explain-to", "/no/such/directory/x"), "--explain-to: /no/such/directory/x: No such"),
    ),
)
def test_options_that_make_no_sense_are_refused(
    sandbox: Sandbox, options: tuple[str, ...], words: str
) -> None:
    done = sandbox.run("", sandbox.probe, "exit", "0", options=options)
    assert done.returncode == 125
    assert words in done.stderr


def test_a_program_that_is_not_granted_is_explained_too(sandbox: Sandbox) -> None:
    done = sandbox.run("", "/usr/bin/env", options=("--explain",))
    assert done.returncode == 127
    assert "there is no command '/usr/bin/env' in the sandbox" in done.stderr
    assert 'execute = ["/usr/bin/env"]' in done.stderr


def test_an_interpreter_that_is_not_granted_is_named(sandbox: Sandbox) -> None:
    script = sandbox.write("script", "#!/usr/bin/env sh\n", mode=0o755)
    text = f'[filesystem]\nexecute = ["{script}"]\n'
    done = sandbox.run(text, script, options=("--explain",))
    assert done.returncode == 126
    assert 'execute = ["/usr/bin/env"]' in done.stderr
