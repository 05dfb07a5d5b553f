"""What a supervisor that was killed leaves, and who still learns of it: control groups, ends, logs."""

import os
import subprocess
import time

from tests.kernel.harness import Running, Sandbox
from tests.kernel.live import named, sbx
from tests.kernel.service.services import SECONDS, Services, until

LIMITED = "[resources]\npids_max = 50\n"
SURVIVES = '[process]\nterminal = "never"\n[service]\nlog = "file"\nsurvive = true\n'
LONGEST = "x" * 64


def cgroups_of(sandbox: Sandbox, name: str) -> list[str]:
    """As its record names them."""
    with open(os.path.join(sandbox.runtime, name, "record"), encoding="utf-8") as file:
        pairs = [pair.partition("=") for pair in file.read().split("\0")]
    return [value for key, _, value in pairs if key == "cgroup"]


def kill(services: Services, process: Running, name: str) -> None:
    """The supervisor of one that survives it, once its init listens for the next."""
    services.await_state("ready", name)
    time.sleep(0.1)
    process.kill()
    process.wait(SECONDS)


def adopt(sandbox: Sandbox, name: str) -> Running:
    words = [sandbox.launcher, "adopt", name]
    return sandbox.popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")


def is_empty(group: str) -> bool:
    with open(os.path.join(group, "cgroup.procs"), encoding="ascii") as file:
        return file.read() == ""


def test_gc_removes_the_limits_of_a_supervisor_that_was_killed(as_root: Sandbox) -> None:
    with named(as_root, "limited", text=LIMITED) as process:
        groups = cgroups_of(as_root, "limited")
        assert groups
        process.kill()
        process.wait(SECONDS)
    assert until(lambda: all(map(is_empty, groups)))
    done = sbx(as_root, "gc", "--dry-run")
    assert all(f"would remove cgroup {group}" in done.stdout for group in groups)
    assert all(map(os.path.isdir, groups))
    done = sbx(as_root, "gc")
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"removed cgroup {group}\n" in done.stdout for group in groups)
    assert not any(map(os.path.exists, groups))
    assert "limited" not in sbx(as_root, "gc").stdout


def test_gc_leaves_the_limits_of_what_has_outlived_its_supervisor(
    service_probe: str, as_root: Sandbox
) -> None:
    services = Services(as_root, service_probe)
    with services.start(SURVIVES + LIMITED, "await", "exit", "4", name="left") as process:
        kill(services, process, "left")
    groups = cgroups_of(as_root, "left")
    assert groups
    assert "left" not in sbx(as_root, "gc").stdout
    assert not any(map(is_empty, groups))
    with adopt(as_root, "left") as process:
        assert until(lambda: "ready" in sbx(as_root, "ps").stdout)
        process.terminate()
        assert process.wait(SECONDS) == 4
    assert not any(map(os.path.exists, groups))


def test_a_group_with_a_number_behind_the_longest_name_is_found_again(
    service_probe: str, as_root: Sandbox
) -> None:
    """Where another one has its name."""
    services = Services(as_root, service_probe)
    with named(as_root, LONGEST, text=LIMITED) as process:
        taken = cgroups_of(as_root, LONGEST)
        process.terminate()
        assert process.wait(SECONDS) == 0
    for group in taken:
        os.mkdir(group)
    try:
        with services.start(SURVIVES + LIMITED, "await", "exit", "4", name=LONGEST) as process:
            kill(services, process, LONGEST)
        groups = cgroups_of(as_root, LONGEST)
        assert [group.rpartition("-")[0] for group in groups] == taken
        with adopt(as_root, LONGEST) as process:
            assert until(lambda: "ready" in sbx(as_root, "ps").stdout)
            process.terminate()
            assert process.wait(SECONDS) == 4
        assert not any(map(os.path.exists, groups))
    finally:
        for group in taken:
            os.rmdir(group)
