"""Secrets: where the payload finds them, and where nobody does."""

import os
import re
import stat

import pytest

from tests.kernel.harness import Sandbox
from tests.kernel.service.services import SECONDS, Services, await_up

SECRET = "correct horse battery staple"
PATH = "/run/secrets/key"


def file_of(sandbox: Sandbox, content: str = SECRET) -> str:
    path = sandbox.path("key")
    with open(path, "w", encoding="utf-8") as file:
        file.write(content)
    os.chmod(path, 0o600)
    sandbox.own(path)
    return path


def test_a_file_is_read_by_the_caller_and_owned_by_the_payload(services: Services) -> None:
    path = file_of(services.sandbox)
    done = services.run(f'[secrets]\nkey = {{ file = "{path}" }}\n', "show", PATH)
    match = re.fullmatch(r"400 (\d+) (\d+) (.*)\n", done.stdout)
    assert match, done
    assert match[3] == SECRET
    inside = services.sandbox.dump("")
    assert int(match[1]) == inside.uid


def test_a_warm_launch_reads_it_anew(services: Services) -> None:
    path = file_of(services.sandbox)
    text = f'[secrets]\nkey = {{ file = "{path}" }}\n'
    assert services.run(text, "show", PATH).stdout.endswith(f" {SECRET}\n")
    file_of(services.sandbox, "changed")
    assert services.run(text, "show", PATH, warm=True).stdout.endswith(" changed\n")


def test_a_credential_comes_from_the_managers_directory(services: Services) -> None:
    directory = services.sandbox.mkdir("credentials", 0o700)
    path = os.path.join(directory, "db")
    with open(path, "w", encoding="utf-8") as file:
        file.write(SECRET)
    services.sandbox.own(path)
    env = {**services.sandbox.environment, "CREDENTIALS_DIRECTORY": directory}
    words = ("show", PATH, "variable", "CREDENTIALS_DIRECTORY")
    done = services.run('[secrets]\nkey = { credential = "db" }\n', *words, env=env)
    assert done.stdout.endswith(f" {SECRET}\nCREDENTIALS_DIRECTORY=/run/secrets\n"), done


def test_a_variable_becomes_a_file_and_no_variable(services: Services) -> None:
    env = {**services.sandbox.environment, "TOKEN": SECRET, "OTHER": "seen"}
    text = '[environment]\npass = ["TOKEN", "OTHER"]\n[secrets]\nkey = { env = "TOKEN" }\n'
    words = ("show", PATH, "variable", "TOKEN", "variable", "OTHER")
    done = services.run(text, *words, env=env)
    assert done.stdout.splitlines()[0].endswith(SECRET)
    assert done.stdout.splitlines()[1:] == ["TOKEN=(unset)", "OTHER=seen"]


def test_several_secrets_are_not_mixed_up(services: Services) -> None:
    env = {**services.sandbox.environment, "A": "first", "B": "", "C": "third" * 1000}
    text = '[secrets]\nz = { env = "A" }\nkey = { env = "B" }\na = { env = "C" }\n'
    words = (word for name in ("z", "key", "a") for word in ("show", f"/run/secrets/{name}"))
    done = services.run(text, *words, env=env)
    shown = [line.split(" ", 3)[3] for line in done.stdout.splitlines()]
    assert shown == ["first", "", "third" * 1000]


def test_they_are_on_memory_that_is_read_only_and_never_swapped(services: Services) -> None:
    env = {**services.sandbox.environment, "TOKEN": SECRET}
    done = services.run(
        '[secrets]\nkey = { env = "TOKEN" }\n', "show", "/proc/self/mountinfo", env=env
    )
    (line,) = (line for line in done.stdout.splitlines() if " /run/secrets " in line)
    assert " ramfs " in line
    assert set(line.split()[5].split(",")) >= {"ro", "nosuid", "nodev", "noexec"}


def test_neither_plan_nor_record_nor_supervisor_holds_it(services: Services) -> None:
    sandbox = services.sandbox
    path = file_of(sandbox)
    text = f'[secrets]\nkey = {{ file = "{path}" }}\n[service]\nstop_timeout = "5s"\n'
    with services.start(text, "out", "up", "await") as process:
        await_up(process)
        services.await_state("ready")
        assert SECRET.encode() not in memory_of(process.pid)
        directory = os.path.join(sandbox.runtime, "web")
        for name in os.listdir(directory):
            each = os.path.join(directory, name)
            if stat.S_ISREG(os.stat(each).st_mode):
                with open(each, "rb") as file:
                    assert SECRET.encode() not in file.read()
        process.terminate()
        process.wait(SECONDS)
    for name in os.listdir(sandbox.cache):
        with open(os.path.join(sandbox.cache, name), "rb") as file:
            assert SECRET.encode() not in file.read()


def memory_of(pid: int) -> bytes:
    """All that a process has written to its memory."""
    found = b""
    with (
        open(f"/proc/{pid}/maps", encoding="utf-8") as maps,
        open(f"/proc/{pid}/mem", "rb", 0) as memory,
    ):
        for line in maps:
            first, last = (int(part, 16) for part in line.split()[0].split("-"))
            if "rw" in line.split()[1] and "[v" not in line:
                memory.seek(first)
                found += memory.read(last - first)
    assert found
    return found


@pytest.mark.parametrize(
    ("secret", "says"),
    (
        ('credential = "db"', "sbx was given no credentials"),
        ('env = "NOWHERE"', "no variable NOWHERE"),
        ('file = "/nonexistent/key"', "can't be read"),
        ('file = "/"', "can't be read"),
        ('file = "/dev/zero"', "can't be read"),
    ),
)
def test_one_that_is_missing_is_an_error_with_its_remedy(
    services: Services, secret: str, says: str
) -> None:
    done = services.run(f"[secrets]\nkey = {{ {secret} }}\n", "show", PATH)
    assert done.returncode == 125
    assert says in done.stderr
    assert "hint:" in done.stderr


def test_one_that_is_too_large_is_an_error(services: Services) -> None:
    path = file_of(services.sandbox, "x" * (1 << 20))
    text = f'[secrets]\nkey = {{ file = "{path}" }}\n'
    assert services.run(text, "exit", "0").returncode == 0
    file_of(services.sandbox, "x" * ((1 << 20) + 1))
    done = services.run(text, "exit", "0")
    assert done.returncode == 125
    assert "too large" in done.stderr
