"""`sbx systemd` before a real systemd 257: for the system's manager, a user's, and another account."""

import json

import pytest

from sandbox.systemd import quoting
from tests.vm.machine import Machine
from tests.vm.units import Unit, installed

SITE = "mkdir -p {0} && echo hello >{0}/index.html"
ODD_WORDS = (
    "",
    " ",
    ";",
    "a b",
    "$HOME",
    "${HOME}",
    "$$",
    "$",
    "%h%%",
    "100%",
    "'",
    '"',
    "\\",
    "a\\",
    "\\x41",
    "#",
    "-",
    "é\u202e",
    "\udcff",
    "tab\there",
    "line\nend",
    "\r\v\f\a\b\x1b[0m",
    "@!+-:|",
    "a=b",
    "*?[x]",
    "~",
)


def listing(machine: Machine) -> str:
    where = "/etc/systemd /home/user/.config/systemd /run/systemd/system /run/systemd/units"
    return machine.shell(f"find {where} 2>/dev/null | grep -v invocation: | sort").stdout


def test_install_and_remove_leave_the_machine_as_it_was(machine: Machine, place: str) -> None:
    # A name that no other test's journal has.
    machine.succeed("sh", "-c", SITE.format(f"{place}/www"))
    options = ("--set", f"directory={place}/www", "--set", "port=8071")
    install = ("sbx", "systemd", "install", "nginx", "--name", "page", *options)
    before = listing(machine)
    done = machine.run(*install, "--enable", "--now", "--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    assert "/etc/systemd/system/page.service: would be written" in done.stdout
    assert "would run: systemctl enable page.service" in done.stdout
    assert listing(machine) == before

    machine.succeed(*install, "--enable", "--now")
    unit = Unit(machine, "page")
    assert unit.await_true("curl -sf http://127.0.0.1:8071/") == "hello\n"
    assert unit.show("UnitFileState", "SubState", "Result") == {
        "UnitFileState": "enabled",
        "SubState": "running",
        "Result": "success",
    }
    assert machine.succeed("sbx", "ps", "--json").count('"page"') >= 1
    again = json.loads(machine.succeed(*install, "--json"))
    assert [file["action"] for file in again["files"]] == ["unchanged"]
    assert again["commands"] == []
    verified = machine.run("systemd-analyze", "verify", "--man=no", "page.service", timeout=120)
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")
    # systemd's own measure of exposure: 9.6 for the line alone.
    done = machine.run("systemd-analyze", "security", "--threshold=50", "page", timeout=120)
    assert done.returncode == 0, done.stdout

    machine.succeed("sbx", "systemd", "remove", "page")
    assert unit.is_active() == "inactive"
    assert listing(machine) == before
    assert "Failed" not in unit.journal()


@pytest.mark.parametrize(
    ("words", "said"),
    (
        (["nginx"], "there is a unit nginx.service already: /usr/lib/systemd/system/nginx.service"),
        (["minimal", "--name", "web"], "has no command"),
        (["/tmp/none.toml", "--name", "web"], "none.toml"),
        (["nginx", "--name", "web", "--run-as", "nobody-at-all"], "there is no user"),
        (["/run/bad.toml"], "loses them when the program is started"),
    ),
)
def test_nothing_is_written_that_could_not_run(
    machine: Machine, words: list[str], said: str
) -> None:
    machine.write(
        "/run/bad.toml",
        "schema = 1\n[profile]\nextends = 'service'\n[process]\ncommand = ['true']\n"
        "[capabilities]\nkeep = ['CAP_NET_RAW']\n",
    )
    before = listing(machine)
    done = machine.run("sbx", "systemd", "install", *words)
    machine.succeed("rm", "/run/bad.toml")
    assert (done.returncode, done.stdout) == (125, "")
    assert said in done.stderr
    assert done.stderr.count("sbx: error: sbx") == 0
    assert listing(machine) == before


def test_what_others_have_written_stays(machine: Machine) -> None:
    path = "/etc/systemd/system/web.service"
    machine.write(path, "[Service]\nExecStart=/bin/true\n")
    try:
        machine.succeed("systemctl", "daemon-reload")
        done = machine.run("sbx", "systemd", "install", "nginx", "--name", "web")
        assert (done.returncode, "sbx hasn't written it" in done.stderr) == (125, True)
        done = machine.run("sbx", "systemd", "remove", "web")
        assert (done.returncode, "has no unit of 'web'" in done.stderr) == (125, True)
        assert machine.read(path) == b"[Service]\nExecStart=/bin/true\n"
    finally:
        machine.succeed("rm", path)
        machine.succeed("systemctl", "daemon-reload")


def test_words_reach_a_program_as_they_were(machine: Machine, place: str) -> None:
    """The escapes against the reader that they are for, in arguments, environment and paths."""
    program = f"{place}/a b$c%d"
    script = "import json, os, sys\n"
    script += f"json.dump([sys.argv[1:], os.environ['ODD']], open({place + '/out'!r}, 'w'))\n"
    machine.write(program, f"#!/usr/bin/python3\n{script}", 0o755)
    odd = "é $HOME ${x} %h 'a' \"b\" \\n\nnext"
    arguments = " ".join(map(quoting.argument, ODD_WORDS))
    unit = f"[Service]\nType=oneshot\nExecStart={quoting.program(program)} {arguments}\n"
    unit += f"Environment={quoting.value(f'ODD={odd}')}\n"
    machine.write("/run/systemd/system/odd.service", unit)
    try:
        machine.succeed("systemctl", "daemon-reload")
        done = machine.run("systemctl", "start", "odd")
        assert done.returncode == 0, machine.shell("journalctl -u odd").stdout
        assert json.loads(machine.read(f"{place}/out")) == [list(ODD_WORDS), odd]
    finally:
        machine.succeed("rm", "/run/systemd/system/odd.service")
        machine.succeed("systemctl", "daemon-reload")


def test_a_profile_with_odd_paths_is_a_service_too(machine: Machine, place: str) -> None:
    """The tree is read-only for the service but for what the profile writes to."""
    data = f"{place}/d$a%t\"a ' x".replace("'", "")
    machine.succeed("mkdir", data)
    machine.write(
        f"{place}/my app.toml",
        "schema = 1\n[profile]\nextends = 'service'\nname = 'odd'\n[vars]\ntext = ''\n"
        "[process]\ncommand = ['sh', '-c', 'echo \"$$0\" >\"$$1\"/said; sleep 1000', '${text}', "
        f"'{data.replace('$', '$$')}']\n"
        f"[[mounts]]\ntype = 'bind'\nsource = '{data.replace('$', '$$')}'\nwritable = true\n"
        f"target = '{data.replace('$', '$$')}'\nidmap = true\n",
    )
    said = "a $b %c \"d\" 'e' \\"
    with installed(machine, f"{place}/my app.toml", "--set", f"text={said}", name="odd") as unit:
        unit.systemctl("start", "odd")
        assert unit.await_true(f"cat '{data}/said'") == f"{said}\n"
        unit.systemctl("stop", "odd")
        assert unit.show("Result", "ActiveState") == {
            "Result": "success",
            "ActiveState": "inactive",
        }


def test_a_user_has_services_of_its_own(machine: Machine) -> None:
    machine.succeed("sh", "-c", SITE.format("$HOME/www"), user="user")
    options = ("--set", "directory=/home/user/www", "--set", "network=host", "--set", "port=8072")
    with installed(machine, "python-service", *options, "--now", name="py", user="user") as unit:
        assert unit.await_true("curl -sf http://127.0.0.1:8072/") == "hello\n"
        path = "/home/user/.config/systemd/user/py.service"
        verify = ("systemd-analyze", "--user", "verify", "--man=no", path)
        done = machine.run(*verify, user="user", timeout=120)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        unit.systemctl("restart", "py")
        assert unit.await_true("curl -sf http://127.0.0.1:8072/") == "hello\n"
        unit.systemctl("stop", "py")
        assert unit.show("Result") == {"Result": "success"}
    machine.succeed("rm", "-r", "/home/user/www")


def test_only_root_installs_for_the_system(machine: Machine) -> None:
    done = machine.run("sbx", "systemd", "install", "nginx", "--name", "web", user="user")
    assert (done.returncode, "add --user" in done.stderr) == (125, True)


def test_a_service_of_the_system_runs_as_another_user(machine: Machine, place: str) -> None:
    machine.succeed("sh", "-c", SITE.format(f"{place}/www"))
    directory = f"directory={place}/www"
    options = (
        "--run-as",
        "user",
        "--set",
        directory,
        "--set",
        "network=host",
        "--set",
        "port=8073",
    )
    with installed(machine, "python-service", *options, "--now", name="as") as unit:
        assert unit.await_true("curl -sf http://127.0.0.1:8073/") == "hello\n"
        pid = unit.show("MainPID")["MainPID"]
        assert machine.succeed("stat", "-c", "%U", f"/proc/{pid}").strip() == "user"
        unit.systemctl("restart", "as")
        assert unit.await_true("curl -sf http://127.0.0.1:8073/") == "hello\n"
        # The second start needs no Python: the plan is kept in the user's own cache.
        assert "warning" not in unit.journal()


def test_a_template_runs_profiles_by_name(machine: Machine) -> None:
    text = machine.succeed("sbx", "systemd", "template")
    path = "/etc/systemd/system/sbx@.service"
    machine.write(path, text)
    machine.write(
        "/etc/sbx/my-nap.toml",
        "schema = 1\n[profile]\nextends = 'service'\n[process]\ncommand = ['sleep', '1000']\n",
    )
    try:
        done = machine.run("systemd-analyze", "verify", "--man=no", path, timeout=120)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        machine.succeed("systemctl", "start", "sbx@my-nap")
        unit = Unit(machine, "sbx@my-nap")
        unit.await_true("sbx ps | grep -q my-nap")
        unit.systemctl("stop", "sbx@my-nap")
        assert unit.show("Result") == {"Result": "success"}
        machine.write("/etc/sbx/my-nap.toml", GONE.format(path="/var/tmp/not-there"))
        done = machine.run("systemctl", "start", "sbx@my-nap")
        assert done.returncode != 0
        assert "/var/tmp/not-there" in unit.journal()
    finally:
        machine.succeed("rm", "-r", path, "/etc/sbx")
        machine.succeed("systemctl", "daemon-reload")


GONE = """\
schema = 1
[profile]
extends = 'service'
[filesystem]
execute = ['{path}']
[process]
command = ['{path}']
"""


def test_a_start_fails_where_the_program_cannot_be_started(machine: Machine, place: str) -> None:
    """Also one of type exec, and with plan and profile as they were; a short program has been started."""
    program = f"{place}/program"
    machine.write(program, "#!/bin/sh\nexit 0\n", 0o755)
    machine.write(f"{place}/app.toml", GONE.format(path=program))
    with installed(machine, f"{place}/app.toml", name="app") as unit:
        unit.systemctl("start", "app")
        unit.await_true("systemctl show -P ActiveState app | grep -x inactive")
        assert unit.show("Result", "ExecMainStatus") == {"Result": "success", "ExecMainStatus": "0"}
        machine.write(program, "#!/nowhere\n", 0o755)
        done = machine.run("systemctl", "start", "app")
        assert done.returncode != 0
        assert unit.show("Result", "ExecMainStatus") == {
            "Result": "exit-code",
            "ExecMainStatus": "126",
        }
        assert f"'{program}' is there, but its interpreter" in unit.journal()


def test_credentials_become_secrets(machine: Machine, place: str) -> None:
    """From a file of root's alone, by systemd and sbx, into memory that only the program reads."""
    machine.write(f"{place}/key", "s3cret", 0o600)
    machine.write(
        f"{place}/app.toml",
        "schema = 1\n[profile]\nextends = 'service'\n[secrets]\nkey = { credential = 'api' }\n"
        "[process]\ncommand = ['sh', '-c', 'cat /run/secrets/key; echo; env; exec sleep 1000']\n",
    )
    options = ("--credential", f"api={place}/key", "--now")
    with installed(machine, f"{place}/app.toml", *options, name="app") as unit:
        unit.await_true("journalctl -u app -o cat | grep -q PATH=")
        said = unit.journal()
        assert said.count("s3cret") == 1
        assert "CREDENTIALS_DIRECTORY=/run/secrets\n" in said
