"""`Sandbox.run`: a program to its end, with what it wrote and why it ended."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox import PIPE, STDOUT, Cause, ExitError, Profile, Sandbox, SandboxError, SetupError


def shell(box: Sandbox, script: str) -> str:
    """What a script in the sandbox writes."""
    return box.run(["sh", "-c", script], text=True).check().stdout


def test_a_result_says_how_the_program_ended_and_what_it_wrote(box: Sandbox) -> None:
    result = box.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (result.stdout, result.stderr) == (b"out\n", b"err\n")
    assert (result.cause, result.exit_code, result.signal) == (Cause.EXITED, 3, None)
    assert (result.ok, result.returncode, result.reason) == (False, 3, "exited with status 3")
    assert result.command[0] == "sh"
    assert 0 < result.duration < 60


def test_a_profile_that_builds_on_no_file_runs() -> None:
    places = [path for path in ("/usr", "/bin", "/lib", "/lib64") if os.path.exists(path)]
    profile = Profile(filesystem={"execute": places}, seccomp={"allow": ["@program"]})
    assert Sandbox(profile).run(["/bin/sh", "-c", "echo inside"]).check().stdout == b"inside\n"


def test_what_it_used_is_known(box: Sandbox) -> None:
    script = "x=$(head -c 30000000 /dev/zero | tr '\\0' a | tail -c 20000000); i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"
    usage = box.run(["sh", "-c", script]).check().usage
    assert usage is not None
    assert usage.max_memory > 20_000_000
    assert 0 < usage.user_time + usage.system_time < 60


def test_input_and_output_of_any_size_pass(box: Sandbox) -> None:
    data = os.urandom(3_000_000)
    assert box.run(["cat"], input=data).check().stdout == data


def test_a_program_that_reads_nothing_of_its_input_is_no_error(box: Sandbox) -> None:
    assert box.run(["true"], input=bytes(1_000_000)).ok


def test_standard_input_is_empty_by_default(box: Sandbox) -> None:
    assert box.run(["cat"]).check().stdout == b""


def test_text_is_decoded_and_never_fails(box: Sandbox) -> None:
    result = box.run(["sh", "-c", "cat; printf '\\377'"], input="grün\n", text=True)
    assert result.stdout == "grün\n\N{REPLACEMENT CHARACTER}"


def test_text_as_input_of_bytes_is_refused(box: Sandbox) -> None:
    with pytest.raises(TypeError, match="text=True"):
        box.run(["cat"], input="text")  # type: ignore[call-overload]


@pytest.mark.parametrize("number", (signal.SIGTERM, signal.SIGSEGV, signal.SIGKILL))
def test_a_signal_that_ends_the_program_is_named(box: Sandbox, number: signal.Signals) -> None:
    result = box.run(["sh", "-c", f"kill -{int(number)} $$"])
    assert (result.cause, result.signal, result.exit_code) == (Cause.SIGNALED, number, None)
    assert result.returncode == -number
    assert number.name in result.reason


def test_a_timeout_ends_everything_in_the_sandbox(box: Sandbox) -> None:
    """What the program has started dies too; `nothing_is_left` looks for it."""
    script = "echo before; (setsid sleep 1000 &) ; exec sleep 1000"
    result = box.run(["sh", "-c", script], timeout=0.3)
    assert result.cause is Cause.TIMEOUT
    assert result.stdout == b"before\n"
    assert result.reason == "took longer than 0.3 s and was killed"
    assert 0.3 <= result.duration < 30


def test_a_program_within_its_timeout_is_let_be(box: Sandbox) -> None:
    assert box.run(["true"], timeout=60).cause is Cause.EXITED


@pytest.mark.parametrize("script", ("yes", "yes >&2", "yes & yes >&2"))
def test_output_is_bounded(box: Sandbox, script: str) -> None:
    result = box.run(["sh", "-c", script], max_output=100_000)
    assert result.cause is Cause.OUTPUT_LIMIT
    assert len(result.stdout) + len(result.stderr) == 100_000
    assert result.reason == "wrote more than 100000 bytes and was killed"


def test_output_just_within_the_bound_is_no_error(box: Sandbox) -> None:
    result = box.run(["sh", "-c", "printf 12345"], max_output=5)
    assert (result.cause, result.stdout) == (Cause.EXITED, b"12345")
    assert box.run(["sh", "-c", "printf 123456"], max_output=5).cause is Cause.OUTPUT_LIMIT


def test_what_children_hold_open_keeps_nobody_waiting(box: Sandbox) -> None:
    """The program's end is the sandbox's, whoever else has its output."""
    result = box.run(["sh", "-c", "sleep 1000 & echo done"], timeout=60)
    assert (result.cause, result.stdout) == (Cause.EXITED, b"done\n")


def test_check_raises_for_what_is_not_success(box: Sandbox) -> None:
    with pytest.raises(ExitError, match="'sh' exited with status 4: what is wrong") as caught:
        box.run(["sh", "-c", "echo first; echo what is wrong >&2; exit 4"]).check()
    assert caught.value.result.exit_code == caught.value.exit_code == 4
    assert isinstance(caught.value, SandboxError)


@pytest.mark.parametrize(
    ("command", "status", "reason"),
    (
        ("no-such-command", 127, "there is no command 'no-such-command' in the sandbox"),
        ("/etc/passwd", 126, "'/etc/passwd' may not be executed"),
    ),
)
def test_a_program_that_cannot_be_started_is_an_error_in_words(
    box: Sandbox, without_init: Sandbox, command: str, status: int, reason: str
) -> None:
    for sandbox in (box, without_init):
        with pytest.raises(SetupError, match=reason) as caught:
            sandbox.run([command])
        assert caught.value.exit_code == status
        assert caught.value.errno
        assert caught.value.operation


def test_an_operation_that_fails_is_named_with_its_place(tmp_path: Path) -> None:
    """The profile was fine when it was compiled, and the host has changed since."""
    data = tmp_path / "data"
    data.mkdir()
    sandbox = Sandbox(Profile(name="job", extends="minimal", filesystem={"read": [data]}))
    data.rmdir()
    with pytest.raises(SetupError) as caught:
        sandbox.run(["true"])
    assert "profile in code 'job': filesystem.read[0]" in str(caught.value)
    assert "does not exist" in str(caught.value)
    assert str(data) in caught.value.operation
    assert caught.value.exit_code == 125


def test_the_profiles_own_command_runs_without_arguments(box: Sandbox) -> None:
    sandbox = Sandbox(Profile(extends="minimal", process={"command": ["echo", "own"]}))
    assert sandbox.run().stdout == b"own\n"
    with pytest.raises(SandboxError, match="there is no command to run"):
        box.run()


def test_one_text_as_a_command_is_refused(box: Sandbox) -> None:
    with pytest.raises(TypeError, match="no shell"):
        box.run("echo x")


def test_variables_are_those_of_the_profile_and_of_the_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SBX_PASSED", "passed")
    monkeypatch.setenv("SBX_LIST_A", "prefix")
    monkeypatch.setenv("SBX_SECRET", "secret")
    table = {"pass": ["SBX_PASSED", "SBX_LIST_*"], "set": {"SET": "set", "OVER": "profile"}}
    sandbox = Sandbox(Profile(extends="minimal", environment=table))
    result = sandbox.run(["env"], env={"OVER": "call", "OWN": "own"}, text=True)
    found = dict(line.split("=", 1) for line in result.stdout.splitlines())
    assert found["SBX_PASSED"] == "passed"
    assert found["SBX_LIST_A"] == "prefix"
    assert found["SET"] == "set"
    assert found["OVER"] == "call"
    assert found["OWN"] == "own"
    assert not {"SBX_SECRET", "USER", "PYTEST_CURRENT_TEST"} & set(found)


def test_a_call_has_its_own_directory(box: Sandbox) -> None:
    assert box.run(["pwd"], cwd="/usr/bin").stdout == b"/usr/bin\n"
    assert box.run(["pwd"]).stdout == b"/\n"
    with pytest.raises(SetupError, match="the working directory of the call: No such file"):
        box.run(["pwd"], cwd="/no/such")
    with pytest.raises(ValueError, match="absolute"):
        box.run(["pwd"], cwd="usr")


def test_streams_can_be_files(box: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"from a file")
    with open(tmp_path / "in", "rb") as source, open(tmp_path / "out", "wb") as sink:
        box.run(["cat"], stdin=source, stdout=sink).check()
    assert (tmp_path / "out").read_bytes() == b"from a file"


def test_standard_error_can_go_where_output_goes(box: Sandbox) -> None:
    result = box.run(["sh", "-c", "echo 1; echo 2 >&2; echo 3"], stderr=STDOUT)
    assert (result.stdout, result.stderr) == (b"1\n2\n3\n", b"")


def test_streams_can_be_this_processs_own(box: Sandbox, capfd: pytest.CaptureFixture[str]) -> None:
    assert box.run(["echo", "straight"], stdout=None, stderr=None).stdout == b""
    assert capfd.readouterr().out == "straight\n"


def test_input_wins_over_a_profile_without_standard_input() -> None:
    """What is passed in code is granted, as a command on the command line is."""
    sandbox = Sandbox(Profile(extends="service"))
    assert sandbox.profile.model.process.stdin == "null"
    assert sandbox.run(["cat"], input=b"given").stdout == b"given"


@pytest.fixture
def files(tmp_path: Path) -> Iterator[dict[int, int]]:
    """Files that say by which number they are to be known."""
    found = {}
    for number in range(3, 63):
        fd = os.open(tmp_path / str(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        os.write(fd, b"%d" % number)
        os.lseek(fd, 0, os.SEEK_SET)
        found[number] = fd
    yield found
    for fd in found.values():
        os.close(fd)


def test_descriptors_arrive_under_their_numbers(
    box: Sandbox, without_init: Sandbox, files: dict[int, int]
) -> None:
    script = "for n in $(seq 3 62); do cat <&$n; echo; done"
    for sandbox in (box, without_init):
        for fd in files.values():
            os.lseek(fd, 0, os.SEEK_SET)
        result = sandbox.run(["bash", "-c", script], descriptors=files, text=True).check()
        assert result.stdout.split() == [str(number) for number in range(3, 63)]


def test_descriptors_arrive_in_any_order(box: Sandbox, files: dict[int, int]) -> None:
    """Numbers inside that are those of other descriptors outside don't mix them up."""
    numbers = [files[5], files[4], files[3]]
    wanted = dict(zip(numbers, reversed(numbers), strict=True))
    script = "; ".join(f"cat <&{number}; echo" for number in numbers)
    result = box.run(["bash", "-c", script], descriptors=wanted, text=True).check()
    assert result.stdout.split() == ["3", "4", "5"]


