"""Real services in units of systemd 257, under load: reloaded, killed, at their limits, restarted."""

import re
import time

from tests.vm.machine import Machine
from tests.vm.units import Unit, installed

WATCHED = """\
import http.server, os, socket, threading, time

def tell(text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.connect(os.environ["NOTIFY_SOCKET"])
        notify.send(text.encode())

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"alive\\n")
        self.wfile.flush()
        self.connection.close()
        if self.path == "/hang":
            time.sleep(1000)

server = http.server.HTTPServer(("127.0.0.1", 8084), Handler)
server.timeout = float(os.environ["WATCHDOG_USEC"]) / 4e6
tell("READY=1\\nSTATUS=serving")
while True:
    server.handle_request()
    tell("WATCHDOG=1")
"""


def pids(machine: Machine, unit: Unit) -> set[str]:
    """All processes of the unit's cgroup and those below it."""
    group = unit.show("ControlGroup")["ControlGroup"]
    found = machine.shell(f"cat $(find /sys/fs/cgroup{group} -name cgroup.procs)").stdout
    return set(found.split())


def main_pid(unit: Unit) -> str:
    return unit.show("MainPID")["MainPID"]


def restarts(unit: Unit) -> int:
    return int(unit.show("NRestarts")["NRestarts"])


def test_nginx_by_socket_activation(machine: Machine, place: str) -> None:
    """It has no network but the socket; no request is lost by a reload, a crash or a restart."""
    machine.succeed("sh", "-c", f"mkdir {place}/www && echo hello >{place}/www/index.html")
    machine.write(
        f"{place}/web.toml",
        'schema = 1\n[profile]\nextends = "nginx"\n'
        f'[vars]\ndirectory = "{place}/www"\nport = "8081"\nnetwork = "none"\n'
        '[service]\nsockets = ["http"]\nrestart_delay = "100ms"\n'
        '[environment.set]\nNGINX = "3;"\n',
    )
    listen = ("--listen", "http=127.0.0.1:8081")
    with installed(machine, f"{place}/web.toml", *listen, "--now", name="web") as unit:
        assert unit.is_active() == "inactive"
        assert machine.succeed("curl", "-sSf", "http://127.0.0.1:8081/") == "hello\n"
        assert unit.is_active() == "active"

        spaces = {
            machine.shell(f"readlink /proc/{pid}/ns/net").stdout for pid in pids(machine, unit)
        }
        assert len(spaces) == 2  # the supervisor's, and the sandbox's own

        # A worker that ends at a reload closes connections that are kept alive.
        load = ("wrk", "-t1", "-c4", "-d6s", "-H", "Connection: close", "http://127.0.0.1:8081/")
        with machine.start(*load, timeout=60) as running:
            for _ in range(2):
                time.sleep(1.5)
                unit.systemctl("reload", "web")
            done = running.wait()
        assert "requests in" in done.stdout
        assert "Socket errors" not in done.stdout
        assert "Non-2xx" not in done.stdout
        assert restarts(unit) == 0

        # The kernel keeps what comes in meanwhile: the socket is systemd's.
        each = (
            "for i in $(seq 40); do curl -sSf --max-time 30 http://127.0.0.1:8081/ || exit 1; done"
        )
        with machine.start("bash", "-c", each, timeout=120) as running:
            time.sleep(0.5)
            unit.systemctl("restart", "web")
            machine.succeed("kill", "-KILL", main_pid(unit))
            done = running.wait()
        # Of the requests that were being answered when it was killed, one can end early.
        assert done.stdout.count("hello") >= 39 or done.returncode == 0, done
        unit.await_true("curl -sSf http://127.0.0.1:8081/")
        assert restarts(unit) == 1

        unit.systemctl("stop", "web.socket", "web.service")
        assert unit.show("Result") == {"Result": "success"}
        assert machine.run("curl", "-s", "http://127.0.0.1:8081/").returncode == 7


