"""Services that speak to a real systemd: notify, watchdog, stored descriptors, credentials, journal, sockets."""

import os
import subprocess
import tempfile
from collections.abc import Iterator

import pytest

from tests.vm import recipe
from tests.vm.machine import Machine
from tests.vm.units import installed

PROFILE = """\
schema = 1

[[mounts]]
type = "bind"
source = "{program}"
target = "{program}"
execute = true

[seccomp]
allow = ["@service"]

[process]
command = [{words}]
"""

_FLAGS = ("-std=gnu17", "-D_GNU_SOURCE", "-O1", "-static", "-Wall", "-Wextra", "-Werror")


@pytest.fixture
def program(machine: Machine, place: str) -> str:
    """The service program of tests/kernel, in the machine."""
    source = os.path.join(recipe.TREE, "tests/kernel/service/service_probe.c")
    with tempfile.TemporaryDirectory() as scratch:
        made = os.path.join(scratch, "service")
        compiler = os.environ.get("CC", "cc").split()
        subprocess.run([*compiler, *_FLAGS, "-o", made, source], check=True)
        machine.put(made, f"{place}/service")
    return f"{place}/service"


@pytest.fixture
def profile(machine: Machine, place: str) -> Iterator[str]:
    """Where the profile of a test lies; what it names goes with it."""
    yield f"{place}/app.toml"
    machine.succeed("rm", "-rf", "/run/systemd/system/app.service.d")
    machine.succeed("systemctl", "daemon-reload")


def write(machine: Machine, profile: str, program: str, words: tuple[str, ...], more: str) -> None:
    quoted = ", ".join(f'"{word}"' for word in (program, *words))
    machine.write(profile, PROFILE.format(program=program, words=quoted) + more)


def said(machine: Machine) -> list[str]:
    """What the sandbox has written to the journal under its name."""
    machine.run("journalctl", "--sync")
    return machine.succeed("journalctl", "-o", "cat", "SBX_NAME=app", "-t", "app").splitlines()


def test_systemd_hears_what_a_service_says(
    machine: Machine, place: str, program: str, profile: str
) -> None:
    machine.write(f"{place}/key", "the secret", 0o600)
    words = (
        *("show", "/run/secrets/key", "variable", "LISTEN_FDNAMES"),
        *("store", "kept", "say", r"READY=1\nSTATUS=serving", "await", "exit", "0"),
    )
    more = '[service]\ntype = "notify"\nlog = "journal"\n[secrets]\nkey = { credential = "key" }\n'
    write(machine, profile, program, words, more)
    drop_in = "[Service]\nFileDescriptorStoreMax=4\n"
    machine.write("/run/systemd/system/app.service.d/store.conf", drop_in)
    with installed(machine, profile, "--credential", f"key={place}/key", name="app") as unit:
        unit.systemctl("start", "app")
        assert unit.show("ActiveState", "StatusText", "NFileDescriptorStore") == {
            "ActiveState": "active",
            "StatusText": "serving",
            "NFileDescriptorStore": "1",
        }
        first = said(machine)
        assert first[0].endswith(" the secret")
        assert first[1] == "LISTEN_FDNAMES=(unset)"
        unit.systemctl("restart", "app")
        assert "LISTEN_FDNAMES=kept" in said(machine)
        unit.systemctl("stop", "app")
        assert unit.show("ActiveState", "Result", "ExecMainStatus") == {
            "ActiveState": "inactive",
            "Result": "success",
            "ExecMainStatus": "0",
        }


def test_a_service_that_hangs_is_started_again(
    machine: Machine, program: str, profile: str
) -> None:
    more = (
        '[service]\ntype = "notify"\nwatchdog = "3s"\nrestart = "on-failure"\n'
        'restart_delay = "100ms"\nstop_timeout = "5s"\n'
    )
    write(machine, profile, program, ("say", "READY=1", "sleep", "600000"), more)
    with installed(machine, profile, name="app") as unit:
        unit.systemctl("start", "app")
        unit.await_true("test $(systemctl show -P NRestarts app) -ge 1")
        assert "it gave no sign of life in time" in unit.journal()
        unit.await_true("systemctl is-active app")
        unit.systemctl("stop", "app")


def test_a_reload_ends_when_the_service_says_so(
    machine: Machine, program: str, profile: str
) -> None:
    words = (
        *("say", "READY=1", "await", "say", r"RELOADING=1\nSTATUS=reloading"),
        *("say", r"READY=1\nSTATUS=reloaded", "await", "exit", "0"),
    )
    more = '[service]\ntype = "notify"\nreload_signal = "SIGHUP"\n'
    write(machine, profile, program, words, more)
    with installed(machine, profile, name="app") as unit:
        unit.systemctl("start", "app")
        unit.systemctl("reload", "app")
        unit.await_true("systemctl show -P StatusText app | grep -x reloaded")
        assert unit.is_active() == "active"
        unit.systemctl("stop", "app")
        assert unit.show("Result") == {"Result": "success"}


def test_a_service_is_started_by_its_socket(machine: Machine, program: str, profile: str) -> None:
    words = ("serve", "3", "await", "exit", "0")
    write(machine, profile, program, words, '[service]\nsockets = ["http"]\n')
    with installed(machine, profile, "--listen", "http=127.0.0.1:8099", name="app") as unit:
        unit.systemctl("start", "app.socket")
        assert unit.is_active() == "inactive"
        assert unit.await_true("timeout 20 cat < /dev/tcp/127.0.0.1/8099") == "served\n"
        assert unit.is_active() == "active"
        unit.systemctl("stop", "app.socket", "app.service")
