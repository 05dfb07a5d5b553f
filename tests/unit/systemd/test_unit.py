"""A profile's service as a unit, line by line."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sandbox.errors import SandboxError
from sandbox.profile import load
from sandbox.profile.model import Profile
from sandbox.profile.names import shipped_names
from sandbox.systemd.places import Owner, Places, missing, places
from sandbox.systemd.template import template_text
from sandbox.systemd.unit import Wish, units_of
from tests.applications import application
from tests.plans import resolve

LAUNCHER = "/usr/bin/sbx"
VERSIONS = (247, 252, 254, 257)


def wish(**more: Any) -> Wish:
    plain: dict[str, Any] = {
        "name": "app",
        "manager": "system",
        "profile": "/etc/sbx/app.toml",
        "launcher": LAUNCHER,
        "systemd": 257,
    }
    return Wish(**(plain | more))


def profile(**tables: Any) -> Profile:
    return resolve(tables).profile


def settings(text: str, section: str = "Service") -> dict[str, str]:
    """The lines of a section; none of ours stands twice."""
    part = text.partition(f"[{section}]\n")[2].partition("\n\n[")[0]
    pairs = [line.partition("=") for line in part.splitlines() if line]
    found = {key: value for key, _, value in pairs}
    assert len(found) == len(pairs) or "ListenStream" in found
    return found


def service(wanted: Wish | None = None, **tables: Any) -> dict[str, str]:
    (unit, *_) = units_of(profile(**tables), wanted or wish(), Places())
    return settings(unit.text)


def test_the_defaults_need_no_table() -> None:
    found = service()
    assert (found["Type"], found["NotifyAccess"]) == ("notify", "main")
    assert found["ExecStart"] == "/usr/bin/sbx run --name app --profile /etc/sbx/app.toml"
    assert (found["Restart"], found["KillMode"], found["TimeoutStopSec"]) == ("no", "mixed", "35s")
    assert (found["Delegate"], found["DelegateSubgroup"]) == ("yes", "supervisor")
    assert found["SuccessExitStatus"] == "143"
    assert not {"FileDescriptorStoreMax", "WatchdogSec", "ExecReload", "Slice", "KillSignal"} & set(
        found
    )


def test_a_service_says_what_its_table_says() -> None:
    found = service(
        service={
            "type": "notify",
            "watchdog": "1min 30s",
            "start_timeout": "infinity",
            "stop_signal": "SIGINT",
            "stop_timeout": "500ms",
            "reload_signal": "SIGHUP",
            "restart": "on-failure",
            "restart_delay": "5s",
            "slice": "web.slice",
        }
    )
    expected = {
        "Type": "notify",
        "NotifyAccess": "main",
        "FileDescriptorStoreMax": "64",
        "WatchdogSec": "90s",
        "TimeoutStartSec": "infinity",
        "KillSignal": "SIGINT",
        "SuccessExitStatus": "130",
        "TimeoutStopSec": "5500ms",
        "ExecReload": "kill -s HUP $MAINPID",
        "Restart": "on-failure",
        "RestartSec": "5s",
        "Slice": "web.slice",
    }
    assert {key: found[key] for key in expected} == expected


def test_an_older_systemd_gets_no_setting_that_it_would_warn_of() -> None:
    assert "DelegateSubgroup" not in service(wish(systemd=253))
    old = service(wish(systemd=247))
    assert (old["Type"], "NotifyAccess" in old) == ("exec", False)
    assert "Type=exec\nExecStart" in template_text("sbx", 247)
    with pytest.raises(SandboxError, match="246"):
        service(wish(systemd=246))


def test_what_the_command_line_says_is_escaped() -> None:
    found = service(
        wish(variables=("a=b c", "d=$e %f"), environment=("G=h i",), account="daemon"),
    )
    assert '--set "a=b c" --set "d=$$e %%f" --profile' in found["ExecStart"]
    assert (found["Environment"], found["User"]) == ('"G=h i"', "daemon")


SOCKETS = {"sockets": ["http", "https"]}


def test_sockets_get_units_that_start_the_service() -> None:
    wanted = wish(listen={"https": ("443", "[::1]:8443"), "http": ("/run/a b.sock",)})
    unit, http, https = units_of(profile(service=SOCKETS), wanted, Places())
    assert (http.name, https.name) == ("app-http.socket", "app-https.socket")
    assert settings(unit.text, "Unit")["Requires"] == "app-http.socket app-https.socket"
    assert settings(unit.text, "Install") == {"Also": "app-http.socket app-https.socket"}
    found = settings(http.text, "Socket")
    expected = {"ListenStream": "/run/a b.sock", "FileDescriptorName": "http"}
    assert found == {**expected, "Service": "app.service"}
    assert re.findall("ListenStream=(.*)", https.text) == ["443", "[::1]:8443"]


def test_one_socket_is_called_like_the_service() -> None:
    one = profile(service={"sockets": ["http"]})
    _, socket = units_of(one, wish(listen={"http": ("80",)}), Places())
    assert socket.name == "app.socket"


@pytest.mark.parametrize(
    ("more", "words"),
    (
        ({"listen": {"http": ("80",)}}, "names 'https', and nothing says"),
        ({"listen": {"http": ("80",), "https": ("443",), "x": ("1",)}}, "no socket of that name"),
        ({"listen": {"http": ("",), "https": ("443",)}}, "nothing can listen on ''"),
        ({"listen": {"http": ("8\n0",), "https": ("443",)}}, "nothing can listen on"),
        ({"credentials": {"x": "/x"}}, "no secret"),
    ),
)
def test_what_does_not_fit_the_profile_is_refused(more: dict[str, Any], words: str) -> None:
    wanted = wish(**({"listen": {"http": ("80",), "https": ("443",)}} | more))
    with pytest.raises(SandboxError, match=re.escape(words)):
        units_of(profile(service=SOCKETS), wanted, Places())


def test_credentials_of_secrets_are_asked_for() -> None:
    secrets = {"a": {"credential": "one"}, "b": {"credential": "two"}, "c": {"file": "/c"}}
    (unit,) = units_of(
        profile(secrets=secrets), wish(credentials={"one": "/etc/100% key"}), Places()
    )
    assert re.findall("LoadCredential=(.*)", unit.text) == ["one:/etc/100%% key", "two"]


def test_root_keeps_what_the_profile_keeps() -> None:
    kept = service(capabilities={"keep": ["CAP_NET_RAW"], "ambient": True})
    assert "CAP_NET_RAW" in kept["CapabilityBoundingSet"].split()
    assert "CAP_NET_RAW" not in service()["CapabilityBoundingSet"].split()
    assert service(wish(account="daemon"))["CapabilityBoundingSet"] == ""


def test_no_group_of_calls_is_taken_away_that_the_profile_grants_a_call_of() -> None:
    def denied(**seccomp: Any) -> set[str]:
        return set(service(seccomp=seccomp)["SystemCallFilter"].removeprefix("~").split())

    assert "@clock" in denied(allow=["@program"])
    assert "@clock" not in denied(allow=["@program", "adjtimex"])
    assert "@cpu-emulation" not in denied(allow=["modify_ldt"])
    rule = {"call": "adjtimex", "action": "allow", "args": [{"index": 0, "op": "eq", "value": 0}]}
    assert "@clock" not in denied(allow=["@program"], rules=[rule])
    assert "SystemCallFilter" not in service(seccomp={"enabled": False})


def test_newuidmap_is_left_its_privileges() -> None:
    ranged: dict[str, Any] = {"identity": {"map": "range"}}
    assert "NoNewPrivileges" not in service(wish(account="daemon"), **ranged)
    assert "NoNewPrivileges" not in service(wish(manager="user"), **ranged)
    assert service(**ranged)["NoNewPrivileges"] == "yes"


def test_homes_are_hidden_where_nothing_of_them_is_needed() -> None:
    assert service(wish(own=("/usr/bin/sbx",)))["ProtectHome"] == "yes"
    assert "ProtectHome" not in service(wish(own=("/home/u/sbx",)))
    assert "ProtectHome" not in service(filesystem={"read": ["/"]})
    assert "ProtectHome" not in service(mounts=[bind("/root/x", writable=False)])
    assert service(filesystem={"read": ["/homes", "/rooted"]})["ProtectHome"] == "yes"


def test_what_the_filter_grants_beyond_the_ordinary_is_left_alone() -> None:
    def found(*allow: str, **more: Any) -> dict[str, str]:
        return service(seccomp={"allow": ["@program", *allow], **more})

    both = {"RestrictAddressFamilies", "LockPersonality"}
    assert both <= set(found()) & set(found("@network")) & set(found("@service"))
    assert both - set(found("@sockets")) == {"RestrictAddressFamilies"}
    assert both - set(found("socket")) == {"RestrictAddressFamilies"}
    assert both - set(found("@execution-domain")) == {"LockPersonality"}
    rule = {"call": "socket", "action": "allow", "args": [{"index": 0, "op": "eq", "value": 40}]}
    assert both - set(found(rules=[rule])) == {"RestrictAddressFamilies"}


def test_devices_of_the_host_stay_visible() -> None:
    assert service()["PrivateDevices"] == "yes"
    assert "PrivateDevices" not in service(devices={"allow": ["/dev/kvm"]})


def test_a_users_manager_mounts_nothing() -> None:
    found = service(wish(manager="user"))
    assert not {key for key in found if key.startswith(("Protect", "Private", "ReadWrite"))}


def bind(path: str, *, writable: bool = True) -> dict[str, Any]:
    return {"type": "bind", "source": path, "target": path, "writable": writable}


def test_directories_that_are_missing_are_the_units_to_make(tmp_path: Path) -> None:
    new = f"/var/lib/sbx-test-{os.getpid()}"
    mounts = [
        bind(new),
        bind(f"/var/log{new[8:]}"),
        bind(str(tmp_path)),
        bind("/x", writable=False),
    ]
    found = dict(places(profile(mounts=mounts), Owner(0, 0, "/root")).settings())
    assert found["StateDirectory"] == os.path.basename(new)
    assert found["StateDirectoryMode"] == "0700"
    assert found["LogsDirectory"] == os.path.basename(new)
    assert found["ReadWritePaths"] == f"-{tmp_path} -/var/cache/sbx"


def test_what_is_missing_is_named_unless_the_unit_makes_it(tmp_path: Path) -> None:
    new = f"/var/lib/sbx-test-{os.getpid()}"
    gone = f"{tmp_path}/gone"
    there = profile(
        mounts=[bind(new), bind(gone), bind(f"{gone}2") | {"optional": True}, bind(str(tmp_path))]
    )
    found = places(there, Owner(0, 0, "/root"))
    assert found.directories() == {new}
    assert missing(there, found.directories()) == (gone,)


def test_a_directory_of_somebody_elses_is_never_given_away() -> None:
    """systemd changes the owner of a StateDirectory=, with all that is in it."""
    there = profile(mounts=[bind("/var/lib/dpkg")])
    assert os.stat("/var/lib/dpkg").st_uid == 0
    own = dict(places(there, Owner(0, 0, "/root")).settings())
    assert (own["StateDirectory"], own["StateDirectoryMode"]) == ("dpkg", "0755")
    others = dict(places(there, Owner(61234, 61234, "/home/x")).settings())
    assert "StateDirectory" not in others
    assert "-/var/lib/dpkg" in others["ReadWritePaths"].split()


@pytest.mark.parametrize("manager", ("system", "user"))
def test_systemd_has_nothing_to_say_about_any_unit(tmp_path: Path, manager: str) -> None:
    """All shipped profiles, for this host's systemd; newer ones are asked in the emulated machine."""
    analyze = application("systemd-analyze")
    version = subprocess.run([analyze, "--version"], capture_output=True, text=True, check=True)
    number = int(version.stdout.split()[1])
    paths = []
    environ = {"HOME": "/home/user"}
    for name in shipped_names():
        shipped = load(name, cwd="/srv", environ=environ).profile
        listen = dict.fromkeys(shipped.service.sockets, ("/run/x.sock",))
        wanted = wish(
            name=f"sbx-{name}",
            manager=manager,
            launcher="/bin/true",
            systemd=number,
            listen=listen,
            profile=name,
            variables=("a=b c%d$e\n\"'\\",),
        )
        for unit in units_of(shipped, wanted, places(shipped, Owner(0, 0, "/root"))):
            path = tmp_path / unit.name
            path.write_text(unit.text)
            paths.append(str(path))
    template = tmp_path / "sbx@.service"
    template.write_text(template_text("/bin/true", number))
    command = [analyze, "verify", "--man=no", *paths, str(template)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
