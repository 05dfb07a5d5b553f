"""What a payload may say to the manager of the service, and what reaches it."""

import contextlib
import os
import socket
import time

import pytest

from tests.kernel.service.services import NOTIFIES, SECONDS, Manager, Services, await_up

ALL = NOTIFIES + 'notify_access = "all"\n'


def test_the_main_process_says_that_it_is_ready(
    services: Services, manager: Manager, managed: dict[str, str]
) -> None:
    words = ("say", "READY=1\nSTATUS=serving", "await", "say", "STOPPING=1", "exit", "0")
    with services.start(NOTIFIES, *words, env=managed) as process:
        assert manager.hear() == "READY=1"
        assert manager.hear() == "STATUS=serving\n"
        state = services.await_state("ready", status="serving")
        assert int(state["main"]) != process.pid
        process.terminate()
        assert manager.hear() == "STOPPING=1"
        assert process.wait(SECONDS) == 0
    assert manager.rest() == []


@pytest.mark.parametrize("more", ("", "[service]\nstop_timeout = '5s'\n"))
@pytest.mark.parametrize("words", (("exit", "3"), ("sleep", "200", "exit", "3")))
def test_who_is_started_as_a_unit_tells_once_that_the_program_runs(
    services: Services,
    manager: Manager,
    managed: dict[str, str],
    more: str,
    words: tuple[str, ...],
) -> None:
    """Cold and warm, also where the program has ended at once; whoever else started it hears nothing."""
    sandbox = services.sandbox
    arguments = sandbox.arguments(services.text(more), (services.program, *words))
    as_unit = ("/bin/sh", "-c", 'SYSTEMD_EXEC_PID=$$ exec "$@"', "sh", *arguments)
    for _ in range(2):
        assert sandbox.program(list(as_unit), env=managed).returncode == 3
        assert manager.hear() == "READY=1"
        assert manager.rest() == []
    other = managed | {"SYSTEMD_EXEC_PID": "1"}
    assert sandbox.program(arguments, env=other).returncode == 3
    assert manager.rest() == []


@pytest.mark.parametrize("more", ("", "[service]\nstop_timeout = '5s'\n"))
def test_a_program_that_cannot_be_started_is_never_ready(
    services: Services, manager: Manager, managed: dict[str, str], more: str
) -> None:
    """Its name is free again."""
    sandbox = services.sandbox
    arguments = sandbox.arguments(services.text(more), ("/none",), ("--name", "none"))
    as_unit = ["/bin/sh", "-c", 'SYSTEMD_EXEC_PID=$$ exec "$@"', "sh", *arguments]
    for _ in range(2):
        done = sandbox.program(as_unit, env=managed)
        assert (done.returncode, "/none" in done.stderr) == (127, True)
        assert manager.rest() == []
        assert not os.path.exists(os.path.join(sandbox.runtime, "none"))


def test_without_a_manager_it_is_known_all_the_same(services: Services) -> None:
    words = ("say", "READY=1", "await", "say", "RELOADING=1", "await", "exit", "0")
    with services.start(NOTIFIES + 'reload_signal = "SIGHUP"\n', *words) as process:
        services.await_state("ready")
        process.send_signal(1)
        services.await_state("reloading")
        process.terminate()
        assert process.wait(SECONDS) == 0


def test_a_service_is_starting_until_it_says_otherwise(services: Services) -> None:
    with services.start(NOTIFIES, "out", "up", "await", "say", "READY=1", "await") as process:
        services.await_state("starting")
        await_up(process)
        process.send_signal(10)
        services.await_state("ready")
        process.terminate()
        assert process.wait(SECONDS) == 0


def test_a_child_may_not_speak_for_the_main_process(
    services: Services, manager: Manager, managed: dict[str, str]
) -> None:
    words = ("child-say", "READY=1", "say", "STATUS=mine", "child-say", "STATUS=theirs")
    assert services.run(NOTIFIES, *words, "say", "READY=1", env=managed).returncode == 0
    assert manager.hear_until("READY=1") == ["STATUS=mine\n", "READY=1"]


def test_a_child_may_where_the_profile_says_so(
    services: Services, manager: Manager, managed: dict[str, str]
) -> None:
    assert services.run(ALL, "child-say", "READY=1", env=managed).returncode == 0
    assert manager.hear() == "READY=1"


