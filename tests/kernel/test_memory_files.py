"""A program in a memory file lies in no directory: `filesystem.execute` has no say, a rule of the filter has."""

from tests.kernel.harness import Sandbox, outcomes

NOEXEC_SEAL, EXEC = 8, 16  # linux/memfd.h
RULE = """
[[seccomp.rules]]
call = "memfd_create"
action = "deny"
args = [{ index = 1, op = "masked-eq", mask = 8, value = 0 }]
"""
TRIES = [("memfd", flags) for flags in (0, EXEC, NOEXEC_SEAL)]


def ways(sandbox: Sandbox, text: str) -> list[str]:
    return outcomes(sandbox.attempts("[filesystem]\nproc = 'read-only'\n" + text, *TRIES))


def test_a_payload_may_execute_one_whatever_may_be_executed(sandbox: Sandbox) -> None:
    """The control, and what SECURITY.md says isn't promised: Landlock knows no rule for such a file."""
    with open("/proc/sys/vm/memfd_noexec", encoding="ascii") as file:
        of_host = int(file.read())
    bare, asked = ("ok", "EACCES", "EACCES")[of_host], ("ok", "ok", "EACCES")[of_host]
    assert ways(sandbox, "") == [bare, asked, "EACCES"]


def test_a_rule_leaves_only_those_that_never_can_be(sandbox: Sandbox) -> None:
    """MFD_NOEXEC_SEAL, which chmod doesn't undo; and so it is without the other layer."""
    for text in (RULE, RULE + "[landlock]\nenabled = false\n"):
        assert ways(sandbox, text) == ["EPERM", "EPERM", "EACCES"]


def test_without_the_call_there_is_none(sandbox: Sandbox) -> None:
    assert ways(sandbox, "[seccomp]\ndeny = ['memfd_create']\n") == ["EPERM"] * 3


def test_the_sysctl_is_no_users_to_set(as_user: Sandbox) -> None:
    """Why it is a rule: the setting of a PID namespace belongs to user 0 of the host, in none of its own."""
    text = "[identity]\nmap = 'root'\n[filesystem]\nproc = 'writable'\n[seccomp]\nenabled = false\n"
    text += "[landlock]\nenabled = false\n"
    assert as_user.attempt(text, "open", "/proc/sys/vm/memfd_noexec", "w").outcome == "EACCES"
