"""What is thrown at everybody at once: processes, memory, signals. Who isn't meant must not feel it."""

import os
import subprocess
import time

import pytest

from tests.isolation.doors import Results, read_answers
from tests.kernel.harness import TICK, Sandbox

PROMPT = 2.0
"""Seconds in which nothing may be left, on a machine that has other things to do."""


def limited(results: Results, text: str) -> str:
    """A profile with limits of the whole sandbox; the subject's otherwise."""
    head = 'schema = 1\nprofile.name = "bombs"\nprofile.extends = "./subject.toml"\n'
    return results.sandbox.write(f"limited-{abs(hash(text)):x}.toml", head + text)


def thrown(
    results: Results, door: Sandbox, profile: str, *words: str
) -> subprocess.CompletedProcess[str]:
    return door.shipped(profile, results.scene.probe, *map(results.scene.fill, words), timeout=60)


def alive(number: str) -> bool:
    """Whether the process is there and no corpse."""
    try:
        with open(f"/proc/{number}/stat", encoding="ascii") as file:
            return file.read().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


def running(program: str) -> list[int]:
    """Processes of this program, wherever they are."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{name}/exe") == program:
                found.append(int(name))
        except OSError:
            continue
    return found


def test_a_signal_to_everybody_stays_in_the_sandbox(results: Results, door: Sandbox) -> None:
    """Everybody inside is hit, the probe that waits for it included, and the other sandbox is not."""
    subject = results.sandbox.path("subject.toml")
    done = thrown(results, door, subject, "signal", "-1", "9")
    assert done.returncode == 128 + 9, done
    assert alive(results.scene.around["peer"])


# A sandbox that waits and then one that attacks, with no process but theirs within reach; arguments: the
# launcher, a profile, the probe, a directory. What the first one says at its end, it has lived to say.
BESIDE = """\
mkfifo "$4/in"
"$1" run --profile "$2" -- "$3" stay <"$4/in" >"$4/out" 2>/dev/null &
exec 9>"$4/in"
until grep -q here "$4/out"; do sleep 0.02; done
"$1" run --profile "$2" -- "$3" signal -1 9 9>&- >/dev/null 2>&1
exec 9>&-
wait
cat "$4/out"
"""
SHARED = "[identity]\nmap = 'self'\n[namespaces]\npid = false\n[filesystem]\nproc = 'none'\n"
UNSCOPED = "[landlock]\nscopes = ['abstract-unix-socket']\n"


@pytest.mark.parametrize(
    ("layers", "lives"),
    (("", True), (SHARED, True), (SHARED + UNSCOPED, False)),
    ids=("both", "Landlock alone", "neither"),
)
def test_a_signal_to_everybody_hits_another_sandbox_only_without_both_layers(
    results: Results, layers: str, lives: bool
) -> None:
    """The namespace and Landlock each keep it in; without them, in a namespace for this test, it hits."""
    directory = results.sandbox.mkdir(f"beside-{len(layers)}")
    apart = ["--pid", "--fork", "--mount", "--mount-proc", "--kill-child"]
    if not results.sandbox.is_root:
        apart += ["--user", "--map-current-user"]
    words = (results.sandbox.launcher, limited(results, layers), results.scene.probe, directory)
    done = results.sandbox.program(
        ["unshare", *apart, "sh", "-c", BESIDE, "sh", *words], timeout=60
    )
    assert done.stdout.startswith("here\n"), done
    assert ('"succeeded"' in done.stdout) == lives, done


def test_a_fork_bomb_leaves_the_host_alone_and_is_reaped(results: Results, door: Sandbox) -> None:
    """rlimits.nproc counts within the sandbox's user namespace, so it holds without control groups."""
    before = set(running(results.scene.probe))
    profile = limited(results, "[rlimits]\nnproc = 200\n")
    words = door.shipped_arguments(profile, results.scene.probe, "fork-bomb", "30")
    with door.popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as bomb:
        deadline = time.monotonic() + 20
        while len(set(running(results.scene.probe)) - before) < 150:
            assert time.monotonic() < deadline
            assert bomb.poll() is None
            time.sleep(TICK)
        # The host still forks, and so does a sandbox of the same user.
        assert subprocess.run(["/bin/true"], check=False).returncode == 0
        subject = results.sandbox.path("subject.toml")
        other = thrown(results, door, subject, "forks", "3")
        assert read_answers(other.stdout)[0].detail == "3"
        assert len(set(running(results.scene.probe)) - before) <= 200
        start = time.monotonic()
        bomb.terminate()
        time.sleep(TICK)
        bomb.kill()
        bomb.wait(20)
        while set(running(results.scene.probe)) - before:
            assert time.monotonic() - start < PROMPT
            time.sleep(TICK)
        bomb.communicate()
    assert alive(results.scene.around["peer"])


@pytest.mark.parametrize(
    ("words", "small"),
    (
        ("memory 100", "memory 4"),
        ("memory-file 100", "memory-file 4"),
        ("fill /dev/shm/big 100", "fill /dev/shm/big 4"),
        ("fill /tmp/big 100", "fill /tmp/big 4"),
    ),
)
def test_memory_by_any_name_ends_its_own_sandbox_alone(
    results: Results, door: Sandbox, words: str, small: str
) -> None:
    """Without the limit the same goes well; with it what fits goes well."""
    sized = (
        '[devices]\nshm_size = "200M"\n[filesystem]\ntmpfs = [{ path = "/tmp", size = "200M" }]\n'
    )
    limit = '[resources]\nmemory_max = "32M"\nmemory_swap_max = 0\n'
    if results.caller == "user":
        # Nothing runs without its limits where they can't be held.
        done = thrown(results, door, limited(results, sized + limit), *small.split())
        assert (done.returncode, done.stdout) == (125, ""), done
        return
    found = thrown(results, door, limited(results, sized + limit), *words.split())
    assert found.returncode == 128 + 9 or read_answers(found.stdout)[0].outcome == "SIGKILL"
    assert alive(results.scene.around["peer"])
    for text, given in ((sized, words), (sized + limit, small)):
        fine = thrown(results, door, limited(results, text), *given.split())
        assert read_answers(fine.stdout)[0].outcome == "succeeded", fine