def test_who_else_can_reach_the_socket_is_not_the_main_process(services: Services) -> None:
    with services.start(NOTIFIES, "out", "up", "await") as process:
        await_up(process)
        services.await_state("starting")
        path = os.path.join(services.sandbox.runtime, "web", "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.connect(path)
            other.send(b"READY=1")
        time.sleep(0.2)
        assert services.state()["state"] == "starting"
        process.terminate()
        assert process.wait(SECONDS) == 0


@pytest.mark.parametrize(
    ("said", "heard"),
    (
        ("ERRNO=2\nBUSERROR=org.freedesktop.DBus.Error.Failed", None),
        ("WATCHDOG=1", "WATCHDOG=1\n"),
        ("EXTEND_TIMEOUT_USEC=5000000", "EXTEND_TIMEOUT_USEC=5000000\n"),
        ("STATUS=\x1b[31mred\x07\x7f\u202e", "STATUS=?[31mred?????\n"),
        ("STATUS=gr\u00fcn \u2603", "STATUS=gr\u00fcn \u2603\n"),
        ("STATUS=" + "x" * 3000, "STATUS=" + "x" * 255 + "\n"),
    ),
)
def test_known_words_are_passed_on(
    services: Services, manager: Manager, managed: dict[str, str], said: str, heard: str | None
) -> None:
    assert services.run(NOTIFIES, "say", said, env=managed).returncode == 0
    expected = (
        ["ERRNO=2\n", "BUSERROR=org.freedesktop.DBus.Error.Failed\n"] if heard is None else [heard]
    )
    assert manager.rest() == expected


@pytest.mark.parametrize(
    "said",
    (
        "MAINPID=1",
        "NOTIFYACCESS=all",
        "ERRNO=x",
        "ERRNO=99999999999999999999",
        "BUSERROR=a b",
        "EXTEND_TIMEOUT_USEC=-1",
        "WATCHDOG=2",
        "WATCHDOG_USEC=1",
        "READY=2",
        "READY=1 ",
        "FDSTORE=1\nFDNAME=none",
        "BARRIER=1",
        "X_OURS=1",
        "=",
        "",
        "READY=1\n" + "x" * 5000,
    ),
)
def test_what_is_unknown_or_not_the_payloads_to_say_is_dropped(
    services: Services, manager: Manager, managed: dict[str, str], said: str
) -> None:
    assert services.run(NOTIFIES, "say", said, env=managed).returncode == 0
    assert manager.rest() == []


def test_the_moment_of_a_reload_is_the_supervisors(
    services: Services, manager: Manager, managed: dict[str, str]
) -> None:
    before = time.monotonic_ns() // 1000
    said = "RELOADING=1\nMONOTONIC_USEC=1"
    assert services.run(NOTIFIES, "say", "READY=1", "say", said, env=managed).returncode == 0
    assert manager.hear() == "READY=1"
    lines = manager.hear().split("\n")
    assert lines[0] == "RELOADING=1"
    assert before <= int(lines[1].removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000


def test_stored_descriptors_have_names_that_are_not_the_units(
    services: Services, manager: Manager, managed: dict[str, str]
) -> None:
    words = ("store", "state", "store", "a:b", "say", "FDSTOREREMOVE=1\nFDNAME=state")
    assert services.run(NOTIFIES, *words, env=managed).returncode == 0
    assert manager.rest() == [
        "FDSTORE=1\nFDNAME=sbx.state",
        "FDSTOREREMOVE=1\nFDNAME=sbx.state",
    ]
    (stored,) = manager.descriptors
    assert os.pread(stored, 16, 0) == b"kept"


def test_nothing_that_is_stored_is_lost(
    services: Services, manager: Manager, managed: dict[str, str]
) -> None:
    """Not where it comes faster than it is handed on, nor at the end, nor as many in a message as can be."""
    names = [f"n{i}" for i in range(50)]
    words = ["storemany", "200", *(word for name in names for word in ("store", name))]
    with services.start(NOTIFIES, *words, env=managed) as process:
        heard = manager.hear_until(f"FDNAME=sbx.{names[-1]}")
        assert process.wait(SECONDS) == 0
    assert heard == [f"FDSTORE=1\nFDNAME=sbx.{name}" for name in ("many", *names)]
    assert len(manager.descriptors) == 250


def test_a_barrier_falls_when_all_before_it_is_taken_in(
    services: Services, manager: Manager, managed: dict[str, str]
) -> None:
    assert services.run(NOTIFIES, "say", "READY=1", "barrier").stdout == "barrier passed\n"
    with services.start(NOTIFIES, "say", "READY=1", "barrier", env=managed) as process:
        assert [manager.hear(), manager.hear()] == ["READY=1", "BARRIER=1"]
        assert process.poll() is None
        os.close(manager.descriptors.pop())
        assert process.communicate(timeout=SECONDS)[0] == "barrier passed\n"


def test_a_flood_is_bounded_and_its_newest_words_arrive(
    services: Services, manager: Manager, managed: dict[str, str]
) -> None:
    words = ("flood", "1500", "STATUS=%ld", "say", "READY=1", "sleep", "500")
    with services.start(ALL, *words, env=managed) as process:
        heard = manager.hear_until("READY=1")
        assert process.wait(SECONDS) == 0
    heard += manager.rest()
    assert len(heard) < 200
    assert "STATUS=1499\n" in heard


def test_a_manager_that_does_not_listen_gets_it_later(
    services: Services, manager: Manager, managed: dict[str, str]
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as other:
        other.connect(manager.path)
        filled = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                other.send(b"filled")
                filled += 1
    with services.start(NOTIFIES, "say", "READY=1", "await", env=managed) as process:
        services.await_state("ready")
        assert [manager.hear() for _ in range(filled)] == ["filled"] * filled
        assert manager.hear() == "READY=1"
        process.terminate()
        assert process.wait(SECONDS) == 0


def test_a_manager_that_is_gone_stops_nothing(services: Services) -> None:
    env = {**services.sandbox.environment, "NOTIFY_SOCKET": "/nonexistent/notify"}
    with services.start(NOTIFIES, "say", "READY=1", "await", "exit", "8", env=env) as process:
        services.await_state("ready")
        process.terminate()
        assert process.wait(SECONDS) == 8


def test_an_address_of_another_kind_is_an_error(services: Services) -> None:
    env = {**services.sandbox.environment, "NOTIFY_SOCKET": "vsock:2:1234"}
    done = services.run(NOTIFIES, "say", "READY=1", env=env)
    assert done.returncode == 125
    assert "NOTIFY_SOCKET" in done.stderr
    assert "hint:" in done.stderr


def test_a_runtime_directory_that_is_deleted_stops_nothing(
    services: Services, manager: Manager, managed: dict[str, str]
) -> None:
    words = ("say", "READY=1", "await", "say", "STATUS=after", "await", "exit", "9")
    with services.start(NOTIFIES, *words, env=managed) as process:
        services.await_state("ready")
        directory = os.path.join(services.sandbox.runtime, "web")
        for name in os.listdir(directory):
            os.unlink(os.path.join(directory, name))
        os.rmdir(directory)
        process.send_signal(10)
        manager.hear_until("STATUS=after")
        process.terminate()
        assert process.wait(SECONDS) == 9


def test_a_profile_can_neither_set_nor_pass_another_socket(services: Services) -> None:
    text = '[environment]\npass = ["NOTIFY_SOCKET"]\nset = { WATCHDOG_USEC = "1" }\n'
    env = {**services.sandbox.environment, "NOTIFY_SOCKET": "/nonexistent"}
    words = ("variable", "NOTIFY_SOCKET", "variable", "WATCHDOG_USEC")
    done = services.run(f'{text}{NOTIFIES}watchdog = "9s"\n', *words, env=env)
    assert done.stdout == "NOTIFY_SOCKET=/dev/sbx-notify\nWATCHDOG_USEC=9000000\n"


def test_a_connection_that_lingers_holds_no_supervisor_up(
    services: Services, manager: Manager, managed: dict[str, str]
) -> None:
    """The last close of one waits for all that was to be sent, which the payload can put off."""
    # What comes after so many waits, so that the payload has closed its own before it is read.
    words = ["flood", "1001", "ERRNO=%ld"]
    words += [word for said in ("STATUS=x", "BARRIER=1", "FDSTORE=1") for word in ("linger", said)]
    with services.start(NOTIFIES, *words, "say", "READY=1", "await", env=managed) as process:
        services.await_state("ready")
        assert manager.hear_until("READY=1")
        process.terminate()
        assert process.wait(SECONDS) == 0
