"""Control groups can't be written to in a sandbox, whatever its profile grants around them."""

import os
from collections.abc import Iterator

import pytest

from sandbox import _cgroups
from tests.kernel.harness import NOT_ROOT, Sandbox, outcomes
from tests.kernel.pieces import bind, own_for_payload

# Without these the payload of root would be somebody to whom the files give no right at all.
AS_HOST_ROOT = "[identity]\nmap = 'host'\n[namespaces]\nuser = false\n"


@pytest.fixture
def group(sandbox: Sandbox) -> Iterator[str]:
    """A cgroup that belongs to the payload's user, as a delegated one does."""
    if os.geteuid() != 0:
        pytest.skip(NOT_ROOT)
    mounts = _cgroups.read().mounts
    top = mounts.get("pids", mounts.get(_cgroups.UNIFIED, ""))
    path = f"{top}/sbx-test-{os.getpid()}"
    os.mkdir(path)
    try:
        own_for_payload(sandbox, path, f"{path}/cgroup.procs")
        yield path
    finally:
        for name in ("new", ""):
            if os.path.isdir(f"{path}/{name}"):
                os.rmdir(f"{path}/{name}")


def attacks(group: str, prefix: str = "") -> list[tuple[str, ...]]:
    """To leave the limits, to make a cgroup without any, and to be run as root on release."""
    return [
        ("open", f"{prefix}{group}/cgroup.procs", "w"),
        ("mkdir", f"{prefix}{group}/new"),
        ("chmod", f"{prefix}{group}/cgroup.procs", "0666"),
    ]


@pytest.mark.parametrize("above", ("/sys/fs", "/sys", "/"))
def test_what_is_writable_above_leaves_control_groups_alone(
    sandbox: Sandbox, group: str, above: str
) -> None:
    assert outcomes(sandbox.outside(attacks(group)[0])) == ["ok"]
    text = f"[filesystem]\nwrite = ['{above}']\n"
    assert outcomes(sandbox.attempts(text, *attacks(group), warm=True)) == ["EROFS"] * 3


@pytest.mark.parametrize(("source", "inside"), (("/sys", "/x"), ("/sys/fs", "/x"), ("/", "/x")))
def test_nor_does_a_mount_elsewhere_bring_them(
    sandbox: Sandbox, group: str, source: str, inside: str
) -> None:
    text = bind(source, inside, "writable = true")
    seen = group[len(source.rstrip("/")) :]
    assert outcomes(sandbox.attempts(text, *attacks(seen, inside), warm=True)) == ["EROFS"] * 3


@pytest.mark.parametrize("above", ("/sys", "/"))
def test_root_itself_cannot_change_them(as_root: Sandbox, above: str) -> None:
    """The limits of others, and the program that version 1 runs on the host."""
    mounts = _cgroups.read().mounts
    top = mounts.get("memory", mounts.get(_cgroups.UNIFIED, ""))
    files = [name for name in ("release_agent", "cgroup.procs") if os.path.exists(f"{top}/{name}")]
    tries = [("open", f"{top}/{name}", "w") for name in files]
    assert outcomes(as_root.outside(*tries)) == ["ok"] * len(tries)
    text = f"{AS_HOST_ROOT}[filesystem]\nwrite = ['{above}']\n"
    assert outcomes(as_root.attempts(text, *tries, warm=True)) == ["EROFS"] * len(tries)
    # A mount on top of another is as good as none if it can be taken off.
    answer = as_root.attempt(text, "umount", "/sys/fs/cgroup")
    assert answer.outcome == "EPERM"


@pytest.mark.parametrize("path", ("/sys/fs/cgroup", "/sys/fs/cgroup/anything"))
def test_to_ask_for_it_is_an_error(sandbox: Sandbox, path: str) -> None:
    message = sandbox.refusal(f"[filesystem]\nwrite = ['{path}']\n")
    assert "can lift the limits of any sandbox" in message
    assert "filesystem.write[0]" in message


def test_they_can_be_read(sandbox: Sandbox, group: str) -> None:
    text = "[filesystem]\nread = ['/sys/fs/cgroup']\n"
    assert sandbox.attempt(text, "read", f"{group}/cgroup.procs").outcome == "ok"
    assert outcomes(sandbox.attempts(text, *attacks(group), warm=True)) == ["EROFS"] * 3
