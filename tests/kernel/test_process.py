"""The payload's process: limits, environment, session, working directory."""

import fcntl
import json
import os
import pty
import re
import resource
import signal
import termios
from pathlib import Path

import pytest

from sandbox.capabilities import capability_mask
from tests.kernel.harness import Sandbox, interpreter, outcomes
from tests.kernel.live import named, sbx, until

SIGNALS = range(1, 32)


# ---- Limits ----


def test_limits_are_what_the_profile_says(sandbox: Sandbox) -> None:
    text = "[rlimits]\nnofile = 64\ncore = 0\nstack = '4M'\nnproc = [500, 600]\nfsize = 'unlimited'"
    limits = sandbox.dump(text).rlimits
    unlimited = 2**64 - 1
    assert limits[resource.RLIMIT_NOFILE] == [64, 64]
    assert limits[resource.RLIMIT_CORE] == [0, 0]
    assert limits[resource.RLIMIT_STACK] == [4 << 20, 4 << 20]
    assert limits[resource.RLIMIT_NPROC] == [500, 600]
    assert limits[resource.RLIMIT_FSIZE] == [unlimited, unlimited]


def test_limits_that_are_not_named_are_the_callers(sandbox: Sandbox) -> None:
    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, 400))

    outside, inside = sandbox.dump_outside().rlimits, sandbox.dump("", before=lower).rlimits
    assert inside[resource.RLIMIT_NOFILE] == [300, 400]
    inside[resource.RLIMIT_NOFILE] = outside[resource.RLIMIT_NOFILE]
    assert inside == outside


def test_a_hard_limit_cannot_be_raised(sandbox: Sandbox) -> None:
    text = "[rlimits]\nnofile = [64, 128]"
    tries = [("setrlimit", resource.RLIMIT_NOFILE, n, n) for n in (129, 128, 64)]
    assert outcomes(sandbox.attempts(text, *tries)) == ["EPERM", "ok", "ok"]


def hold_many() -> None:
    """200 descriptors that the launch inherits, and its program doesn't."""
    for _ in range(200):
        fcntl.fcntl(0, fcntl.F_DUPFD, 3)


@pytest.mark.parametrize("process", ("init = true", "init = false", "stdin = 'null'"))
def test_what_the_caller_has_open_does_not_count(sandbox: Sandbox, process: str) -> None:
    """It does until the program is started, and files are opened on the way to that."""
    text = f"[rlimits]\nnofile = 16\n[process]\n{process}\n"
    how = {"before": hold_many, "close_fds": False}
    for warm in (False, True):
        posture = sandbox.dump(text, warm=warm, **how)
        assert posture.rlimits[resource.RLIMIT_NOFILE] == [16, 16]
        assert posture.descriptors.keys() == {"0", "1", "2"}


def test_nor_for_the_words_of_what_is_missing(sandbox: Sandbox) -> None:
    text = "[rlimits]\nnofile = 16\n[filesystem]\nexecute = ['{}']\n"
    script = sandbox.write("script", "#!/no/such/interpreter\n", 0o755)
    for path, word in ((script, "interpreter"), (f"{script}-not", "there is no command")):
        done = sandbox.run(text.format(script), path, before=hold_many, close_fds=False)
        assert done.returncode in {126, 127}
        assert word in done.stderr


def test_a_live_sandboxs_first_process_has_the_limit_too(sandbox: Sandbox) -> None:
    with named(sandbox, "limited", text="[rlimits]\nnofile = 16\n") as process:
        children = f"/proc/{process.pid}/task/{process.pid}/children"
        first = int(Path(children).read_text(encoding="ascii"))
        limits = Path(f"/proc/{first}/limits")
        pattern = r"Max open files +16 +16 "
        until(lambda: re.search(pattern, limits.read_text(encoding="ascii")), "no limit")
        joined = sbx(sandbox, "exec", "limited", sandbox.probe, "dump")
        assert json.loads(joined.stdout)["rlimits"][resource.RLIMIT_NOFILE] == [16, 16]


