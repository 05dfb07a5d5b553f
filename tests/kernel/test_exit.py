"""How a launch ends: the payload's own status, or 125, 126 and 127."""

import os
import shutil
import signal
import struct

import pytest

from tests.kernel.harness import Sandbox
from tests.kernel.pieces import bind

INIT = pytest.mark.parametrize("init", ("true", "false"), ids=["init", "bare"])


def programs(sandbox: Sandbox) -> str:
    """A profile in which the directory `bin` of the test's holds the programs."""
    directory = sandbox.mkdir("bin")
    return f"""
        [environment]
        set = {{ PATH = "relative:/nowhere:{directory}" }}
        [filesystem]
        execute = ["{directory}"]
    """


@INIT
def test_the_payloads_status_is_sbxs(sandbox: Sandbox, init: str) -> None:
    """Cold the first time, then warm."""
    for status in (0, 1, 42, 125, 255):
        done = sandbox.run(f"[process]\ninit = {init}", sandbox.probe, "exit", str(status))
        assert (done.returncode, done.stdout, done.stderr) == (status, "", "")


def test_a_payload_that_a_signal_ends_gives_128_and_its_number(sandbox: Sandbox) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGRTMIN):
        done = sandbox.run("", sandbox.probe, "die", str(int(number)))
        assert (done.returncode, done.stderr) == (128 + number, "")


def test_a_signals_status_needs_no_init(sandbox: Sandbox) -> None:
    text = "[process]\ninit = false\n[namespaces]\npid = false\n[filesystem]\nproc = 'none'"
    assert sandbox.run(text, sandbox.probe, "die", "15").returncode == 128 + 15


@INIT
def test_a_missing_command_is_127(sandbox: Sandbox, init: str) -> None:
    """Also on a warm launch: all but the first of these are."""
    text = f"[process]\ninit = {init}"
    for command in ("/no/such", "nosuch", "./nosuch", f"{sandbox.probe}/below", ""):
        done = sandbox.run(text, command)
        assert done.returncode == 127
        assert f"there is no command '{command}' in the sandbox" in done.stderr


def test_a_missing_command_of_the_command_line_is_not_the_profiles(sandbox: Sandbox) -> None:
    """The profile's line names another command."""
    path = sandbox.profile("[process]\ncommand = ['true']")
    for _ in ("cold", "warm"):
        done = sandbox.program([sandbox.launcher, "run", "-p", path, "--", "nosuch"])
        assert done.returncode == 127
        assert done.stderr.startswith("sbx: error: process.command: there is no command 'nosuch'")


def test_no_command_at_all_is_told_alike_cold_and_warm(sandbox: Sandbox) -> None:
    path = sandbox.profile("")
    for words in ([], ["--", sandbox.probe, "exit", "0"], [], ["--"]):
        done = sandbox.program([sandbox.launcher, "run", "-p", path, *words])
        if sandbox.probe in words:
            assert done.returncode == 0
            assert os.path.exists(sandbox.plan_file(""))
            continue
        assert done.returncode == 125
        assert done.stderr == (
            "sbx: error: process.command: there is no command to run\n"
            "hint: name one: sbx run --profile ... -- COMMAND, or set process.command\n"
        )


def test_a_profiles_missing_command_is_told_with_its_line(sandbox: Sandbox) -> None:
    path = sandbox.profile("[process]\ncommand = ['nosuch']")
    done = sandbox.program([sandbox.launcher, "run", "-p", path])
    assert done.returncode == 127
    assert done.stderr == (
        f"sbx: error: {path}:5: process.command: there is no command 'nosuch' in the sandbox\n"
        "  5 | command = ['nosuch']\n"
        "    |           ^^^^^^^^^^\n"
        "hint: the sandbox has what filesystem.execute grants; "
        "it was searched in the PATH of [environment]\n"
    )


