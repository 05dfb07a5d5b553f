"""PostgreSQL in its shipped profile: initdb, pgbench, data across restarts, and what it may not do."""

import os
import signal
import stat

from tests.applications import application
from tests.kernel.harness import Sandbox
from tests.kernel.profiles import attempts, services
from tests.kernel.profiles.examples import examples

PROGRAMS = "/usr/lib/postgresql/*/bin/postgres"


class Database:
    """A directory with a database, and the caller's programs for it outside."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.programs = os.path.dirname(application(PROGRAMS))
        self.directory = sandbox.mkdir("db", 0o755)
        self.initdb, self.server, self.psql_inside, self.psql = examples("postgresql")

    def command(self, example: str, **variables: str) -> list[str]:
        variables = {"programs": self.programs, **variables} if example.startswith("sbx") else {}
        words = services.command(self.sandbox, example, {"/srv/db": self.directory}, variables)
        return words if words[0].startswith("/") else [f"{self.programs}/{words[0]}", *words[1:]]

    def create(self, *words: str) -> None:
        done = self.sandbox.program([*self.command(self.initdb), *words])
        assert done.returncode == 0, done
        state = os.stat(f"{self.directory}/data")
        assert (state.st_uid, stat.S_IMODE(state.st_mode)) == (self.sandbox.uid, 0o700)

    def ask(self, text: str) -> str:
        """psql's answer outside; empty where the server doesn't answer."""
        done = self.sandbox.program([*self.command(self.psql), "-qAtc", text])
        return done.stdout.strip() if done.returncode == 0 else ""

    def is_ready(self) -> bool:
        return self.ask("select 1") == "1"

    def pgbench(self, *words: str) -> str:
        to = ("-h", self.directory, "-U", "postgres")
        done = self.sandbox.program([f"{self.programs}/pgbench", *to, *words, "postgres"])
        assert done.returncode == 0, done
        return done.stdout


def test_it_runs_pgbench_and_keeps_its_data(sandbox: Sandbox) -> None:
    database = Database(sandbox)
    application("pgbench")
    database.create()
    server = database.command(database.server)
    with services.running(sandbox, server, database.is_ready) as service:
        database.pgbench("-i", "-q")
        report = database.pgbench("-c", "4", "-j", "2", "-T", "2")
        assert "number of failed transactions: 0 " in report
        count = database.ask("select count(*) from pgbench_history")
        assert int(count) > 10
        assert f"number of transactions actually processed: {count}\n" in report
        # Processes of one query share memory in /dev/shm.
        parallel = (
            "set parallel_setup_cost = 0; set parallel_tuple_cost = 0;"
            "set min_parallel_table_scan_size = 0;"
        )
        joined = (
            "select sum(a.abalance) + sum(b.abalance) - sum(a.abalance) - sum(b.abalance)"
            " from pgbench_accounts a join pgbench_accounts b using (aid)"
        )
        assert "Workers Launched: 2" in database.ask(f"{parallel} explain analyze {joined}")
        assert database.ask(f"{parallel} {joined}") == "0"
        balance = database.ask("select sum(abalance) from pgbench_accounts")
        # psql in a sandbox of its own reaches it through the socket file.
        inside = [*database.command(database.psql_inside), "-qAtc", "show listen_addresses"]
        assert sandbox.program(inside).stdout == "\n"
        assert service.stop(signal.SIGINT) == 0
        assert "database system is shut down" in service.said()
    with services.running(sandbox, server, database.is_ready) as service:
        assert database.ask("select sum(abalance) from pgbench_accounts") == balance
        assert "was not properly shut down" not in service.said()
        assert service.stop(signal.SIGTERM) == 0


def test_after_a_kill_it_recovers_and_two_never_share_the_data(sandbox: Sandbox) -> None:
    """Each sandbox counts its processes anew, so PostgreSQL's own check of the lock file is blind."""
    database = Database(sandbox)
    database.create()
    server = database.command(database.server)
    with services.running(sandbox, server, database.is_ready) as service:
        database.ask("create table kept as select 42 as n")
        second = sandbox.program(server)
        assert second.returncode == 1, second
        assert "failed to get lock" in second.stderr
        assert database.ask("select n from kept") == "42"
        inside = service.processes()
        service.process.kill()
        service.process.wait(services.PATIENCE)
        assert len(inside) > 5
    with services.running(sandbox, server, database.is_ready) as service:
        assert "was not properly shut down; automatic recovery" in service.said()
        assert database.ask("select n from kept") == "42"
        assert service.stop(signal.SIGINT) == 0


def test_the_newest_version_that_is_installed_runs(sandbox: Sandbox) -> None:
    """Debian keeps each version's programs in a directory of its own."""
    variables = {"directory": Database(sandbox).directory}
    for program in ("postgres", "initdb", "psql", "pgbench"):
        done = sandbox.shipped("postgresql", program, "--version", variables=variables)
        assert done.stdout.startswith(f"{program} (PostgreSQL) "), done


def test_it_listens_on_a_port_where_that_is_asked_for(sandbox: Sandbox) -> None:
    """For those who know the password, as the profile's comments advise."""
    database = Database(sandbox)
    password = sandbox.write("db/password", "open sesame\n", 0o600)
    database.create("-A", "scram-sha-256", f"--pwfile={password}")
    port = str(services.free_port())
    server = database.command(database.server, network="host", address="127.0.0.1", port=port)
    psql = [f"{database.programs}/psql", "-w", "-h", "127.0.0.1", "-p", port, "-U", "postgres"]

    def answer(password: str) -> str:
        env = {**sandbox.environment, "PGPASSWORD": password}
        return sandbox.program([*psql, "-qAtc", "select 1"], env=env).stdout

    with services.running(sandbox, server, lambda: answer("open sesame") == "1\n") as service:
        assert answer("another") == ""
        assert service.stop(signal.SIGINT) == 0


def test_it_cannot_reach_what_it_wasnt_given(sandbox: Sandbox) -> None:
    """Not as a process of its own, and not as its superuser, who may read and write server files."""
    database = Database(sandbox)
    outside = sandbox.write("secret", "x", 0o600)
    variables = {"directory": database.directory, "programs": database.programs}
    attempts.assert_refused(sandbox, "postgresql", variables=variables, unreadable=[outside])
    database.create()
    with services.running(sandbox, database.command(database.server), database.is_ready) as service:
        assert database.ask("select length(pg_read_file('/etc/passwd')) > 0") == "t"
        assert database.ask(f"select pg_read_file('{outside}')") == ""
        assert database.ask("select pg_read_file('/etc/shadow')") == ""
        assert database.ask(f"copy (select 1) to '{database.directory}/copied'; select 2") == "2"
        assert database.ask(f"copy (select 1) to '{sandbox.home}/copied'; select 2") == ""
        seen = database.ask("create table s(t text); copy s from program 'id -u'; select t from s")
        assert seen == ("1000" if sandbox.is_root else str(sandbox.uid))
        assert service.stop(signal.SIGINT) == 0
    assert os.path.exists(f"{database.directory}/copied")
    assert not os.path.exists(f"{sandbox.home}/copied")