def test_root_may_have_more_than_its_caller(as_root: Sandbox) -> None:
    """While it has that privilege, which nobody has in a user namespace of its own."""

    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, 400))

    text = "[rlimits]\nnofile = [310, 401]\n"
    host = "[namespaces]\nuser = false\n"
    has = int(as_root.dump_outside().status["CapEff"], 16)
    if has & capability_mask(["CAP_SYS_RESOURCE"]):
        limits = as_root.dump(text + host, before=lower).rlimits
        assert limits[resource.RLIMIT_NOFILE] == [310, 401]
    else:  # as in a container
        assert "more than the caller" in as_root.refusal(text + host, before=lower)
    assert "more than the caller's own hard limit" in as_root.refusal(text, before=lower)


def test_a_limit_above_the_callers_is_an_error(as_user: Sandbox) -> None:
    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, 400))

    message = as_user.refusal("[rlimits]\nnofile = 401", before=lower)
    assert "rlimits.nofile" in message
    assert "more than the caller's own hard limit" in message


def test_a_file_cannot_grow_past_its_limit(sandbox: Sandbox) -> None:
    text = "[rlimits]\nfsize = '16K'\n[filesystem]\ntmpfs = ['/tmp']"
    assert sandbox.attempt(text, "fill", "/tmp/f").outcome == "SIGXFSZ"


# ---- Files and their modes ----


@pytest.mark.parametrize("mask", ("0022", "0077", "0000"))
def test_the_umask_is_what_the_profile_says(sandbox: Sandbox, mask: str) -> None:
    text = f"[process]\numask = '{mask}'\n[filesystem]\ntmpfs = ['/tmp']"
    assert sandbox.dump(text, before=lambda: os.umask(0o027) and None).umask == int(mask, 8)


@pytest.mark.parametrize("mask", (0o027, 0o002))
def test_the_umask_can_be_the_callers(sandbox: Sandbox, mask: int) -> None:
    text = "[process]\numask = 'inherit'\n[filesystem]\ntmpfs = ['/tmp']"
    assert sandbox.dump(text, before=lambda: os.umask(mask) and None).umask == mask


def test_the_working_directory_is_the_profiles(sandbox: Sandbox) -> None:
    assert sandbox.dump("").cwd == "/"
    text = "[process]\ncwd = '/data/deep'\n[filesystem]\ntmpfs = ['/data/deep']"
    assert sandbox.dump(text).cwd == "/data/deep"


def test_a_working_directory_that_is_not_there_is_an_error(sandbox: Sandbox) -> None:
    message = sandbox.refusal("[process]\ncwd = '/nowhere'")
    assert ".toml:5: process.cwd: the working directory '/nowhere': No such file" in message
    assert "hint: grant it with filesystem.read, or set process.cwd" in message


def test_a_working_directory_that_is_a_file_is_an_error(sandbox: Sandbox) -> None:
    text = "[process]\ncwd = '/etc/hostname'\n[filesystem]\nread = ['/etc/hostname']"
    assert "process.cwd" in sandbox.refusal(text)


def test_a_link_out_of_the_root_leads_nowhere_as_working_directory(sandbox: Sandbox) -> None:
    """Nor does the caller's own working directory stay open behind it."""
    data = sandbox.mkdir("data")
    os.symlink("../../../../../../../etc", f"{data}/up")
    text = f"[process]\ncwd = '{data}/up'\n[filesystem]\nread = ['{data}']"
    assert "process.cwd" in sandbox.refusal(text, cwd="/etc")
    magic = "[process]\ncwd = '/proc/1/root'"
    assert "process.cwd" in sandbox.refusal(magic, cwd="/etc")


# ---- Environment ----