def test_postgresql_says_when_it_is_ready(machine: Machine, place: str) -> None:
    """What it has confirmed is there after a reload, a kill and a stop; psql works at once."""
    data = f"{place}/db"
    directory = ("--set", f"directory={data}")
    machine.succeed("install", "-d", "-m", "700", data)
    machine.succeed("sbx", "run", "-p", "postgresql", *directory, "--", "initdb", timeout=150)
    sql = ("psql", "-h", data, "-U", "postgres", "-Atqc")
    with installed(machine, "postgresql", *directory, name="db") as unit:
        unit.systemctl("start", "db")
        machine.succeed(*sql, "CREATE TABLE acked (n int PRIMARY KEY)")
        assert unit.show("Type", "SubState") == {"Type": "notify", "SubState": "running"}

        bench = ("pgbench", "-h", data, "-U", "postgres", "postgres")
        machine.succeed(*bench, "-i", "-q", timeout=120)
        with machine.start(*bench, "-n", "-c2", "-T5", timeout=120) as running:
            time.sleep(2)
            unit.systemctl("reload", "db")
            done = running.wait()
        processed = re.search(r"actually processed: (\d+)", done.stdout)
        assert processed, done
        count = machine.succeed(*sql, "SELECT count(*) FROM pgbench_history").strip()
        assert count == processed[1]
        assert "parameter" in unit.journal() or "SIGHUP" in unit.journal()

        rows = "seq 100000 | sed 's/.*/INSERT INTO acked VALUES (&) RETURNING n;/'"
        insert = f"{rows} | psql -h {data} -U postgres -Atq 2>/dev/null"
        with machine.start("bash", "-c", insert, timeout=120) as running:
            time.sleep(4)
            machine.succeed("kill", "-KILL", main_pid(unit))
            confirmed = running.wait().stdout.split("\n")[:-1]
        assert len(confirmed) > 2
        unit.await_true(f"psql -h {data} -U postgres -Atqc 'SELECT 1' 2>/dev/null")
        assert restarts(unit) == 1
        kept = machine.succeed(*sql, "SELECT n FROM acked ORDER BY n").split()
        assert kept[: len(confirmed)] == confirmed

        unit.systemctl("stop", "db")
        assert unit.show("Result", "ExecMainStatus") == {"Result": "success", "ExecMainStatus": "0"}
        assert "database system is shut down" in unit.journal()


def test_redis_at_its_memory_limit(machine: Machine, place: str) -> None:
    """The end is told as what it was, it starts again, and what it confirmed is still there."""
    data = f"{place}/redis"
    machine.succeed("install", "-d", "-m", "700", data)
    machine.write(f"{data}/redis.conf", "appendonly yes\nappendfsync always\n")
    machine.succeed("chmod", "644", f"{data}/redis.conf")
    machine.write(
        f"{place}/cache.toml",
        'schema = 1\n[profile]\nextends = "redis"\n'
        f'[vars]\ndirectory = "{data}"\nconfig = "{data}/redis.conf"\n'
        '[resources]\nmemory_max = "48M"\nmemory_swap_max = 0\n'
        '[service]\nrestart_delay = "100ms"\n',
    )
    cli = ("redis-cli", "-s", f"{data}/redis.sock")
    with installed(machine, f"{place}/cache.toml", name="cache") as unit:
        unit.systemctl("start", "cache")
        assert machine.succeed(*cli, "SET", "kept", "yes") == "OK\n"
        group = unit.show("ControlGroup")["ControlGroup"]
        limits = machine.shell(f"find /sys/fs/cgroup{group} -name memory.max | xargs cat").stdout
        assert str(48 << 20) in limits.split()

        bench = ("redis-benchmark", "-s", f"{data}/redis.sock", "-q", "-t", "set")
        done = machine.run(*bench, "-n", "500", "-c", "4", "-d", "64", timeout=120)
        assert "requests per second" in done.stdout
        assert restarts(unit) == 0

        # Memory of a script's, so that what is kept fits again after the restart.
        grow = "local t = {} for i = 1, 1e8 do t[i] = 'x' .. i end return 1"
        machine.run(*cli, "EVAL", grow, "0", timeout=120)
        unit.await_true("systemctl show -P NRestarts cache | grep -qv '^0'")
        unit.await_true(f"redis-cli -s {data}/redis.sock GET kept | grep -x yes")
        said = unit.journal()
        assert "cache: killed for memory: limit 48 MiB (resources.memory_max" in said
        assert restarts(unit) == 1
        unit.systemctl("stop", "cache")
        assert unit.show("Result") == {"Result": "success"}


def test_a_watched_service_that_hangs_is_restarted(machine: Machine, place: str) -> None:
    machine.write(f"{place}/app/watched.py", WATCHED)
    machine.write(
        f"{place}/app.toml",
        'schema = 1\n[profile]\nextends = "python-service"\n'
        f'[vars]\ndirectory = "{place}/app"\nnetwork = "host"\n'
        '[process]\ncommand = ["python3", "-I", "${directory}/watched.py"]\n'
        '[service]\ntype = "notify"\nwatchdog = "5s"\nstop_timeout = "3s"\n'
        'restart_delay = "100ms"\n',
    )
    with installed(machine, f"{place}/app.toml", "--now", name="app") as unit:
        ask = "curl -sf --max-time 10 http://127.0.0.1:8084/"
        assert machine.shell(ask).stdout == "alive\n"
        assert unit.show("StatusText") == {"StatusText": "serving"}
        time.sleep(8)
        assert machine.shell(ask).stdout == "alive\n"
        assert restarts(unit) == 0
        machine.shell(f"{ask}hang")
        unit.await_true("systemctl show -P NRestarts app | grep -qv '^0'")
        unit.await_true(ask)
        assert "watchdog" in unit.journal()
        unit.systemctl("stop", "app")
        assert unit.show("Result") == {"Result": "success"}
