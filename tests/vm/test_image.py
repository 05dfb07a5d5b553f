"""The image: kept whole, made anew where it isn't, and gone with whoever uses it."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.vm import builder, host, image, recipe
from tests.vm.machine import Machine
from tests.vm.qemu import MachineError

HOLD = """\
import sys, time
from tests.vm.machine import Machine
with Machine(sys.argv[1]) as machine:
    print("up", flush=True)
    time.sleep(300)
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with no image of this recipe's, wherever root may have one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(image, "SYSTEM_CACHE", str(tmp_path / "none"))
    return tmp_path / "sbx-tests"


def build_nothing(where: str) -> None:
    for name in builder.FILES:
        Path(where, name).write_text(name * 10, encoding="ascii")


def test_what_is_whole_is_made_once_and_the_rest_anew(
    cache: Path, machine_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is missing or cut short, or what a killed builder has left, is no image."""
    built: list[str] = []
    said: list[str] = []

    def build(where: str) -> None:
        built.append(where)
        build_nothing(where)

    monkeypatch.setattr(builder, "check_builder", lambda: None)
    monkeypatch.setattr(builder, "build", build)
    left = cache / "partial-left"
    left.mkdir(parents=True)
    for _ in range(2):
        path = image.provide(said.append)
    assert path == str(cache / f"machine-{recipe.key()}")
    assert (len(built), len(said)) == (1, 1)
    for spoil in (lambda file: file.unlink(), lambda file: os.truncate(file, 3)):
        spoil(Path(path, "disk"))
        assert image.provide(said.append) == path
        assert Path(path, "disk").read_text(encoding="ascii") == "disk" * 10
    assert len(built) == 3
    assert sorted(os.listdir(cache)) == ["lock", f"machine-{recipe.key()}"]


def test_a_build_that_fails_leaves_nothing(
    cache: Path, machine_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(where: str) -> None:
        build_nothing(where)
        raise host.BuildError("no")

    monkeypatch.setattr(builder, "check_builder", lambda: None)
    monkeypatch.setattr(builder, "build", build)
    with pytest.raises(host.BuildError):
        image.provide(print)
    assert os.listdir(cache) == ["lock"]


def test_only_old_images_of_other_recipes_are_forgotten(
    cache: Path, machine_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two that were used last stay, and whatever was used in the last hour."""
    monkeypatch.setattr(builder, "check_builder", lambda: None)
    monkeypatch.setattr(builder, "build", build_nothing)
    now = time.time()
    for name, hours in (("machine-a", 9), ("machine-b", 8), ("machine-c", 7), ("machine-d", 0.5)):
        (cache / name).mkdir(parents=True)
        os.utime(cache / name, (now - hours * 3600,) * 2)
    image.provide(print)
    kept = {name for name in os.listdir(cache) if len(name) == len("machine-a")}
    assert kept == {"machine-c", "machine-d"}


def test_missing_tools_are_told_with_their_package(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(host.UnavailableError, match="Debian's package qemu-system-x86"):
        image.provide(print)


def test_where_apt_knows_no_debian_the_remedy_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other distributions' apt has other mirrors; one of Debian's can be named."""
    apt = tmp_path / "apt-get"
    apt.write_text("#!/bin/sh\necho \"'http://mirror.invalid/ubuntu/dists/noble/InRelease'\"\n")
    apt.chmod(apt.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("SBX_VM_MIRROR", raising=False)
    with pytest.raises(host.UnavailableError, match="SBX_VM_MIRROR"):
        host.mirrors()
    monkeypatch.setenv("SBX_VM_MIRROR", "http://mirror.invalid/pub/debian")
    assert f"deb http://mirror.invalid/pub/debian {recipe.SUITE} main" in host.mirrors()


# ---- What can befall a machine ----


def test_a_state_that_cannot_be_resumed_is_told(machine_image: str, tmp_path: Path) -> None:
    for name in ("vmlinuz", "initrd", "disk"):
        (tmp_path / name).symlink_to(f"{machine_image}/{name}")
    (tmp_path / "state").write_bytes(b"no state")
    with pytest.raises(MachineError, match="remove that directory"), Machine(str(tmp_path)):
        pass


def test_a_kernel_that_panics_is_told_with_its_console(machine_image: str) -> None:
    """At once, and not when the command's time is up."""
    with (
        Machine(machine_image) as machine,
        pytest.raises(MachineError, match="sysrq triggered crash"),
    ):
        machine.shell("echo c >/proc/sysrq-trigger; sleep 60")


def test_a_machine_dies_with_whoever_started_it(tree: str, machine_image: str) -> None:
    """Even by SIGKILL, nothing of it is left: no process, no file."""
    before = set(os.listdir("/tmp"))
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, machine_image], cwd=tree, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"up\n"
        (child,) = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()
        assert b"qemu-system" in Path(f"/proc/{child}/cmdline").read_bytes()
        holder.send_signal(signal.SIGKILL)
    late = time.monotonic() + 10
    while os.path.exists(f"/proc/{child}"):
        assert time.monotonic() < late, "qemu goes on"
        time.sleep(0.05)
    assert {name for name in set(os.listdir("/tmp")) - before if "machine" in name} == set()