def test_the_environment_is_exactly_the_list(sandbox: Sandbox) -> None:
    text = """
        [environment]
        pass = ["TERM", "LC_*", "MISSING", "SET"]
        set = { A = "1", SET = "profile", EMPTY = "" }
    """
    env = {
        "TERM": "dumb",
        "LC_ALL": "C",
        "LC_": "x",
        "LCX": "no",
        "TERMINAL": "no",
        "SET": "caller",
        "SECRET": "s",
        "LD_LIBRARY_PATH": "/nonexistent",
    }
    inside = sandbox.dump(text, env=env | {"HOME": sandbox.home}).variables
    assert inside == {
        "PATH": "/usr/bin:/bin",
        "TERM": "dumb",
        "LC_ALL": "C",
        "LC_": "x",
        "A": "1",
        "SET": "profile",
        "EMPTY": "",
    }


def test_a_passed_value_is_the_one_of_this_launch(sandbox: Sandbox) -> None:
    """It isn't part of the plan, so that a warm launch has it right."""
    text = "[environment]\npass = ['WORD']"
    for warm, word in ((False, "one"), (True, "two")):
        env = {"WORD": word, "HOME": sandbox.home}
        assert sandbox.dump(text, env=env, warm=warm).variables["WORD"] == word


def test_entries_that_are_not_variables_are_not_passed(sandbox: Sandbox) -> None:
    """execve(2) takes any text; a name that is passed has to be followed by a '='."""
    launch = sandbox.arguments("[environment]\npass = ['WORD', 'W*']", [sandbox.probe, "dump"])
    odd = [interpreter(), "-c", EXECUTE_ODD, *launch]
    done = sandbox.program(odd)
    assert done.returncode == 0, done
    assert '"environment": ["PATH=/usr/bin:/bin", "WORD=last"]' in done.stdout


EXECUTE_ODD = """
import ctypes, sys
arguments = [word.encode() for word in sys.argv[1:]]
argv = (ctypes.c_char_p * (len(arguments) + 1))(*arguments)
entries = [b"WORD", b"", b"=x", b"WORD=last", b"HOME=/nonexistent"]
envp = (ctypes.c_char_p * (len(entries) + 1))(*entries)
ctypes.CDLL(None).execve(argv[0], argv, envp)
"""


# ---- Session and streams ----


def test_the_payload_leads_a_session_of_its_own(sandbox: Sandbox) -> None:
    inside = sandbox.dump("")
    assert inside.session == inside.group == inside.pid == 2


def test_the_callers_terminal_is_not_the_payloads(sandbox: Sandbox) -> None:
    """Without a session of its own it would be, to be typed into (CVE-2017-5226)."""
    shared = "[process]\nnew_session = false"
    for text, outcome in (("", "ENXIO"), (shared, "ok")):
        master, slave = pty.openpty()

        def take(slave: int = slave) -> None:
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

        try:
            found = sandbox.attempt(text, "open", "/dev/tty", "rw", before=take, pass_fds=(slave,))
            assert found.outcome == outcome
        finally:
            os.close(master)
            os.close(slave)


def test_standard_input_is_the_callers_or_empty(sandbox: Sandbox) -> None:
    assert sandbox.attempt("", "readfd", 0, stdin="words").value == "words"
    null = "[process]\nstdin = 'null'"
    assert sandbox.attempt(null, "readfd", 0, stdin="words").value == ""


def test_what_the_caller_did_to_its_signals_does_not_reach_the_payload(sandbox: Sandbox) -> None:
    def spoil() -> None:
        for number in SIGNALS:
            if number not in {signal.SIGKILL, signal.SIGSTOP}:
                signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, set(SIGNALS))

    status = sandbox.dump("", before=spoil).status
    assert int(status["SigBlk"], 16) == int(status["SigIgn"], 16) == int(status["SigPnd"], 16) == 0


def test_the_death_of_the_caller_is_armed(sandbox: Sandbox) -> None:
    """With an init it is the init that is killed, and with it the PID namespace."""
    assert sandbox.dump("[process]\ninit = false").death_signal == signal.SIGKILL
    shared = "[process]\ndie_with_parent = false\ninit = false"
    assert sandbox.dump(shared).death_signal == 0