def test_no_descriptor_arrives_that_was_not_passed(box: Sandbox, files: dict[int, int]) -> None:
    for fd in files.values():
        os.set_inheritable(fd, True)
    listed = box.run(["ls", "/proc/self/fd"], descriptors={9: files[3]}).stdout.split()
    assert set(listed) == {b"0", b"1", b"2", b"3", b"9"}  # 3: by which ls reads the list


def test_a_declared_descriptor_must_be_passed(files: dict[int, int]) -> None:
    sandbox = Sandbox(Profile(extends="minimal", process={"descriptors": [7]}))
    with pytest.raises(SandboxError, match="declares descriptor 7") as caught:
        sandbox.run(["true"])
    assert caught.value.hint == "pass it: descriptors={7: file}"
    assert sandbox.run(["sh", "-c", "cat <&7"], descriptors={7: files[5]}).stdout == b"5"


@pytest.mark.parametrize("number", (0, 1, 2, 5))
def test_a_directory_is_never_passed(box: Sandbox, number: int) -> None:
    """With it everything above would be in reach: openat(5, "../..")."""
    directory = os.open("/", os.O_RDONLY)
    try:
        how: dict[str, Any] = {"descriptors": {number: directory}}
        if number < 3:
            how = {("stdin", "stdout", "stderr")[number]: directory}
        with pytest.raises(SetupError, match="is a directory: everything above it") as caught:
            box.run(["true"], **how)
        assert caught.value.exit_code == 125
    finally:
        os.close(directory)


