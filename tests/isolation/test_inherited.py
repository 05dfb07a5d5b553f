"""What a careless caller hands on, where it isn't the payload that attempts something."""

import json
import os
import sys

from tests.isolation.doors import read_answers
from tests.kernel.harness import Answer, Sandbox

RUNS = 100

# A program of the library's: how many descriptors its server has before and after, and meanwhile.
COUNTING = """\
import json, os, sys, time
from sandbox import Profile, Sandbox
from sandbox.process import server
box = Sandbox(Profile.load(sys.argv[1]))
def count():
    # The server closes what a sandbox had a moment after its end is told.
    seen = [-1, -2]
    while len(set(seen[-5:])) > 1:
        time.sleep(0.02)
        seen.append(len(os.listdir(f"/proc/{server.current().pid}/fd")))
    return seen[-1]
box.run(["/bin/true"])
before = count()
for _ in range(int(sys.argv[2])):
    box.run(["/bin/true"])
after = count()
running = [box.start(["/bin/sleep", "60"]) for _ in range(5)]
meanwhile = count()
for one in running:
    one.kill()
    one.wait()
print(json.dumps([before, after, meanwhile, count()]))
"""


def test_a_working_directory_through_a_descriptor_is_refused(sandbox: Sandbox) -> None:
    """The caller's descriptor 7 is a directory of the host's."""

    def leave_open() -> None:
        os.dup2(os.open("/etc", os.O_RDONLY), 7, inheritable=True)

    for path in ("/proc/self/fd/7", "/proc/1/fd/7", "/proc/thread-self/fd/7"):
        text = f"[process]\ncwd = '{path}'"
        assert "process.cwd" in sandbox.refusal(text, before=leave_open, close_fds=False)
    # The control: without a sandbox this is a way.
    [found] = sandbox.outside(
        ("read", "/proc/self/fd/7/passwd"), before=leave_open, close_fds=False
    )
    assert "root:" in found.value


def test_a_caller_whose_directory_was_removed_hands_none_on(sandbox: Sandbox) -> None:
    """Cold and warm; getcwd(2) of the caller's fails, that of the payload's is the root."""

    def vanish() -> None:
        os.mkdir("vanishing")
        os.chdir("vanishing")
        os.rmdir("../vanishing")

    tries = (("readlink", "/proc/self/cwd"),)
    assert sandbox.outside(*tries, before=vanish)[0].value.endswith("(deleted)")
    for _ in range(2):
        assert sandbox.attempts("", *tries, before=vanish) == [Answer("ok", "/")]


def test_a_directory_as_standard_input_is_refused(by_command: Sandbox, attempts_probe: str) -> None:
    """A payload would open by it whatever lies around it. Python itself doesn't start with one."""
    sandbox = by_command

    def redirect() -> None:
        os.dup2(os.open("/etc", os.O_RDONLY), 0)

    def outcome(*words: str) -> str:
        done = sandbox.program([*words], before=redirect)
        assert done.returncode == 0, done
        return read_answers(done.stdout)[0].outcome

    assert outcome(attempts_probe, "directory-stream") == "succeeded"
    assert outcome(attempts_probe, "through-a-directory", "passwd") == "succeeded"
    message = sandbox.refusal('[process]\nstdin = "inherit"', before=redirect)
    assert "standard input is a directory" in message


def test_a_hundred_runs_leave_the_servers_descriptors_as_they_were(by_command: Sandbox) -> None:
    """`sbx run` ends with its sandbox; the library's server is what stays."""
    sandbox = by_command
    path = sandbox.write("small.toml", 'schema = 1\n[profile]\nextends = "minimal"\n')
    done = sandbox.program([sys.executable, "-c", COUNTING, path, str(RUNS)], timeout=60)
    assert done.returncode == 0, done
    before, after, meanwhile, finally_ = json.loads(done.stdout)
    assert after == before
    # The control: where a sandbox hasn't ended, what it holds is seen, each one's, until it does.
    assert meanwhile >= before + 5
    assert finally_ == before