@INIT
def test_what_cannot_be_executed_is_126(sandbox: Sandbox, init: str) -> None:
    text = programs(sandbox) + f"\n[process]\ninit = {init}"
    foreign = struct.pack("<4s5B7xHHI", b"\x7fELF", 2, 1, 1, 0, 0, 2, 0xFFF0, 1) + bytes(64)
    contents = {
        "plain": (b"echo\n", 0o755, "is not a program that this machine can run"),
        "empty": (b"", 0o755, "is not a program that this machine can run"),
        "foreign": (foreign, 0o755, "is not a program that this machine can run"),
        "script": (b"#!/no/such/interpreter\n", 0o755, "its interpreter or dynamic loader is not"),
        "closed": (b"#!/bin/sh\n", 0o644, "may not be executed"),
    }
    for name, (content, mode, reason) in contents.items():
        with open(sandbox.path("bin", name), "wb") as file:
            file.write(content)
        os.chmod(sandbox.path("bin", name), mode)
        command = sandbox.path("bin", name) if name == "foreign" else name
        done = sandbox.run(text, command)
        assert (done.returncode, f"'{command}'" in done.stderr) == (126, True), done
        assert reason in done.stderr
        assert "hint: " in done.stderr


def test_a_program_without_its_loader_is_126(sandbox: Sandbox) -> None:
    text = programs(sandbox)
    shutil.copy("/bin/true", sandbox.path("bin/true"))
    done = sandbox.run(text, "true")
    assert done.returncode == 126
    assert "'true' is there, but its interpreter or dynamic loader is not" in done.stderr


def test_a_directory_or_a_file_on_a_mount_without_execute_is_126(sandbox: Sandbox) -> None:
    text = "[filesystem]\nread = ['/bin/true', '/usr/bin/true']"
    for command in ("/etc", "/bin/true", "/usr/bin/true"):
        done = sandbox.run(text + "\ntmpfs = ['/etc']", command)
        assert done.returncode == 126
        assert f"'{command}' may not be executed" in done.stderr


def test_a_command_is_searched_in_the_sandboxs_path_alone(sandbox: Sandbox) -> None:
    text = programs(sandbox)
    shutil.copy(sandbox.probe, sandbox.path("bin/tool"))
    env = {**sandbox.environment, "PATH": "/nowhere"}
    assert sandbox.run(text, "tool", "exit", "9", env=env).returncode == 9
    assert sandbox.run("", "tool", "exit", "9", env={"PATH": sandbox.path("bin")}).returncode == 127


def test_a_relative_entry_of_the_path_is_passed_over(sandbox: Sandbox) -> None:
    """It would run what lies in the working directory."""
    text = programs(sandbox) + f"[process]\ncwd = '{sandbox.directory}'"
    text = text.replace(f":{sandbox.path('bin')}", ":bin::.:./bin:")
    shutil.copy(sandbox.probe, sandbox.path("bin/tool"))
    shutil.copy(sandbox.probe, sandbox.path("tool"))
    assert sandbox.run(text, "tool", "exit", "9").returncode == 127


def test_the_first_entry_that_can_be_executed_wins(sandbox: Sandbox) -> None:
    """One that is there and may not be executed is told only if there is no other."""
    text = programs(sandbox)
    first = sandbox.mkdir("first")
    sandbox.write("first/tool", "#!/bin/sh\n", 0o644)
    text = text.replace("/nowhere", first) + f"read = ['{first}']"
    done = sandbox.run(text, "tool")
    assert (done.returncode, "may not be executed" in done.stderr) == (126, True)
    shutil.copy(sandbox.probe, sandbox.path("bin/tool"))
    assert sandbox.run(text, "tool", "exit", "9").returncode == 9


def test_sbxs_own_failure_is_125(sandbox: Sandbox) -> None:
    """The first launch leaves a plan; the second one carries it out and fails."""
    missing = sandbox.mkdir("missing")
    text = f"[filesystem]\nread = ['{missing}']"
    assert sandbox.run(text, sandbox.probe, "exit", "0").returncode == 0
    os.rmdir(missing)
    message = sandbox.refusal(text)
    assert f".toml:5: filesystem.read[0]: '{missing}' does not exist" in message


def test_a_path_that_a_variable_names_is_told_with_the_variable(sandbox: Sandbox) -> None:
    """Whatever place the path has among the mounts, the line is that of the mount which names it."""
    text = (
        "[vars]\nplace = '/srv/none'\n"
        + bind("/etc", "/m/etc")
        + "\n[[mounts]]\ntype = 'bind'\nsource = '${place}'\ntarget = '${place}'\n"
    )
    hint = "hint: create it, or name another: --set place=PATH"
    for place, index in (("/aaa", 0), ("/zzz", 2)):
        message = sandbox.refusal(text, options=["--set", f"place={place}"])
        assert f".toml:13: mounts[{index}]: '{place}' does not exist" in message
        assert hint in message
    for _ in range(2):
        assert hint in sandbox.refusal(text)
