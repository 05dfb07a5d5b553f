"""[service] and [secrets]: what they take, how files combine, what doesn't hold together."""

import pytest

from sandbox.profile.text import to_toml
from tests.unit.profile.conftest import Load, Problems, Write

FULL = """
[service]
type = "notify"
start_timeout = "infinity"
watchdog = "30s"
stop_signal = "SIGINT"
stop_timeout = "2 min"
reload_signal = "SIGHUP"
restart = "on-failure"
restart_delay = "500ms"
slice = "web-shop.slice"
survive = true
log = "file"
log_size = "1M"
log_files = 2
sockets = ["https", "http"]
health = { command = ["check", "b", "a"], interval = "10s", timeout = 2, retries = 5, start_period = "1min" }

[secrets]
"db.password" = { credential = "db" }
key = { file = "/etc/app/key" }
token = { env = "TOKEN" }
"""


def test_a_whole_service_is_read(load_text: Load) -> None:
    profile = load_text(FULL).profile
    assert profile.service.sockets == ("http", "https")
    assert profile.service.health.command == ("check", "b", "a")
    assert profile.service.health.kinds() == ("command",)
    assert profile.secrets["db.password"].credential == "db"
    assert [secret.kinds() for secret in profile.secrets.values()] == [
        ("credential",),
        ("file",),
        ("env",),
    ]


def test_its_text_means_the_same(load_text: Load) -> None:
    profile = load_text(FULL).profile
    again = load_text(to_toml(profile).removeprefix("schema = 1\n")).profile
    assert (again.service, again.secrets) == (profile.service, profile.secrets)


@pytest.mark.parametrize(
    ("text", "key", "words"),
    (
        ("[service]\nwatchdog = '30 secs'", "service.watchdog", "isn't a duration"),
        ("[service]\nwatchdog = '30'", "service.watchdog", "without quotes"),
        ("[service]\nstop_timeout = 0", "service.stop_timeout", "a bound of 0"),
        ("[service]\nwatchdog = true", "service.watchdog", "expected a duration"),
        ("[service]\nwatchdog = 'infinity'", "service.watchdog", "isn't a duration"),
        ("[service]\nstop_signal = 'SIGKILL'", "service.stop_signal", "isn't a request"),
        ("[service]\nstop_signal = ''", "service.stop_signal", "isn't the name of a signal"),
        ("[service]\nstop_signal = 'term'", "service.stop_signal", "isn't the name of a signal"),
        ("[service]\nslice = 'web'", "service.slice", "isn't the name of a slice"),
        ("[service]\nslice = 'a--b.slice'", "service.slice", "isn't the name of a slice"),
        ("[service]\nslice = 'a/b.slice'", "service.slice", "isn't the name of a slice"),
        ("[service]\nsockets = ['a:b']", "service.sockets[0]", "isn't the name of a socket"),
        ("[service]\ntype = 'simple'", "service.type", "isn't 'exec' or 'notify'"),
        ("[service.health]\ntcp = 'localhost'", "service.health.tcp", "has no port"),
        ("[service.health]\ntcp = '::1:80'", "service.health.tcp", "names no address"),
        ("[service.health]\ntcp = '[127.0.0.1]:80'", "service.health.tcp", "names no address"),
        ("[service.health]\ntcp = 'example.org:80'", "service.health.tcp", "names no address"),
        ("[service.health]\ntcp = '1.2.3.4:65536'", "service.health.tcp", "has no port"),
        ("[service.health]\nhttp = 'https://[::1]/'", "service.health.http", "isn't an address"),
        ("[service.health]\nhttp = 'http://[::1]/a b'", "service.health.http", "printable ASCII"),
        ("[secrets]\n'a/b' = { env = 'A' }", 'secrets."a/b"', "isn't the name of a secret"),
        ("[secrets]\n'..' = { env = 'A' }", 'secrets.".."', "isn't the name of a secret"),
        ("[secrets]\na = { file = 'b' }", "secrets.a.file", "isn't an absolute path"),
        ("[secrets]\na = 'b'", "secrets.a", "expected a table"),
        ("[secrets]\na = {}", "secrets.a", "comes from one of"),
        ("[secrets]\na = { env = 'A', file = '/a' }", "secrets.a", "comes from one of"),
        ("[service]\nwatchdog = 5", "service.watchdog", "needs service.type = 'notify'"),
        ("[service]\nlog_size = '1M'", "service.log_size", "is for service.log = 'file'"),
        ("[service]\nreload_signal = 'SIGTERM'", "service.reload_signal", "asks for a reload"),
        ("[service.health]\nretries = 2", "service.health", "nothing to check"),
        (
            "[service.health]\ncommand = ['a']\ntcp = '[::1]:80'",
            "service.health.tcp",
            "stated already by 'command' (app.toml:3)",
        ),
        (
            "[secrets]\na = { env = 'A' }\n[filesystem]\ntmpfs = ['/run/secrets']",
            "filesystem.tmpfs[0]",
            "taken by [secrets]",
        ),
        (
            "[secrets]\na = { env = 'A' }\n[[mounts]]\ntype = 'tmpfs'\ntarget = '/run/secrets/b'",
            "mounts[0]",
            "taken by [secrets]",
        ),
    ),
)
def test_what_is_wrong_is_said_where_it_stands(
    problems: Problems, text: str, key: str, words: str
) -> None:
    (problem,) = problems(text)
    assert (problem.key, problem.line > 0) == (key, True)
    assert words in problem.reason + problem.hint


