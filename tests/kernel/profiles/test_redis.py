"""Redis in its shipped profile: under load, its data across restarts, and what it may not do."""

import os
import re
import signal
import stat

from tests.applications import application
from tests.kernel.harness import Sandbox
from tests.kernel.profiles import attempts, services
from tests.kernel.profiles.examples import examples


def ask(sandbox: Sandbox, *words: str) -> str:
    """redis-cli's answer, asked for by the caller outside; empty if there is none."""
    done = sandbox.program([os.path.join(os.path.dirname(_server()), "redis-cli"), *words])
    return done.stdout.strip() if done.returncode == 0 else ""


def _server() -> str:
    return application("redis-server")


def test_it_answers_under_load_and_keeps_its_data(sandbox: Sandbox) -> None:
    _server()
    first, _, client = examples("redis")
    directory = sandbox.mkdir("data", 0o700)
    arguments = services.command(sandbox, first, {"/srv/redis": directory})
    to = services.command(sandbox, client, {"/srv/redis": directory})[1:]
    place = to[-1]

    def is_ready() -> bool:
        return ask(sandbox, *to, "ping") == "PONG"

    with services.running(sandbox, arguments, is_ready) as service:
        assert ask(sandbox, *to, "set", "fruit", "pear") == "OK"
        benchmark = os.path.join(os.path.dirname(_server()), "redis-benchmark")
        done = sandbox.program(
            [benchmark, *to, "-n", "20000", "-c", "20", "-P", "4", "-t", "set,get,lpush", "--csv"]
        )
        assert done.returncode == 0, done
        rates = [
            float(rate) for rate in re.findall(r'(?m)^"(?:SET|GET|LPUSH)","([\d.]+)"', done.stdout)
        ]
        assert len(rates) == 3
        assert min(rates) > 100
        # A fork of its own writes what there is so far.
        assert "started" in ask(sandbox, *to, "bgsave")
        service.await_that(
            lambda: "rdb_bgsave_in_progress:0" in ask(sandbox, *to, "info", "persistence")
        )
        assert "rdb_last_bgsave_status:ok" in ask(sandbox, *to, "info", "persistence")
        assert ask(sandbox, *to, "set", "animal", "newt") == "OK"
        state = os.stat(place)
        assert stat.S_ISSOCK(state.st_mode)
        assert (state.st_uid, stat.S_IMODE(state.st_mode)) == (sandbox.uid, 0o700)
        assert service.stop() == 0
    owners = {
        os.lstat(os.path.join(above, name)).st_uid
        for above, _, names in os.walk(directory)
        for name in names
    }
    assert owners == {sandbox.uid}
    with services.running(sandbox, arguments, is_ready) as service:
        assert ask(sandbox, *to, "get", "fruit") == "pear"
        assert ask(sandbox, *to, "get", "animal") == "newt"
        assert int(ask(sandbox, *to, "dbsize")) >= 3
        assert service.stop(signal.SIGINT) == 0


def test_it_listens_on_a_port_where_that_is_asked_for(sandbox: Sandbox) -> None:
    _server()
    _, second, _ = examples("redis")
    port = services.free_port()
    arguments = services.command(
        sandbox, second, {"/srv/redis": sandbox.mkdir("data"), "6379": str(port)}
    )

    def is_ready() -> bool:
        return ask(sandbox, "-p", str(port), "ping") == "PONG"

    with services.running(sandbox, arguments, is_ready) as service:
        assert ask(sandbox, "-p", str(port), "incr", "n") == "1"
        assert service.stop() == 0


def test_a_file_in_the_directory_configures_it(sandbox: Sandbox) -> None:
    _server()
    directory = sandbox.mkdir("data")
    config = sandbox.write(
        "data/redis.conf", "maxmemory 64mb\nport 1\ndaemonize yes\nrequirepass open-sesame\n"
    )
    variables = {"directory": directory, "config": config}
    arguments = sandbox.shipped_arguments("redis", variables=variables)
    without = ("-s", f"{directory}/redis.sock")
    to = (*without, "-a", "open-sesame", "--no-auth-warning")

    def is_ready() -> bool:
        return ask(sandbox, *to, "ping") == "PONG"

    with services.running(sandbox, arguments, is_ready) as service:
        assert ask(sandbox, *without, "ping").startswith("NOAUTH")
        assert ask(sandbox, *to, "config", "get", "maxmemory").split() == ["maxmemory", "67108864"]
        assert ask(sandbox, *to, "config", "get", "port").split() == ["port", "0"]
        assert service.stop() == 0


def test_who_commands_it_cannot_make_it_write_elsewhere(sandbox: Sandbox) -> None:
    """The known way from a reachable Redis to the host's files: `config set dir`, then `save`."""
    _server()
    directory, other = sandbox.mkdir("data"), sandbox.mkdir("other", 0o777)
    config = sandbox.write("data/redis.conf", "enable-protected-configs yes\n")
    variables = {"directory": directory, "config": config}
    arguments = sandbox.shipped_arguments("redis", variables=variables)
    to = ("-s", f"{directory}/redis.sock")

    def is_ready() -> bool:
        return ask(sandbox, *to, "ping") == "PONG"

    def saves_to(place: str) -> bool:
        moved = ask(sandbox, *to, "config", "set", "dir", place) == "OK"
        return moved and ask(sandbox, *to, "save") == "OK"

    with services.running(sandbox, arguments, is_ready) as service:
        assert not any(map(saves_to, (other, sandbox.home, "/etc", "/usr/bin")))
        assert saves_to("/tmp")
        assert saves_to(directory)
        assert service.stop() == 0
    assert os.listdir(other) == []
    assert "dump.rdb" in os.listdir(directory)


def test_it_cannot_reach_what_it_wasnt_given(sandbox: Sandbox) -> None:
    directory = sandbox.mkdir("data")
    outside = sandbox.write("secret", "x", 0o600)
    attempts.assert_refused(
        sandbox, "redis", variables={"directory": directory}, unreadable=[outside]
    )