def test_descriptors_fit_below_a_low_limit(files: dict[int, int]) -> None:
    limits = {"nofile": 24}
    sandbox = Sandbox(Profile(extends="minimal", rlimits=limits))
    assert sandbox.run(["echo", "x"]).stdout == b"x\n"
    assert sandbox.run(["bash", "-c", "cat <&23"], descriptors={23: files[3]}).ok
    with pytest.raises(SetupError, match="limit of open files"):
        sandbox.run(["true"], descriptors={24: files[3]})


def test_long_command_lines_pass_until_the_kernels_limit(box: Sandbox) -> None:
    words = ["x" * 100_000] * 5
    assert len(box.run(["echo", *words]).check().stdout) == 500_005
    with pytest.raises(SetupError, match="too long"):
        box.run(["echo", "x" * 140_000])


@pytest.mark.parametrize("words", (["echo", "a\0b"], ["a\0b"]))
def test_a_nul_character_is_refused(box: Sandbox, words: list[str]) -> None:
    with pytest.raises(ValueError, match="NUL"):
        box.run(words)


def test_words_can_be_bytes_and_paths(box: Sandbox) -> None:
    assert box.run([Path("/bin/echo"), b"\xff"]).stdout == b"\xff\n"


def test_wrong_arguments_start_nothing(box: Sandbox) -> None:
    wrong: list[dict[str, object]] = [
        {"input": b"", "stdin": None},
        {"max_output": -1},
        {"stdout": STDOUT},
        {"descriptors": {2: 1}},
        {"descriptors": {3: -7}},
        {"env": {"A=B": "c"}},
    ]
    for arguments in wrong:
        with pytest.raises(ValueError, match=r"."):
            box.run(["true"], **arguments)  # type: ignore[call-overload]


def test_the_constants_are_those_of_subprocess(box: Sandbox) -> None:
    assert (PIPE, STDOUT) == (subprocess.PIPE, subprocess.STDOUT)
    assert box.run(["echo", "x"], stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL).ok


def test_what_the_sandbox_keeps_it_keeps(box: Sandbox) -> None:
    """A control: the profile holds as on the command line."""
    assert shell(box, "cat /etc/shadow || echo refused").strip() == "refused"
    assert shell(box, "echo $$ $(ls /proc | grep -c '^[0-9]')").split()[0] == "2"
    status = shell(box, "cat /proc/self/status")
    assert "Seccomp:\t2" in status
    assert "NoNewPrivs:\t1" in status
    assert "CapEff:\t0000000000000000" in status