@pytest.mark.parametrize(
    "text",
    (
        "[service]\nwatchdog = 0\nrestart_delay = '0s'\nreload_signal = ''\nslice = ''",
        "[service]\nslice = '-.slice'",
        "[service.health]\ntcp = '[::1]:80'",
        "[service.health]\nhttp = 'http://localhost'",
        "[service.health]\nhttp = 'http://[::1]:8080/a?b=c'",
        "[secrets]\na = { env = 'A' }\n[filesystem]\ntmpfs = ['/run']",
    ),
)
def test_what_is_right_is_let_through(problems: Problems, text: str) -> None:
    assert problems(text) == ()


def test_an_entry_of_secrets_is_replaced_as_a_whole(write: Write, load_text: Load) -> None:
    write("[secrets]\na = { file = '/a' }\nb = { file = '/b' }", "base")
    profile = load_text("[profile]\nextends = 'base.toml'\n[secrets]\na = { env = 'A' }").profile
    assert profile.secrets["a"].kinds() == ("env",)
    assert profile.secrets["b"].file == "/b"


def test_a_derived_profile_chooses_another_kind_of_check(write: Write, load_text: Load) -> None:
    write("[service.health]\nhttp = 'http://localhost/'\ninterval = 5", "base")
    derived = "[profile]\nextends = 'base.toml'\n[service.health]\nhttp = ''\ncommand = ['b', 'a']"
    health = load_text(derived).profile.service.health
    assert (health.kinds(), health.command, health.interval) == (("command",), ("b", "a"), 5)


@pytest.mark.parametrize(
    "text",
    (
        "[secrets]\nb = { env = 'B' }",
        "[secrets]\na = { env = 'B' }",
        "[service]\nsurvive = true",
        "[service]\nsockets = ['b']",
        "[service.health]\ncommand = ['b']",
    ),
)
def test_a_seal_holds(write: Write, problems: Problems, text: str) -> None:
    base = "[profile]\nsealed = ['service', 'secrets']\n[secrets]\na = { env = 'A' }\n"
    write(base + "[service]\nsockets = ['a']\n[service.health]\ncommand = ['a']", "base")
    (problem,) = problems(f"[profile]\nextends = 'base.toml'\n{text}")
    assert "seals" in problem.reason
