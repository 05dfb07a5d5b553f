"""Profile sqlite: databases of one directory."""

import os

from tests.applications import application
from tests.kernel.profiles.projects import Home

FILL = """\
PRAGMA journal_mode = WAL;
CREATE TABLE fruit (name TEXT PRIMARY KEY, number INTEGER);
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
INSERT INTO fruit SELECT 'fruit ' || i, i FROM n;
"""
# A reader within a transaction, a writer beside it, and what either sees.
SIDE_BY_SIDE = """
import sqlite3
a, b = (sqlite3.connect("app.db", isolation_level=None) for _ in range(2))
a.execute("BEGIN")
print(a.execute("SELECT count(*) FROM fruit").fetchone()[0])
b.execute("INSERT INTO fruit VALUES ('another', 0)")
print(a.execute("SELECT count(*) FROM fruit").fetchone()[0])
a.execute("COMMIT")
print(a.execute("SELECT count(*) FROM fruit").fetchone()[0])
"""


def test_a_database_with_a_write_ahead_log(home: Home) -> None:
    application("sqlite3")
    assert home.run("sqlite", "sqlite3", "app.db", FILL).stdout == "wal\n"
    done = home.run("sqlite", "python3", "-c", SIDE_BY_SIDE)
    assert done.stdout.split() == ["5000", "5000", "5001"]
    check = "PRAGMA integrity_check; SELECT sum(number) FROM fruit"
    assert home.outside("sqlite3", "app.db", check).stdout == "ok\n12502500\n"
    home.assert_owned()


def test_the_examples_in_the_profile_work_from_the_cache_too(home: Home) -> None:
    application("sqlite3")
    home.run("sqlite", "sqlite3", "app.db", FILL)
    one, tables = home.run_examples("sqlite", {"/srv/data": home.project})
    assert (one.stdout, tables.stdout) == ("1\n", "fruit\n")
    assert home.run_warm("sqlite", "sqlite3", "app.db", "SELECT 1").stdout == "1\n"


def test_a_statement_reaches_nothing_outside_of_the_directory(home: Home) -> None:
    application("sqlite3")
    target = os.path.join(home.other, "stolen.db")
    attach = f"ATTACH '{target}' AS other; CREATE TABLE other.t (a)"
    done = home.run("sqlite", "sqlite3", "x.db", attach, status=None)
    assert "unable to open database" in done.stderr
    home.outside("sqlite3", "x.db", attach)
    assert os.path.exists(target)
    read = ("sqlite3", "x.db", f"SELECT readfile('{home.secrets[0]}')")
    assert home.outside(*read).stdout == "a secret\n\n"
    assert home.run("sqlite", *read).stdout == "\n"
    home.run("sqlite", "sqlite3", "x.db", ".shell ./thief.sh")
    assert "loot" not in os.listdir(home.project)


def test_what_isnt_granted_is_refused(home: Home) -> None:
    home.assert_refused("sqlite")
